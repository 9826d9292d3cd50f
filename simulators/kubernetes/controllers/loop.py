"""The loop that calls controllers: when something that they watch has changed, or what they wait for is due."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from simulators.kubernetes.controllers.autoscaling import AutoscalingController
from simulators.kubernetes.controllers.controller import Controller, Surroundings
from simulators.kubernetes.controllers.daemon_sets import DaemonSetController
from simulators.kubernetes.controllers.deployments import DeploymentController
from simulators.kubernetes.controllers.disruption import DisruptionController
from simulators.kubernetes.controllers.events import EventRecorder
from simulators.kubernetes.controllers.gateways import GatewayController
from simulators.kubernetes.controllers.jobs import JobController
from simulators.kubernetes.controllers.namespaces import NamespaceController
from simulators.kubernetes.controllers.nodes import NodeController
from simulators.kubernetes.controllers.replica_sets import ReplicaSetController
from simulators.kubernetes.controllers.services import EndpointController, ServiceController
from simulators.kubernetes.controllers.stateful_sets import StatefulSetController
from simulators.kubernetes.controllers.timing import Durations
from simulators.kubernetes.controllers.volumes import VolumeController
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.kubelet import Kubelet
from simulators.kubernetes.scheduler import Scheduler
from simulators.kubernetes.store import Event

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

logger = logging.getLogger(__name__)

_IN_ORDER: Final[tuple[type[Controller], ...]] = (
    NamespaceController,
    NodeController,
    DeploymentController,
    ReplicaSetController,
    StatefulSetController,
    DaemonSetController,
    JobController,
    VolumeController,
    Scheduler,
    Kubelet,
    EndpointController,
    ServiceController,
    GatewayController,
    AutoscalingController,
    DisruptionController,
)
"""From cause to effect, so that one round goes far."""

_LEAST_INTERVAL: Final = 0.02
"""Real seconds between two rounds."""
_LOOK_AROUND: Final = 0.5
"""Real seconds after which a sleeping loop looks whether the clock's speed or the faults have changed."""
_MOST_ROUNDS: Final = 200
"""More rounds than this without coming to rest, and the loop lets others run first."""


class ControllerLoop:
    """Runs the controllers of one cluster on the event loop; costs nothing while nothing changes or is due."""

    def __init__(self, cluster: Cluster, durations: Durations | None = None) -> None:
        world = cluster.world
        surroundings = Surroundings(cluster, world, durations or Durations(), EventRecorder(cluster.store, world.clock))
        self._store = cluster.store
        self._faults = world.faults
        self._controllers = tuple(controller(surroundings) for controller in _IN_ORDER)
        self._due: set[Controller] = set(self._controllers)
        self._watchers: dict[Kind, list[Controller]] = {}
        for controller in self._controllers:
            for kind in controller.watches:
                self._watchers.setdefault(kind, []).append(controller)
        self._clock = world.clock
        self._speed = world.clock.speed
        self._rules: tuple[str, ...] = ()
        self._unsubscribe = cluster.store.subscribe(self._notice)

    def _notice(self, event: Event) -> None:
        self._due.update(self._watchers.get(event.kind, ()))

    def settle(self) -> int:
        """Let the controllers act until none has anything to do; return the number of rounds that this took."""
        for rounds in range(_MOST_ROUNDS):
            if not self._round():
                return rounds
        return _MOST_ROUNDS

    async def run(self) -> None:
        """Keep settling until cancelled."""
        try:
            while True:
                self._store.changed.clear()
                self.settle()
                await asyncio.sleep(_LEAST_INTERVAL)
                if not self._due:
                    await self._sleep()
        finally:
            self._unsubscribe()

    async def _sleep(self) -> None:
        alarms = [left for left in (entry.alarm.real_seconds_left() for entry in self._controllers) if left is not None]
        # Not `wait_for`: before Python 3.12 that loses a cancellation which comes together with a change.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min([_LOOK_AROUND, *alarms])):
                await self._store.changed.wait()

    def _round(self) -> bool:
        """Call each controller that has a reason to act; return whether there was one.

        What a controller changes itself is noticed too: it is called again until it changes nothing more.
        """
        rules = tuple(rule.id for rule, _ in self._faults.listed())
        if rules != self._rules:
            self._rules = rules
            self._due.update(controller for controller in self._controllers if controller.heeds_faults)
        if self._clock.speed != self._speed:
            # What a controller waits for was reckoned at the old speed.
            self._speed = self._clock.speed
            self._due.update(self._controllers)
        acted = False
        for controller in self._controllers:
            if controller in self._due or controller.alarm.is_due():
                self._due.discard(controller)
                self._call(controller)
                acted = True
        return acted

    def _call(self, controller: Controller) -> None:
        controller.alarm.silence()
        try:
            controller.reconcile()
        except Exception:
            # One object that a controller cannot digest must not stop the whole cluster, as in a real one.
            logger.exception("Reconciling failed in %s", controller.name)
            controller.alarm.wake_after(_LOOK_AROUND, least_real=_LOOK_AROUND)
