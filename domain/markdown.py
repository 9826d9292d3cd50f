"""What the Temporal UI shows of an account, a deployment and an operation: true whenever it is read.

Each function is given a whole state and returns the whole text, so that nothing can be left over from before. The texts
are functions of the state alone and therefore the same on replay.
"""

from __future__ import annotations

from collections.abc import Sequence

from domain import maintenance_text
from domain.account import AccessReport, AccountPhase
from domain.actor import CONTROL_PLANE
from domain.approval import ApprovalBook, ApprovalPolicy, RiskClass, Side
from domain.facts import DeploymentFacts
from domain.failure import FailureClass, Party
from domain.operation import Choice, OperationPhase, OperationProgress, StepRecord, StepState, WaitingFor
from domain.state import AccountState, DeploymentPhase, DeploymentState, OperationSummary
from domain.text import escaped, instant, table

SHOWN_OPERATIONS = 10
SHOWN_PERMISSIONS = 20
SHOWN_DEPLOYMENTS = 20

_ACCOUNT = {
    AccountPhase.INVITED: "The customer has not granted everything yet.",
    AccountPhase.ACTIVE: "Everything that we need is granted.",
    AccountPhase.SUSPENDED: "Something that was granted is missing: nothing can be ordered.",
    AccountPhase.HELD: "The customer said hands off: work is parked, and nothing starts.",
    AccountPhase.REVOKING: "We are leaving: waiting until the cloud refuses us.",
    AccountPhase.REVOKED: "We have left: the cloud refuses us.",
}

_DEPLOYMENT = {
    DeploymentPhase.ORDERED: "Ordered; nothing is made yet.",
    DeploymentPhase.PROVISIONING: "Being made in the customer's account.",
    DeploymentPhase.ACTIVE: "Running.",
    DeploymentPhase.CHANGING: "Running, and being changed.",
    DeploymentPhase.RETIRING: "Being taken out of the customer's account.",
    DeploymentPhase.RETIRED: "Gone from the customer's account.",
    DeploymentPhase.ABORTED: "Given up; what was made is taken back.",
}

_MARKS = {
    StepState.RUNNING: "running",
    StepState.WAITING: "**waiting**",
    StepState.DONE: "done",
    StepState.SKIPPED: "skipped",
    StepState.FAILED: "**failed**",
    StepState.UNDONE: "taken back",
}

_REMEDIES = {
    FailureClass.AUTH: "Apply the account's template again: its roles no longer let us in.",
    FailureClass.POLICY: "Let the organisation's policy allow this, or order something that it allows.",
    FailureClass.QUOTA: "Ask the cloud for a higher quota.",
    FailureClass.CAPACITY: "The cloud has no machines of this kind now. Nothing has to be done; it is tried again.",
    FailureClass.HELD: "Release the account when work may go on. Everything goes on by itself then.",
    FailureClass.NOT_OURS: "Something of our name is not ours. Rename or remove it, then decide.",
}


def approval_policy(policy: ApprovalPolicy) -> str:
    """Return who approves what as one line, or nothing if nobody approves anything."""
    classes = [f"{risk}: {' and '.join(policy.sides(risk))}" for risk in RiskClass if policy.sides(risk)]
    named = [f"{side}: {', '.join(policy.approvers.of(side))}" for side in Side if policy.approvers.of(side)]
    approvers = f" (approvers: {'; '.join(named)})" if named else ""
    hours = policy.expires_after.total_seconds() / 3600
    return f"{'; '.join(classes)}; good for {hours:g} h{approvers}" if classes else ""


