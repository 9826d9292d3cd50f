"""Deeds, sent along: with an activity's answer, with its failure, and with the heartbeats that the next attempt reads.

An answer carries them in its payload's metadata, which no workflow reads: contracts, replay and workers of another
version are not concerned. A failure that is not tried again carries them behind its own detail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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
from activities.deeds import Ledger
from domain.audit import Deed

_DEEDS = TypeAdapter(list[Deed])


class RecordedDeeds(Interceptor):
    """Records what each activity changed. It stands outside of whatever turns exceptions into failures."""

    def __init__(self, *, remembered: int = 500) -> None:
        """Remember the deeds of so many activities whose next attempt may come to this worker again."""
        self._ledgers = _Ledgers(remembered)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's name
        """Wrap the activity."""
        return _Recording(super().intercept_activity(next), self._ledgers)


class _Ledgers:
    """The ledgers of the activities in this process: of those that run, and of those that may be tried again.

    Usually the last heartbeat says the same. It is lost, though, if the attempt ends while the heartbeat before it is
    still on its way. And on a machine that is overloaded an attempt may live on, and end, after it was taken for dead:
    nobody hears of its end, and the next attempt may have begun before. So all attempts write into one ledger.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._ledgers: dict[tuple[str, str], Ledger] = {}
        """Keyed by the workflow's run and the activity's id, the one that was opened last at the end."""
        self._open: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def opened(self) -> Iterator[Ledger]:
        """Open the running activity's ledger for one attempt."""
        info = activity.info()
        key = (info.workflow_run_id or "", info.activity_id)
        ledger = self._ledgers[key] = self._ledgers.pop(key, Ledger())
        self._open[key] += 1
        try:
            yield ledger
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
                self._forget(key, ledger)

    def _forget(self, closed: tuple[str, str], ledger: Ledger) -> None:
        if not ledger.told():
            del self._ledgers[closed]
        for key in list(self._ledgers):
            if len(self._ledgers) - len(self._open) <= self._kept:
                break
            if key not in self._open:
                del self._ledgers[key]


class _Recording(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, ledgers: _Ledgers) -> None:  # noqa: A002 - the SDK's name
        super().__init__(next)
        self._ledgers = ledgers

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        self._heartbeats = _Carrying(outbound)
        super().init(self._heartbeats)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        with self._ledgers.opened() as ledger:
            ledger.add(_told_by_heartbeat())
            self._heartbeats.ledger = ledger
            with deeds.collected(ledger):
                try:
                    answer = await super().execute_activity(input)
                except ApplicationError as error:
                    done = ledger.told()
                    if not done:
                        raise
                    # Of an attempt that is tried again Temporal keeps the last heartbeat, and a small failure.
                    self._heartbeats.heartbeat()
                    if not error.non_retryable:
                        raise
                    raise _with_deeds(error, done) from error.__cause__
                except BaseException:
                    if ledger.told():
                        self._heartbeats.heartbeat()
                    raise
            done = ledger.told()
            return _annotated(answer, done) if done else answer


class _Carrying(ActivityOutboundInterceptor):
    """Puts the deeds so far into every heartbeat that says nothing else: one without them would forget them."""

    def __init__(self, next: ActivityOutboundInterceptor) -> None:  # noqa: A002 - the SDK's name
        super().__init__(next)
        self.ledger = Ledger()

    def heartbeat(self, *details: Any) -> None:  # noqa: ANN401 - the SDK's signature
        done = self.ledger.told()
        super().heartbeat(*(details or ((done,) if done else ())))


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
