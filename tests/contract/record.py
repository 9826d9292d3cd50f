"""What was seen of a deployment's life, once lived through: the tests are about these records."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from domain.clouds import Purpose
from domain.facts import Leftover
from domain.failure import FailureClass, FailureDetail
from simulators.faults import FaultKind
from simulators.journal import Call


class Trouble(NamedTuple):
    """One way in which a call goes wrong, and what the activity has to make of it."""

    kind: FaultKind
    becomes: FailureClass
    code: str = ""
    """With which the cloud refuses; empty for the kind's own."""

    def __str__(self) -> str:
        return f"{self.kind}{f' {self.code}' if self.code else ''}"


@dataclass(frozen=True)
class Met:
    """What an activity made of a trouble."""

    trouble: Trouble
    operation: str
    """Of the call that went wrong."""
    failure: FailureDetail | None
    """None if it went on as if nothing had been."""


@dataclass
class Run:
    """One scene, as it was played."""

    activity: str
    answer: Any = None
    calls: tuple[Call, ...] = ()
    """Of the first run, or of all runs until it got through."""
    waits: tuple[FailureDetail | None, ...] = ()
    """What each attempt said while what it had started did not get ready."""
    naps: tuple[float, ...] = ()
    """Seconds for which these attempts slept."""
    again: Any = None
    """Answer of the second run, by another worker."""
    calls_again: tuple[Call, ...] = ()
    met: tuple[Met, ...] = ()

    @property
    def deeds(self) -> Counter[str]:
        """How often each operation changed something."""
        return Counter(f"{call.service}:{call.operation}" for call in self.calls if call.changed)

    @property
    def lost(self) -> Counter[str]:
        """How often each operation changed something without being acknowledged."""
        return Counter(f"{call.service}:{call.operation}" for call in self.calls if call.changed and not call.status)


@dataclass(frozen=True)
class Encounter:
    """How a stranger of our name was met."""

    activity: str
    deletion: str
    creating: FailureDetail | None
    deleting: FailureDetail | None


class Use(NamedTuple):
    """A permission that an activity used."""

    activity: str
    purpose: Purpose
    action: str


@dataclass
class Life:
    """One deployment's life."""

    runs: dict[str, Run] = field(default_factory=dict)
    """Keyed by the scene's name."""
    inventory: Counter[str] = field(default_factory=Counter)
    """What the account held at the height of it, counted by service, type and our name for the part."""
    left: Counter[str] = field(default_factory=Counter)
    """What of the deployment's the account held after everything was deleted."""
    leftovers: tuple[Leftover, ...] = ()
    converged: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Which operations that may change something were called when the cluster and its parts were converged with an
    order that is behind them; keyed by the scene's name and the moment."""
    encounters: tuple[Encounter, ...] = ()
    harmed: tuple[str, ...] = ()
    """What of the account's resources was changed or gone after strangers were met."""
    strangers: int = 0
    """How many resources of strangers outlived the deployment."""
    uses: frozenset[Use] = frozenset()

    def of(self, activity: str) -> dict[str, Run]:
        """Return the runs of one activity, keyed by the scene's name."""
        return {name: run for name, run in self.runs.items() if run.activity == activity}
