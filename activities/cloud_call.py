"""What a call to a cloud does: which operation of which service, on what, and whether it changes something."""

from __future__ import annotations

from dataclasses import dataclass

from activities import deeds
from activities.barrier import before_change
from activities.cancellation import before_call
from domain.audit import Resource


@dataclass(frozen=True)
class CloudCall:
    """One call."""

    service: str
    operation: str
    changes: bool
    resources: tuple[Resource, ...] = ()

    @property
    def about(self) -> str:
        """What it is about, in words."""
        return ", ".join(resource.id for resource in self.resources)

    def stop_at_the_barrier(self) -> None:
        """Let the call be made, unless it would change something and changes are barred.

        Raises:
            WouldChange: they are.
            CancelledError: The activity is not wanted any more.
        """
        before_call()
        if self.changes:
            before_change(f"{self.service}.{self.operation}", self.about)

    def note(self, *, answered: bool) -> None:
        """Note a call that changes something for the audit trail, once its answer is there or was lost."""
        if self.changes:
            deeds.note(self.service, self.operation, self.resources, answered=answered)
