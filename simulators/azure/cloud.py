"""What all planes of one simulated Azure share."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.azure.access import Access, denied
from simulators.azure.api import Check, Request
from simulators.azure.durations import Delays, Durations
from simulators.azure.identities import Identities
from simulators.azure.records import Records
from simulators.clock import Clock
from simulators.faults import FaultKind
from simulators.work import Work
from simulators.world import World

REGISTERED_AT_FIRST = frozenset(
    f"microsoft.{name}" for name in ("authorization", "resources", "features", "consumption", "costmanagement")
)
"""The namespaces that a new subscription has."""

AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")


@dataclass
class Cloud:
    """Subscriptions, identities, what they may do, resources and time."""

    world: World
    work: Work
    identities: Identities
    access: Access
    records: Records
    durations: Durations

    @classmethod
    def make(cls, world: World, durations: Durations | None = None, delays: Delays | None = None) -> Cloud:
        """Return an empty cloud."""
        lags = delays or Delays()
        return cls(
            world=world,
            work=Work(world),
            identities=Identities(world.clock, lags.principal, world.secrets),
            access=Access(world.clock, lags.assignment),
            records=Records(),
            durations=durations or Durations(),
        )

    @property
    def clock(self) -> Clock:
        """Simulated time."""
        return self.world.clock

    def now(self) -> str:
        """Return the simulated time as Azure writes it."""
        return self.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def authenticate(self, request: Request, *audiences: str) -> None:
        """Say in the request who calls, if anybody does."""
        token = request.headers.get("authorization", "").partition(" ")[2]
        request.principal = self.identities.principal_of(token, *audiences) if token else None
        if request.principal is not None and request.subscription in self.identities.subscriptions:
            tenant = self.identities.subscriptions[request.subscription].tenant
            if request.principal.tenant != tenant:
                request.principal = None

    def allows(self, request: Request, check: Check) -> bool:
        """Return whether the caller may do something, and remember that it was needed.

        A `revoke` fault lets the caller lack whatever this call needs first.
        """
        assert request.principal is not None
        revoked = request.fault is not None and request.fault.kind is FaultKind.REVOKE
        allowed = self.access.require(request.principal, check, request.subscription, request.agent)
        return allowed and not revoked

    def require(self, request: Request, check: Check) -> None:
        """Refuse, in Resource Manager's words, what the caller may not do."""
        if not self.allows(request, check):
            assert request.principal is not None
            raise denied(request.principal, check)

    def subscription_ready(self, subscription: str) -> None:
        """Let a subscription exist with the namespaces of a new one."""
        found = self.identities.add_subscription(subscription)
        found.registered |= REGISTERED_AT_FIRST

    def forget(self) -> None:
        """Forget every subscription."""
        self.work.forget()
        self.identities.forget()
        self.access.forget()
        self.records.forget()
