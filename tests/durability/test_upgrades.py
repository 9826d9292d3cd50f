"""Upgrades of real deployments: undisturbed in every cloud, killed at every step, with bad releases, and parked."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from activities.upgrade_contracts import UpgradeContract
from domain.actor import Actor, Door
from domain.clouds import Cloud
from domain.operation import OperationKind, OperationPhase
from domain.shape import Component
from domain.state import DeploymentPhase, OperationRequest
from simulators.faults import Fault, FaultKind
from tests.durability.clouds import CLOUDS
from tests.durability.installation import ACTOR, Customer, Installation
from tests.durability.interruptions import Interruptions, Process
from tests.durability.upgrading import (
    KUBERNETES,
    NEW,
    OLD,
    Probe,
    Upgraded,
    canary_pools,
    images_of,
    impatient,
    reached,
    request,
    versions_of,
)
from tests.lifecycle_steps import activities_of
from workflows import steps

pytestmark = pytest.mark.durability

UPGRADING = sorted(
    activities_of("upgrade") - {steps.PROVE_RESTORE.name, steps.ROLL_BACK_COMPONENT.name, steps.SMOKE_TEST.name}
)
"""Without the proof, which is fresh from the provisioning, what only a bad release makes necessary, and the test of the
server, which here reads like any client and changes nothing."""
ONLY_LOOK = frozenset({steps.CHECK_UPGRADE.name, steps.CHECK_SERVER.name, steps.MEASURE.name})


@dataclass
class Undisturbed:
    """In each cloud, a deployment that was upgraded with nothing to disturb it, once it is asked for."""

    installation: Installation
    heard: dict[Cloud, Counter[str]] = field(default_factory=dict)
    """What a client heard meanwhile."""
    versions: dict[Cloud, dict[str, str]] = field(default_factory=dict)
    _lives: dict[Cloud, asyncio.Task[Customer]] = field(default_factory=dict)

    async def customer(self, cloud: Cloud) -> Customer:
        """Return the customer; the deployment is upgraded. A life that has failed is not lived again."""
        if cloud not in self._lives:
            self._lives[cloud] = asyncio.create_task(self._live(cloud))
        return await self._lives[cloud]

    async def _live(self, cloud: Cloud) -> Customer:
        name = f"d{os.getpid() % 10_000}u0{list(CLOUDS).index(cloud)}"
        customer = await self.installation.customer(name, cloud)
        deployment = Upgraded(self.installation, customer)
        await deployment.provision()
        async with Probe(self.installation.endpoints, customer) as probe:
            operation = await deployment.ask(request(cloud))
            state = await deployment.over(operation, OperationPhase.DONE)
        self.heard[cloud], self.versions[cloud] = probe.heard, versions_of(state)
        return customer


@pytest.fixture(scope="session")
async def upgraded(installation: Installation) -> Undisturbed:
    """What the other upgrades are held against."""
    return Undisturbed(installation)


@pytest.mark.parametrize("cloud", list(CLOUDS))
async def test_nothing_fails_while_a_deployment_is_upgraded(
    installation: Installation, upgraded: Undisturbed, cloud: Cloud
) -> None:
    """Undisturbed: every version is reached, no canary is left, and a client that never stops asking hears only 200."""
    customer = await upgraded.customer(cloud)

    assert upgraded.versions[cloud] == reached(cloud)
    assert canary_pools(installation, customer) == []
    assert set(upgraded.heard[cloud]) == {"200"}
    assert upgraded.heard[cloud]["200"] > 50


@pytest.mark.parametrize(("cloud", "first"), [(Cloud.AWS, 0), (Cloud.AWS, 1), (Cloud.GCP, 0), (Cloud.AZURE, 1)])
async def test_worker_killed_at_every_step_of_an_upgrade(
    installation: Installation, customer: Customer, upgraded: Undisturbed, cloud: Cloud, first: int
) -> None:
    """Every second step dies before its deed and the others after it, in the other life the other way round.

    The end is the same as undisturbed: the versions are reached, nothing is there twice, and no canary is left. What is
    done inside a cluster is the same in every cloud, and interrupted in the first.
    """
    expected = installation.inventory(await upgraded.customer(cloud))
    names = [each for each in UPGRADING if cloud is Cloud.AWS or each in UpgradeContract.__abstractmethods__]
    deployment = Upgraded(installation, customer)
    await deployment.provision()
    interruptions = Interruptions(
        installation, customer, names, Process.WORKER, before=names[first::2], only_look=ONLY_LOOK
    )
    operation = await deployment.ask(request(cloud))

    await interruptions.live_through()

    state = await deployment.over(operation, OperationPhase.DONE)
    assert versions_of(state) == reached(cloud)
    assert canary_pools(installation, customer) == []
    assert installation.inventory(customer) == expected


async def test_a_bad_release_goes_back_by_itself_and_a_patch_breaks_the_window(
    installation: Installation, customer: Customer
) -> None:
    """One that crashes and one that answers badly are put back; the mended one runs outside of the windows.

    Of a crashing canary clients hear nothing. Of one that answers badly they hear that authentication is unavailable
    when it was the canary's turn, and of no other failure: no connection breaks, and no pod is away that was asked. The
    worker dies while the second one is put back. Two other persons than who asks let the last one break the window, of
    which a receipt is kept.
    """
    deployment = Upgraded(installation, customer)
    await deployment.provision()

    _make_bad(installation, customer, FaultKind.CRASH, Component.API)
    async with Probe(installation.endpoints, customer) as probe:
        crashed = await deployment.ask(impatient(request(machines=False)))
        state = await deployment.over(crashed, OperationPhase.ROLLED_BACK)
    assert (await deployment.report(crashed)).signature == "server/ready/api"
    assert (state.phase, state.order.release.version) == (DeploymentPhase.ACTIVE, OLD.version)
    assert images_of(state) == set(OLD.components.values())
    assert set(probe.heard) == {"200"}

    installation.control.clear_faults()
    _make_bad(installation, customer, FaultKind.ERROR, Component.AUTHENTICATION)
    killed = Interruptions(installation, customer, [steps.ROLL_BACK_COMPONENT.name], Process.WORKER)
    async with Probe(installation.endpoints, customer) as probe:
        wrong = await deployment.ask(request(machines=False))
        await killed.live_through()
        state = await deployment.over(wrong, OperationPhase.ROLLED_BACK)
    assert (await deployment.report(wrong)).signature == "server/canary/authentication"
    assert state.order.release.version == OLD.version
    assert images_of(state) == set(OLD.components.values())
    assert set(probe.heard) <= {"200", "503 authentication"}
    assert probe.heard["200"] > probe.heard["503 authentication"]

    installation.control.clear_faults()
    patched = await deployment.ask(request(machines=False), at_once=False)
    plane = await installation.connected()
    for name in ("grace@acme", "heidi@acme"):
        assert (await plane.deployment(customer.name)).running is None
        other = replace(plane, actor=Actor(name=name, door=Door.CONTROL_PLANE))
        await other.approve_override(customer.name, patched, reason="it is being exploited")
    state = await deployment.over(patched, OperationPhase.DONE)
    assert state.order.release.version == NEW.version
    assert images_of(state) == set(NEW.components.values())
    (receipt,) = (each for each in state.broken_windows if each.operation_id == patched)
    assert [each.name for each in receipt.approvers] == ["grace@acme", "heidi@acme"]
    assert receipt.ended_at is not None


async def test_converging_moves_nothing_of_an_upgrade_that_is_parked(
    installation: Installation, customer: Customer
) -> None:
    """Between control plane and machines nothing is moved on or back; later Temporal dies, and the rest is done."""
    deployment = Upgraded(installation, customer)
    await deployment.provision()
    operation = await _parked_behind_the_control_plane(deployment)
    position = installation.control.position()
    plane = await installation.connected()

    await plane.request(customer.name, OperationRequest(request_id="again", kind=OperationKind.PROVISION, actor=ACTOR))
    state = await installation.until(customer, lambda state: len(state.past) == 2)

    assert state.past[-1].phase is OperationPhase.DONE
    changes = installation.control.journal(after=position, account=customer.account, mutating=True)
    assert [(call.operation, call.agent) for call in changes] == []
    interruptions = Interruptions(installation, customer, [steps.UPGRADE_POOL.name], Process.SERVER)
    await deployment.hurry(operation)
    await interruptions.live_through()
    state = await deployment.over(operation, OperationPhase.DONE)
    assert versions_of(state) == reached()
    assert canary_pools(installation, customer) == []


async def _parked_behind_the_control_plane(deployment: Upgraded) -> str:
    """Let an upgrade begin and stop once the control plane is new; return its operation's id."""
    installation, customer = deployment.installation, deployment.customer
    fault = installation.hold(customer, steps.UPGRADE_CONTROL_PLANE.name, after_the_deed=True)
    operation = await deployment.ask(request())
    held = await installation.until_held()
    await deployment.stop_at_checkpoint(operation, "the machines stay for tonight")
    installation.control.release(held)
    installation.control.remove_fault(fault.id)
    state = await installation.until(customer, lambda state: state.running is None)
    (queued,) = state.queue
    assert queued.summary.phase is OperationPhase.PARKED
    old, new = KUBERNETES[Cloud.AWS]
    versions = versions_of(state)
    assert (versions["control plane"], versions["ordered Kubernetes"]) == (new, new)
    assert {versions.get(f"{pool} machines", "") for pool in ("services", "store")} <= {"", old}
    return operation


def _make_bad(installation: Installation, customer: Customer, kind: FaultKind, component: Component) -> None:
    """Let the new release's image of one component be a bad one, in this account."""
    service = "kubernetes" if kind is FaultKind.CRASH else "server"
    rule = Fault(kind=kind, service=service, resource=f"*/{NEW.components[component]}", account=customer.account)
    installation.control.inject(rule)
