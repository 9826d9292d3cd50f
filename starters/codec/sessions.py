"""Sessions of browsers at the codec endpoint, and the link that opens one without a token. They live in memory."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import deque
from hashlib import sha256
from pathlib import Path

from workflows.temporal.private_file import write_private

LIFE = 12 * 3600
"""Seconds."""
MOST = 10_000


class Sessions:
    """Who has logged in."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, float]] = {}
        """(name, end), keyed by the digest of the session's secret."""

    def begin(self, name: str) -> str:
        """Return the secret of a new session."""
        self._open = {key: each for key, each in self._open.items() if each[1] > time.monotonic()}
        while len(self._open) >= MOST:
            self._open.pop(next(iter(self._open)))
        secret = secrets.token_urlsafe(32)
        self._open[_digest(secret)] = (name, time.monotonic() + LIFE)
        return secret

    def name_of(self, secret: str) -> str | None:
        """Return whose session it is, None if it is nobody's or over. Looked up by digest, it leaks nothing by time."""
        name, end = self._open.get(_digest(secret), ("", 0.0))
        return name if end > time.monotonic() else None

    def end(self, secret: str) -> None:
        """End a session."""
        self._open.pop(_digest(secret), None)


class LoginLink:
    """A link that opens one session. As soon as it is used, the file holds another one."""

    def __init__(self, file: Path, login_url: str) -> None:
        self._file = file
        self._login_url = login_url
        self._secret = ""
        self._renew()

    def use(self, given: str) -> bool:
        """Return whether `given` is the secret of the link; if so it is worthless from now on."""
        if not hmac.compare_digest(given.encode(), self._secret.encode()):
            return False
        self._renew()
        return True

    def _renew(self) -> None:
        self._secret = secrets.token_urlsafe(32)
        write_private(self._file, f"{self._login_url}?once={self._secret}\n")


class Refusals:
    """Counts the wrong secrets of each address, so that nobody can try many."""

    def __init__(self, most: int = 20, seconds: float = 60.0) -> None:
        self._most = most
        self._seconds = seconds
        self._at: dict[str, deque[float]] = {}

    def too_many(self, address: str) -> bool:
        """Return whether an address has to wait."""
        at = self._at.get(address)
        return at is not None and len(at) == self._most and at[0] > time.monotonic() - self._seconds

    def add(self, address: str) -> None:
        """Count one."""
        if len(self._at) >= MOST:
            oldest = time.monotonic() - self._seconds
            self._at = {each: at for each, at in self._at.items() if at[-1] > oldest}
        self._at.setdefault(address, deque(maxlen=self._most)).append(time.monotonic())


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
