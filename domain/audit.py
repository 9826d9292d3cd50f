"""The audit trail: who asked, what was done to which cloud resource when, what waited for whom how long."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from domain.actor import Actor
from domain.failure import Party
from domain.model import Model


class AuditKind(StrEnum):
    """What a line of the trail tells."""

    REQUESTED = "requested"
    """Somebody asked for something: an order, an operation, a verification, the end."""
    APPROVED = "approved"
    DECLINED = "declined"
    DECIDED = "decided"
    """An operator decided about a step that waits, or aborted the operation."""
    KEY_CHANGED = "key-changed"
    HELD = "held"
    RELEASED = "released"
    REFUSED = "refused"
    """A request that was accepted and then could not be carried out."""
    STARTED = "started"
    STEP = "step"
    """One step of an operation, from its first attempt to its end."""
    WAITING = "waiting"
    """A step began to wait for somebody."""
    WAITED = "waited"
    """A wait is over, or goes on where `ended_at` is empty."""
    VERIFIED = "verified"
    """A look at what the customer granted."""
    TOLD = "told"
    """A fact that another workflow reported."""
    CONTINUED = "continued"
    """The workflow went on in a fresh run (continue-as-new)."""
    NOTED = "noted"
    """From the trail that the workflow itself carries, where the history behind it is not kept any more."""
    INTERVENED = "intervened"
    """Somebody went past our doors: cancelled or terminated the workflow in Temporal itself."""
    ENDED = "ended"
    GAP = "gap"
    """A part of the history that Temporal does not keep any more; what is missing is said, not passed over."""


class Resource(Model):
    """One thing in a cloud or in a cluster."""

    kind: str
    """As in the receipt: `ec2:vpc`, `kms:key`; in a cluster `kubernetes:deployments`; of a fact its part, `network`."""
    id: str

    def __str__(self) -> str:
        """Read as `ec2:vpc vpc-0a1b`."""
        return f"{self.kind} {self.id}"


class Deed(Model):
    """One call that changes something, as the worker made it."""

    at: datetime
    service: str
    """The SDK's name of the service, `ec2`, or `kubernetes`."""
    operation: str
    """The SDK's name of the operation, `CreateVpc`; in a cluster verb and resource, `patch deployments`."""
    resources: tuple[Resource, ...] = ()
    answered: bool = True
    """False where the reply was lost: the call may have had its effect."""


class AuditEntry(Model):
    """One line of the trail. Everything in it was recorded when it happened; nothing is from memory."""

    at: datetime
    """When it happened; of what takes time, when it began."""
    ended_at: datetime | None = None
    """When what takes time was over; empty while it goes on, and for what takes none."""
    under_way: bool = False
    kind: AuditKind
    actor: Actor | None = None
    """Who asked or decided; the control plane for what it did by itself. Empty where the record does not say."""
    sent_by: str = ""
    """Identity of the client process that sent a request to Temporal, `4711@bastion`."""
    operation: str = ""
    """`provision/1`; empty for what concerns the account or the deployment itself."""
    step: str = ""
    """`create_network`, or `create_node_pool/store`."""
    summary: str
    """In plain words."""
    outcome: str = ""
    """Of a step or wait: done, skipped, aborted, cancelled, failed. Of an operation: its phase."""
    tries: int = 0
    """How many attempts a step took."""
    last_failure: str = ""
    """Why the newest attempt that failed did so: of those that Temporal tries again it keeps no other."""
    party: Party | None = None
    """Who had to act, for a wait."""
    missing: str = ""
    """What they had to do."""
    resources: tuple[Resource, ...] = ()
    """What it was done to, each once."""
    calls: tuple[Deed, ...] = ()
    """The changing calls of a step, in order. Empty for histories older than their recording."""
    unreadable: bool = False
    """Whether a part of the record could not be read: a codec's key that is not here, a form that nobody knows."""
    workflow_id: str
    run_id: str
    event_id: int

    @property
    def known_at(self) -> datetime:
        """When the line became true as a whole: lines are told in this order."""
        return self.ended_at or self.at

    @property
    def took(self) -> timedelta | None:
        """How long it took, None for what takes no time or is not over."""
        return self.ended_at - self.at if self.ended_at else None

    @property
    def id(self) -> str:
        """The same for the same line in every export: workflow, run, event, and what the event told."""
        parts = (self.workflow_id, self.run_id, str(self.event_id), self.kind, self.step)
        return "/".join(part for part in parts if part)


def named_once(resources: tuple[Resource, ...]) -> tuple[Resource, ...]:
    """Return the resources in order, each once by its id: the first to name one says of which kind it is."""
    found: dict[str, Resource] = {}
    for resource in resources:
        found.setdefault(resource.id, resource)
    return tuple(found.values())
