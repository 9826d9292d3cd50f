"""`byoc approvals`: what waits for the vendor's or the customer's approval, its plan, and the decision about it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from domain.approval import SHORTEST_PREFIX, ApprovalBook, ApprovalStanding, Side, missing
from domain.markdown import approval_policy
from starters.cli.accounts import read_account
from starters.cli.asking import ask
from starters.cli.errors import BadInput
from starters.cli.output import Format, FormatOption, ago, duration, print_data, print_facts, print_rows, stdout
from starters.client import ControlPlane

app = typer.Typer(
    help="Approvals of plans: list, show, approve, decline, delegate.", no_args_is_help=True, add_completion=False
)

Name = Annotated[str, typer.Argument(help="name of the deployment", metavar="NAME")]
OperationId = Annotated[
    str, typer.Argument(help="the operation, `retire/3`; may be left out while only one waits", metavar="OPERATION")
]
SideOption = Annotated[Side, typer.Option(help="on whose behalf you decide")]
Reason = Annotated[str, typer.Option(help="why; it goes into the audit trail")]
SHORT = 12
"""Digits of a hash that tables show."""


@app.command("list")
def list_approvals(
    account: Annotated[str, typer.Option(help="only those in this account")] = "",
    output: FormatOption = Format.TABLE,
) -> None:
    """List the operations that wait for an approval, or for a plan that cannot be made.

    Example: byoc approvals list --account acme-aws -o json
    """
    rows = ask(lambda plane: plane.approvals(account=account))
    if output is not Format.TABLE:
        print_data(rows, output)
        return
    print_rows(
        ("DEPLOYMENT", "OPERATION", "RISK", "PLAN", "ASKED BY", "APPROVED", "MISSING", "AGE"),
        [
            (
                row.deployment,
                row.operation_id,
                row.risk,
                row.hash[:SHORT] or ("cannot be made" if row.failure else "being made"),
                row.requester,
                ", ".join(row.approved),
                ", ".join(row.missing),
                ago(row.asked_at),
            )
            for row in rows
        ],
        empty="Nothing waits for approval.",
    )


@app.command()
def show(name: Name, operation: OperationId = "", output: FormatOption = Format.TABLE) -> None:
    """Show the plan that is to be approved, who has approved it, and whose approval is missing.

    Example: byoc approvals show acme-prod retire/3
    """
    book = ask(lambda plane: plane.approval(name, operation))
    if output is Format.TABLE:
        _print_book(name, book)
    else:
        print_data(book, output)


@app.command()
def approve(
    name: Name,
    side: SideOption,
    operation: OperationId = "",
    plan: Annotated[
        str, typer.Option("--hash", help="the plan's hash, or its first 8 digits or more; default: shown and asked")
    ] = "",
    reason: Reason = "",
    output: FormatOption = Format.TABLE,
) -> None:
    """Approve a plan by its hash. Nobody approves his own request, and nobody approves for both sides.

    Without --hash the plan is shown, and you are asked.

    Example: byoc approvals approve acme-prod retire/3 --side customer --hash 3f2a9c01
    """
    if plan and (len(plan) < SHORTEST_PREFIX or not all(digit in "0123456789abcdef" for digit in plan.lower())):
        raise BadInput([f"--hash: {plan!r} is no hash. Allowed: {SHORTEST_PREFIX} to 64 hexadecimal digits"])
    if not plan:
        book = ask(lambda plane: plane.approval(name, operation))
        _print_book(name, book)
        if book.plan is None:
            raise BadInput([f"--hash: {book.operation_id} has no plan yet that could be approved"])
        typer.confirm(f"Approve plan {book.plan.hash[:SHORT]} for the {side}?", abort=True)
        operation, plan = book.operation_id, book.plan.hash
    standing = ask(lambda plane: plane.approve(name, operation, side, plan, reason))
    _print_standing(standing, output, f"{standing.operation_id} is approved for the {side}.")


@app.command()
def decline(
    name: Name, side: SideOption, operation: OperationId = "", reason: Reason = "", output: FormatOption = Format.TABLE
) -> None:
    """Decline an operation: it will not run, and its record says so. Whoever asked for it may do this too.

    Example: byoc approvals decline acme-prod retire/3 --side vendor --reason "the contract goes on"
    """

    async def declining(plane: ControlPlane) -> ApprovalStanding:
        return await plane.decline(name, await _operation(plane, name, operation), side, reason)

    standing = ask(declining)
    _print_standing(standing, output, f"{standing.operation_id} is declined: it will not run.")


@app.command()
def withdraw(
    name: Name, side: SideOption, operation: OperationId = "", reason: Reason = "", output: FormatOption = Format.TABLE
) -> None:
    """Take a side's approval back, while the operation has not started.

    Example: byoc approvals withdraw acme-prod retire/3 --side customer --reason "not before Monday"
    """

    async def withdrawing(plane: ControlPlane) -> ApprovalStanding:
        return await plane.withdraw_approval(name, await _operation(plane, name, operation), side, reason)

    standing = ask(withdrawing)
    _print_standing(standing, output, f"{standing.operation_id} is not approved for the {side}.")


@app.command()
def delegate(
    name: Name,
    side: SideOption,
    to: Annotated[str, typer.Option(help="who may approve in your place")],
    operation: OperationId = "",
    until: Annotated[str, typer.Option(help="when it ends, `2026-12-01T12:00:00Z`; default: with the operation")] = "",
    reason: Reason = "",
    output: FormatOption = Format.TABLE,
) -> None:
    """Let somebody else approve in your place: one operation, or every one until an instant.

    Only who is named as an approver may delegate. With --until alone it is for every operation on the deployment.

    Example: byoc approvals delegate acme-prod --side customer --to bob@acme.example --until 2026-12-01T12:00:00Z
    """
    ends = _instant(until) if until else None

    async def delegating(plane: ControlPlane) -> None:
        which = operation if operation or ends else await _operation(plane, name, operation)
        made = await plane.delegate(name, side, to, operation=which, until=ends, reason=reason)
        if output is not Format.TABLE:
            print_data(made, output)
            return
        span = made.operation_id or "every operation"
        end = f" until {made.until:%Y-%m-%d %H:%M:%SZ}" if made.until else ""
        stdout.print(f"{escape(made.to)} may approve {span} for the {made.side}{end}.")

    ask(delegating)


@app.command()
def replan(name: Name, operation: OperationId = "", output: FormatOption = Format.TABLE) -> None:
    """Try now to make a plan that could not be made; it is tried by itself every hour.

    Example: byoc approvals replan acme-prod retire/3
    """

    async def planning(plane: ControlPlane) -> ApprovalStanding:
        return await plane.plan_again(name, await _operation(plane, name, operation))

    standing = ask(planning)
    done = f"It has a plan: {standing.hash[:SHORT]}." if standing.hash else f"{standing.operation_id} is planned again."
    _print_standing(standing, output, done)


@app.command()
def policy(
    account: Annotated[str, typer.Argument(help="name of the account", metavar="ACCOUNT")],
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="the account's file, with the new spec.approvals; default: show the policy"),
    ] = None,
    side: Annotated[Side, typer.Option(help="on whose behalf you change it")] = Side.VENDOR,
    reason: Reason = "",
    output: FormatOption = Format.TABLE,
) -> None:
    """Show who has to approve what in an account, or change it for what is asked for from now on.

    Only the customer's side can make it looser, and each side changes its own approvers.

    Example: byoc approvals policy acme-aws -f account.yaml --side customer --reason "trial is over"
    """
    if file is None:
        spec = ask(lambda plane: plane.account(account)).spec
    else:
        wanted = read_account(file)
        if wanted.name != account:
            raise BadInput([f"--file: {file} describes the account {wanted.name!r}. Allowed: {account!r}"])
        spec = ask(lambda plane: plane.set_approvals(account, wanted.approvals, side, reason)).spec
    if output is not Format.TABLE:
        print_data(spec.approvals, output)
    else:
        stdout.print(approval_policy(spec.approvals) or "Nobody has to approve anything.", markup=False)


async def _operation(plane: ControlPlane, name: str, operation: str) -> str:
    """Return the named operation, or the only one that waits."""
    return operation or (await plane.approval(name)).operation_id


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput([f"--until: {text!r} is no instant. Allowed: such as 2026-12-01T12:00:00Z"]) from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _print_standing(standing: ApprovalStanding, output: Format, done: str) -> None:
    if output is not Format.TABLE:
        print_data(standing, output)
        return
    stdout.print(done)
    if standing.hash and not standing.declined:
        still = f"Still missing: {', '.join(standing.missing)}." if standing.missing else "Everybody has approved."
        stdout.print(still)


def _print_book(name: str, book: ApprovalBook) -> None:
    now, plan = datetime.now(UTC), book.plan
    print_facts(
        [
            ("Deployment", name),
            ("Operation", book.operation_id),
            ("Risk", book.risk),
            ("Asked by", str(book.requester)),
            ("Plan", plan.hash if plan else book.failure or "being made"),
            ("Made", f"{ago(plan.made_at)} ago" if plan else ""),
            ("Takes", duration(plan.takes) if plan and plan.takes else ""),
            ("Permissions", str(plan.permissions) if plan and plan.permissions else ""),
            ("Costs", f"{plan.monthly_usd:,.2f} USD a month" if plan and plan.monthly_usd is not None else ""),
            ("Irreversible", "; ".join(plan.irreversible) if plan else ""),
            ("Tried again", f"in {duration(book.plan_again_at - now)}" if book.plan_again_at else ""),
        ]
    )
    if plan:
        stdout.print()
        print_rows(
            ("STEP", "WHAT IT DOES"), [(step.name, step.summary) for step in plan.steps], empty="It has no steps."
        )
    stdout.print()
    print_approvals([book], now)


def print_approvals(books: list[ApprovalBook], now: datetime) -> None:
    """Print each side whose approval operations need: who has given it and until when, or who may."""
    rows = []
    for book in books:
        asked = missing(book, now)
        for side in book.sides:
            given = next((each for each in book.approvals if each.side is side and side not in asked), None)
            may = ", ".join(book.policy.approvers.of(side)) or "anybody who speaks for the side"
            rows.append(
                (
                    book.operation_id,
                    book.plan.hash[:SHORT] if book.plan else book.failure or "being made",
                    side,
                    str(given.actor) if given else "",
                    f"in {duration(given.expires_at - now)}" if given else "",
                    "" if given else may,
                )
            )
    print_rows(("APPROVAL OF", "PLAN", "SIDE", "APPROVED BY", "EXPIRES", "ASKED"), rows, empty="")
