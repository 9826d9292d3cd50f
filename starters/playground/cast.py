"""Who is in the demo's story: the customers, each with an account in a cloud, and the people who act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from domain.account import AccountSpec
from domain.actor import Actor, Door
from domain.approval import ApprovalPolicy, Side
from domain.maintenance import MaintenancePolicy, MaintenanceWindow, Work
from domain.operation import Pace
from domain.windows import openings
from starters.playground.clouds import SimulatedCloud

VENDOR = Actor(name="ada@vendor.example", door=Door.CLI)
FIRST_OVERRIDER = Actor(name="bob@vendor.example", door=Door.CLI)
SECOND_OVERRIDER = Actor(name="eve@vendor.example", door=Door.CLI)
APPROVER = Actor(name="carol@acme.example", door=Door.CLI)

BRISK = Pace(
    permission_probe=timedelta(seconds=2),
    quota_probe=timedelta(seconds=2),
    capacity_probe=timedelta(seconds=2),
    first_verification_probe=timedelta(seconds=1),
    liveness=timedelta(seconds=15),
)
"""Probes every second or two, where real customers are given minutes and hours."""

FIRST_RELEASE = "4.11.0"
"""What everybody orders, so that there is something to upgrade to."""

_ZONE = "Europe/Berlin"
_NEEDS = (timedelta(minutes=60), timedelta(minutes=75))
"""What a release of the server needs of a window, without and with high availability."""
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def open_window(deployment: str, now: datetime) -> MaintenanceWindow:
    """Return a daily window that is open now, for hours yet, and in which this deployment's turn has come.

    Deployments spread their starts over a window, each by what its name, the window's length and the work make of it.
    """
    today = now.astimezone(ZoneInfo(_ZONE)).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    for length, begun in ((hours, before) for hours in range(6, 21) for before in range(1, hours - 3)):
        window = MaintenanceWindow(
            id="daily",
            timezone=_ZONE,
            start=today - timedelta(days=7, hours=begun),
            rrule="FREQ=DAILY",
            duration=timedelta(hours=length),
        )
        policy = MaintenancePolicy(windows=(window,))
        turns = (next(openings(policy, Work.SERVER, now=now, need=need, spread_by=deployment)) for need in _NEEDS)
        if all(turn.at <= now for turn in turns):
            return window
    raise ValueError(f"{deployment} would start too late in every window")


def closed_window(now: datetime) -> MaintenanceWindow:
    """Return a weekly window that opens three days from now."""
    day = now.astimezone(ZoneInfo(_ZONE)) + timedelta(days=3)
    return MaintenanceWindow(
        id="weekly",
        timezone=_ZONE,
        start=datetime(day.year, day.month, day.day, 2),  # noqa: DTZ001 - a local time
        rrule=f"FREQ=WEEKLY;BYDAY={_DAYS[day.weekday()]}",
    )


@dataclass(frozen=True)
class Customer:
    """A customer of the story."""

    name: str
    cloud: SimulatedCloud
    deployment: str
    shape: str = "v1-small"
    highly_available: bool = False
    approves: tuple[Side, ...] = ()
    """Who has to approve what deletes."""

    @property
    def account(self) -> str:
        """Its id in the cloud."""
        return self.cloud.account_of(self.name)

    @property
    def spec(self) -> AccountSpec:
        """The customer's account as we connect it."""
        return AccountSpec(
            name=f"{self.name}-{self.cloud.cloud}",
            customer=self.name,
            cloud=self.cloud.cloud,
            cloud_account_id=self.account,
            regions=(self.cloud.region,),
            contact=f"cloud@{self.name}.example",
            approvals=ApprovalPolicy(destructive=self.approves),
        )

    @property
    def manifest(self) -> str:
        """The order as a file."""
        return f"""\
apiVersion: byoc.dev/v1
kind: Deployment
metadata: {{name: {self.deployment}}}
spec:
  account: {self.spec.name}
  region: {self.cloud.region}
  shape: {self.shape}
  release: {FIRST_RELEASE}
  highAvailability: {str(self.highly_available).lower()}
  endpoint: {{domain: {self.deployment}.db.{self.name}.example}}
  windows: [{open_window(self.deployment, datetime.now(UTC)).model_dump_json(by_alias=True)}]
"""


@dataclass(frozen=True)
class Cast:
    """Who plays which part."""

    stays: Customer
    """Reads a plan, and has a client."""
    leaves: Customer
    """Takes a permission away, gives it back, and goes."""
    others: tuple[Customer, ...] = ()
    """In further clouds."""

    @property
    def everybody(self) -> tuple[Customer, ...]:
        """All of them."""
        return (self.leaves, self.stays, *self.others)


_MORE = ("initech", "hooli")
"""Names of customers in a third and fourth cloud."""


def cast_in(clouds: Sequence[SimulatedCloud]) -> Cast:
    """Return the customers: each cloud has one of them, and one cloud alone has two."""
    first, second, *further = clouds if len(clouds) > 1 else (*clouds, *clouds)
    return Cast(
        stays=Customer("globex", first, "globex-prod", "v1-medium", highly_available=True),
        leaves=Customer("acme", second, "acme-dev", approves=(Side.CUSTOMER,)),
        others=tuple(Customer(name, cloud, f"{name}-test") for name, cloud in zip(_MORE, further, strict=False)),
    )
