"""When a canary is promoted, rolled back, or cannot be judged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from domain.upgrade import Counters, Judgement, Measurement
from domain.verification import is_broken, judge, percentile, without_gap

START = datetime(2026, 6, 7, 2, tzinfo=UTC)
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0)


class Side:
    """The pods of one revision: what they count goes up with each round."""

    def __init__(self, pods: int) -> None:
        self.now = Counters(pods=pods, ready=pods, latency={str(bound): 0 for bound in (*BUCKETS, "+Inf")})

    def serve(self, requests: int, *, errors: int = 0, took: float = 0.05) -> None:
        """Count so many requests more, each of which took as long as `took`."""
        latency = {
            bound: count + (requests if bound == "+Inf" or took <= float(bound) else 0)
            for bound, count in self.now.latency.items()
        }
        self.now = self.now.model_copy(
            update={
                "requests": self.now.requests + requests,
                "errors": self.now.errors + errors,
                "latency": latency,
            }
        )


def observed(
    rounds: Sequence[dict[str, float]], *, others: dict[str, float] | None = None, alone: bool = False
) -> list[Measurement]:
    """Return the measurements of so many rounds: what one canary pod and each of two other pods did in each."""
    canary, control = Side(1), Side(2)
    usual: dict[str, float] = {"requests": 100, "errors": 0, "took": 0.05}
    seen = [Measurement(at=START, canary=canary.now, control=None if alone else control.now)]
    for number, each in enumerate(rounds, start=1):
        mine, theirs = {**usual, **each}, {**usual, **(others or {})}
        canary.serve(int(mine["requests"]), errors=int(mine["errors"]), took=mine["took"])
        control.serve(2 * int(theirs["requests"]), errors=2 * int(theirs["errors"]), took=theirs["took"])
        at = START + number * timedelta(minutes=1)
        seen.append(Measurement(at=at, canary=canary.now, control=None if alone else control.now))
    return seen


def changed(seen: list[Measurement], index: int, **canary: object) -> list[Measurement]:
    """Return the measurements with something else in one of the canary's."""
    found = seen[index].canary
    assert found is not None
    seen[index] = seen[index].model_copy(update={"canary": found.model_copy(update=canary)})
    return seen


FINE: dict[str, float] = {}