def account_details(state: AccountState) -> str:
    """Return the details of an account: phase, who has to act, what is missing, and what happened lately."""
    spec = state.spec
    parts = [
        f"### Account {spec.name}: {state.phase}",
        f"{_ACCOUNT[state.phase]} Since {instant(state.since)}.",
        *_account_wait(state),
        *_narrowed(state),
        table(
            ("Customer", "Cloud", "Account id", "Regions", "Contact"),
            [(spec.customer, spec.cloud, spec.cloud_account_id, ", ".join(spec.regions), spec.contact or "-")],
        ),
    ]
    if state.deployments:
        more = len(state.deployments) - SHOWN_DEPLOYMENTS
        named = ", ".join(state.deployments[:SHOWN_DEPLOYMENTS]) + (f" and {more} more" if more > 0 else "")
        parts.append(f"**Deployments that live in it:** {named}")
    if state.report:
        parts.append(
            f"Last verified {instant(state.report.verified_at)} as {escaped(state.report.principal)}: "
            f"{state.report.checked_actions} actions checked, {len(state.report.missing)} missing."
        )
        parts += _withheld(state.report)
        parts += _surplus(state.report)
    if policy := approval_policy(spec.approvals):
        parts.append(f"**Approvals:** {escaped(policy)}.")
    if state.proof:
        refusals = "\n".join(f"- {escaped(refusal)}" for refusal in state.proof.refusals)
        parts.append(f"**Proof** of {instant(state.proof.proven_at)}; the cloud's answers:\n\n{refusals}")
    if state.trail:
        parts.append(_trail([(instant(event.at), event.what, str(event.actor)) for event in state.trail]))
    return "\n\n".join(parts)


def deployment_details(state: DeploymentState) -> str:
    """Return the details of a deployment: phase, what is waited for, what was made, and its operations."""
    order, spec = state.order, state.order.spec
    availability = ", highly available" if spec.high_availability else ""
    parts = [
        f"### Deployment {order.site.deployment}: {state.phase}",
        f"{_DEPLOYMENT[state.phase]} Since {instant(state.since)}.",
        *_account_says(state),
    ]
    if state.running and state.report and state.report.waiting_for:
        parts += [_waits(state.report.waiting_for)]
    parts += [_approvals(queued.approval) for queued in state.queue if queued.approval is not None]
    parts += [f"> **Unsettled:** {escaped(state.unsettled)}"] if state.unsettled else []
    parts += maintenance_text.waiting(state)
    parts.append(
        table(
            ("Customer", "Where", "Shape", "Release", "Kubernetes", "Endpoint"),
            [
                (
                    order.site.customer,
                    f"{order.site.account}, {order.site.cloud} {spec.region}",
                    f"{spec.shape}{availability}",
                    order.release.version,
                    spec.kubernetes,
                    spec.endpoint.domain,
                )
            ],
        )
    )
    parts += _made(state.facts)
    parts += _operations(state)
    parts += maintenance_text.broken_windows(state.broken_windows)
    if state.trail:
        parts.append(_trail([(instant(event.at), event.what, str(event.actor)) for event in state.trail]))
    return "\n\n".join(parts)


def operation_details(progress: OperationProgress) -> str:
    """Return the details of an operation: phase, what is waited for, and every step in the order of its start."""
    over = sum(step.state in (StepState.DONE, StepState.SKIPPED, StepState.UNDONE) for step in progress.steps)
    running = [step.summary for step in progress.steps if step.state is StepState.RUNNING]
    parts = [
        f"### {progress.kind.capitalize()}: {progress.phase}",
        f"{over} of {len(progress.steps)} steps that began are over. Started {instant(progress.started_at)}"
        + (f", ended {instant(progress.ended_at)}." if progress.ended_at else "."),
    ]
    if progress.plan_hash:
        parts.append(f"**Plan** `{progress.plan_hash}`, approved by {escaped(', '.join(progress.approved_by))}.")
    if running and progress.phase not in (OperationPhase.DONE, OperationPhase.ABORTED):
        parts.append("**Now:** " + ", ".join(escaped(summary) for summary in running))
    if progress.waiting_for:
        parts.append(_waits(progress.waiting_for))
    if progress.steps:
        parts.append(_steps(progress.steps))
    return "\n\n".join(parts)


def _withheld(report: AccessReport) -> list[str]:
    if not report.withheld:
        return []
    return [f"**Withheld by the customer:** the role for {' and '.join(report.withheld)}. What needs it waits."]


def _surplus(report: AccessReport) -> list[str]:
    """Say what is granted and needed by nobody. It stops nothing."""
    if not report.surplus:
        return []
    shown = report.surplus[:SHOWN_PERMISSIONS]
    rows = [(each.action, each.purpose, each.resource, each.granted_by, each.because) for each in shown]
    left = len(report.surplus) + report.more_surplus - len(rows)
    more = f"\n\n… and {left} more." if left else ""
    return [
        "**Surplus:** granted to our roles and needed by no step. The customer can take it away.",
        table(("Action", "Purpose", "Resource", "Granted by", "Why"), rows) + more,
    ]


