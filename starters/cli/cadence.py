"""`byoc rollout cadence`: the monthly schedule that proposes rollouts."""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import available_timezones

import typer

from starters.cadence import Cadence, CadenceState, cadence_state, set_cadence, stop_cadence
from starters.cli.asking import ask
from starters.cli.errors import BadInput
from starters.cli.output import Format, FormatOption, print_data, print_facts, stdout

app = typer.Typer(help="The monthly schedule that proposes rollouts: show, set, stop.", no_args_is_help=True)


@app.command("set")
def set_command(
    day: Annotated[str, typer.Option(help="n-th weekday of the month: 2TU is the second Tuesday")] = "2TU",
    at: Annotated[str, typer.Option(help="time of that day, 09:00")] = "09:00",
    timezone: Annotated[str, typer.Option(help="IANA name of a time zone")] = "Etc/UTC",
    output: FormatOption = Format.TABLE,
) -> None:
    """Propose every month: the newest release, and the next Kubernetes version where an expired one runs.

    A release that is proposed waits for `byoc rollout approve NAME WAVE`.

    Example: byoc rollout cadence set --day 2TU --at 09:00 --timezone Europe/Berlin
    """
    problems = []
    if not re.fullmatch(r"[1-4](MO|TU|WE|TH|FR|SA|SU)", day.upper()):
        problems.append(f'--day: "{day}" is no day of a month. Allowed: 1 to 4 with MO, TU, WE, TH, FR, SA or SU')
    time = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    if time is None:
        problems.append(f'--at: "{at}" is no time. Allowed: 00:00 to 23:59')
    if timezone not in available_timezones():
        problems.append(f'--timezone: "{timezone}" is no time zone. Allowed: an IANA name, such as Europe/Berlin')
    if problems or time is None:
        raise BadInput(problems)
    cadence = Cadence(day=day.upper(), hour=int(time[1]), minute=int(time[2]), timezone=timezone)
    _print(ask(lambda plane: set_cadence(plane, cadence)), output)


@app.command()
def show(output: FormatOption = Format.TABLE) -> None:
    """Show the cadence and when it proposes next.

    Example: byoc rollout cadence show -o json
    """
    _print(ask(cadence_state), output)


@app.command()
def stop() -> None:
    """Propose no more; rollouts that were proposed stay.

    Example: byoc rollout cadence stop
    """
    ask(stop_cadence)
    stdout.print("Nothing is proposed any more.")


def _print(state: CadenceState, output: Format) -> None:
    if output is not Format.TABLE:
        print_data(state, output)
        return
    print_facts(
        (
            ("Every month", state.note + (" (paused)" if state.paused else "")),
            ("Next", ", ".join(f"{instant:%Y-%m-%d %H:%M} UTC" for instant in state.next_at)),
            ("Has proposed", f"{state.proposed} times"),
        )
    )
