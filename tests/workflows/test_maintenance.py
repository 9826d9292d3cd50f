"""Upgrades of a deployment wait for windows, go before each other, park and go on; on a server that skips time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.actor import Actor, Door
from domain.approval import ApprovalPolicy, Side
from domain.operation import OperationKind, OperationPhase
from domain.pending import PendingChoice
from domain.rollout_messages import MemberReport, MemberState, RolloutOffer, RolloutWord
from domain.state import OperationRequest
from domain.upgrade import StageKind, UpgradeRequest
from tests.skipping_server import acting, skipping_server
from tests.workflows.orders import ADA, GRACE
from tests.workflows.scripted_cloud import ScriptedCloud
from tests.workflows.skipping import DAY, HOUR, Skipping, newer, opening_of, refused, trail_of, urgent
from tests.workflows.upgrading import BAD, SLOW, ListeningRollout, ScriptedUpgrade
from tests.workflows.windows import weekly
from workers.assembly import WORKFLOWS
from workflows.deployment import Deployment
from workflows.temporal import ids, queues

BOB = Actor(name="bob@vendor.example", door=Door.CLI)

_STANDING_IN = ("Upgrade", "Rollout")

Begin = Callable[..., Awaitable[Skipping]]


@pytest.fixture(scope="module")
async def skipping() -> AsyncIterator[tuple[WorkflowEnvironment, ScriptedCloud]]:
    """A server that skips time, with a scripted cloud's workers."""
    async with skipping_server() as environment:
        client, cloud = environment.client, ScriptedCloud()
        real = [each for each in WORKFLOWS if each.__name__ not in _STANDING_IN]
        async with (
            Worker(client, task_queue=queues.LIFECYCLES, workflows=[*real, ScriptedUpgrade, ListeningRollout]),
            acting(client, queues.cloud_queue("aws"), cloud.activities()),
            acting(client, queues.SERVICES, cloud.activities()),
        ):
            yield environment, cloud


@pytest.fixture
async def begin(skipping: tuple[WorkflowEnvironment, ScriptedCloud]) -> AsyncIterator[Begin]:
    """Start deployments whose window comes five days from now, for four hours; they are ended with the test."""
    environment, cloud = skipping
    cloud.reset()
    begun: list[Skipping] = []

    async def begin_one(*, after: timedelta = 5 * DAY, lasts: timedelta = 4 * HOUR, **changes: Any) -> Skipping:
        policy = weekly(await environment.get_current_time() + after, lasts)
        deployment = await Skipping.begun(environment, cloud, f"d{uuid4().hex[:8]}", policy=policy, **changes)
        begun.append(deployment)
        return deployment

    yield begin_one
    for each in begun:
        if not (await each.state()).phase.is_over:
            await each.handle.terminate()


async def test_an_upgrade_waits_for_its_notice_and_its_window(begin: Begin) -> None:
    """It starts in the first window after the notice, not before, and what runs afterwards is in the specification."""
    deployment = await begin(after=2 * DAY)

    accepted = await deployment.ask(release=newer())

    state = await deployment.state()
    opens = opening_of(state, accepted.operation_id)
    assert opens - await deployment.now() > 8 * DAY, "the window after two days is within the notice of three"
    assert "notice: upgrade/2 (server 4.12.2) from" in trail_of(state)
    await deployment.pass_until(opens - HOUR)
    assert (await deployment.state()).queue, "it waits up to the window"
    await deployment.pass_time(3 * HOUR)
    state = await deployment.ended(accepted.operation_id)
    started = state.past[-1].started_at
    assert started is not None
    assert opens <= started < opens + HOUR
    assert (state.order.release.version, state.order.spec.release) == ("4.12.2", "4.12.2")
    assert state.broken_windows == ()


