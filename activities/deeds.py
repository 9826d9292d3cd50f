"""Deeds: every call of an activity that changes something, kept for the audit trail beside the activity's answer.

The connections to clouds and clusters enter a call here before they make it; the worker (`workers/deeds.py`) sends
along what the attempts of one activity did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock

from temporalio.exceptions import CancelledError

from domain.audit import Deed, Resource

PAYLOAD_METADATA = "byoc-deeds"
"""Key of an answer's payload metadata that holds the deeds, as a JSON array. Workflows do not see it, so that a deed
more or less is no other history to them."""

MOST = 500
"""So many deeds of one activity are kept; a bucket with very many objects is emptied by more calls."""


class Ledger:
    """What one activity changed, in all its attempts. Thread-safe.

    An attempt may be taken for dead while it lives, on a machine that is overloaded, and the next one begins beside it.
    From then on it makes no call any more; and a call that it is in the middle of is told by the next attempt's answer,
    because it was entered before it was made.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._entries: dict[datetime, Deed | None] = {}
        """Keyed by when they were entered, no two at the same time; nothing in place of what was refused."""
        self._attempts = 0
        """So many have begun in this process. Temporal's own count begins anew when somebody resets an activity."""

    def begin(self) -> int:
        """Begin an attempt, which alone may change something until the next one begins, and return its number."""
        with self._lock:
            self._attempts += 1
            return self._attempts

    def is_over(self, attempt: int) -> bool:
        """Return whether a later attempt than this one has begun."""
        return attempt < self._attempts

    def add(self, told: Iterable[Deed]) -> None:
        """Add what attempts in other processes told; what is known already is known better."""
        with self._lock:
            for deed in told:
                self._entries.setdefault(deed.at, deed)

    def enter(self, attempt: int, service: str, operation: str, resources: tuple[Resource, ...]) -> datetime | None:
        """Enter a call that is about to be made, as one without an answer; return its key, or nothing if it is full.

        Raises:
            CancelledError: A later attempt has begun.
        """
        with self._lock:
            if self.is_over(attempt):
                raise CancelledError("a later attempt has begun")
            if len(self._entries) >= MOST:
                return None
            at = datetime.now(UTC)
            while at in self._entries:
                at += timedelta(microseconds=1)
            self._entries[at] = Deed(at=at, service=service, operation=operation, resources=resources, answered=False)
            return at

    def answered(self, at: datetime, resources: tuple[Resource, ...] | None) -> None:
        """Say that the call was answered, and what it changed if that is known better by now."""
        with self._lock:
            deed = self._entries[at]
            assert deed is not None, "it is answered or refused, and once"
            known = {"answered": True, **({} if resources is None else {"resources": resources})}
            self._entries[at] = deed.model_copy(update=known)

    def refused(self, at: datetime) -> None:
        """Say that the call changed nothing."""
        with self._lock:
            self._entries[at] = None

    def told(self) -> list[Deed]:
        """Return the deeds, the earliest first."""
        with self._lock:
            return sorted((deed for deed in self._entries.values() if deed), key=lambda deed: deed.at)


@dataclass(frozen=True)
class _Attempt:
    ledger: Ledger
    number: int


_current: ContextVar[_Attempt | None] = ContextVar("current", default=None)


class Begun:
    """A call under way that changes something. Unless one of these is said it counts as one whose reply was lost."""

    def __init__(self, ledger: Ledger | None = None, at: datetime | None = None) -> None:
        self._ledger, self._at = ledger, at

    def answered(self, resources: tuple[Resource, ...] | None = None) -> None:
        """Say that it was answered, and what it changed if the answer alone tells that."""
        if self._ledger is not None and self._at is not None:
            self._ledger.answered(self._at, resources)

    def refused(self) -> None:
        """Say that it changed nothing."""
        if self._ledger is not None and self._at is not None:
            self._ledger.refused(self._at)


@contextmanager
def collected(ledger: Ledger) -> Iterator[None]:
    """Enter into `ledger` what an attempt does that begins here, in whatever thread inherits its context."""
    token = _current.set(_Attempt(ledger, ledger.begin()))
    try:
        yield
    finally:
        _current.reset(token)


def is_over() -> bool:
    """Return whether a later attempt of this activity has begun in this process."""
    current = _current.get()
    return current is not None and current.ledger.is_over(current.number)


def begin(service: str, operation: str, resources: tuple[Resource, ...] = ()) -> Begun:
    """Enter a call that changes something, just before it is made. Outside an activity it is entered nowhere.

    Raises:
        CancelledError: A later attempt of this activity has begun.
    """
    current = _current.get()
    if current is None:
        return Begun()
    return Begun(current.ledger, current.ledger.enter(current.number, service, operation, resources))