def _account_wait(state: AccountState) -> list[str]:
    """Say who has to do what, if anybody has to."""
    missing = state.report.missing if state.report else ()
    if state.hold_reason:
        by = "" if state.by == CONTROL_PLANE else f", by {escaped(str(state.by))}"
        return [f"**Held because:** {escaped(state.hold_reason)}{by}"]
    match state.phase:
        case AccountPhase.INVITED | AccountPhase.SUSPENDED if missing:
            rows = [(need.action, need.purpose, need.resource) for need in missing[:SHOWN_PERMISSIONS]]
            more = f"\n\n… and {len(missing) - len(rows)} more." if len(missing) > len(rows) else ""
            return [
                "**Waiting for the customer:** apply the account's template; these permissions are missing:",
                table(("Action", "Purpose", "Resource"), rows) + more,
            ]
        case AccountPhase.INVITED | AccountPhase.SUSPENDED:
            because = f" The cloud says: {escaped(state.refusal)}" if state.refusal else ""
            return [f"**Waiting for the customer:** apply the account's template.{because}"]
        case AccountPhase.REVOKING:
            return ["**Waiting for the customer:** delete the account's template, and our permissions with it."]
        case _:
            return []


def _narrowed(state: AccountState) -> list[str]:
    """Say which roles the customer does not lend."""
    if not state.standing.withheld:
        return []
    waiting = "Deletions wait until it is lent again." if state.standing.keeps_deletions_waiting else ""
    return [f"**Narrowed:** {state.standing.withholding_in_words()}. {waiting}".rstrip()]


def _account_says(state: DeploymentState) -> list[str]:
    """Say what the account's standing keeps from happening."""
    standing = state.standing
    if standing is None:
        return []
    said = []
    if standing.parks:
        number = len(state.queue)
        queued = f" {number} queued operation{'s' if number > 1 else ''} will start then." if number else ""
        said.append(
            f"**Parked:** {escaped(standing.hold_in_words())}. Since {instant(standing.since)}, by "
            f"{escaped(str(standing.by))}. Everything goes on by itself after the release.{queued}"
        )
    if standing.withheld:
        said.append(f"**Narrowed:** {standing.withholding_in_words()}.")
    return said


def _waits(waits: Sequence[WaitingFor]) -> str:
    return "\n\n".join(_wait(wait) for wait in waits)


def _wait(wait: WaitingFor) -> str:
    probe = f" It is tried again by itself at {instant(wait.probe_at)}." if wait.probe_at else ""
    choices = ", ".join(f"`{choice}`" for choice in wait.choices)
    lines = [
        f"> **Waiting for the {wait.party}** since {instant(wait.since)}: {escaped(wait.summary)}",
        f"> {escaped(wait.missing)}",
        f"> **To do:** {escaped(remedy(wait))}{probe}",
    ]
    if choices:
        lines.append(f"> **May be decided** (step `{wait.step}`): {choices}")
    return "\n>\n".join(lines)


def _approvals(book: ApprovalBook) -> str:
    """Say whose approval of which plan an operation waits for, who has given it, and until when it is good."""
    lines = [f"> **{book.operation_id}** ({book.risk}, asked by {escaped(str(book.requester))}) {_approval_wait(book)}"]
    if book.plan is not None:
        lines.append(f"> **Plan** `{book.plan.hash}` of {instant(book.plan.made_at)}: {len(book.plan.steps)} steps")
        lines += [f"> **Cannot be taken back:** {escaped(what)}" for what in book.plan.irreversible]
    lines += [
        f"> **Approved** by {escaped(str(given))} at {instant(given.at)}, until {instant(given.expires_at)}"
        for given in book.approvals
    ]
    return "\n>\n".join(lines)