async def test_a_changed_policy_wakes_the_wait_and_reaches_the_provider(begin: Begin) -> None:
    """The new window is used, the old one is not; the cloud is told; other operations are done meanwhile."""
    deployment = await begin()
    accepted = await deployment.ask(release=newer())
    old = opening_of(await deployment.state(), accepted.operation_id)

    await deployment.change(weekly(old + 2 * DAY))

    await deployment.ended("reconfigure/3")
    state = await deployment.until(lambda state: opening_of(state, accepted.operation_id) == old + 2 * DAY)
    assert "set_maintenance_policy" in deployment.cloud.calls_for(deployment.name)[-2:]
    await deployment.pass_until(old + 5 * HOUR)
    assert (await deployment.state()).queue, "the old window is gone"
    await deployment.pass_time(2 * DAY)
    state = await deployment.ended(accepted.operation_id)
    assert state.past[-1].phase is OperationPhase.DONE


async def test_an_upgrade_is_deferred_twice_at_most_and_an_urgent_one_never(begin: Begin) -> None:
    """Each deferral is a week; the third is refused, and so is that of an urgent patch."""
    deployment = await begin()
    accepted = await deployment.ask(release=newer())
    first = opening_of(await deployment.state(), accepted.operation_id)

    for weeks in (1, 2):
        standing = await deployment.decide(accepted.operation_id, PendingChoice.DEFER)
        assert standing.deferrals_left == 2 - weeks
        await deployment.until(
            lambda state, weeks=weeks: opening_of(state, accepted.operation_id) == first + weeks * 7 * DAY
        )

    assert "deferred 2 times" in await refused(deployment.decide(accepted.operation_id, PendingChoice.DEFER))
    patch = await deployment.ask(release=urgent())
    assert "urgent" in await refused(deployment.decide(patch.operation_id, PendingChoice.DEFER))


async def test_immediate_starts_at_once_and_undo_takes_it_back(begin: Begin) -> None:
    """`next-window` gives up the notice, `undo` takes that back, `immediate` does not wait for a window at all."""
    deployment = await begin(after=DAY)
    accepted = await deployment.ask(release=newer())
    opens = opening_of(await deployment.state(), accepted.operation_id)

    await deployment.decide(accepted.operation_id, PendingChoice.NEXT_WINDOW)
    await deployment.until(lambda state: opening_of(state, accepted.operation_id) == opens - 7 * DAY)
    await deployment.decide(accepted.operation_id, PendingChoice.UNDO)
    await deployment.until(lambda state: opening_of(state, accepted.operation_id) == opens)
    await deployment.decide(accepted.operation_id, PendingChoice.IMMEDIATE)

    await deployment.until(lambda state: state.running is not None)
    await deployment.pass_time(HOUR)
    state = await deployment.ended(accepted.operation_id)
    assert state.broken_windows == (), "it was the customer's own wish"


async def test_it_parks_at_the_end_of_its_window_and_goes_on_in_the_next(begin: Begin) -> None:
    """The same operation, the same workflow id: what is left is done a week later, and nothing twice."""
    deployment = await begin(after=15 * DAY)
    needs = dict.fromkeys(StageKind, timedelta(hours=2))

    accepted = await deployment.ask(kubernetes="1.34", needs=needs)
    opens = opening_of(await deployment.state(), accepted.operation_id)
    await deployment.pass_until(opens + 5 * HOUR)

    state = await deployment.until(lambda state: state.running is None and bool(state.queue))
    parked = state.queue[0]
    assert parked.appointment is not None
    assert (parked.summary.phase, parked.appointment.parks) == (OperationPhase.PARKED, 1)
    assert parked.appointment.done[0] == "control-plane 1.34"
    assert state.order.spec.kubernetes == "1.34"
    await deployment.pass_time(7 * DAY)
    state = await deployment.ended(accepted.operation_id)
    assert [past.operation_id for past in state.past].count(accepted.operation_id) == 1
    assert (state.past[-1].phase, state.past[-1].workflow_id) == (OperationPhase.DONE, accepted.workflow_id)


