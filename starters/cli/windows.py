"""`byoc windows`: when we may disturb a deployment, in local time and UTC; and deciding about it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape

from domain.maintenance import Exclusion, ExclusionScope, MaintenancePolicy, MaintenanceWindow, Work, windows_of
from domain.model import Model
from domain.pending import PendingChoice
from domain.window_rules import disagreed, window_problems
from domain.windows import days_excluded, occurrences, openings
from starters.cli.asking import ask
from starters.cli.errors import BadInput, stderr
from starters.cli.files import read_text
from starters.cli.instants import instant_of
from starters.cli.output import Format, FormatOption, duration, print_data, print_rows, stdout
from starters.client import ControlPlane
from starters.manifest import ManifestInvalid
from starters.window_file import read_windows

app = typer.Typer(
    help="Maintenance windows: show, set, exclude days, defer, compute.", no_args_is_help=True, add_completion=False
)

Name = Annotated[str, typer.Argument(help="name of the deployment", metavar="NAME")]
NameOrFile = Annotated[str, typer.Argument(help="name of the deployment; or --file", metavar="[NAME]")]
FileOption = Annotated[
    Path | None, typer.Option("--file", "-f", help="windows and exclusions, or a Deployment; YAML or JSON; - for stdin")
]
NowOption = Annotated[str, typer.Option("--now", help="an instant, 2026-03-07T00:00:00Z; default: the present")]
Reason = Annotated[str, typer.Option(help="why; it goes into the audit trail")]
_LOCAL = "%a %Y-%m-%d %H:%M %Z"
_UTC = "%Y-%m-%d %H:%MZ"


class Apply(StrEnum):
    """What may be said of an upgrade that waits, beside deferring it."""

    NOW = "now"
    NEXT_WINDOW = "next-window"
    UNDO = "undo"


class CalendarRow(Model):
    """One window as it comes."""

    window: str
    local: str
    """Start on the clocks of the window's zone."""
    start: datetime
    end: datetime
    excluded_by: tuple[Exclusion, ...] = ()
    """What excludes some or all of it."""


