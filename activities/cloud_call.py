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

    def begin(self) -> deeds.Begun:
        """Let the call be made, and enter it for the audit trail if it changes something.

        Raises:
            WouldChange: It would change something, and changes are barred.
            CancelledError: The activity is not wanted any more.
        """
        before_call()
        if not self.changes:
            return deeds.Begun()
        before_change(f"{self.service}.{self.operation}", self.about)
        return deeds.begin(self.service, self.operation, self.resources)
