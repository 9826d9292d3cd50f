"""Operations on a deployment, their steps, what they wait for and what may be decided."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from domain.actor import Actor
from domain.failure import FailureClass, Party
from domain.model import Model


class OperationKind(StrEnum):
    """What an operation does; also the middle part of its workflow id."""

    PROVISION = "provision"
    RECONFIGURE = "reconfigure"
    UPGRADE = "upgrade"
    RETIRE = "retire"


class StepState(StrEnum):
    """Where a step is."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNDONE = "undone"


class StepRecord(Model):
    """One step of an operation as operators see it."""

    name: str
    """The activity's name, `create_network`, with `/key` behind it where one step runs for several things."""
    summary: str
    """In plain words, as in the workflow's docstring and in the Temporal UI."""
    state: StepState
    started_at: datetime
    ended_at: datetime | None = None


class Choice(StrEnum):
    """What an operator may decide about a step that waits."""

    RETRY = "retry"
    SKIP = "skip"
    ABORT = "abort"


class WaitingFor(Model):
    """What an operation waits for."""

    step: str
    summary: str
    party: Party
    failure: FailureClass
    missing: str
    """One sentence: what is missing and where; it names the permission or quota."""
    action: str = ""
    since: datetime
    probe_at: datetime | None
    """When the step is tried again by itself."""
    choices: tuple[Choice, ...]


class StepDecision(Model):
    """An operator's decision about one waiting step (or, for abort, about the operation)."""

    choice: Choice
    step: str = ""
    """Empty: every step that waits."""
    reason: str = ""
    actor: Actor


class Pace(Model):
    """How often waits are probed. It is part of the request, so that a replay sees what the run saw."""

    permission_probe: timedelta = timedelta(minutes=15)
    quota_probe: timedelta = timedelta(hours=1)
    capacity_probe: timedelta = timedelta(minutes=15)
    longest_probe: timedelta = timedelta(hours=6)
    """A wait that lasts is probed ever more rarely, up to this: probes add history, and a wait may last months."""
    verification: timedelta = timedelta(hours=24)
    first_verification_probe: timedelta = timedelta(minutes=1)
    """How often an invited account is looked at."""
    liveness: timedelta = timedelta(seconds=5)
    """After how long without a sign of life an activity's worker is taken for dead and the step runs elsewhere."""


class OperationPhase(StrEnum):
    """Where an operation is."""

    RUNNING = "running"
    WAITING = "waiting"
    UNDOING = "undoing"
    DONE = "done"
    ABORTED = "aborted"
    PARKED = "parked"
    """An upgrade that stopped between two stages: what is left goes on in a later window, or after what is urgent."""
    ROLLED_BACK = "rolled-back"
    """An upgrade whose canary was judged bad: what the stage changed was put back, and a person has to look."""
    DECLINED = "declined"
    """It never ran: somebody whose approval it needed declined its plan, or whoever asked for it took that back."""
    SUPERSEDED = "superseded"
    """It did not run, or not to its end: another upgrade takes its place."""
    LOST = "lost"
    """Its workflow was ended from outside (terminated); asking for it again converges from wherever it stopped."""


class OperationProgress(Model):
    """The answer to "how is it going": steps in the order in which they started, and what is waited for."""

    operation: str
    kind: OperationKind
    phase: OperationPhase
    steps: tuple[StepRecord, ...]
    waiting_for: tuple[WaitingFor, ...]
    started_at: datetime
    ended_at: datetime | None = None
    estimate: timedelta | None = None
    plan_hash: str = ""
    """The approved plan that it runs; empty if none was needed."""
    approved_by: tuple[str, ...] = ()
