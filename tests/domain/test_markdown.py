"""The Temporal UI says who has to do what; words from outside are never markup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import catalog
from domain.account import (
    AccessReport,
    AccountPhase,
    AccountSpec,
    MissingPermission,
    RevocationProof,
    SurplusPermission,
)
from domain.actor import Actor, Door
from domain.approval import (
    Approval,
    ApprovalBook,
    ApprovalPolicy,
    Approvers,
    PlanSummary,
    RiskClass,
    Side,
    SummarizedStep,
)
from domain.clouds import Cloud, Purpose
from domain.deployment import DeploymentSpec, Endpoint, Site
from domain.facts import ComponentStatus, DeploymentFacts, LoadBalancer
from domain.failure import FailureClass, Party
from domain.markdown import account_details, deployment_details, operation_details
from domain.operation import Choice, OperationKind, OperationPhase, OperationProgress, StepRecord, StepState, WaitingFor
from domain.shape import Component, ShapeName
from domain.state import (
    AccountState,
    DeploymentOrder,
    DeploymentPhase,
    DeploymentState,
    Event,
    OperationReport,
    OperationRequest,
    OperationSummary,
    QueuedOperation,
)
from domain.text import escaped, table

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADA = Actor(name="ada@vendor.example", door=Door.CLI)
SPEC = AccountSpec(
    name="acme-aws", customer="acme", cloud=Cloud.AWS, cloud_account_id="111122223333", regions=("eu-central-1",)
)
WAIT = WaitingFor(
    step="create_network",
    summary="Create the network",
    party=Party.CUSTOMER,
    failure=FailureClass.PERMISSION,
    missing="ec2:CreateVpc is denied in eu-central-1",
    action="ec2:CreateVpc",
    since=NOW,
    probe_at=NOW + timedelta(minutes=15),
    choices=(Choice.RETRY, Choice.ABORT),
)


def account(phase: AccountPhase, **changes: object) -> AccountState:
    """Return an account in this phase."""
    return AccountState(spec=SPEC, external_id="e", since=NOW, phase=phase).model_copy(update=changes)


def deployment(**changes: object) -> DeploymentState:
    """Return a deployment that runs."""
    release = catalog.load().newest_release()
    assert release
    spec = DeploymentSpec(
        account="acme-aws",
        region="eu-central-1",
        release=release.version,
        kubernetes="1.35",
        endpoint=Endpoint(domain="prod.db.acme.example"),
    )
    site = Site(
        deployment="acme-prod",
        customer="acme",
        account="acme-aws",
        cloud="aws",
        cloud_account_id="111122223333",
        external_id="e",
        region="eu-central-1",
    )
    shape = catalog.load().shape(ShapeName.V1_SMALL)
    order = DeploymentOrder(site=site, spec=spec, shape=shape, release=release, actor=ADA)
    return DeploymentState(order=order, since=NOW, phase=DeploymentPhase.ACTIVE).model_copy(update=changes)


def test_an_invited_account_names_each_missing_permission() -> None:
    """The customer sees what to grant."""
    missing = (MissingPermission(action="ec2:CreateVpc", purpose=Purpose.OPERATE),)
    report = AccessReport(principal="arn:aws:sts::1:role", verified_at=NOW, missing=missing, checked_actions=80)

    text = account_details(account(AccountPhase.INVITED, report=report))

    assert "### Account acme-aws: invited" in text
    assert "**Waiting for the customer:** apply the account's template" in text
    assert "| ec2:CreateVpc | operate | \\* |" in text
    assert "80 actions checked, 1 missing" in text


def test_an_account_that_cannot_be_entered_says_what_the_cloud_said() -> None:
    """Nothing was verified, but there is an answer."""
    text = account_details(account(AccountPhase.INVITED, refusal="sts:AssumeRole is denied"))

    assert "The cloud says: sts:AssumeRole is denied" in text


def test_an_active_account_waits_for_nobody() -> None:
    """A report without faults asks for nothing."""
    report = AccessReport(principal="arn", verified_at=NOW, checked_actions=80)

    text = account_details(account(AccountPhase.ACTIVE, report=report))

    assert "Waiting" not in text
    assert "80 actions checked, 0 missing" in text


def test_what_is_surplus_or_withheld_is_told_and_asks_for_nothing() -> None:
    """The customer sees what they can take away, and by which policy it is granted; the account stays active."""
    surplus = tuple(
        SurplusPermission(
            purpose=Purpose.OPERATE,
            action=f"ec2:{number}*",
            granted_by="inline policy x",
            because="no step declares it",
        )
        for number in range(25)
    )
    report = AccessReport(
        principal="arn",
        verified_at=NOW,
        surplus=surplus,
        more_surplus=3,
        withheld=(Purpose.DELETE,),
        checked_actions=80,
    )

    text = account_details(account(AccountPhase.ACTIVE, report=report))

    assert "**Waiting" not in text
    assert "**Withheld by the customer:** the role for delete." in text
    assert "| ec2:0\\* | operate | \\* | inline policy x | no step declares it |" in text
    assert "… and 8 more." in text


def test_a_held_account_says_why_and_who_did_it() -> None:
    """The audit trail is shown newest first."""
    trail = (Event(at=NOW, what="invited", actor=ADA), Event(at=NOW, what="held", actor=ADA))

    text = account_details(account(AccountPhase.HELD, hold_reason="audit", trail=trail))

    assert "**Held because:** audit" in text
    assert text.index("| held | ada@vendor.example (cli) |") < text.index("| invited | ada@vendor.example (cli) |")


def test_a_held_account_names_who_holds_it_and_who_lives_in_it() -> None:
    """Of many deployments the first are named and the others counted."""
    names = tuple(f"acme-{number}" for number in range(25))

    text = account_details(account(AccountPhase.HELD, hold_reason="audit", by=ADA, deployments=names))

    assert "**Held because:** audit, by ada@vendor.example (cli)" in text
    assert "**Deployments that live in it:** acme-0, acme-1," in text
    assert "acme-19 and 5 more" in text


def test_a_narrowed_account_says_which_role_is_withheld() -> None:
    """It is active all the same."""
    report = AccessReport(principal="arn", verified_at=NOW, withheld=(Purpose.DELETE,), checked_actions=80)

    text = account_details(account(AccountPhase.ACTIVE, report=report))

    assert "### Account acme-aws: active" in text
    assert "**Narrowed:** The customer withholds the role for delete in the account acme-aws. Deletions wait" in text


def test_a_parked_deployment_says_by_whom_and_what_will_follow() -> None:
    """Whoever looks at the deployment does not have to look at the account."""
    held = account(AccountPhase.HELD, hold_reason="audit", by=ADA).standing
    summary = OperationSummary(
        operation_id="provision/2",
        workflow_id="deployment/acme-prod/provision/2",
        request_id="r",
        kind=OperationKind.PROVISION,
        actor=ADA,
        asked_at=NOW,
    )
    request = OperationRequest(request_id="r", kind=OperationKind.PROVISION, actor=ADA)

    text = deployment_details(deployment(standing=held, queue=(QueuedOperation(summary=summary, request=request),)))

    assert "**Parked:** The customer holds the account acme-aws: audit. Since 2026-11-23 12:00:00 UTC" in text
    assert "1 queued operation will start then." in text


def test_a_revoked_account_shows_the_proof() -> None:
    """The cloud's own refusals."""
    proof = RevocationProof(proven_at=NOW, refusals=("operate: AccessDenied",))

    assert "- operate: AccessDenied" in account_details(account(AccountPhase.REVOKED, proof=proof))


