"""Whether a canary is promoted: what it has counted, compared with what the others have counted in the same time.

What cannot be told pauses, and is never taken for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from domain.model import Model
from domain.upgrade import Counters, Judgement, Measurement, Verdict


class Thresholds(Model):
    """When a canary is rolled back."""

    error_points: float = 1.0
    """Percentage points of failed requests above the others', in every round."""
    error_points_at_once: float = 3.0
    """The same, in a single round."""
    latency_factor: float = 2.0
    """Times the others' 95th percentile, for `latency_rounds` rounds in a row."""
    latency_seconds: float = 0.05
    """And so much more than the others', for a few milliseconds are nobody's trouble."""
    latency_rounds: int = 3
    throughput_loss: float = 0.20
    """Share of the others' requests for each pod that the canary lacks, in every round."""
    least_requests: int = 20
    """In all rounds together; of fewer requests nothing can be told."""
    restarts: int = 2
    """Restarts of the canary's containers beyond the others' that are taken for a crash loop."""


USUAL = Thresholds()


@dataclass(frozen=True)
class Round:
    """What happened between two measurements, of canary and control."""

    canary: Counters
    control: Counters | None
    """None where nothing of the release before is left to compare with: a component of one replica."""


def judge(
    about: str, measurements: Sequence[Measurement], *, alone: bool = False, thresholds: Thresholds = USUAL
) -> Verdict:
    """Return the judgement of a canary.

    Args:
        about: The component.
        measurements: One more than there were rounds, oldest first; counters are those since the pods started.
        alone: Whether nothing of the release before is left to compare with, because there is one replica.
        thresholds: When to roll back.
    """
    if reason := _broken(measurements, thresholds):
        return _verdict(about, Judgement.ROLL_BACK, reason)
    rounds = _rounds(measurements, alone=alone)
    if rounds is None:
        return _verdict(about, Judgement.INCONCLUSIVE, _missing(measurements))
    requests = sum(each.canary.requests for each in rounds)
    if requests < thresholds.least_requests:
        words = (
            f"the canary answered {requests} requests, of fewer than {thresholds.least_requests} nothing can be told"
        )
        return _verdict(about, Judgement.INCONCLUSIVE, words)
    worse = _too_many_errors(rounds, thresholds) or _too_slow(rounds, thresholds) or _too_few(rounds, thresholds)
    if worse:
        return _verdict(about, Judgement.ROLL_BACK, worse)
    return _verdict(about, Judgement.PROMOTE, _summary(rounds))


def is_broken(measurements: Sequence[Measurement], thresholds: Thresholds = USUAL) -> bool:
    """Whether waiting for further rounds is of no use: the canary was killed, crashes, or is not ready any more."""
    return bool(_broken(measurements, thresholds))


def without_gap(measurements: Sequence[Measurement], *, alone: bool = False) -> list[Measurement]:
    """Return the newest measurements, back to where telemetry was missing or counters began anew.

    With them a judgement is possible again that was not before: they are continued, and nothing is told of the gap.
    """
    kept: list[Measurement] = []
    for each in reversed(measurements):
        is_missing = each.canary is None or (each.control is None and not alone)
        if is_missing or (kept and _rounds([each, kept[-1]], alone=alone) is None):
            break
        kept.append(each)
    return kept[::-1]


def percentile(latency: dict[str, int], share: float) -> float | None:
    """Return the upper bound of the bucket that holds this share of the requests; None if there were none.

    Args:
        latency: Cumulative, keyed by upper bound in seconds, with or without `+Inf`.
        share: 0.95 for the 95th percentile.
    """
    bounds = sorted(((_bound(text), count) for text, count in latency.items()), key=lambda entry: entry[0])
    total = bounds[-1][1] if bounds else 0
    if not total:
        return None
    return next(bound for bound, count in bounds if count >= share * total)


def _rounds(measurements: Sequence[Measurement], *, alone: bool) -> list[Round] | None:
    """Return what happened in each round; None if telemetry is missing or counters went backwards in it."""
    rounds = []
    for before, after in pairwise(measurements):
        canary, control = _between(before.canary, after.canary), _between(before.control, after.control)
        if canary is None or (control is None and not alone):
            return None
        rounds.append(Round(canary, control))
    return rounds or None