async def test_after_three_parks_an_operator_is_waited_for(begin: Begin) -> None:
    """Windows that are too short three times are somebody's to look at; his word lets it go on."""
    deployment = await begin(after=15 * DAY, lasts=2 * HOUR)
    needs = dict.fromkeys(StageKind, timedelta(minutes=100))
    accepted = await deployment.ask(kubernetes="1.34", needs=needs)

    await deployment.pass_time(33 * DAY)

    state = await deployment.until(lambda state: bool(state.queue))
    booked = state.queue[0].appointment
    assert booked is not None
    assert (booked.parks, len(booked.left)) == (3, 1)
    assert "too short 3 times" in booked.escalated
    await deployment.pass_time(14 * DAY)
    assert (await deployment.state()).queue, "it waits for somebody"
    await deployment.decide(accepted.operation_id, PendingChoice.NEXT_WINDOW)
    await deployment.pass_time(8 * DAY)
    assert (await deployment.ended(accepted.operation_id)).past[-1].phase is OperationPhase.DONE


async def test_an_override_of_two_others_lets_an_urgent_patch_start_outside_of_the_window(begin: Begin) -> None:
    """It goes before a routine upgrade, which is reached by it; the broken window has its receipt."""
    deployment = await begin()
    routine = await deployment.ask(release=newer())
    patch = await deployment.ask(release=urgent())
    opens = opening_of(await deployment.state(), patch.operation_id)

    assert "cannot approve its override" in await refused(deployment.override(patch.operation_id, ADA))
    assert "critical severity" in await refused(deployment.override(routine.operation_id, GRACE))
    first = await deployment.override(patch.operation_id, GRACE)
    again = await deployment.override(patch.operation_id, GRACE)
    assert (first.missing, again.missing) == (1, 1)
    assert (await deployment.state()).running is None
    assert (await deployment.override(patch.operation_id, BOB)).missing == 0

    await deployment.until(lambda state: state.running is not None)
    await deployment.pass_time(HOUR)
    state = await deployment.ended(routine.operation_id)
    assert [past.operation_id for past in state.past[-2:]] == [patch.operation_id, routine.operation_id]
    assert state.order.release.version == "4.12.3"
    assert "upgrade/2 done: it is reached already" in trail_of(state)
    receipt = state.broken_windows[0]
    assert (receipt.operation_id, receipt.approvers) == (patch.operation_id, (GRACE, BOB))
    assert receipt.ended_at == state.past[-2].ended_at
    assert receipt.next_window is not None
    assert receipt.next_window.at == opens


async def test_an_override_that_expires_leaves_the_patch_to_its_window(begin: Begin) -> None:
    """With one approver after 24 hours it is void; the patch starts in its window."""
    deployment = await begin()
    patch = await deployment.ask(release=urgent())
    opens = opening_of(await deployment.state(), patch.operation_id)
    await deployment.override(patch.operation_id, GRACE)

    await deployment.pass_time(25 * HOUR)

    state = await deployment.until(lambda state: "override has expired" in trail_of(state))
    assert state.queue, "it has not started"
    await deployment.pass_until(opens + 2 * HOUR)
    state = await deployment.ended(patch.operation_id)
    assert state.broken_windows == ()


async def test_an_urgent_patch_takes_over_from_a_running_upgrade_at_its_next_checkpoint(begin: Begin) -> None:
    """The routine one stops between two stages, which is no park, and goes on as soon as it fits again."""
    deployment = await begin(after=15 * DAY, lasts=8 * HOUR)
    routine = await deployment.ask(kubernetes="1.34", needs=dict.fromkeys(StageKind, timedelta(minutes=90)))
    opens = opening_of(await deployment.state(), routine.operation_id)
    await deployment.pass_until(opens + timedelta(minutes=5))
    await deployment.until(lambda state: state.running is not None)

    patch = await deployment.ask(release=urgent(), reason="exploited")

    await deployment.pass_time(6 * HOUR)
    state = await deployment.ended(routine.operation_id)
    assert "is to stop at its next checkpoint: upgrade/3 is urgent" in trail_of(state)
    done = [past.operation_id for past in state.past[-2:]]
    assert done == [patch.operation_id, routine.operation_id]
    assert state.order.release.version == "4.12.3"
    assert state.order.spec.kubernetes == "1.34"


async def test_an_overrun_is_noted(begin: Begin) -> None:
    """What still runs after its window's end is said in the trail."""
    deployment = await begin()
    accepted = await deployment.ask(release=newer(), reason=SLOW, needs={StageKind.SERVER: 2 * HOUR})
    opens = opening_of(await deployment.state(), accepted.operation_id)

    await deployment.pass_until(opens + 7 * HOUR)

    assert "overrun: upgrade/2 runs on after its window" in trail_of(await deployment.ended(accepted.operation_id))