@app.command()
def show(
    name: NameOrFile = "",
    file: FileOption = None,
    now: NowOption = "",
    count: Annotated[int, typer.Option(min=1, max=1000, help="how many windows")] = 10,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show the coming windows as a calendar: local time, UTC, how long, and what excludes them.

    Example: byoc windows show acme-prod
    """
    policy, instant = _policy(name, file), instant_of(now)
    each = [occurrences(window, instant) for window in windows_of(policy)]
    rows = [
        CalendarRow(
            window=found.window.id,
            local=found.start.astimezone(ZoneInfo(found.window.timezone)).strftime(_LOCAL),
            start=found.start,
            end=found.end,
            excluded_by=_excluding(policy, found.window, found.start, found.end),
        )
        for found in islice(merge(*each, key=lambda occurrence: occurrence.start), count)
    ]
    if output is not Format.TABLE:
        print_data(rows, output)
        return
    print_rows(
        ("WINDOW", "LOCAL", "UTC", "DURATION", "EXCLUDED"),
        [
            (
                row.window,
                row.local,
                f"{row.start:{_UTC}}",
                duration(row.end - row.start),
                "; ".join(f"{each.scope} {each.from_} to {each.to}" for each in row.excluded_by),
            )
            for row in rows
        ],
        empty="No window comes within three years.",
    )


@app.command("next")
def next_openings(
    name: NameOrFile = "",
    file: FileOption = None,
    now: NowOption = "",
    need: Annotated[float, typer.Option(min=0, metavar="MINUTES", help="how long the work takes")] = 0,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="how many openings")] = 10,
    work: Annotated[Work, typer.Option(help="what is done; decides which exclusions apply")] = Work.SERVER,
    output: FormatOption = Format.TABLE,
) -> None:
    """Compute when work may start: windows merged, exclusions taken out, 15 minutes left at the end.

    With --file it asks nobody. START and END are the opening's, AT is the earliest instant at which the work may start.

    Example: byoc windows next -f windows.yaml --now 2026-03-07T00:00:00Z --need 90 -o json
    """
    policy, instant = _policy(name, file), instant_of(now)
    found = list(islice(openings(policy, work, now=instant, need=timedelta(minutes=need)), count))
    if output is not Format.TABLE:
        print_data(found, output)
        return
    zone = ZoneInfo(windows_of(policy)[0].timezone)
    print_rows(
        ("START", "END", "AT", "LOCAL START", "OPEN"),
        [
            (
                f"{opening.start:{_UTC}}",
                f"{opening.end:{_UTC}}",
                f"{opening.at:{_UTC}}",
                opening.start.astimezone(zone).strftime(_LOCAL),
                duration(opening.end - opening.start),
            )
            for opening in found
        ],
        empty="Within three years no window opens into which it fits.",
    )


@app.command("set")
def set_windows(
    name: Name,
    file: Annotated[Path, typer.Option("--file", "-f", help="windows and exclusions, or a Deployment; YAML or JSON")],
    reason: Reason = "",
) -> None:
    """Set a deployment's windows and exclusions to those of a file. What waits, waits for a new window from then on.

    Example: byoc windows set acme-prod -f windows.yaml --reason "the shop is closed on Mondays"
    """
    found = read_windows(read_text(file))
    if problems := [*disagreed(found.policy, _today(), found.path)]:
        raise ManifestInvalid(found.placed(problem) for problem in problems)
    accepted = ask(lambda plane: plane.set_maintenance(name, found.policy, reason=reason))
    stdout.print(f"The windows of {escape(name)} are set. {accepted.operation_id} makes the provider's own follow.")


@app.command()
def exclude(
    name: Name,
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="first day, 2026-12-20")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="last day, itself excluded")],
    scope: Annotated[
        ExclusionScope, typer.Option(case_sensitive=False, help="ALL; NO_MINOR: no Kubernetes minor; or nor machines")
    ] = ExclusionScope.ALL,
    remove: Annotated[bool, typer.Option("--remove", help="take this exclusion back")] = False,
    reason: Reason = "",
) -> None:
    """Keep days free of what is done by itself; lost availability is restored all the same.

    At most three exclusions of at most 30 days, and a window has to be left in any 35 days.

    Example: byoc windows exclude acme-prod --from 2026-12-20 --to 2027-01-02 --reason "year's end"
    """
    exclusion = Exclusion(from_=_date("--from", first), to=_date("--to", last), scope=scope)

    async def change(plane: ControlPlane) -> str:
        spec = (await plane.deployment(name)).order.spec
        kept = tuple(each for each in spec.exclusions if each != exclusion)
        if remove and len(kept) == len(spec.exclusions):
            known = ", ".join(f"{each.scope} {each.from_} to {each.to}" for each in spec.exclusions) or "none"
            raise BadInput([f"--remove: {name} has no such exclusion. Allowed: {known}"])
        exclusions = kept if remove else (*(each for each in kept if each.to >= _today()), exclusion)
        policy = MaintenancePolicy(windows=spec.windows, exclusions=exclusions)
        if not remove and (problems := [*window_problems(policy, _today())]):
            raise BadInput(problems)
        return (await plane.set_maintenance(name, policy, reason=reason)).operation_id

    operation = ask(change)
    done = "is taken back" if remove else "holds"
    stdout.print(f"{exclusion.scope} from {first} to {last} {done}. {operation} makes the provider's own follow.")


@app.command()
def defer(
    name: Name,
    operation: Annotated[str, typer.Argument(help="its id, `upgrade/3`; default: the only one that waits")] = "",
    apply: Annotated[
        Apply | None, typer.Option(help="instead: now; in the next window, without notice; or undo either")
    ] = None,
    reason: Reason = "",
) -> None:
    """Put an upgrade that waits off by a week, at most twice; or have it done earlier.

    Example: byoc windows defer acme-prod --reason "our own release comes first"
    """
    choices = {
        None: PendingChoice.DEFER,
        Apply.NOW: PendingChoice.IMMEDIATE,
        Apply.NEXT_WINDOW: PendingChoice.NEXT_WINDOW,
        Apply.UNDO: PendingChoice.UNDO,
    }
    standing = ask(lambda plane: plane.decide_pending(name, operation, choices[apply], reason=reason))
    stdout.print(f"{standing.operation_id}: {_when(standing.opt_in, standing.auto_apply_after)}.")
    if apply is None:
        stdout.print(f"It may be deferred {standing.deferrals_left} more times.")


def _when(opt_in: str, after: datetime | None) -> str:
    if opt_in:
        return "as soon as its turn comes" if opt_in == PendingChoice.IMMEDIATE else "in the next window"
    return f"in the first window after {after:{_UTC}}" if after else "in the next window"


def _policy(name: str, file: Path | None) -> MaintenancePolicy:
    """Return the windows of a file, or of a deployment; rules that are only agreed with customers are warnings."""
    if bool(name) == bool(file):
        raise BadInput(["NAME: either the name of a deployment or --file is needed"])
    if file is None:
        spec = ask(lambda plane: plane.deployment(name)).order.spec
        return MaintenancePolicy(windows=spec.windows, exclusions=spec.exclusions)
    found = read_windows(read_text(file))
    for problem in disagreed(found.policy, _today(), found.path):
        stderr.print(f"[yellow]Warning:[/yellow] {escape(str(found.placed(problem)))}")
    return found.policy


def _excluding(
    policy: MaintenancePolicy, window: MaintenanceWindow, start: datetime, end: datetime
) -> tuple[Exclusion, ...]:
    spans = [(exclusion, days_excluded(exclusion, window.timezone)) for exclusion in policy.exclusions]
    return tuple(exclusion for exclusion, (first, last) in spans if first < end and start < last)


def _today() -> date:
    return datetime.now(UTC).date()


def _date(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError as error:
        raise BadInput([f'{option}: "{text}" is not a date. Allowed: a date such as 2026-12-20']) from error
