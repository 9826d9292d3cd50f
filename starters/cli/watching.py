"""Watching an operation: a live view in a terminal, one line for each change in a log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from domain.markdown import remedy
from domain.operation import OperationPhase, OperationProgress, StepRecord, StepState, WaitingFor
from starters.cli.output import duration
from starters.client import ControlPlane

POLL_SECONDS = 0.4
OVER = (
    OperationPhase.DONE,
    OperationPhase.ABORTED,
    OperationPhase.ROLLED_BACK,
    OperationPhase.PARKED,
    OperationPhase.DECLINED,
    OperationPhase.SUPERSEDED,
    OperationPhase.LOST,
)
"""Phases in which a run of an operation has ended; what has parked goes on in another run."""
_MARKS = {
    StepState.RUNNING: "[cyan]▸[/cyan]",
    StepState.WAITING: "[yellow]⏸[/yellow]",
    StepState.DONE: "[green]✔[/green]",
    StepState.SKIPPED: "[dim]↷[/dim]",
    StepState.FAILED: "[red]✖[/red]",
    StepState.UNDONE: "[dim]↶[/dim]",
}
SHOWN_STEPS = 18


async def watch(plane: ControlPlane, workflow_id: str, console: Console, *, prefix: str = "") -> OperationProgress:
    """Show an operation until it is over, and return how it ended."""
    if console.is_terminal and not prefix:
        return await _watch_live(plane, workflow_id, console)
    return await _watch_lines(plane, workflow_id, console, prefix)


async def _progress(plane: ControlPlane, workflow_id: str) -> AsyncIterator[OperationProgress]:
    while True:
        progress = await plane.progress(workflow_id)
        yield progress
        if progress.phase in OVER:
            return
        await asyncio.sleep(POLL_SECONDS)


async def _watch_live(plane: ControlPlane, workflow_id: str, console: Console) -> OperationProgress:
    with Live(console=console, refresh_per_second=4) as live:
        async for progress in _progress(plane, workflow_id):
            live.update(view(progress))
    return progress


async def _watch_lines(plane: ControlPlane, workflow_id: str, console: Console, prefix: str) -> OperationProgress:
    seen: dict[str, StepState] = {}
    waited: dict[str, str] = {}
    async for progress in _progress(plane, workflow_id):
        for step in progress.steps:
            if seen.get(step.name) is not step.state:
                seen[step.name] = step.state
                console.print(f"{prefix}{_line(step)}", soft_wrap=True)
        for wait in progress.waiting_for:
            if waited.get(wait.step) != wait.missing:
                waited[wait.step] = wait.missing
                console.print(f"{prefix}  {_waiting_line(wait)}", soft_wrap=True)
    return progress


def view(progress: OperationProgress) -> RenderableType:
    """Return the live view: what waits, what runs, and what was done last."""
    now = datetime.now(UTC)
    over = [step for step in progress.steps if step.state not in (StepState.RUNNING, StepState.WAITING)]
    under_way = [step for step in progress.steps if step.state in (StepState.RUNNING, StepState.WAITING)]
    title = Text.from_markup(
        f"[bold]{escape(progress.operation)}[/bold]  {progress.phase}  "
        f"{len(over)} steps done, {len(under_way)} under way  "
        f"[dim]{duration((progress.ended_at or now) - progress.started_at)}[/dim]"
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    hidden = max(0, len(over) - (SHOWN_STEPS - len(under_way)))
    if hidden:
        table.add_row("", f"[dim]… {hidden} earlier steps[/dim]", "")
    for step in [*over[hidden:], *under_way]:
        table.add_row(_MARKS[step.state], escape(step.summary), f"[dim]{_elapsed(step, now)}[/dim]")
    waits = [Text.from_markup(_waiting_line(wait)) for wait in progress.waiting_for]
    return Group(title, table, *waits)


def _line(step: StepRecord) -> str:
    match step.state:
        case StepState.DONE:
            return f"{_MARKS[step.state]} {escape(step.summary)} [dim]({_elapsed(step, datetime.now(UTC))})[/dim]"
        case StepState.WAITING:
            return f"{_MARKS[step.state]} {escape(step.summary)}: waiting"
        case StepState.RUNNING:
            return f"{_MARKS[step.state]} {escape(step.summary)} …"
        case _:
            return f"{_MARKS[step.state]} {escape(step.summary)}: {step.state}"


def _waiting_line(wait: WaitingFor) -> str:
    action = f" [bold]{escape(wait.action)}[/bold]" if wait.action and wait.action not in wait.missing else ""
    probe = f" Probed again at {wait.probe_at:%H:%M:%SZ}." if wait.probe_at else ""
    choices = f" May be decided: {', '.join(wait.choices)}." if wait.choices else ""
    return (
        f"[yellow]Waiting for the {wait.party}[/yellow] since {wait.since:%H:%M:%SZ}:{action} {escape(wait.missing)}. "
        f"{escape(remedy(wait))}[dim]{probe}{choices}[/dim]"
    )


def _elapsed(step: StepRecord, now: datetime) -> str:
    return duration((step.ended_at or now) - step.started_at)
