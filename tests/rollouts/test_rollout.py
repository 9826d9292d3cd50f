"""A release goes over a fleet of simulated deployments, each in its own window, and halts where the rules say so."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError

from domain.actor import Actor, Door
from domain.rollout import RolloutLimits, RolloutPhase, RolloutPolicy, RolloutRequest, WaveApproval
from domain.waves import Wave, WaveName, waves_of
from tests.rollouts.conftest import ACTOR, Fleet, members
from tests.rollouts.fleet import Behaviour
from workflows.rollout import TOLD_AT_ONCE, Rollout

ASKED = RolloutRequest(actor=ACTOR, reason="test")


async def test_every_deployment_is_upgraded_wave_after_wave_and_each_wave_bakes(fleet: Fleet) -> None:
    """A later wave starts when the one before is complete and has baked; windows of a week are respected."""
    everybody = members(40, fleet.name)
    waves = waves_of(everybody, release=fleet.name)
    await fleet.live(
        [
            Behaviour(deployment=member.deployment, opens_after=timedelta(hours=index * 4 % 168))
            for index, member in enumerate(everybody)
        ]
    )

    rollout = await fleet.roll_out(waves)
    state = await rollout.result()

    assert state.phase is RolloutPhase.DONE
    assert [tally.done for tally in state.tallies] == [len(wave.members) for wave in waves]
    began: datetime | None = None
    for wave, tally in zip(waves, state.tallies, strict=True):
        records = [await fleet.record(member.deployment) for member in wave.members]
        assert tally.began_at is not None
        assert tally.complete_at is not None
        assert all(record.started_at and record.started_at >= tally.began_at for record in records)
        assert max(record.ended_at for record in records if record.ended_at) <= tally.complete_at
        assert began is None or tally.began_at >= began
        began = tally.complete_at + wave.bake


async def test_a_rollout_over_300_deployments_of_which_some_fail_halts_where_the_rule_says(fleet: Fleet) -> None:
    """Twelve of 300 fail, each in a way of its own: the first wave with more than 5 % of failures halts it."""
    everybody = members(300, fleet.name, customers=60)
    waves = waves_of(everybody, release="4.13.0")
    # The third wave has the most of them: 3 of 27 and 7 of 60, of the rest 2.
    failing = {member.deployment for member in waves[2].members[::12]} | {
        member.deployment for member in waves[3].members[:2]
    }
    halting = next(
        index
        for index, wave in enumerate(waves)
        if sum(member.deployment in failing for member in wave.members) > max(1, 0.05 * len(wave.members))
    )
    reached = [member for wave in waves[: halting + 1] for member in wave.members]
    await fleet.live(
        [
            Behaviour(
                deployment=member.deployment,
                takes=timedelta(hours=1),
                fails_as=f"server/canary/{member.deployment}" if member.deployment in failing else "",
            )
            for member in reached
        ]
    )

    rollout = await fleet.roll_out(
        waves, RolloutPolicy(limits=RolloutLimits(total=6, per_cloud=3, per_customer=1), silence=timedelta(days=2))
    )
    await fleet.pass_time(timedelta(days=20))
    state = await rollout.query(Rollout.current_state)

    assert state.phase is RolloutPhase.HALTED
    assert state.wave == halting
    allowed = max(1, 0.05 * len(waves[halting].members))
    assert state.tallies[halting].failed > allowed
    assert f"failed in wave {waves[halting].name}" in state.stopped_because
    halted_at = state.since
    records = [await fleet.record(member.deployment) for member in waves[halting].members]
    assert all(record.started_at is None or record.started_at <= halted_at for record in records)
    assert any(record.started_at is None for record in records)

    await rollout.execute_update(Rollout.end, ASKED)
    assert (await rollout.result()).phase is RolloutPhase.ENDED


async def test_one_signature_on_two_deployments_halts_and_an_operator_lets_it_go_on(fleet: Fleet) -> None:
    """Two alike halt at once; after a resume they no longer count, and the rest is upgraded."""
    everybody = members(12, fleet.name)
    waves = waves_of(everybody, release=fleet.name)
    bad = {member.deployment for member in waves[-1].members[:2]}
    await fleet.live(
        [
            Behaviour(deployment=member.deployment, fails_as="server/canary/api" if member.deployment in bad else "")
            for member in everybody
        ]
    )

    rollout = await fleet.roll_out(waves)
    await fleet.pass_time(timedelta(days=10))
    halted = await rollout.query(Rollout.current_state)
    assert halted.phase is RolloutPhase.HALTED
    assert "server/canary/api on 2 deployments" in halted.stopped_because

    await rollout.execute_update(Rollout.resume, ASKED)
    state = await rollout.result()
    assert state.phase is RolloutPhase.DONE
    assert sum(tally.done for tally in state.tallies) == 10
    assert sum(tally.failed for tally in state.tallies) == 2


async def test_a_wave_waits_for_its_approval_and_a_pause_keeps_everybody_from_starting(fleet: Fleet) -> None:
    """Nothing of the wave starts before it is approved, nor while the rollout is paused."""
    everybody = members(6, fleet.name)
    waves = waves_of(everybody, release=fleet.name)
    await fleet.live([Behaviour(deployment=member.deployment) for member in everybody])
    last = waves[-1].name

    rollout = await fleet.roll_out(waves, RolloutPolicy(approve=(last,)))
    await fleet.pass_time(timedelta(days=10))
    assert (await rollout.query(Rollout.current_state)).phase is RolloutPhase.APPROVING
    await rollout.execute_update(Rollout.pause, ASKED)
    await rollout.execute_update(Rollout.approve_wave, WaveApproval(wave=WaveName(last), actor=ACTOR))
    await fleet.pass_time(timedelta(days=10))
    waiting = [await fleet.record(member.deployment) for member in waves[-1].members]
    assert not any(record.started_at for record in waiting)

    await rollout.execute_update(Rollout.resume, ASKED)
    assert (await rollout.result()).phase is RolloutPhase.DONE


async def test_a_deployment_that_refuses_or_is_gone_does_not_keep_the_wave(fleet: Fleet) -> None:
    """Refusals are counted apart from failures and halt nothing."""
    everybody = members(5, fleet.name)
    gone, refusing = everybody[0].deployment, everybody[1].deployment
    await fleet.live(
        [
            Behaviour(deployment=member.deployment, refuses="no path" if member.deployment == refusing else "")
            for member in everybody
            if member.deployment != gone
        ]
    )

    rollout = await fleet.roll_out(waves_of(everybody, release=fleet.name))
    state = await rollout.result()

    assert state.phase is RolloutPhase.DONE
    assert sum(tally.refused for tally in state.tallies) == 2
    assert sum(tally.done for tally in state.tallies) == 3


async def test_a_deployment_that_runs_and_falls_silent_halts_and_is_told_to_stop(fleet: Fleet) -> None:
    """Missing telemetry halts; those under way are told to stop at their next checkpoint."""
    everybody = members(4, fleet.name)
    waves = waves_of(everybody, release=fleet.name)
    silent = waves[0].members[0].deployment
    await fleet.live(
        [Behaviour(deployment=member.deployment, silent=member.deployment == silent) for member in everybody]
    )

    rollout = await fleet.roll_out(waves)
    await fleet.pass_time(timedelta(days=1))

    state = await rollout.query(Rollout.current_state)
    assert state.phase is RolloutPhase.HALTED
    assert f"{silent} has not been heard of" in state.stopped_because
    assert (await fleet.record(silent)).held
    await rollout.execute_update(Rollout.end, ASKED)
    await rollout.result()


async def test_a_fresh_run_goes_on_where_the_one_before_stood(fleet: Fleet) -> None:
    """The upgrades under way do not notice, and nobody is asked twice."""
    everybody = members(9, fleet.name)
    await fleet.live([Behaviour(deployment=member.deployment, takes=timedelta(hours=5)) for member in everybody])

    rollout = await fleet.roll_out(waves_of(everybody, release=fleet.name))
    await fleet.pass_time(timedelta(hours=1))
    await rollout.execute_update(Rollout.continue_as_new_now, ACTOR)
    state = await rollout.result()

    assert state.runs == 2
    assert state.phase is RolloutPhase.DONE
    assert sum(tally.done for tally in state.tallies) == 9


async def test_a_fresh_run_in_the_middle_of_a_wave_forgets_nobody(fleet: Fleet) -> None:
    """It begins while more deployments are to be told than are told at once; each hears what it has to."""
    everybody = members(3 * TOLD_AT_ONCE, fleet.name, customers=150)
    await fleet.live([Behaviour(deployment=member.deployment) for member in everybody])
    wave = Wave(name=WaveName.REST, members=tuple(everybody), bake=timedelta(0))

    limits = RolloutLimits(total=150, per_cloud=150, per_customer=150)
    rollout = await fleet.roll_out((wave,), RolloutPolicy(limits=limits))
    for _ in range(3):
        await rollout.execute_update(Rollout.continue_as_new_now, ACTOR)
    async with asyncio.timeout(60):
        state = await rollout.result()

    assert state.runs > 1
    assert state.phase is RolloutPhase.DONE
    assert sum(tally.done for tally in state.tallies) == len(everybody)


async def test_an_urgent_rollout_begins_when_two_others_have_approved_the_override(fleet: Fleet) -> None:
    """Nobody is asked before; who asked for it does not count, nor does the same person twice."""
    everybody = members(4, fleet.name)
    await fleet.live([Behaviour(deployment=member.deployment) for member in everybody])
    ada, grace = (
        RolloutRequest(actor=Actor(name=f"{name}@vendor.example", door=Door.CLI)) for name in ("ada", "grace")
    )

    rollout = await fleet.roll_out(waves_of(everybody, release=fleet.name, urgent=True), urgent=True)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await rollout.execute_update(Rollout.approve_override, ASKED)
    assert "two other persons" in str(refused.value.cause)
    await rollout.execute_update(Rollout.approve_override, ada)
    await rollout.execute_update(Rollout.approve_override, ada)
    await fleet.pass_time(timedelta(hours=5))
    waiting = await rollout.query(Rollout.current_state)
    assert waiting.phase is RolloutPhase.APPROVING
    assert not waiting.active

    await rollout.execute_update(Rollout.approve_override, grace)
    state = await rollout.result()

    assert state.phase is RolloutPhase.DONE
    assert [approver.name for approver in state.overridden_by] == ["ada@vendor.example", "grace@vendor.example"]
    overrides = [await fleet.override(member.deployment) for member in everybody]
    assert all(override and len(override.approvers) == 2 for override in overrides)
