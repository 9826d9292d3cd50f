"""Rules of a rollout: who may start, when nobody may, when a wave is complete."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import rollout
from domain.actor import Actor
from domain.operation import OperationKind
from domain.rollout import Failure, Progress, RolloutLimits, RolloutOrder, RolloutPolicy, RolloutState
from domain.rollout_messages import MemberReport, MemberState
from domain.state import OperationRequest
from domain.waves import Member, Wave, WaveName

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ACTOR = Actor(name="release@vendor.example", door="cli")


def state_of(*sizes: int, policy: RolloutPolicy | None = None) -> RolloutState:
    """Return a rollout with waves of these sizes, the first of which has begun and was asked."""
    waves = tuple(
        Wave(
            name=name,
            bake=timedelta(hours=12),
            members=tuple(Member(f"{name}-{number}", "acme", "aws", "v1-small") for number in range(size)),
        )
        for name, size in zip(WaveName, sizes, strict=False)
    )
    request = OperationRequest(request_id="r", kind=OperationKind.UPGRADE, actor=ACTOR)
    order = RolloutOrder(
        name="r",
        target="release 4.13.0",
        requests={"aws": request},
        waves=waves,
        policy=policy or RolloutPolicy(),
        actor=ACTOR,
    )
    state = rollout.opened(order, NOW)
    return rollout.tallied(state, 0, began_at=NOW, asked=sizes[0])


def progress(state: MemberState | None, *, cleared: bool = False, heard: datetime = NOW, **more: object) -> Progress:
    """Return one deployment on the way."""
    return Progress.model_validate(
        {"wave": 0, "customer": "acme", "cloud": "aws", "state": state, "heard_at": heard, "cleared": cleared, **more}
    )


def failed(signature: str, *, wave: int = 0, acknowledged: bool = False, deployment: str = "d1") -> Failure:
    """Return one failure."""
    return Failure(deployment=deployment, wave=wave, signature=signature, at=NOW, acknowledged=acknowledged)


deployments = st.dictionaries(
    st.integers(0, 99).map(str),
    st.builds(
        lambda customer, cloud, minute, cleared: progress(
            MemberState.READY, cleared=cleared, heard=NOW + timedelta(minutes=minute), customer=customer, cloud=cloud
        ),
        st.sampled_from("abcd"),
        st.sampled_from(["aws", "gcp", "azure"]),
        st.integers(0, 60),
        st.booleans(),
    ),
    max_size=60,
)
limits = st.builds(
    RolloutLimits, total=st.integers(1, 30), per_cloud=st.integers(1, 12), per_customer=st.integers(1, 8)
)


@given(deployments, limits, st.integers(0, 60))
def test_clearances_stay_within_the_limits_and_leave_nobody_waiting_who_could_start(
    active: dict[str, Progress], allowed: RolloutLimits, most: int
) -> None:
    """No limit is passed, and whoever is left could not start without passing one."""
    state = state_of(1, policy=RolloutPolicy(limits=allowed)).model_copy(update={"active": active})

    chosen = rollout.to_clear(state, most)

    assert len(chosen) == len(set(chosen)) <= most
    assert all(not active[name].cleared for name in chosen)
    before = [each for each in active.values() if each.cleared]
    after = [*before, *(active[name] for name in chosen)]
    clouds, customers = Counter(each.cloud for each in after), Counter(each.customer for each in after)
    for name in chosen:
        assert clouds[active[name].cloud] <= allowed.per_cloud
        assert customers[active[name].customer] <= allowed.per_customer
    assert not chosen or len(after) <= allowed.total
    if len(chosen) < most and len(after) < allowed.total:
        left = [each for name, each in active.items() if not each.cleared and name not in chosen]
        assert all(
            clouds[each.cloud] >= allowed.per_cloud or customers[each.customer] >= allowed.per_customer for each in left
        )


def test_customers_take_turns_whoever_asked_first() -> None:
    """A customer with many deployments that all asked first does not keep another one waiting."""
    active = {f"big-{number}": progress(MemberState.READY, customer="big") for number in range(5)}
    active["small-0"] = progress(MemberState.READY, customer="small", heard=NOW + timedelta(hours=1))
    policy = RolloutPolicy(limits=RolloutLimits(total=2, per_cloud=2, per_customer=2))
    state = state_of(6, policy=policy).model_copy(update={"active": active})

    assert rollout.to_clear(state, 10) == ["big-0", "small-0"]


@pytest.mark.parametrize(
    ("failures", "reason"),
    [
        ([failed("server/canary/api")], ""),
        ([failed("integrity/store")], "integrity/store"),
        ([failed("rollback/server/api")], "rollback/server/api"),
        ([failed("telemetry/api")], "has no telemetry"),
        ([failed("server/canary/api"), failed("server/canary/api", deployment="d2")], "on 2 deployments: d1, d2"),
        ([failed("server/canary/api"), failed("server/canary/api", acknowledged=True, deployment="d2")], ""),
        ([failed("a"), failed("b")], "2 of 10 failed in wave internal"),
        ([failed("a"), failed("b", wave=1)], ""),
        ([failed(str(number), wave=1) for number in range(5)], ""),
        ([failed(str(number), wave=1) for number in range(6)], "6 of 100 failed in wave canary"),
        ([failed("integrity/store", acknowledged=True)], ""),
    ],
)
def test_nobody_starts_any_more_when_a_rule_says_so(failures: list[Failure], reason: str) -> None:
    """Grave and alike failures halt; others when there is more than one, and more than 5 % of a wave."""
    state = state_of(10, 100).model_copy(update={"failures": tuple(failures)})

    found = rollout.halt_reason(state, NOW)

    assert reason in found
    assert bool(found) == bool(reason)


def test_silence_of_who_runs_halts_and_of_who_waits_does_not() -> None:
    """A window may be weeks away; an upgrade that runs is heard of."""
    later = NOW + timedelta(hours=7)
    waiting = state_of(1).model_copy(update={"active": {"d": progress(MemberState.WAITING)}})
    running = state_of(1).model_copy(update={"active": {"d": progress(MemberState.RUNNING, cleared=True)}})

    assert rollout.halt_reason(waiting, later) == ""
    assert "d has not been heard of since 2026-11-01T00:00:00Z" in rollout.halt_reason(running, later)
    assert rollout.halt_reason(rollout.acknowledged(running, later), later) == ""


def test_a_wave_does_not_wait_for_ever_for_a_window_but_for_who_has_begun() -> None:
    """After our patience those that only wait are left to themselves; the last wave waits for everybody."""
    state = state_of(2, 5)
    late = NOW + state.order.policy.patience
    waiting = state.model_copy(update={"active": {"d": progress(MemberState.WAITING)}})
    running = state.model_copy(update={"active": {"d": progress(MemberState.RUNNING, cleared=True)}})
    last = state_of(2).model_copy(update={"active": {"d": progress(MemberState.WAITING)}})

    assert not rollout.is_complete(waiting, late - timedelta(seconds=1))
    assert rollout.is_complete(waiting, late)
    assert not rollout.is_complete(running, late)
    assert not rollout.is_complete(last, late)


def test_a_deployment_that_parks_gives_its_place_back() -> None:
    """It asks to be cleared again when its next window opens."""
    state = state_of(1).model_copy(update={"active": {"d": progress(MemberState.READY, cleared=True)}})

    for reported, cleared in (
        (MemberState.RUNNING, True),
        (MemberState.PARKED, False),
        (MemberState.READY, False),
    ):
        state = rollout.heard(state, MemberReport(deployment="d", request_id="r", state=reported, at=NOW))
        assert state.active["d"].cleared is cleared


def test_a_report_of_somebody_who_was_not_asked_changes_nothing() -> None:
    """Nor does one that comes twice."""
    state = state_of(1).model_copy(update={"active": {"d": progress(MemberState.RUNNING, cleared=True)}})
    done = MemberReport(deployment="d", request_id="r", state=MemberState.DONE, at=NOW)

    once = rollout.heard(state, done)

    assert once.tallies[0].done == 1
    assert rollout.heard(once, done) == once
    assert rollout.heard(state, done.model_copy(update={"deployment": "stranger"})) == state