async def test_what_expires_is_forced_outside_of_a_window(begin: Begin) -> None:
    """At its forced instant it starts, and it cannot be deferred past that; the receipt says why."""
    deployment = await begin(after=6 * DAY)
    forced = await deployment.now() + 4 * DAY
    accepted = await deployment.ask(release=newer(), forced_at=forced)

    assert "is forced at" in await refused(deployment.decide(accepted.operation_id, PendingChoice.DEFER))
    await deployment.pass_until(forced + HOUR)

    state = await deployment.ended(accepted.operation_id)
    started = state.past[-1].started_at
    assert started is not None
    assert forced <= started < forced + HOUR
    assert "forced at" in state.broken_windows[0].reason


async def test_a_wait_survives_continue_as_new(begin: Begin) -> None:
    """A fresh run knows the appointment and starts in the same window."""
    deployment = await begin()
    accepted = await deployment.ask(release=newer())
    opens = opening_of(await deployment.state(), accepted.operation_id)

    await deployment.handle.execute_update(Deployment.continue_as_new_now, ADA)
    await deployment.until(lambda state: state.runs == 2)

    assert opening_of(await deployment.state(), accepted.operation_id) == opens
    await deployment.pass_until(opens + 2 * HOUR)
    assert (await deployment.ended(accepted.operation_id)).past[-1].phase is OperationPhase.DONE


async def test_a_newer_target_replaces_one_that_waits_and_an_older_one_is_refused(begin: Begin) -> None:
    """The older upgrade is recorded as superseded; one that is contained, or leads nowhere, is refused in words."""
    deployment = await begin()
    older = await deployment.ask(release=newer("4.12.2"))

    newest = await deployment.ask(release=newer("4.12.4"))

    state = await deployment.state()
    assert [queued.summary.operation_id for queued in state.queue] == [newest.operation_id]
    assert (state.past[-1].operation_id, state.past[-1].phase) == (older.operation_id, OperationPhase.SUPERSEDED)
    assert "leads there already" in await refused(deployment.ask(release=newer("4.12.3")))
    assert "older" in await refused(deployment.ask(release=newer("4.11.0")))


async def test_who_has_to_approve_is_reminded_and_a_missed_window_is_not_used(begin: Begin) -> None:
    """An upgrade is significant; without its approval the window passes, and the trail has the reminders."""
    policy = ApprovalPolicy(significant=(Side.CUSTOMER,))
    deployment = await begin(approvals=policy)
    await deployment.until(lambda state: state.running is None)
    accepted = await deployment.ask(release=newer())
    opens = opening_of(await deployment.state(), accepted.operation_id)

    await deployment.pass_until(opens + 5 * HOUR)

    state = await deployment.until(lambda state: opening_of(state, accepted.operation_id) == opens + 7 * DAY)
    reminders = [event.what for event in state.trail if event.what.startswith("reminder:")]
    assert 5 <= len(reminders) <= 10
    assert "approval by the customer" in reminders[0]
    await deployment.decide(accepted.operation_id, PendingChoice.WITHDRAW)
    assert (await deployment.state()).past[-1].phase is OperationPhase.DECLINED


