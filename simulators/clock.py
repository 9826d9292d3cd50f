"""Simulated time: every simulator of one world shares one clock, so that minutes of cloud latency pass in seconds."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

Action = Callable[[], None]


class Clock:
    """Keeps simulated time, which starts now and runs `speed` times as fast as real time.

    `speed=math.inf` means that whatever is scheduled is due at once; simulated time then follows real time.
    Scheduled actions run in `settle()`, on the caller's thread, in the order in which they are due.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"speed is {speed}; it must be a positive number (or inf)")
        self._lock = threading.RLock()
        self._speed = speed
        self._epoch = time.time()
        self._anchor = time.monotonic()
        self._order = itertools.count()
        self._due: list[tuple[float, int, Action]] = []

    @property
    def speed(self) -> float:
        """Simulated seconds that pass in one real second."""
        return self._speed

    def set_speed(self, speed: float) -> None:
        """Change the speed from now on; simulated time stays continuous."""
        if not speed > 0:
            raise ValueError(f"speed is {speed}; it must be a positive number (or inf)")
        with self._lock:
            self._epoch = self.time()
            self._anchor = time.monotonic()
            self._speed = speed

    def advance(self, seconds: float) -> None:
        """Let simulated time jump forward, exactly so far; what becomes due by it runs in the next `settle()`."""
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} seconds")
        with self._lock:
            self._epoch = self.time() + seconds
            self._anchor = time.monotonic()

    def time(self) -> float:
        """Return the simulated time in seconds since the Unix epoch."""
        with self._lock:
            speed = 1.0 if math.isinf(self._speed) else self._speed
            return self._epoch + (time.monotonic() - self._anchor) * speed

    def now(self) -> datetime:
        """Return the simulated time as an aware UTC datetime."""
        return datetime.fromtimestamp(self.time(), UTC)

    def real_seconds(self, simulated_seconds: float) -> float:
        """Return how long `simulated_seconds` take in real seconds (0.0 at infinite speed)."""
        return simulated_seconds / self._speed

    def schedule(self, simulated_seconds: float, action: Action) -> None:
        """Let `action` run in the first `settle()` that is at least `simulated_seconds` from now."""
        with self._lock:
            due = 0.0 if math.isinf(self._speed) else self.time() + simulated_seconds
            heapq.heappush(self._due, (due, next(self._order), action))

    def forget(self) -> None:
        """Drop everything that is scheduled."""
        with self._lock:
            self._due.clear()

    def settle(self) -> int:
        """Run what is due, including what becomes due by it, and return how many actions ran."""
        ran = 0
        while True:
            with self._lock:
                if not self._due or self._due[0][0] > self.time():
                    return ran
                _, _, action = heapq.heappop(self._due)
                action()
            ran += 1
