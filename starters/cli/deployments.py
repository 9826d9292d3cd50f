"""`byoc deployments`: order, watch, steer and retire the server in a customer's account."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich.markup import escape

from domain.deployment import FinalBackup
from domain.operation import Choice, OperationKind, StepDecision
from domain.receipt import render
from domain.shape import Component
from domain.state import (
    DeploymentState,
    OperationRequest,
)
from starters.cli.approvals import SHORT, print_approvals
from starters.cli.asking import acting, ask
from starters.cli.errors import BadInput, Exit, fail
from starters.cli.following import parked, print_queued, watch_newest
from starters.cli.history import deployment_history
from starters.cli.output import Format, FormatOption, ago, print_data, print_facts, print_rows, stdout
from starters.cli.pending import overrides, print_upgrades, schedule
from starters.cli.plans import plan
from starters.cli.upgrading import upgrade
from starters.cli.watching import view
from starters.client import ControlPlane
from starters.ordering import place_order, read_orders

app = typer.Typer(
    help="Deployments of the server: create, watch, decide, retire.", no_args_is_help=True, add_completion=False
)

Name = Annotated[str, typer.Argument(help="name of the deployment", metavar="NAME")]
Reason = Annotated[str, typer.Option(help="why; it goes into the audit trail")]
FileOption = Annotated[Path, typer.Option("--file", "-f", help="YAML of kind Deployment (docs/examples shows some)")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="watch until it is over")]
StepName = Annotated[str, typer.Option(help="the waiting step, as `show` names it; default: every step that waits")]

app.command()(plan)
app.command()(schedule)
app.command()(upgrade)
app.add_typer(overrides, name="override")


@app.command()
def create(file: FileOption, watch_it: Watch = False, output: FormatOption = Format.TABLE) -> None:
    """Order the deployments of a file; each provisions itself. A repeat changes nothing.

    The file is checked against the catalogue and the account first: if anything is wrong, nothing starts.

    Example: byoc deployments create -f docs/examples/deployment-small.yaml --watch
    """
    text = _read(file)

    async def order(plane: ControlPlane) -> list[DeploymentState]:
        manifests = await read_orders(plane, text)
        if not manifests:
            raise BadInput([f"--file: {file} holds no document of kind Deployment"])
        return [await plane.order(await place_order(plane, manifest)) for manifest in manifests]

    states = ask(order)
    if output is not Format.TABLE:
        print_data(states[0] if len(states) == 1 else states, output)
    else:
        for state in states:
            stdout.print(f"Deployment {state.order.site.deployment} is {state.phase}.")
            if state.standing is not None and state.standing.parks:
                stdout.print(escape(parked(state.standing.hold_in_words())))
    if watch_it:
        for state in states:
            watch_newest(state.order.site.deployment)
    elif output is Format.TABLE:
        name = states[0].order.site.deployment
        stdout.print(f"It goes on by itself. `byoc deployments watch {name}` shows how.")


@app.command()
def converge(
    name: Name,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="a changed specification; default: the known one")
    ] = None,
    reason: Reason = "",
    watch_it: Watch = False,
) -> None:
    """Provision again: put back what differs from the specification. On an unchanged deployment it changes nothing.

    Example: byoc deployments converge acme-prod --reason "drift reported" --watch
    """
    text = _read(file) if file else ""

    async def request(plane: ControlPlane) -> None:
        change = OperationRequest(
            request_id=f"converge-{uuid4().hex[:12]}", kind=OperationKind.PROVISION, actor=plane.actor, reason=reason
        )
        if text:
            manifest = next((each for each in await read_orders(plane, text) if each.metadata.name == name), None)
            if manifest is None:
                raise BadInput([f"--file: {file} holds no Deployment named {name}"])
            order = await place_order(plane, manifest)
            change = change.model_copy(update={"spec": order.spec, "shape": order.shape, "release": order.release})
        print_queued(await plane.request(name, change))

    ask(request)
    if watch_it:
        watch_newest(name)


@app.command("list")
def list_deployments(
    output: FormatOption = Format.TABLE,
    account: Annotated[str, typer.Option(help="only those in this account")] = "",
    every: Annotated[bool, typer.Option("--all", help="those that are over as well")] = False,
) -> None:
    """List deployments: phase, release, and who is waited for.

    Example: byoc deployments list --account acme-aws -o json
    """
    rows = ask(lambda plane: plane.deployments(account=account, include_closed=every))
    if output is not Format.TABLE:
        print_data(rows, output)
        return
    print_rows(
        ("NAME", "CUSTOMER", "ACCOUNT", "REGION", "SHAPE", "RELEASE", "KUBERNETES", "PHASE", "WAITING FOR", "AGE"),
        [
            (
                row.name,
                row.customer,
                row.account,
                row.region,
                row.shape,
                row.release,
                row.kubernetes,
                row.phase,
                row.waiting_for,
                ago(row.started_at),
            )
            for row in rows
        ],
        empty="There is no deployment. `byoc deployments create --help` says how to order one.",
    )


@app.command()
def show(name: Name, output: FormatOption = Format.TABLE) -> None:
    """Show one deployment: phase, what was made, its operations, and what is waited for.

    Example: byoc deployments show acme-prod -o yaml
    """
    state = ask(lambda plane: plane.deployment(name))
    if output is not Format.TABLE:
        print_data(state, output)
        return
    _print_deployment(state)
    if state.running:
        running = state.running.summary.workflow_id
        stdout.print()
        stdout.print(view(ask(lambda plane: plane.progress(running))))


@app.command("watch")
def watch_deployment(
    name: Name,
    operation: Annotated[str, typer.Option(help="an operation's id, `provision/1`; default: the newest")] = "",
) -> None:
    """Watch an operation until it is over: steps, what runs, what waits for whom. Ctrl-C stops watching, not the work.

    Example: byoc deployments watch acme-prod
    """
    watch_newest(name, operation)


@app.command()
def retry(name: Name, step: StepName = "", reason: Reason = "") -> None:
    """Try a waiting step again now, instead of at its next probe.

    Example: byoc deployments retry acme-prod --step create_egress
    """
    _decide(name, Choice.RETRY, step, reason)


@app.command()
def skip(name: Name, step: StepName = "", reason: Reason = "") -> None:
    """Skip a waiting step, where the server can live without it.

    Example: byoc deployments skip acme-prod --step create_alarms --reason "alarms are our own"
    """
    _decide(name, Choice.SKIP, step, reason)


@app.command()
def abort(
    name: Name, reason: Reason = "", yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False
) -> None:
    """Abort the running operation. A first provisioning is taken back, newest first, until nothing is left.

    Example: byoc deployments abort acme-prod --reason "wrong region" --yes
    """
    if not yes:
        typer.confirm(f"Abort the running operation of {name}?", abort=True)
    _decide(name, Choice.ABORT, "", reason)


@app.command()
def retire(
    name: Name,
    reason: Reason = "",
    final_backup: Annotated[
        FinalBackup,
        typer.Option(help="keep: a last backup stays, locked, in the customer's account; none: nothing stays"),
    ] = FinalBackup.KEEP,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask for the name")] = False,
    watch_it: Watch = False,
) -> None:
    """Take the server out of the customer's account, prove that nothing is left, and write the receipt.

    Example: byoc deployments retire acme-dev --reason "trial ended" --watch
    """
    if not yes:
        typed = typer.prompt(f"This deletes {name} and its data. Type its name to go on")
        if typed != name:
            raise BadInput([f"{typed!r} is not {name!r}: nothing was asked for"])
    accepted = ask(lambda plane: plane.retire(name, reason=reason, final_backup=final_backup))
    print_queued(accepted)
    if watch_it:
        watch_newest(name, accepted.operation_id)


@app.command()
def receipt(name: Name, output: FormatOption = Format.TABLE) -> None:
    """Print the offboarding receipt of a retired deployment, as markdown for the customer (or -o json|yaml).

    Example: byoc deployments receipt acme-prod > receipt.md
    """
    state = ask(lambda plane: plane.deployment(name))
    if state.receipt is None:
        fail(f"deployment {name!r} is {state.phase}: there is no receipt", Exit.FAILED)
    elif output is Format.TABLE:
        stdout.print(render(state.receipt), markup=False, soft_wrap=True)
    else:
        print_data(state.receipt, output)


app.command("history")(deployment_history)


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise BadInput([f"--file: {file} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise BadInput([f"--file: {file} is not UTF-8 text"]) from error


def _decide(name: str, choice: Choice, step: str, reason: str) -> None:
    decision = StepDecision(choice=choice, step=step, reason=reason, actor=acting())
    stdout.print(ask(lambda plane: plane.decide(name, decision)))


def _print_deployment(state: DeploymentState) -> None:
    order, spec, facts, standing = state.order, state.order.spec, state.facts, state.standing
    availability = ", highly available" if spec.high_availability else ""
    print_facts(
        [
            ("Deployment", order.site.deployment),
            ("Customer", order.site.customer),
            ("Account", f"{order.site.account} ({order.site.cloud} {order.site.cloud_account_id})"),
            ("Region", spec.region),
            ("Shape", f"{spec.shape}{availability}"),
            ("Release", spec.release),
            ("Kubernetes", spec.kubernetes),
            ("Phase", f"{state.phase}, for {ago(state.since)}"),
            ("Parked", f"{standing.hold_in_words()} ({standing.by})" if standing and standing.parks else ""),
            ("Narrowed", standing.withholding_in_words() if standing and standing.withheld else ""),
            ("Unsettled", state.unsettled),
            ("Endpoint", facts.smoke_test.url if facts.smoke_test else ""),
            ("Network", facts.network.network_id if facts.network else ""),
            ("Cluster", facts.cluster.name if facts.cluster else ""),
            ("Backups", facts.bucket.name if facts.bucket else ""),
        ]
    )
    if facts.components:
        stdout.print()
        ordered = sorted(facts.components, key=lambda status: [*Component].index(status.component))
        print_rows(
            ("COMPONENT", "READY", "IMAGE"),
            [(status.component, f"{status.ready}/{status.desired}", status.image) for status in ordered],
            empty="",
        )
    books = [queued.approval for queued in state.queue if queued.approval is not None]
    if books:
        stdout.print()
        print_approvals(books, datetime.now(UTC))
    print_upgrades(state)
    not_started = "queued, parked" if state.is_held else "queued"
    summaries = [*state.past, *([state.running.summary] if state.running else []), *(q.summary for q in state.queue)]
    stdout.print()
    print_rows(
        ("OPERATION", "PHASE", "ASKED BY", "REASON", "AGE", "APPROVED PLAN"),
        [
            (
                each.operation_id,
                each.phase or not_started,
                str(each.actor),
                each.reason,
                ago(each.asked_at),
                each.approved.hash[:SHORT] if each.approved else "",
            )
            for each in summaries
        ],
        empty="",
    )
