"""`byoc deployments schedule` and `override`: when an upgrade that waits is done, and who lets it break a window."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from domain.approval import Side
from domain.maintenance_text import (
    conditions_in_words,
    policy_of,
    receipt_row,
    upgrades_waiting,
    window_in_words,
)
from domain.pending import OverrideStanding, PendingChoice
from domain.state import DeploymentState
from domain.text import instant
from starters.cli.asking import ask
from starters.cli.output import Format, FormatOption, print_data, print_rows, stdout

overrides = typer.Typer(
    help="Let an urgent upgrade start outside of its window: approve, withdraw.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(help="name of the deployment", metavar="NAME")]
OperationId = Annotated[
    str, typer.Argument(help="the upgrade, `upgrade/3`; may be left out while only one waits", metavar="OPERATION")
]
SideOption = Annotated[Side, typer.Option(help="on whose behalf you decide")]
Reason = Annotated[str, typer.Option(help="why; it goes into the audit trail")]


def schedule(
    name: Name,
    choice: Annotated[PendingChoice, typer.Argument(help="what is decided", metavar="CHOICE")],
    operation: OperationId = "",
    reason: Reason = "",
    output: FormatOption = Format.TABLE,
) -> None:
    """Decide when a queued upgrade is done: immediate, next-window, undo, defer (by a week), or withdraw it.

    Example: byoc deployments schedule acme-prod defer upgrade/3 --reason "we close our books"
    """
    standing = ask(lambda plane: plane.decide_pending(name, operation, choice, reason=reason))
    if output is not Format.TABLE:
        print_data(standing, output)
    elif standing.withdrawn:
        stdout.print(f"{standing.operation_id} is withdrawn: it will not run.")
    else:
        opens = f"its window opens at {instant(standing.opening.at)}" if standing.opening else "its window is computed"
        when = "it starts as soon as its turn comes" if standing.opt_in == PendingChoice.IMMEDIATE else opens
        stdout.print(f"{standing.operation_id}: {when}. Deferrals left: {standing.deferrals_left}.")


@overrides.command("approve")
def approve_override(
    name: Name,
    operation: OperationId = "",
    reason: Reason = "",
    side: SideOption = Side.VENDOR,
    output: FormatOption = Format.TABLE,
) -> None:
    """Approve that an urgent upgrade does not wait for window, exclusion and notice. Two persons have to.

    The first approval asks for the second one; both are good for 24 hours. Preflight, backup and canary stay.

    Example: byoc deployments override approve acme-prod upgrade/3 --reason "CVE-2026-1234 is exploited"
    """
    standing = ask(lambda plane: plane.approve_override(name, operation, reason=reason, side=side))
    _print_override(standing, output)


@overrides.command("withdraw")
def withdraw_override(
    name: Name,
    operation: OperationId = "",
    reason: Reason = "",
    side: SideOption = Side.VENDOR,
    output: FormatOption = Format.TABLE,
) -> None:
    """Take an override back, while the upgrade has not started: it waits for its window.

    Example: byoc deployments override withdraw acme-prod upgrade/3 --reason "mitigated otherwise"
    """
    standing = ask(lambda plane: plane.withdraw_override(name, operation, reason=reason, side=side))
    _print_override(standing, output)


def print_upgrades(state: DeploymentState) -> None:
    """Print the upgrades that wait with their windows, and the receipts of windows that were broken."""
    now, policy = datetime.now(UTC), policy_of(state)
    waiting = upgrades_waiting(state)
    if waiting:
        stdout.print()
        print_rows(
            ("UPGRADE", "NEXT STAGE", "STARTS", "BESIDES"),
            [
                (
                    queued.summary.operation_id,
                    booked.next_stage.name,
                    window_in_words(booked, policy),
                    conditions_in_words(booked, now),
                )
                for queued, booked in waiting
            ],
            empty="",
        )
    if state.broken_windows:
        stdout.print()
        print_rows(
            ("BROKE A WINDOW", "STARTED", "ENDED", "APPROVED BY", "REASON", "WINDOW"),
            [receipt_row(each) for each in reversed(state.broken_windows)],
            empty="",
        )


def _print_override(standing: OverrideStanding, output: Format) -> None:
    if output is not Format.TABLE:
        print_data(standing, output)
        return
    override = standing.override
    if override is None:
        stdout.print(f"{standing.operation_id} waits for its window.")
        return
    by = ", ".join(map(str, override.approvers))
    missing = f"{standing.missing} more to approve" if standing.missing else "in force"
    ends = instant(override.expires_at)
    stdout.print(escape(f"{standing.operation_id}: override approved by {by}; {missing}, until {ends}."))