def test_a_waiting_operation_says_for_whom_what_and_what_may_be_decided() -> None:
    """Everything that an operator needs is in the first lines."""
    progress = OperationProgress(
        operation="deployment/acme-prod/provision/1",
        kind=OperationKind.PROVISION,
        phase=OperationPhase.WAITING,
        steps=(
            StepRecord(
                name="check_quotas", summary="Check the quotas", state=StepState.DONE, started_at=NOW, ended_at=NOW
            ),
            StepRecord(name="create_network", summary="Create the network", state=StepState.WAITING, started_at=NOW),
            StepRecord(name="create_roles", summary="Create the roles", state=StepState.RUNNING, started_at=NOW),
        ),
        waiting_for=(WAIT,),
        started_at=NOW,
    )

    text = operation_details(progress)

    assert text.startswith("### Provision: waiting\n\n1 of 3 steps that began are over.")
    assert "**Now:** Create the roles" in text
    assert "> **Waiting for the customer** since 2026-11-23 12:00:00 UTC: Create the network" in text
    assert "> **To do:** Grant ec2:CreateVpc" in text
    assert "tried again by itself at 2026-11-23 12:15:00 UTC" in text
    assert "(step `create_network`): `retry`, `abort`" in text
    assert "| Create the network | **waiting** | 2026-11-23 12:00:00 UTC | - |" in text


def test_every_failure_that_waits_has_something_to_do() -> None:
    """No class of failure leaves its reader without a next step."""
    for failure in FailureClass:
        wait = WAIT.model_copy(update={"failure": failure, "party": Party.OPERATOR, "action": ""})
        progress = OperationProgress(
            operation="o",
            kind=OperationKind.RETIRE,
            phase=OperationPhase.WAITING,
            steps=(),
            waiting_for=(wait,),
            started_at=NOW,
        )

        todo = operation_details(progress).partition("**To do:** ")[2].partition("It is tried again")[0]

        assert len(todo) > 20, failure


def test_a_deployment_shows_components_endpoint_and_operations() -> None:
    """What runs, where it is reached, and what was done to it by whom."""
    facts = DeploymentFacts(
        components=(ComponentStatus(component=Component.API, image="r/server/api@sha256:00", ready=2, desired=2),),
        load_balancer=LoadBalancer(hostname="lb.example"),
    )
    past = OperationSummary(
        operation_id="provision-1",
        workflow_id="deployment/acme-prod/provision/1",
        request_id="r",
        kind=OperationKind.PROVISION,
        actor=ADA,
        asked_at=NOW,
        started_at=NOW,
        ended_at=NOW,
        phase=OperationPhase.DONE,
    )

    text = deployment_details(deployment(facts=facts, past=(past,)))

    assert text.startswith("### Deployment acme-prod: active\n\nRunning.")
    assert "| api | 2/2 | r/server/api |" in text
    assert "| Load balancer | lb.example |" in text
    assert "| deployment/acme-prod/provision/1 | done | ada@vendor.example (cli) |" in text