@pytest.mark.parametrize(
    ("rounds", "others", "expected", "words"),
    [
        pytest.param([FINE] * 5, {}, Judgement.PROMOTE, "500 requests in 5 rounds, 0 failed", id="as the others"),
        pytest.param([{"errors": 1}] * 5, {}, Judgement.ROLL_BACK, "1.0 % of the canary's", id="a point, sustained"),
        pytest.param([{"errors": 1}] * 4 + [FINE], {}, Judgement.PROMOTE, "4 failed", id="a point, not sustained"),
        pytest.param([{"errors": 2}] * 4 + [FINE], {}, Judgement.PROMOTE, "8 failed", id="two points, not sustained"),
        pytest.param([FINE] * 4 + [{"errors": 3}], {}, Judgement.ROLL_BACK, "3.0 %", id="three points at once"),
        pytest.param([{"errors": 5}] * 5, {"errors": 5}, Judgement.PROMOTE, "25 failed", id="as bad as the others"),
        pytest.param(
            [{"errors": 8}] * 5, {"errors": 5}, Judgement.ROLL_BACK, "the others 5.0 %", id="worse than the others"
        ),
        pytest.param([{"took": 0.25}] * 5, {}, Judgement.ROLL_BACK, "took up to 250 ms, the others' 50 ms", id="slow"),
        pytest.param(
            [FINE, {"took": 0.25}, {"took": 0.25}, {"took": 0.25}, FINE],
            {},
            Judgement.ROLL_BACK,
            "250 ms",
            id="slow for three rounds in a row",
        ),
        pytest.param(
            [{"took": 0.25}, {"took": 0.25}, FINE, {"took": 0.25}, {"took": 0.25}],
            {},
            Judgement.PROMOTE,
            "95 % took up to 250 ms",
            id="slow for two rounds in a row, twice",
        ),
        pytest.param([{"took": 0.1}] * 5, {}, Judgement.PROMOTE, "100 ms", id="twice as slow, not more"),
        pytest.param(
            [{"took": 0.5}] * 5, {"took": 0.25}, Judgement.PROMOTE, "500 ms", id="exactly twice, a quarter more"
        ),
        pytest.param(
            [{"took": 9.0}] * 5, {}, Judgement.ROLL_BACK, "longer than every bucket", id="beyond every bucket"
        ),
        pytest.param([{"requests": 80}] * 5, {}, Judgement.ROLL_BACK, "answered 80% of what", id="a fifth fewer"),
        pytest.param([{"requests": 81}] * 5, {}, Judgement.PROMOTE, "405 requests", id="not quite a fifth fewer"),
        pytest.param(
            [{"requests": 50}] * 4 + [FINE], {}, Judgement.PROMOTE, "300 requests", id="fewer, but not in every round"
        ),
        pytest.param([{"requests": 300}] * 5, {}, Judgement.PROMOTE, "1500 requests", id="more than the others"),
        pytest.param(
            [{"requests": 3}] * 5, {"requests": 3}, Judgement.INCONCLUSIVE, "15 requests, of fewer than 20", id="idle"
        ),
        pytest.param(
            [{"requests": 0}] * 5, {"requests": 0}, Judgement.INCONCLUSIVE, "0 requests", id="no request at all"
        ),
        pytest.param([FINE], {}, Judgement.PROMOTE, "in 1 rounds", id="one round"),
        pytest.param([], {}, Judgement.INCONCLUSIVE, "fewer than two measurements", id="no round"),
    ],
)
def test_the_canary_is_compared_with_the_others(
    rounds: list[dict[str, float]], others: dict[str, float], expected: Judgement, words: str
) -> None:
    """Errors, latency and throughput, each against what the others did in the same time."""
    verdict = judge("api", observed(rounds, others=others))

    assert (verdict.about, verdict.judgement) == ("api", expected), verdict.evidence
    assert words in verdict.evidence


def test_a_few_milliseconds_are_nobodys_trouble() -> None:
    """Four times as slow as the others is fine where it is less than 50 ms."""
    fast = [
        Measurement(at=START, canary=Counters(pods=1, ready=1), control=Counters(pods=1, ready=1)),
        Measurement(
            at=START,
            canary=Counters(pods=1, ready=1, requests=100, latency={"0.01": 0, "0.04": 100, "+Inf": 100}),
            control=Counters(pods=1, ready=1, requests=100, latency={"0.01": 100, "0.04": 100, "+Inf": 100}),
        ),
    ]

    assert judge("api", fast).judgement is Judgement.PROMOTE


@pytest.mark.parametrize(
    ("canary", "words"),
    [
        ({"oom_kills": 1}, "killed 1 times for want of memory"),
        ({"restarts": 2}, "restarted 2 times"),
        ({"ready": 0}, "1 of 1 canary pods are not ready any more"),
    ],
)
def test_what_is_broken_is_rolled_back_whatever_else_is_known(canary: dict[str, object], words: str) -> None:
    """A canary that was killed, crashes or is not ready any more needs no further rounds, and no rates."""
    several = changed(observed([FINE] * 3), -1, **canary)
    single = changed(observed([]), 0, **canary)

    for seen in (several, single):
        assert is_broken(seen)
        verdict = judge("store", seen)
        assert (verdict.judgement, words in verdict.evidence) == (Judgement.ROLL_BACK, True)


