"""Upgrades: what is asked for, the stages in which it is done, and what is recorded of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from domain.actor import Actor
from domain.maintenance import Work
from domain.model import Model
from domain.release import Release
from domain.shape import PoolName


class StageKind(StrEnum):
    """What one stage of an upgrade does; between two stages an upgrade may park."""

    CONTROL_PLANE = "control-plane"
    ADD_ONS = "add-ons"
    NODES = "nodes"
    """One pool of machines."""
    SERVER = "server"
    """One release of the server, all five components."""

    @property
    def work(self) -> Work:
        """What the stage disturbs."""
        match self:
            case StageKind.CONTROL_PLANE:
                return Work.MINOR
            case StageKind.NODES:
                return Work.NODES
            case _:
                return Work.SERVER


class Stage(Model):
    """One stage: it is done as a whole, inside one window, and leaves a combination of versions that is supported."""

    name: str
    """`control-plane 1.36`, `nodes 1.36 services`, `server 4.12.1`: unique in the upgrade."""
    kind: StageKind
    need: timedelta
    """How long it takes at the 95th percentile; a window has to have as much left, and a margin."""
    bake: timedelta = timedelta(0)
    """How long what it made has to prove itself before the next stage begins."""
    kubernetes: str = ""
    """For all but a release of the server: the minor version."""
    pool: PoolName | None = None
    release: Release | None = None
    irreversible: str = ""
    """What cannot be taken back once it is done, in words; empty if it can be rolled back."""


class Verification(Model):
    """How a canary is observed before it is promoted. Part of the request, so that a replay sees what the run saw."""

    rounds: int = 5
    """How many times canary and control are compared."""
    interval: timedelta = timedelta(minutes=1)
    """Between two rounds."""
    ready_within: timedelta = timedelta(minutes=15)
    """How long the canary may take to become ready before it is rolled back."""
    bake: timedelta = timedelta(minutes=30)
    """How long a new control plane has to prove itself before anything else is changed."""
    exercise: int = 20
    """Requests through the public endpoint that each round makes itself, so that an idle deployment can be judged."""


class Override(Model):
    """Two persons' decision that an urgent change does not wait for window, exclusion and notice.

    It never passes over preflight, backup or canary.
    """

    reason: str
    approvers: tuple[Actor, ...] = ()
    """Two different persons, neither of whom asked for the change; fewer while it is being approved."""
    expires_at: datetime
    """At most 24 hours after it was asked for; what has not started by then waits for a window."""


class UpgradeRequest(Model):
    """What a deployment is to be upgraded to. The deployment finds the stages itself, from where it stands."""

    release: Release | None = None
    """The server's release to reach; None: it stays."""
    stops: tuple[Release, ...] = ()
    """Releases of the catalogue that the path may have to pass through, oldest first, the target not among them."""
    kubernetes: str = ""
    """The Kubernetes minor version to reach; empty: it stays."""
    needs: dict[StageKind, timedelta] = Field(default_factory=dict)
    """How long a stage of each kind takes at the 95th percentile, in the deployment's cloud; keyed by kind."""
    verification: Verification = Verification()
    forced_at: datetime | None = None
    """When it is applied even outside of a window, because what runs expires; None: never."""
    override: Override | None = None
    rollout: str = ""
    """Name of the rollout that it is part of, which clears its start; empty for a request of its own."""


class UpgradeWork(Model):
    """What the deployment hands to an upgrade: the stages, and until when they may be started."""

    stages: tuple[Stage, ...]
    """All of them, in order."""
    done: tuple[str, ...] = ()
    """Names of the stages that were done before, in earlier windows."""
    verification: Verification = Verification()
    window_ends: datetime | None = None
    """End of the present window; None where nothing has to end in a window (an override)."""
    margin: timedelta = timedelta(minutes=15)
    """What has to be left of the window when a stage is done."""
    unsettled: str = ""
    """Why pods of another release than the recorded one may run; empty if none do."""


class Check(Model):
    """One named check of a preflight or of a node, with its evidence."""

    name: str
    """`nodes-ready`, `disruption-budgets`, `provider-insights`; stable, so that it can be counted."""
    passed: bool
    evidence: str
    """What was seen, in words with numbers and names."""


class Counters(Model):
    """What the pods of one component and one revision have counted since they started, summed up."""

    pods: int = 0
    ready: int = 0
    restarts: int = 0
    oom_kills: int = 0
    requests: int = 0
    errors: int = 0
    latency: dict[str, int] = Field(default_factory=dict)
    """Requests that took at most so many seconds, cumulative; keyed by the upper bound as in the exposition, `0.05`."""


class Measurement(Model):
    """Canary and control, read at the same time."""

    at: datetime
    canary: Counters | None = None
    """Pods of the new revision; None if none was found or their metrics could not be read."""
    control: Counters | None = None
    """Pods of the revision before; None likewise."""


class Judgement(StrEnum):
    """What follows from comparing canary and control."""

    PROMOTE = "promote"
    ROLL_BACK = "roll-back"
    INCONCLUSIVE = "inconclusive"
    """It pauses: somebody has to look; it never promotes."""


class Verdict(Model):
    """The judgement of one canary, with its evidence."""

    about: str
    """The component, or the pool."""
    judgement: Judgement
    evidence: str


class MigrationPhase(StrEnum):
    """What is done with the store's schema."""

    EXPAND = "expand"
    """What the new release needs beside what the old one uses."""
    ACTIVATE = "activate"
    """New formats are written, once every component can read them."""
    CONTRACT = "contract"
    """What only releases before the last one used is removed."""


class UpgradeReport(Model):
    """What is recorded of an upgrade while it runs and when it has ended or parked."""

    done: tuple[str, ...] = ()
    """Names of the stages that are done."""
    checks: tuple[Check, ...] = ()
    """Of the newest preflight."""
    verdicts: tuple[Verdict, ...] = ()
    rolled_back: str = ""
    """The stage that was rolled back and why; empty if none was."""
    signature: str = ""
    """What went wrong, in a form that is the same on every deployment: `server/canary/api`."""
    parked: str = ""
    """Why it parked; empty if it did not."""
    next_stage: str = ""
    """With which stage it goes on."""
    not_before: datetime | None = None
    """Until when the last stage bakes: no further stage begins before."""
    release: Release | None = None
    """The release that runs now, if it is another one than before."""
    kubernetes: str = ""
    """The minor version of the control plane, if it is another one than before."""
    unsettled: str = ""
    """Why pods of another release than the recorded one may run; empty if none do."""