def _approval_wait(book: ApprovalBook) -> str:
    if book.failure:
        again = f" It is tried again at {instant(book.plan_again_at)}." if book.plan_again_at else ""
        return f"**waits for the operator**: it cannot be planned: {escaped(book.failure)}.{again}"
    if book.plan is None:
        return "is being planned, to be approved."
    given = [approval.side for approval in book.approvals]
    asked = [side for side in book.sides if side not in given]
    if not asked:
        return "is approved and waits for its turn."
    approvers = "; ".join(
        f"{side}: {escaped(', '.join(book.policy.approvers.of(side)) or 'anybody who speaks for the ' + side)}"
        for side in asked
    )
    return f"**waits for approval by the {' and the '.join(asked)}** ({approvers}): `byoc approvals show`"


def remedy(wait: WaitingFor) -> str:
    """Return what ends a wait, as a sentence for whoever must act."""
    if wait.failure is FailureClass.POLICY and wait.party is Party.OPERATOR:
        return "Abort, and ask for the operation again: it is planned anew, and the plan is approved again."
    if wait.failure is FailureClass.PERMISSION:
        return f"Grant {wait.action or 'what is missing'}, most easily by applying the account's template again."
    if known := _REMEDIES.get(wait.failure):
        return known
    if wait.party is Party.OPERATOR:
        return f"Find the cause, then decide: {' or '.join(wait.choices) or Choice.RETRY}."
    return f"The {wait.party} has to act."


def _steps(steps: Sequence[StepRecord]) -> str:
    rows = [
        f"| {escaped(step.summary)} | {_MARKS[step.state]} | {instant(step.started_at)} | {instant(step.ended_at)} |"
        for step in steps
    ]
    return "\n".join(["| Step | State | Started | Ended |", "| --- | --- | --- | --- |", *rows])


def _made(facts: DeploymentFacts) -> list[str]:
    made = [
        ("Network", facts.network.network_id if facts.network else ""),
        ("Cluster", facts.cluster.name if facts.cluster else ""),
        ("Node pools", ", ".join(f"{pool.pool} ({pool.instance_type})" for pool in facts.pools)),
        ("Load balancer", facts.load_balancer.hostname if facts.load_balancer else ""),
        ("Name servers to delegate to", ", ".join(facts.domain.name_servers) if facts.domain else ""),
        ("Smoke test", f"{facts.smoke_test.url}, {facts.smoke_test.round_trip_ms:.0f} ms" if facts.smoke_test else ""),
        ("Restore proven", instant(facts.restore_proof.proven_at) if facts.restore_proof else ""),
    ]
    components = [
        (status.component, f"{status.ready}/{status.desired}", status.image.partition("@")[0])
        for status in facts.components
    ]
    parts = []
    if components:
        parts.append(table(("Component", "Ready", "Image"), components))
    if rows := [(what, value) for what, value in made if value]:
        parts.append(table(("Made", ""), rows))
    return parts


def _approved(summary: OperationSummary) -> str:
    """Return the plan's hash, in short, and who approved it."""
    if summary.approved is None:
        return "-"
    return f"{summary.approved.hash[:12]} by {', '.join(map(str, summary.approved.approvals))}"


def _operations(state: DeploymentState) -> list[str]:
    waiting = [queued.summary for queued in reversed(state.queue)]
    running = [state.running.summary] if state.running else []
    newest_first = [*waiting, *running, *reversed(state.past)][:SHOWN_OPERATIONS]
    if not newest_first:
        return []
    head = ["Operation", "Phase", "Asked by", "Asked", "Ended", "Reason"]
    rows = [
        [
            summary.workflow_id,
            _phase(summary, state),
            str(summary.actor),
            instant(summary.asked_at),
            instant(summary.ended_at),
            summary.reason or "-",
        ]
        for summary in newest_first
    ]
    if any(summary.approved for summary in newest_first):
        head.append("Approved plan")
        rows = [[*row, _approved(summary)] for row, summary in zip(rows, newest_first, strict=True)]
    return [table(head, rows)]


def _phase(summary: OperationSummary, state: DeploymentState) -> str:
    if state.running and state.running.summary.operation_id == summary.operation_id and state.report:
        return state.report.phase
    return summary.phase or ("running" if summary.started_at else "queued")


def _trail(rows: Sequence[tuple[str, str, str]]) -> str:
    return table(("At", "What", "By"), list(reversed(rows))[:SHOWN_OPERATIONS])
