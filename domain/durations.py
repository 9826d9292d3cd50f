"""How long steps take: what was recorded of them, and what is expected of the next one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import ceil
from typing import Annotated, Self

from pydantic import Field, model_validator

from domain.clouds import Cloud
from domain.model import Model

Seconds = Annotated[float, Field(ge=0)]

_VERSION = re.compile(r"[ /]\d+(\.\d+)+$")


class StepDuration(Model):
    """What was recorded of one step."""

    p50: Seconds
    p95: Seconds
    runs: int = 0
    """How many runs it was learnt from; 0 for a value from the design."""

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.p95 < self.p50:
            raise ValueError(f"the 95th percentile, {self.p95}, is below the median, {self.p50}")
        return self


class CloudDurations(Model):
    """The steps on one cloud."""

    looks: StepDuration
    """A step that finds everything as it should be."""
    makes: StepDuration
    """A step that has something to do, and of which nothing was recorded."""
    steps: dict[str, StepDuration]
    """Steps that have something to do, keyed by name (`install_component/store`) or activity (`install_component`)."""

    def expected(self, step: str, *, changes: bool) -> timedelta:
        """Return how long a step is expected to take: the median of what was recorded.

        Args:
            step: The step's name.
            changes: False for one that is expected to find everything as it should be.
        """
        if not changes:
            return timedelta(seconds=min(self.looks.p50, self._made(step).p50))
        return timedelta(seconds=self._made(step).p50)

    def nearly_always(self, step: str) -> timedelta:
        """Return within how long a step that has something to do ends in 95 of 100 runs."""
        return timedelta(seconds=self._made(step).p95)

    def _made(self, step: str) -> StepDuration:
        named = self.steps.get(step) or self.steps.get(without_version(step))
        return named or self.steps.get(step.partition("/")[0]) or self.makes


class Durations(Model):
    """The table of all clouds."""

    clouds: dict[Cloud, CloudDurations]
    """Keyed by cloud."""

    def learnt(self, samples: Mapping[Cloud, Mapping[str, Sequence[float]]]) -> Durations:
        """Return the table with the steps of which there are samples (seconds, keyed by cloud and step) replaced."""
        clouds = dict(self.clouds)
        for cloud, steps in samples.items():
            known = clouds[cloud]
            learnt = {step: summarized(seconds) for step, seconds in sorted(steps.items()) if seconds}
            clouds[cloud] = known.model_copy(update={"steps": {**known.steps, **learnt}})
        return self.model_copy(update={"clouds": clouds})


def without_version(step: str) -> str:
    """Return a step's name without the version at its end: the same step took as long on the way to another one."""
    return _VERSION.sub("", step)


def summarized(seconds: Sequence[float]) -> StepDuration:
    """Return what a step's durations amount to; `seconds` is not empty."""
    ordered = sorted(seconds)
    return StepDuration(p50=_percentile(ordered, 0.5), p95=_percentile(ordered, 0.95), runs=len(ordered))


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed (nearest rank)."""
    return round(ordered[ceil(share * len(ordered)) - 1], 1)