def _between(before: Counters | None, after: Counters | None) -> Counters | None:
    """Return the difference of counters; None if one is missing, or they went backwards: a container began anew."""
    if before is None or after is None:
        return None
    latency = {bound: count - before.latency.get(bound, 0) for bound, count in after.latency.items()}
    requests, errors = after.requests - before.requests, after.errors - before.errors
    if min(requests, errors, *latency.values(), 0) < 0:
        return None
    return after.model_copy(update={"requests": requests, "errors": errors, "latency": latency})


def _missing(measurements: Sequence[Measurement]) -> str:
    if len(measurements) < 2:
        return "there are fewer than two measurements"
    if any(each.canary is None for each in measurements):
        return "the canary's metrics could not be read"
    if any(each.control is None for each in measurements):
        return "the metrics of the pods to compare with could not be read"
    return "counters began anew while the canary was observed"


def _broken(measurements: Sequence[Measurement], thresholds: Thresholds) -> str:
    """Return why the canary is beyond help, or nothing: needs no rates, so one measurement suffices."""
    last = measurements[-1].canary if measurements else None
    if last is None:
        return ""
    control = measurements[-1].control
    if last.oom_kills:
        return f"the canary was killed {last.oom_kills} times for want of memory"
    beyond = last.restarts - (control.restarts if control else 0)
    if beyond >= thresholds.restarts:
        return f"the canary was restarted {last.restarts} times"
    if last.ready < last.pods:
        return f"{last.pods - last.ready} of {last.pods} canary pods are not ready any more"
    return ""


def _too_many_errors(rounds: Sequence[Round], thresholds: Thresholds) -> str:
    above = [_error_rate(each.canary) - (_error_rate(each.control) if each.control else 0.0) for each in rounds]
    worst = max(above)
    if worst >= thresholds.error_points_at_once or min(above) >= thresholds.error_points:
        control = rounds[above.index(worst)].control
        beside = f", the others {_error_rate(control):.1f} %" if control else ""
        return f"{_error_rate(rounds[above.index(worst)].canary):.1f} % of the canary's requests failed{beside}"
    return ""


def _too_slow(rounds: Sequence[Round], thresholds: Thresholds) -> str:
    in_a_row = 0
    for each in rounds:
        if each.control is None:
            continue
        canary, control = percentile(each.canary.latency, 0.95), percentile(each.control.latency, 0.95)
        slow = (
            canary is not None
            and control is not None
            and canary > thresholds.latency_factor * control
            and canary >= control + thresholds.latency_seconds
        )
        in_a_row = in_a_row + 1 if slow else 0
        if in_a_row >= min(thresholds.latency_rounds, len(rounds)):
            return f"95 % of the canary's requests took up to {_seconds(canary)}, the others' {_seconds(control)}"
    return ""


def _too_few(rounds: Sequence[Round], thresholds: Thresholds) -> str:
    shares = []
    for each in rounds:
        if each.control is None or not each.control.requests or not each.control.pods or not each.canary.pods:
            return ""
        canary, control = each.canary.requests / each.canary.pods, each.control.requests / each.control.pods
        shares.append(canary / control)
    if max(shares) <= 1 - thresholds.throughput_loss:
        return f"each canary pod answered {max(shares):.0%} of what each of the others did"
    return ""


def _summary(rounds: Sequence[Round]) -> str:
    requests, errors = sum(each.canary.requests for each in rounds), sum(each.canary.errors for each in rounds)
    slowest = max((found for each in rounds if (found := percentile(each.canary.latency, 0.95))), default=None)
    return f"{requests} requests in {len(rounds)} rounds, {errors} failed, 95 % took up to {_seconds(slowest)}"


def _verdict(about: str, judgement: Judgement, evidence: str) -> Verdict:
    return Verdict(about=about, judgement=judgement, evidence=evidence)


def _error_rate(counters: Counters | None) -> float:
    """Return the failed requests in percent; 0 where there were none."""
    return 100.0 * counters.errors / counters.requests if counters and counters.requests else 0.0


def _bound(text: str) -> float:
    return math.inf if text in ("+Inf", "inf") else float(text)


def _seconds(value: float | None) -> str:
    if value is None:
        return "an unknown time"
    return "longer than every bucket" if math.isinf(value) else f"{1000 * value:g} ms"