async def test_a_member_of_a_rollout_starts_when_it_is_cleared_and_tells_each_change(begin: Begin) -> None:
    """Waiting, ready in its window, running, done; the same offer again is answered, and a second one refused."""
    deployment = await begin()
    client = deployment.environment.client
    listening = await client.start_workflow(
        ListeningRollout.run, id=ids.rollout_id(deployment.name), task_queue=queues.LIFECYCLES
    )

    async def heard(state: MemberState, count: int = 1) -> MemberReport:
        for _ in range(300):
            reports = [each for each in await listening.query(ListeningRollout.heard) if each.state is state]
            if len(reports) >= count:
                return reports[-1]
            await deployment.state()
        raise AssertionError(f"never heard {state}")

    def offer(version: str, number: int) -> RolloutOffer:
        request = OperationRequest(
            request_id=f"{deployment.name}-{number}",
            kind=OperationKind.UPGRADE,
            actor=ADA,
            upgrade=UpgradeRequest(release=newer(version)),
        )
        return RolloutOffer(rollout=deployment.name, request=request)

    word = RolloutWord(rollout=deployment.name, request_id=f"{deployment.name}-1")
    await deployment.handle.signal(Deployment.upgrade_offered, offer("4.12.2", 1))
    state = await deployment.until_booked("upgrade/2")
    opens = opening_of(state, "upgrade/2")
    await deployment.handle.signal(Deployment.upgrade_offered, offer("4.12.2", 1))
    assert (await heard(MemberState.WAITING, 3)).opens_at == opens
    await deployment.handle.signal(Deployment.upgrade_offered, offer("4.12.2", 2))
    assert "upgrade/2, to release 4.12.2, leads there already" in (await heard(MemberState.REFUSED)).detail

    await deployment.pass_until(opens + timedelta(minutes=10))
    await heard(MemberState.READY)
    assert (await deployment.state()).running is None, "it was not cleared"
    await deployment.handle.signal(Deployment.offer_cleared, word)
    await heard(MemberState.RUNNING)
    await deployment.pass_time(HOUR)

    assert (await heard(MemberState.DONE)).request_id == word.request_id
    assert (await deployment.state()).order.release.version == "4.12.2"
    await listening.terminate()


async def test_a_rollback_is_recorded_with_its_signature(begin: Begin) -> None:
    """A bad release leaves the old one in the specification; the record names what it was."""
    deployment = await begin()
    accepted = await deployment.ask(release=newer(), reason=BAD)
    opens = opening_of(await deployment.state(), accepted.operation_id)

    await deployment.pass_until(opens + 2 * HOUR)

    state = await deployment.ended(accepted.operation_id)
    assert (state.past[-1].phase, state.past[-1].signature) == (OperationPhase.ROLLED_BACK, "server/canary/api")
    assert state.order.release.version == "4.12.1"


async def test_a_member_that_is_held_stops_and_one_that_has_begun_is_not_dropped(begin: Begin) -> None:
    """A halted rollout stops it at its next checkpoint; once the rollout is ended a person decides about the rest."""
    deployment = await begin(after=15 * DAY, lasts=8 * HOUR)
    needs = dict.fromkeys(StageKind, HOUR)
    request = OperationRequest(
        request_id="r-1",
        kind=OperationKind.UPGRADE,
        actor=ADA,
        upgrade=UpgradeRequest(kubernetes="1.34", needs=needs),
    )
    word = RolloutWord(rollout="gone", request_id="r-1")
    await deployment.handle.signal(Deployment.upgrade_offered, RolloutOffer(rollout="gone", request=request))
    opens = opening_of(await deployment.until_booked("upgrade/2"), "upgrade/2")
    await deployment.handle.signal(Deployment.offer_cleared, word)
    await deployment.pass_until(opens + timedelta(minutes=10))
    await deployment.until(lambda state: state.running is not None)

    await deployment.handle.signal(Deployment.offer_held, word)

    await deployment.pass_time(2 * HOUR)
    state = await deployment.until(lambda state: bool(state.queue))
    booked = state.queue[0].appointment
    assert booked is not None
    assert (len(booked.done), booked.parks, booked.cleared) == (1, 0, False)
    await deployment.handle.signal(Deployment.offer_withdrawn, word)
    await deployment.until(lambda state: "is done in part" in trail_of(state))
    await deployment.pass_time(8 * DAY)
    assert (await deployment.state()).queue[0].summary.phase is OperationPhase.PARKED


async def test_a_retirement_overtakes_what_waits_and_ends_it(begin: Begin) -> None:
    """An upgrade that waits for its window holds nobody, and is declined when the deployment is gone."""
    deployment = await begin()
    accepted = await deployment.ask(release=newer())
    request = OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=ADA)

    await deployment.handle.execute_update(Deployment.request, request)

    state = await deployment.handle.result()
    ended = {past.operation_id: past.phase for past in state.past}
    assert (ended["retire/3"], ended[accepted.operation_id]) == (OperationPhase.DONE, OperationPhase.DECLINED)
