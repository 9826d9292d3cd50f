"""The monthly proposal on a real server: which rollouts it starts, for whom, and that a repeat starts nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from activities.contracts import ProposalQuestion
from domain.actor import Actor, Door
from domain.deployment import DeploymentSpec
from domain.rollout import RolloutPhase, RolloutState
from domain.state import DeploymentPhase
from starters import rollouts
from starters.client import ControlPlane
from tests.workflows.orders import BRISK, account_state, deployment_order
from tests.workflows.scripted_cloud import ScriptedCloud
from workers.proposals import FORCED_AFTER, Proposals

AT = datetime(2026, 11, 10, 9, tzinfo=UTC)


async def living(plane: ControlPlane, name: str, *, release: str, kubernetes: str) -> None:
    """Order a deployment at these versions, in an account of its own, and wait until lists show it as active."""
    account = account_state(f"{name}-aws").spec
    await plane.connect_account(account, pace=BRISK)
    await plane.verify_account(account.name)
    order = deployment_order(name, account=account.name)
    spec = DeploymentSpec.model_validate(order.spec.model_dump() | {"release": release, "kubernetes": kubernetes})
    older = order.release.model_copy(update={"version": release})
    await plane.order(order.model_copy(update={"spec": spec, "release": older}))
    for _ in range(300):
        if any(each.name == name and each.phase == DeploymentPhase.ACTIVE for each in await plane.deployments()):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} does not become active")


def members_of(state: RolloutState) -> set[str]:
    """Return everybody who is, or will be, asked."""
    return {member.deployment for wave in state.order.waves for member in wave.members} | set(state.active)


async def test_the_newest_release_waits_for_approval_and_expired_versions_are_left_by_force(
    client: Client, cloud: ScriptedCloud, name: str
) -> None:
    """Who is behind is asked for the release once somebody approves; who runs an expired version has thirty days."""
    plane = ControlPlane(client, Actor(name="release@vendor.example", door=Door.CLI))
    await living(plane, f"{name}-old", release="4.11.0", kubernetes="1.33")
    await living(plane, f"{name}-expired", release="4.12.1", kubernetes="1.32")
    proposals = Proposals(client)

    proposed = await proposals.propose_rollouts(ProposalQuestion(at=AT))
    again = await proposals.propose_rollouts(ProposalQuestion(at=AT + timedelta(hours=1)))

    assert proposed.rollouts == ("release-4.12.1-2026-11", "kubernetes-aws-1.33-2026-11")
    assert again == proposed
    release, kubernetes = [await rollouts.state(plane, each) for each in proposed.rollouts]
    assert release.phase is RolloutPhase.APPROVING
    assert not release.active
    assert f"{name}-old" in members_of(release)
    assert f"{name}-expired" not in members_of(release)
    assert members_of(kubernetes) == {f"{name}-expired"}
    upgrade = kubernetes.order.requests["aws"].upgrade
    assert upgrade is not None
    assert (upgrade.kubernetes, upgrade.forced_at) == ("1.33", AT + FORCED_AFTER)
    assert upgrade.needs
    for each in proposed.rollouts:
        await rollouts.end(plane, each, "the test is over")
