"""What a rollout and the deployments in it tell each other, by signals."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from domain.model import Model
from domain.state import OperationRequest


class MemberState(StrEnum):
    """Where one deployment is in a rollout, as it reports itself."""

    WAITING = "waiting"
    """It has accepted and waits: for approvals, for its notice, for its window, for what runs before."""
    READY = "ready"
    """It could start now, and asks to be cleared."""
    RUNNING = "running"
    PARKED = "parked"
    """It stopped between two stages and goes on in a later window; it asks to be cleared again then."""
    DONE = "done"
    FAILED = "failed"
    """Rolled back, aborted, or lost: `signature` says what it was."""
    REFUSED = "refused"
    """It will not be upgraded by this rollout: no path leads there, it is being retired, somebody declined."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be expected."""
        return self in (MemberState.DONE, MemberState.FAILED, MemberState.REFUSED)


class RolloutOffer(Model):
    """A rollout asks a deployment to upgrade itself, in its own window. The same offer again changes nothing."""

    rollout: str
    request: OperationRequest
    """Its `request_id` is `<rollout>` and the number of the offer."""


class RolloutWord(Model):
    """A rollout's word about one of its offers: it is cleared to start, or taken back."""

    rollout: str
    request_id: str


class MemberReport(Model):
    """A deployment tells where it is; whenever that changes, and again when it is asked."""

    deployment: str
    request_id: str
    state: MemberState
    at: datetime
    opens_at: datetime | None = None
    """When its window opens, while it waits for that."""
    detail: str = ""
    """In words: what it waits for, or why it failed."""
    signature: str = ""
    """Of a failure, the same on every deployment that fails in the same way: `server/canary/api`."""
