"""Deeds, sent along: with an activity's answer, with its failure, and with the heartbeats that the next attempt reads.

An answer carries them in its payload's metadata, which no workflow reads: contracts, replay and workers of another
version are not concerned. A failure that is not tried again carries them behind its own detail.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from activities import deeds
from domain.audit import Deed

_DEEDS = TypeAdapter(list[Deed])


class RecordedDeeds(Interceptor):
    """Records what each activity changed. It stands outside of whatever turns exceptions into failures."""

    def __init__(self, *, remembered: int = 500) -> None:
        """Remember the deeds of so many activities whose next attempt may come to this worker again."""
        self._memory = _Memory(remembered)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's name
        """Wrap the activity."""
        return _Recording(super().intercept_activity(next), self._memory)


class _Memory:
    """What attempts did, in this process: those that are tried again, and those that Temporal has given up meanwhile.

    Usually the last heartbeat says the same. It is lost, though, if the attempt ends while the heartbeat before it is
    still on its way. And on a machine that is overloaded an attempt may live on, and end, after it was taken for dead:
    nobody hears of its end, and the next attempt may have begun before.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._deeds: dict[tuple[str, str], tuple[Deed, ...]] = {}
        """Keyed by the workflow's run and the activity's id, oldest first."""

    def keep(self, done: list[Deed]) -> None:
        """Keep what the running activity did until now."""
        self._deeds[_of_this_activity()] = tuple(done)
        while len(self._deeds) > self._size:
            del self._deeds[next(iter(self._deeds))]

    def take(self) -> tuple[Deed, ...]:
        """Return what was kept for the running activity, and forget it."""
        return self._deeds.pop(_of_this_activity(), ())


class _Recording(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, memory: _Memory) -> None:  # noqa: A002 - the SDK's name
        super().__init__(next)
        self._memory = memory
        self._done: list[Deed] = []

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        self._heartbeats = _Carrying(outbound, self._done)
        super().init(self._heartbeats)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        earlier = {*_told_by_heartbeat(), *self._memory.take()}
        self._done.extend(sorted(earlier, key=lambda deed: deed.at))
        with deeds.collected(self._done):
            try:
                answer = await super().execute_activity(input)
                late = [deed for deed in self._memory.take() if deed not in self._done]
                self._done[:0] = late
                if self._done:
                    self._memory.keep(self._done)
            except ApplicationError as error:
                if not self._done:
                    raise
                # Of an attempt that is tried again Temporal keeps the last heartbeat, and its failure if that is small.
                self._heartbeats.heartbeat()
                if not error.non_retryable:
                    self._memory.keep(self._done)
                    raise
                raise _with_deeds(error, self._done) from error.__cause__
            except BaseException:
                if self._done:
                    self._heartbeats.heartbeat()
                    self._memory.keep(self._done)
                raise
        return _annotated(answer, self._done) if self._done else answer


class _Carrying(ActivityOutboundInterceptor):
    """Puts the deeds so far into every heartbeat that says nothing else: one without them would forget them."""

    def __init__(self, next: ActivityOutboundInterceptor, done: list[Deed]) -> None:  # noqa: A002 - the SDK's name
        super().__init__(next)
        self._done = done

    def heartbeat(self, *details: Any) -> None:  # noqa: ANN401 - the SDK's signature
        carried = (list(self._done),) if self._done else ()
        super().heartbeat(*(details or carried))


def _of_this_activity() -> tuple[str, str]:
    info = activity.info()
    return info.workflow_run_id or "", info.activity_id


def _told_by_heartbeat() -> list[Deed]:
    """Return what the attempts before this one did; nothing if an older worker's heartbeat said something else."""
    try:
        return _DEEDS.validate_python(next(iter(activity.info().heartbeat_details), []))
    except ValidationError:
        return []


def _annotated(answer: Any, done: list[Deed]) -> RawValue:  # noqa: ANN401 - whatever the activity answers
    (payload,) = activity.payload_converter().to_payloads([answer])
    payload.metadata[deeds.PAYLOAD_METADATA] = _DEEDS.dump_json(done, by_alias=True, exclude_defaults=True)
    return RawValue(payload)


def _with_deeds(error: ApplicationError, done: list[Deed]) -> ApplicationError:
    return ApplicationError(
        error.message,
        *error.details,
        list(done),
        type=error.type,
        non_retryable=error.non_retryable,
        next_retry_delay=error.next_retry_delay,
        category=error.category,
    )