def test_a_deployment_whose_operation_waits_says_so_first() -> None:
    """Whoever looks at the deployment need not look for the operation."""
    summary = OperationSummary(
        operation_id="provision-1",
        workflow_id="deployment/acme-prod/provision/1",
        request_id="r",
        kind=OperationKind.PROVISION,
        actor=ADA,
        asked_at=NOW,
        started_at=NOW,
    )
    request = OperationRequest(request_id="r", kind=OperationKind.PROVISION, actor=ADA)
    report = OperationReport(operation_id="provision-1", phase=OperationPhase.WAITING, waiting_for=(WAIT,))

    text = deployment_details(
        deployment(running=QueuedOperation(summary=summary, request=request), report=report, phase="provisioning")
    )

    assert text.index("Waiting for the customer") < text.index("| Customer |")
    assert "| deployment/acme-prod/provision/1 | waiting |" in text


@given(st.lists(st.text(max_size=30), min_size=2, max_size=2))
def test_a_cell_stays_a_cell_and_text_stays_text(cells: list[str]) -> None:
    """Whatever a cloud says, it adds no column, row, link, image or HTML to the page."""
    tokens = MarkdownIt("commonmark").enable("table").parse(table(("a", "b"), [cells]))

    kinds = [token.type for token in tokens]
    inline = {child.type for token in tokens for child in token.children or ()}
    assert kinds.count("td_open") == 2
    assert kinds.count("table_open") == 1
    assert inline <= {"text", "text_special"}
    assert "\n" not in escaped(cells[0])


def approval_book(**changes: object) -> ApprovalBook:
    """Return the book of a retirement that both sides have to approve."""
    steps = (SummarizedStep(name="delete_network", summary="Delete the network"),)
    plan = PlanSummary(hash="3f" * 32, basis="0" * 64, made_at=NOW, steps=steps, irreversible=("The data is *gone*",))
    return ApprovalBook(
        operation_id="retire/3",
        requester=ADA,
        risk=RiskClass.DESTRUCTIVE,
        policy=ApprovalPolicy(destructive=(Side.VENDOR, Side.CUSTOMER), approvers=Approvers(customer=("bob|acme",))),
        plan=plan,
    ).model_copy(update=changes)


def awaiting(book: ApprovalBook) -> str:
    """Return the details of a deployment with this book in its queue."""
    request = OperationRequest(request_id="r", kind=OperationKind.RETIRE, actor=ADA)
    summary = OperationSummary(
        operation_id=book.operation_id,
        workflow_id="w",
        request_id="r",
        kind=OperationKind.RETIRE,
        actor=ADA,
        asked_at=NOW,
    )
    return deployment_details(deployment(queue=(QueuedOperation(summary=summary, request=request, approval=book),)))


def test_details_say_whose_approval_of_which_plan_is_missing() -> None:
    """Hash, who has approved and until when, who may approve, and what cannot be taken back; names are no markup."""
    grace = Actor(name="grace@vendor.example", door=Door.CLI)
    given = Approval(side=Side.VENDOR, hash="3f" * 32, actor=grace, at=NOW, expires_at=NOW + timedelta(hours=72))

    text = awaiting(approval_book(approvals=(given,)))

    assert "waits for approval by the customer" in text
    assert "3f" * 32 in text
    assert "grace@vendor.example (cli) for the vendor at 2026-11-23 12:00:00 UTC, until 2026-11-26 12:00:00 UTC" in text
    assert r"customer: bob\|acme" in text
    assert r"The data is \*gone\*" in text


def test_details_say_that_a_plan_is_being_made_or_cannot_be() -> None:
    """Without a plan nobody is asked to approve anything; a failure names its cause and the next try."""
    making = awaiting(approval_book(plan=None))
    failed = awaiting(approval_book(plan=None, failure="no *planner*", plan_again_at=NOW))

    assert "is being planned" in making
    assert r"it cannot be planned: no \*planner\*. It is tried again at 2026-11-23 12:00:00 UTC" in failed
    assert "waits for approval" not in making + failed


def test_an_account_tells_its_approval_policy() -> None:
    """Who approves what is in the account's details, and nothing is said where nobody has to."""
    policy = ApprovalPolicy(significant=(Side.CUSTOMER,), destructive=(Side.VENDOR, Side.CUSTOMER))

    told = account_details(account(AccountPhase.ACTIVE, spec=SPEC.model_copy(update={"approvals": policy})))

    assert "**Approvals:** significant: customer; destructive: vendor and customer; good for 72 h." in told
    assert "Approvals" not in account_details(account(AccountPhase.ACTIVE))
