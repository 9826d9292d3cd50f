"""Payloads of a history, read with the client's own data converter; what cannot be read is said to be so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from activities.deeds import PAYLOAD_METADATA
from domain.audit import Deed
from domain.failure import FailureClass, FailureDetail

_DEEDS = TypeAdapter(tuple[Deed, ...])


@dataclass(frozen=True)
class Value:
    """What a payload holds, as plain data."""

    data: Any = None
    deeds: tuple[Deed, ...] = ()
    readable: bool = True

    def get(self, *path: str) -> Any:  # noqa: ANN401 - plain data
        """Return a part of a mapping, None if it is not there."""
        found = self.data
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found


@dataclass(frozen=True)
class Trouble:
    """Why an activity's attempt did not succeed, and what it had done until then."""

    detail: FailureDetail
    deeds: tuple[Deed, ...] = ()
    readable: bool = True


_UNREADABLE = Value(readable=False)


class Payloads:
    """Reads payloads and failures."""

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter

    async def first(self, payloads: Sequence[Payload]) -> Value:
        """Return what the first of these payloads holds; nothing if there is none."""
        if not payloads:
            return Value()
        try:
            (raw,) = await self._converter.decode(payloads[:1], [RawValue])
            (data,) = self._converter.payload_converter.from_payloads([raw.payload])
            return Value(data, _deeds_of(raw.payload))
        except Exception:  # noqa: BLE001 - a codec raises what it likes, and a trail with a hole says more than none
            return _UNREADABLE

    async def text(self, payload: Payload) -> str:
        """Return a summary or details; empty if there are none or they cannot be read."""
        read = await self.first([payload]) if payload.metadata else Value()
        return read.data if isinstance(read.data, str) else ""

    async def trouble(self, failure: Failure) -> Trouble:
        """Return what an activity said of its failure, or an UNKNOWN one in words."""
        copied = Failure()
        copied.CopyFrom(failure)
        try:
            error = await self._converter.decode_failure(copied)
        except Exception:  # noqa: BLE001 - as above
            return Trouble(_unknown("the failure cannot be read"), readable=False)
        return self._meaning(error)

    def _meaning(self, error: BaseException) -> Trouble:
        if isinstance(error, ApplicationError):
            detail, deeds = [*error.details, None, None][:2]
            try:
                return Trouble(FailureDetail.model_validate(detail), _valid_deeds(deeds))
            except ValidationError:
                return Trouble(_unknown(error.message))
        if isinstance(error, TemporalTimeoutError):
            last = f"; the last answer was: {error.cause}" if error.cause else ""
            said = next(iter(error.last_heartbeat_details), None)
            return Trouble(_unknown(f"it did not finish within its deadline{last}"), _valid_deeds(said))
        return Trouble(_unknown(str(error)))


def _unknown(message: str) -> FailureDetail:
    return FailureDetail(failure=FailureClass.UNKNOWN, message=message)


def _deeds_of(payload: Payload) -> tuple[Deed, ...]:
    written = payload.metadata.get(PAYLOAD_METADATA)
    return _DEEDS.validate_json(written) if written else ()


def _valid_deeds(data: Any) -> tuple[Deed, ...]:  # noqa: ANN401 - plain data from a history
    try:
        return _DEEDS.validate_python(data or ())
    except ValidationError:
        return ()
