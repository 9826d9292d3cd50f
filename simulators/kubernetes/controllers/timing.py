"""When something is due: simulated durations, and the wake-up calls of controllers that wait for one."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from simulators.clock import Clock


class Durations(BaseModel):
    """How long things take inside a cluster, in seconds of simulated time unless said otherwise."""

    model_config = ConfigDict(frozen=True)

    pod_start: float = 10.0
    """From scheduling until the containers run and are ready."""
    pod_stop: float = 2.0
    """From the deletion of a pod until its containers have ended, if its grace period allows that long."""
    provider_poll: float = 5.0
    """Between two looks at a load balancer or a volume that the cloud is still making or removing."""
    restart_back_off: float = 10.0
    """Before the first restart of a failed container; doubled for each further one."""
    longest_back_off: float = 300.0
    not_ready_eviction: float = 300.0
    """How long pods stay on a node that is not ready, unless they tolerate it for another time."""
    least_wait: float = 0.2
    """*Real* seconds between two attempts at what keeps failing, so that no speed of the clock makes a busy loop."""
    least_deadline: float = 10.0
    """*Real* seconds for which a rollout may show no progress, however fast the clock: beyond some speed the time that
    this machine needs would otherwise look like a rollout that is stuck."""


class Alarm:
    """Tells whether a duration has passed, and remembers when the next one that has not is due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: float | None = None

    def now(self) -> float:
        """Return the simulated time in seconds since the Unix epoch."""
        return self._clock.time()

    def has_passed(self, since: float, seconds: float, *, least_real: float = 0.0) -> bool:
        """Return whether `seconds` have passed since the simulated instant `since`; if not, wake up when they have.

        At infinite speed they have passed at once, except that `least_real` seconds of real time pass at any speed.
        """
        endless = math.isinf(self._clock.speed)
        needed = max(0.0 if endless else seconds, least_real * (1.0 if endless else self._clock.speed))
        due = since + needed
        if due <= self.now():
            return True
        self._due = due if self._due is None else min(self._due, due)
        return False

    def has_elapsed(self, since: float, seconds: float) -> bool:
        """Return whether `seconds` of simulated time have gone by; if not, wake up when they have.

        For deadlines and lifetimes: unlike the delays of `has_passed`, they must not be over at once at infinite speed,
        at which simulated time follows real time.
        """
        due = since + seconds
        if due <= self.now():
            return True
        self._due = due if self._due is None else min(self._due, due)
        return False

    def wake_after(self, seconds: float, *, least_real: float = 0.0) -> None:
        """Ask to be woken in `seconds` of simulated time, but not before `least_real` seconds of real time."""
        self.has_passed(self.now(), seconds, least_real=least_real)

    def is_due(self) -> bool:
        """Return whether the instant that was waited for has come."""
        return self._due is not None and self._due <= self.now()

    def silence(self) -> None:
        """Forget what was waited for; the next look registers anew what it still waits for."""
        self._due = None

    def real_seconds_left(self) -> float | None:
        """Return how long to sleep in real time, or None if nothing is waited for."""
        if self._due is None:
            return None
        left = max(0.0, self._due - self.now())
        return left if math.isinf(self._clock.speed) else self._clock.real_seconds(left)
