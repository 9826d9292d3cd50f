"""A highly available deployment on its way to the next release and Kubernetes version, and a client that uses it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import requests

import catalog
from domain.appointment import Notices
from domain.clouds import Cloud
from domain.operation import OperationPhase
from domain.pending import PendingChoice
from domain.release import Release
from domain.state import DeploymentPhase, DeploymentState, OperationSummary
from domain.upgrade import UpgradeReport, UpgradeRequest, Verification
from simulators.endpoints import Endpoints
from starters.ordering import place_order, read_orders
from tests.durability.installation import Customer, Installation, manifest
from workflows.upgrade import Upgrade

KUBERNETES = {Cloud.AWS: ("1.35", "1.36"), Cloud.GCP: ("1.35", "1.36"), Cloud.AZURE: ("1.34", "1.35")}
"""From which minor version to which; at Azure 1.36 is a preview, to which nothing is upgraded."""
_CATALOGUE = catalog.load()
_SOON = timedelta(milliseconds=1)
_NOTICES = Notices(routine=_SOON, long=_SOON, urgent=_SOON)
BRIEF = Verification(
    rounds=2,
    interval=timedelta(seconds=0.3),
    ready_within=timedelta(seconds=30),
    bake=timedelta(seconds=1),
    exercise=80,
)


def release(version: str) -> Release:
    """Return a release of the catalogue."""
    found = _CATALOGUE.release(version)
    assert found is not None, version
    return found


OLD, NEW = release("4.11.0"), release("4.12.1")


def request(cloud: Cloud = Cloud.AWS, *, machines: bool = True) -> UpgradeRequest:
    """Return what is asked for: the new release and, unless the machines stay, the new Kubernetes version."""
    return UpgradeRequest(release=NEW, kubernetes=KUBERNETES[cloud][1] if machines else "", verification=BRIEF)


def impatient(upgrade: UpgradeRequest) -> UpgradeRequest:
    """Return the request with little time for a canary to become ready: for one that never will."""
    verification = BRIEF.model_copy(update={"ready_within": timedelta(seconds=8)})
    return upgrade.model_copy(update={"verification": verification})


@dataclass(frozen=True)
class Upgraded:
    """One customer's deployment that is upgraded by its own workflow."""

    installation: Installation
    customer: Customer

    async def provision(self) -> None:
        """Let it run on the old release and the old Kubernetes version, highly available."""
        text = manifest(self.customer, shape="v1-medium", high_availability=True)
        versions = f'  release: {OLD.version}\n  kubernetes: "{KUBERNETES[self.customer.cloud][0]}"\n'
        text = text.replace("spec:\n", f"spec:\n{versions}", 1)
        plane = await self.installation.connected()
        (order,) = await read_orders(plane, text)
        placed = await place_order(plane, order, pace=self.installation.pace)
        await plane.order(placed.model_copy(update={"notices": _NOTICES}))
        await self.installation.until_phase(self.customer, DeploymentPhase.ACTIVE)

    async def ask(self, upgrade: UpgradeRequest, *, at_once: bool = True) -> str:
        """Ask for an upgrade, and have it done without waiting for a window; return its operation's id."""
        plane = await self.installation.connected()
        operation = (await plane.upgrade(self.customer.name, upgrade)).operation_id
        if at_once:
            await self.hurry(operation)
        return operation

    async def hurry(self, operation: str) -> None:
        """Have an upgrade that waits done at once."""
        plane = await self.installation.connected()
        await plane.decide_pending(self.customer.name, operation, PendingChoice.IMMEDIATE, reason="we watch it")

    async def over(self, operation: str, phase: OperationPhase) -> DeploymentState:
        """Wait until an operation has ended, and hold how against what is expected."""
        state = await self.installation.until(self.customer, lambda state: _past(state, operation) is not None)
        summary = _past(state, operation)
        assert summary is not None
        assert summary.phase is phase, (await self.report(operation)).model_dump_json(indent=1)
        return state

    async def report(self, operation: str) -> UpgradeReport:
        """Return what an upgrade has recorded."""
        plane = await self.installation.connected()
        return await plane.client.get_workflow_handle(self._workflow(operation)).query(Upgrade.current_report)

    async def stop_at_checkpoint(self, operation: str, reason: str) -> None:
        """Have an upgrade that runs stop before its next stage."""
        plane = await self.installation.connected()
        await plane.client.get_workflow_handle(self._workflow(operation)).signal(Upgrade.stop_at_checkpoint, reason)

    def _workflow(self, operation: str) -> str:
        return f"deployment/{self.customer.name}/{operation}"


def _past(state: DeploymentState, operation: str) -> OperationSummary | None:
    return next((each for each in state.past if each.operation_id == operation), None)


def versions_of(state: DeploymentState) -> dict[str, str]:
    """Return what the deployment knows of its versions: specification, control plane, machines, images."""
    assert state.facts.cluster is not None
    known = {
        "release": state.order.release.version,
        "ordered release": state.order.spec.release,
        "ordered Kubernetes": state.order.spec.kubernetes,
        "control plane": ".".join(state.facts.cluster.version.split(".")[:2]),
    }
    known |= {f"{each.pool} machines": each.kubernetes for each in state.facts.pools}
    return known | {each.component: each.image for each in state.facts.components}


def images_of(state: DeploymentState) -> set[str]:
    """Return the images that run, by what the cluster said last."""
    return {each.image for each in state.facts.components}


def reached(cloud: Cloud = Cloud.AWS) -> dict[str, str]:
    """Return the versions after the whole upgrade."""
    kubernetes = KUBERNETES[cloud][1]
    return {
        "release": NEW.version,
        "ordered release": NEW.version,
        "ordered Kubernetes": kubernetes,
        "control plane": kubernetes,
        "services machines": kubernetes,
        "store machines": kubernetes,
        **NEW.components,
    }


class Probe:
    """Uses the server through its public endpoints without a pause, and counts what it hears."""

    def __init__(self, endpoints: Endpoints, customer: Customer) -> None:
        domain = f"{customer.name}.db.acme.example"
        self._urls = (f"https://{domain}/healthz", f"https://{domain}:8443/subscribe/healthz")
        self.heard: Counter[str] = Counter()
        """How often the answer was what: a status and which components were unavailable, or the name of an error."""
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(endpoints.internet_ca_file)
        self._session.proxies = {"https": endpoints.internet_proxy_url}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await asyncio.to_thread(self._thread.join, 10)
        self._session.close()

    def _ask(self) -> None:
        while not self._over.is_set():
            for url in self._urls:
                try:
                    self.heard[_in_words(self._session.get(url, timeout=10))] += 1
                except requests.RequestException as error:
                    self.heard[type(error).__name__] += 1
            time.sleep(0.02)


def _in_words(response: requests.Response) -> str:
    """Return `200`, or `503 authentication` where the server says which of its components answer badly."""
    if response.status_code < 500 or "components" not in response.text:
        return str(response.status_code)
    states = response.json()["components"]
    return " ".join((str(response.status_code), *(name for name, state in states.items() if state != "ok")))


def canary_pools(installation: Installation, customer: Customer) -> list[str]:
    """Return the pools of canaries that the customer's account has."""
    return [each.name for each in installation.control.inventory(customer.account) if "canary" in each.name]
