"""`byoc deployments upgrade`: another release of the server, another version of Kubernetes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from domain.maintenance import Opening
from domain.model import Model
from domain.text import instant
from domain.upgrade import Stage
from starters.cli.asking import ask
from starters.cli.errors import BadInput
from starters.cli.following import parked, watch_newest
from starters.cli.output import Format, FormatOption, duration, print_data, print_rows, stdout
from starters.client import ControlPlane
from starters.releases import current_catalogue
from starters.rollout_requests import RequestInvalid
from starters.upgrading import request_for, stages_for, start_of

ReleaseOption = Annotated[
    str, typer.Option("--release", help="the server's release to reach; default: the newest", metavar="VERSION")
]
KubernetesOption = Annotated[
    str, typer.Option("--kubernetes", help="the Kubernetes minor version to reach, 1.35", metavar="VERSION")
]


class UpgradeAsked(Model):
    """What was asked for, and what it will do."""

    deployment: str
    operation_id: str = ""
    """Empty with `--dry-run`."""
    workflow_id: str = ""
    stages: tuple[Stage, ...]
    notice_ends: datetime
    """Before this instant it does not start, unless somebody hurries it."""
    opening: Opening | None = None
    """The first window after the notice in which the first stage fits; None if there is none."""
    parked: str = ""


def upgrade(
    name: Annotated[str, typer.Argument(help="name of the deployment", metavar="NAME")],
    release: ReleaseOption = "",
    kubernetes: KubernetesOption = "",
    urgent: Annotated[
        bool, typer.Option("--urgent", help="do not wait for the window; two others have to approve that in 24 hours")
    ] = False,
    reason: Annotated[str, typer.Option(help="why; it goes into the audit trail")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the stages and ask for nothing")] = False,
    watch_it: Annotated[bool, typer.Option("--watch", "-w", help="watch until it is over")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Upgrade a deployment in its maintenance window: by canaries, rolled back by itself if they do badly.

    Without options it goes to the newest release. What cannot be rolled back is said before anything happens.

    Example: byoc deployments upgrade acme-prod --release 4.12.1 --kubernetes 1.35
    """
    if urgent and not reason:
        raise BadInput(["--reason: is missing. An urgent upgrade passes over the customer's window, so it says why"])
    if dry_run and watch_it:
        raise BadInput(["--watch: there is nothing to watch with --dry-run. Allowed: one of them"])
    because = reason if urgent else ""

    async def request(plane: ControlPlane) -> UpgradeAsked:
        state = await plane.deployment(name)
        try:
            asked = request_for(
                await current_catalogue(plane), state, release=release, kubernetes=kubernetes, urgent_because=because
            )
        except RequestInvalid as error:
            raise BadInput(error.problems) from error
        stages = stages_for(state, asked)
        start = start_of(state, asked, stages, datetime.now(UTC))
        found = UpgradeAsked(deployment=name, stages=stages, notice_ends=start.notice_ends, opening=start.opening)
        if dry_run:
            return found
        accepted = await plane.upgrade(name, asked, reason=reason)
        return found.model_copy(update=accepted.model_dump())

    asked = ask(request)
    _print(asked, output, urgent=urgent)
    if watch_it:
        watch_newest(name, asked.operation_id)


def _print(asked: UpgradeAsked, output: Format, *, urgent: bool) -> None:
    if output is not Format.TABLE:
        print_data(asked, output)
        return
    rows = [
        (str(number), stage.name, duration(stage.need), duration(stage.bake) if stage.bake else "", stage.irreversible)
        for number, stage in enumerate(asked.stages, 1)
    ]
    print_rows(("#", "STAGE", "TAKES UP TO", "BAKES", "CANNOT BE TAKEN BACK"), rows, empty="Everything is reached.")
    name, opening = escape(asked.deployment), asked.opening
    stdout.print(f"\nNotice ends {instant(asked.notice_ends)}.", end=" ")
    if opening is None:
        stdout.print(f"No window fits the first stage: `byoc windows show {name}`.")
    else:
        stdout.print(f"It may start {instant(opening.at)}, in the window until {instant(opening.end)}.")
    if not asked.operation_id:
        stdout.print("Nothing was asked for.")
        return
    queued = escape(asked.operation_id)
    stdout.print(
        f"{queued} is queued. `byoc deployments schedule {name} next-window|immediate|defer|withdraw` decides."
    )
    if asked.parked:
        stdout.print(escape(parked(asked.parked)))
    if urgent:
        stdout.print(
            f"Two others have to approve that it does not wait: `byoc deployments override approve {name} {queued}`."
        )
    stdout.print(f"`byoc deployments watch {name}` shows how it goes.")
