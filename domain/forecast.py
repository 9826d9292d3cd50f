"""When each wave of a rollout will be done, simulated from the windows of its deployments before it starts.

The simulation follows the rules of `domain.rollout`: a deployment is ready when its window opens after its notice, it
is cleared within the limits, customers taking turns, and one that was not cleared while its window would do waits for
the next one. Nothing fails in it: it says how long it takes if all goes well.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.maintenance import MARGIN, Opening
from domain.model import Model
from domain.rollout import RolloutLimits, RolloutPolicy
from domain.waves import Member, Wave, WaveName

Openings = Callable[[Member, datetime], Opening | None]
"""Returns the first opening in which a deployment may start at or after an instant, or None if there is none."""


class WaveForecast(Model):
    """One wave, if all goes well."""

    name: WaveName
    size: int
    begins_at: datetime
    half_at: datetime | None = None
    """When half of its deployments are done."""
    complete_at: datetime
    """When nobody keeps it any more; its bake begins."""
    baked_at: datetime
    late: int = 0
    """Deployments whose windows come so late that the wave does not wait for them."""
    without_window: int = 0
    """Deployments that no window suits: the work takes longer than any of them."""


class Forecast(Model):
    """A rollout, if all goes well."""

    begins_at: datetime
    waves: tuple[WaveForecast, ...]
    finishes_at: datetime
    """When the last deployment is done."""


def forecast(
    waves: Sequence[Wave],
    openings: Openings,
    *,
    now: datetime,
    need: Callable[[Member], timedelta],
    notice: timedelta,
    policy: RolloutPolicy | None = None,
) -> Forecast:
    """Return when each wave begins, is complete, and has baked.

    Args:
        waves: The rollout's.
        openings: The windows of each deployment.
        now: When the rollout starts.
        need: How long the work takes on a deployment.
        notice: From the offer until the customer has had the notice that was agreed on.
        policy: The rollout's; the usual one if there is none.
    """
    policy = policy or RolloutPolicy()
    begins, last = now, now
    found = []
    for number, wave in enumerate(waves):
        ends, without = _Simulation(wave.members, openings, need, policy.limits).run(begins + notice)
        patience = None if number == len(waves) - 1 else begins + policy.patience
        in_time = [end for end in ends if patience is None or end <= patience]
        late = len(ends) - len(in_time)
        complete = patience if late and patience else max(in_time, default=begins)
        last = max(last, *ends) if ends else last
        found.append(
            WaveForecast(
                name=wave.name,
                size=len(wave.members),
                begins_at=begins,
                half_at=ends[(len(ends) - 1) // 2] if ends else None,
                complete_at=complete,
                baked_at=complete + wave.bake,
                late=late,
                without_window=without,
            )
        )
        begins = complete + wave.bake
    return Forecast(begins_at=now, waves=tuple(found), finishes_at=last)


@dataclass(order=True)
class _Turn:
    """A customer's place in one cloud's queue: who has the fewest under way, then who has waited longest."""

    under_way: int
    ready_at: datetime
    number: int
    customer: str = field(compare=False)


class _Simulation:
    """The deployments of one wave, from the offer until each has been upgraded once."""

    def __init__(
        self, members: Sequence[Member], openings: Openings, need: Callable[[Member], timedelta], limits: RolloutLimits
    ) -> None:
        self._members = members
        self._openings = openings
        self._need = need
        self._limits = limits
        self._arrivals: list[tuple[datetime, int, datetime]] = []
        """When a deployment is ready, its number, and the last instant at which it may start in that window."""
        self._departures: list[tuple[datetime, int]] = []
        self._waiting: dict[tuple[str, str], list[tuple[datetime, int, datetime]]] = defaultdict(list)
        """Heaps of arrivals that wait for a clearance, keyed by cloud and customer."""
        self._turns: dict[str, list[_Turn]] = defaultdict(list)
        """Keyed by cloud; a turn whose count is not the customer's any more is passed over."""
        self._clouds: Counter[str] = Counter()
        self._customers: Counter[str] = Counter()

    def run(self, available: datetime) -> tuple[list[datetime], int]:
        """Return when the deployments are done, in order, and how many no window suits."""
        without = sum(not self._await_window(number, available) for number in range(len(self._members)))
        ends: list[datetime] = []
        while self._arrivals or self._departures:
            now = self._next_instant()
            while self._departures and self._departures[0][0] <= now:
                end, number = heapq.heappop(self._departures)
                ends.append(end)
                self._leave(number)
            while self._arrivals and self._arrivals[0][0] <= now:
                self._arrive(heapq.heappop(self._arrivals))
            without += self._clear(now)
        return ends, without

    def _next_instant(self) -> datetime:
        """Return the next arrival or departure. Who waits is cleared when somebody leaves, so nobody waits alone."""
        instants = [heap[0][0] for heap in (self._arrivals, self._departures) if heap]
        return min(instants)

    def _await_window(self, number: int, after: datetime) -> bool:
        """Let a deployment wait for its next opening; return whether there is one."""
        member = self._members[number]
        opening = self._openings(member, after)
        if opening is None:
            return False
        latest = opening.end - MARGIN - self._need(member)
        heapq.heappush(self._arrivals, (opening.at, number, latest))
        return True

    def _arrive(self, arrival: tuple[datetime, int, datetime]) -> None:
        member = self._members[arrival[1]]
        heapq.heappush(self._waiting[member.cloud, member.customer], arrival)
        self._queue_up(member.cloud, member.customer)

    def _leave(self, number: int) -> None:
        member = self._members[number]
        self._clouds[member.cloud] -= 1
        self._customers[member.customer] -= 1
        self._queue_up_everywhere(member.customer)

    def _queue_up_everywhere(self, customer: str) -> None:
        """Give a customer its turns anew in every cloud, because its count has changed."""
        for cloud in list(self._turns):
            self._queue_up(cloud, customer)

    def _queue_up(self, cloud: str, customer: str) -> None:
        """Give a customer a turn in a cloud, by its present count and its oldest deployment there."""
        waiting = self._waiting.get((cloud, customer))
        if waiting:
            ready, number, _ = waiting[0]
            heapq.heappush(self._turns[cloud], _Turn(self._customers[customer], ready, number, customer))

    def _clear(self, now: datetime) -> int:
        """Start whoever may; return for how many no window is left."""
        without = 0
        while turn := self._next_turn():
            cloud, customer = turn
            _, number, latest = heapq.heappop(self._waiting[cloud, customer])
            if latest < now:
                without += not self._await_window(number, now)
                self._queue_up(cloud, customer)
                continue
            self._clouds[cloud] += 1
            self._customers[customer] += 1
            heapq.heappush(self._departures, (now + self._need(self._members[number]), number))
            self._queue_up_everywhere(customer)
        return without

    def _next_turn(self) -> tuple[str, str] | None:
        """Return cloud and customer whose turn it is within the limits, or None."""
        if self._clouds.total() >= self._limits.total:
            return None
        best: tuple[_Turn, str] | None = None
        for cloud, turns in self._turns.items():
            if self._clouds[cloud] >= self._limits.per_cloud:
                continue
            while turns and not self._is_current(cloud, turns[0]):
                heapq.heappop(turns)
            if turns and (best is None or turns[0] < best[0]):
                best = (turns[0], cloud)
        if best is None:
            return None
        heapq.heappop(self._turns[best[1]])
        return best[1], best[0].customer

    def _is_current(self, cloud: str, turn: _Turn) -> bool:
        """Whether a turn says what is so: the customer's count, its first deployment, and room within its limit."""
        waiting = self._waiting.get((cloud, turn.customer))
        count = self._customers[turn.customer]
        return bool(
            waiting and waiting[0][1] == turn.number and turn.under_way == count and count < self._limits.per_customer
        )
