"""The part of the scripted cloud that is upgraded: what each deployment runs, and what goes wrong on request."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any

from activities.failures import not_ready
from domain.facts import Cluster, ComponentStatus, NodePool
from domain.shape import PoolName
from domain.upgrade import Check, Counters, Measurement

NAMES = frozenset(
    {
        "check_upgrade",
        "upgrade_control_plane",
        "upgrade_add_on",
        "create_canary_node",
        "delete_canary_nodes",
        "upgrade_node_pool",
        "check_server",
        "validate_node",
        "stage_canary",
        "install_component",
        "measure",
        "roll_back_component",
        "migrate",
    }
)
"""The activities that are answered here."""


class Running:
    """What one deployment runs, and what was done to it, in order."""

    def __init__(self) -> None:
        self.kubernetes = ""
        self.nodes: dict[PoolName, str] = {}
        self.canary_nodes: set[PoolName] = set()
        self.add_ons: dict[str, str] = {}
        self.components: dict[str, str] = {}
        """The release of each component, keyed by component."""
        self.canaries: dict[str, str] = {}
        """Components of which one pod runs another release."""
        self.formats: list[str] = []
        """Migrations that ran, `4.12.2 expand`."""
        self.deeds: list[str] = []
        self.looks: Counter[str] = Counter()


class UpgradeScript:
    """Upgrades deployments at once. What is named in its sets goes wrong, until it is taken out of them."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}
        self._lock = RLock()
        self.findings: dict[str, str] = {}
        """Checks that do not pass, and what was seen."""
        self.bad: set[str] = set()
        """Components of which every tenth request to a canary fails."""
        self.silent: set[str] = set()
        """Components whose metrics cannot be read."""
        self.stuck: set[str] = set()
        """Components whose canary does not become ready."""

    def reset(self) -> None:
        """Let nothing go wrong; what deployments run is kept."""
        self.findings.clear()
        for names in (self.bad, self.silent, self.stuck):
            names.clear()

    def of(self, deployment: str) -> Running:
        """Return what one deployment runs."""
        with self._lock:
            return self._running.setdefault(deployment, Running())

    def answer(self, name: str, request: dict[str, Any]) -> Any:
        """Return the answer of one of `NAMES`."""
        with self._lock:
            site = request["site"]["deployment"] if "site" in request else request["deployment"]
            return getattr(self, f"_{name}")(self.of(site), request)

    def _check(self, *names: str) -> list[Check]:
        found = self.findings
        return [
            Check(name=name, passed=name not in found, evidence=found.get(name, "as it should be")) for name in names
        ]

    def _check_upgrade(self, running: Running, request: dict[str, Any]) -> list[Check]:
        return self._check("provider-insights", "surge-quota", "free-addresses", "certificate", "cluster-settled")

    def _check_server(self, running: Running, request: dict[str, Any]) -> list[Check]:
        return self._check("nodes-ready", "pods-ready", "disruption-budgets", "webhooks")

    def _validate_node(self, running: Running, request: dict[str, Any]) -> Check:
        assert PoolName(request["pool"]) in running.canary_nodes, "there is a node to validate"
        return self._check("canary-node")[0]

    def _upgrade_control_plane(self, running: Running, request: dict[str, Any]) -> Cluster:
        running.kubernetes = request["kubernetes"]
        running.deeds.append(f"upgrade_control_plane {running.kubernetes}")
        return Cluster.model_validate({**request["cluster"], "version": running.kubernetes})

    def _upgrade_add_on(self, running: Running, request: dict[str, Any]) -> None:
        running.add_ons[request["name"]] = request["cluster"]["version"]
        running.deeds.append(f"upgrade_add_on/{request['name']} {request['cluster']['version']}")

    def _create_canary_node(self, running: Running, request: dict[str, Any]) -> NodePool:
        running.canary_nodes.add(PoolName(request["pool"]))
        running.deeds.append(f"create_canary_node/{request['pool']} {request['kubernetes']}")
        return NodePool(pool=request["pool"], name=f"{request['pool']}-canary", instance_type="m7i.large")

    def _delete_canary_nodes(self, running: Running, request: dict[str, Any]) -> None:
        running.canary_nodes.clear()
        running.deeds.append("delete_canary_nodes")

    def _upgrade_node_pool(self, running: Running, request: dict[str, Any]) -> NodePool:
        running.nodes[PoolName(request["pool"])] = request["kubernetes"]
        running.deeds.append(f"upgrade_node_pool/{request['pool']} {request['kubernetes']}")
        return NodePool(pool=request["pool"], name=request["pool"], instance_type="m7i.large")

    def _migrate(self, running: Running, request: dict[str, Any]) -> None:
        done = f"{request['release']['version']} {request['phase']}"
        running.formats.append(done)
        running.deeds.append(f"migrate {done}")

    def _stage_canary(self, running: Running, request: dict[str, Any]) -> ComponentStatus:
        component, version = request["component"], request["release"]["version"]
        running.canaries[component] = version
        running.deeds.append(f"stage_canary/{component} {version}")
        if component in self.stuck:
            raise not_ready(f"{component}-canary is not ready", look_again_in=timedelta(milliseconds=50))
        return ComponentStatus(component=component, image="i", ready=2, desired=2)

    def _install_component(self, running: Running, request: dict[str, Any]) -> ComponentStatus:
        component, version = request["component"], request["release"]["version"]
        running.components[component] = version
        running.canaries.pop(component, None)
        running.deeds.append(f"install_component/{component} {version}")
        return ComponentStatus(component=component, image="i", ready=1, desired=1)

    def _roll_back_component(self, running: Running, request: dict[str, Any]) -> ComponentStatus:
        component, version = request["component"], request["release"]["version"]
        running.components[component] = version
        running.canaries.pop(component, None)
        running.deeds.append(f"roll_back_component/{component} {version}")
        return ComponentStatus(component=component, image="i", ready=1, desired=1)

    def _measure(self, running: Running, request: dict[str, Any]) -> Measurement:
        component = request["component"]
        assert running.canaries.get(component) == request["release"]["version"], "there is a canary to measure"
        running.looks[component] += 1
        counted = 100 * running.looks[component]
        fine = Counters(pods=1, ready=1, requests=counted, latency={"0.05": counted, "+Inf": counted})
        canary = fine.model_copy(update={"errors": counted // 10}) if component in self.bad else fine
        return Measurement(at=datetime.now(UTC), canary=None if component in self.silent else canary, control=fine)