def test_restarts_are_compared_with_the_others() -> None:
    """One restart is no crash loop, and as many as the others had are not the release's."""
    once = changed(observed([FINE] * 3), -1, restarts=1)
    assert judge("api", once).judgement is Judgement.PROMOTE

    everywhere = changed(observed([FINE] * 3), -1, restarts=5)
    others = everywhere[-1].control
    assert others is not None
    everywhere[-1] = everywhere[-1].model_copy(update={"control": others.model_copy(update={"restarts": 4})})
    assert not is_broken(everywhere)
    assert judge("api", everywhere).judgement is Judgement.PROMOTE


@pytest.mark.parametrize("index", [0, 2, -1])
@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("canary", "the canary's metrics could not be read"),
        ("control", "the metrics of the pods to compare with could not be read"),
    ],
)
def test_missing_telemetry_is_never_taken_for_good(missing: str, words: str, index: int) -> None:
    """Of canary or control, in any measurement: it cannot be told."""
    seen = observed([FINE] * 4)
    seen[index] = seen[index].model_copy(update={missing: None})

    verdict = judge("api", seen)

    assert (verdict.judgement, verdict.evidence) == (Judgement.INCONCLUSIVE, words)


@pytest.mark.parametrize("counter", ["requests", "errors"])
def test_counters_that_began_anew_cannot_be_compared(counter: str) -> None:
    """A container that started again counts from zero: the round says nothing."""
    seen = changed(observed([{"errors": 1}] * 4), 2, **{counter: 0})

    verdict = judge("api", seen)

    assert (verdict.judgement, verdict.evidence) == (
        Judgement.INCONCLUSIVE,
        "counters began anew while the canary was observed",
    )


def test_after_a_gap_it_is_judged_by_what_came_later() -> None:
    """Missing telemetry and counters that began anew are left behind; the gap itself tells nothing."""
    silent, anew = observed([FINE] * 4), changed(observed([FINE] * 4), 2, requests=0)
    silent[2] = silent[2].model_copy(update={"canary": None})

    assert without_gap(silent) == silent[3:]
    assert without_gap(anew) == anew[2:]
    assert judge("api", without_gap(silent)).judgement is Judgement.PROMOTE
    assert without_gap(observed([FINE] * 2)) == observed([FINE] * 2)
    assert without_gap(observed([FINE] * 2, alone=True)) == []
    assert len(without_gap(observed([FINE] * 2, alone=True), alone=True)) == 3


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([FINE] * 5, Judgement.PROMOTE),
        ([{"errors": 1}] * 5, Judgement.ROLL_BACK),
        ([{"errors": 3}, FINE, FINE], Judgement.ROLL_BACK),
        ([{"took": 0.5}] * 5, Judgement.PROMOTE),
        ([{"requests": 1}] * 5, Judgement.INCONCLUSIVE),
    ],
)
def test_one_that_is_alone_is_judged_by_its_errors(rounds: list[dict[str, float]], expected: Judgement) -> None:
    """With a single replica nothing is left to compare with: errors count absolutely, requests have to be enough."""
    assert judge("store", observed(rounds, alone=True), alone=True).judgement is expected


def test_without_others_only_what_is_alone_is_judged() -> None:
    """The same measurements cannot be told of a component that should have others beside it."""
    assert judge("api", observed([FINE] * 5, alone=True)).judgement is Judgement.INCONCLUSIVE


@pytest.mark.parametrize(
    ("latency", "share", "expected"),
    [
        ({"0.05": 95, "0.1": 99, "+Inf": 100}, 0.95, 0.05),
        ({"0.05": 94, "0.1": 99, "+Inf": 100}, 0.95, 0.1),
        ({"0.1": 99, "0.05": 10, "+Inf": 100}, 0.5, 0.1),
        ({"0.05": 1, "10": 1, "2.5": 1}, 0.95, 0.05),
        ({"0.05": 0, "+Inf": 0}, 0.95, None),
        ({}, 0.95, None),
    ],
)
def test_percentile(latency: dict[str, int], share: float, expected: float | None) -> None:
    """The upper bound of the bucket that holds the share, ordered by number and not by text."""
    assert percentile(latency, share) == expected
