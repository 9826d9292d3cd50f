"""Files that their owner alone may read: checked when read, replaced at once, and followed while they change."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger()

LOOK_AGAIN = 1.0
"""Seconds for which a file is taken to be as it was."""

Content = TypeVar("Content")


class FileUnusable(ValueError):  # noqa: N818 - it names what is so
    """A file cannot be read, or written; the message says why and what to do, and nothing of what is in it."""


class Followed(Generic[Content]):
    """What a file holds, read again when the file has changed."""

    def __init__(self, path: Path, understand: Callable[[Path], Content]) -> None:
        """Read it; `understand` raises FileUnusable if it cannot be read."""
        self.path = path
        self._understand = understand
        self._written = _stamp(path)
        self._content = understand(path)
        self._looked = time.monotonic()

    def current(self) -> Content:
        """Return what it holds. While it cannot be read, that is what it held: somebody may be about to mend it."""
        if time.monotonic() - self._looked >= LOOK_AGAIN:
            self._looked = time.monotonic()
            try:
                written = _stamp(self.path)
                if written != self._written:
                    self._content, self._written = self._understand(self.path), written
            except FileUnusable as error:
                log.warning("a file cannot be read again; what it held is used", reason=str(error))
        return self._content


def read_private(path: Path, *, absent: str) -> bytes:
    """Return what is in a file that only its owner may read.

    Raises:
        FileUnusable: It is not there (`absent` says what makes it), cannot be read, or others may read it too.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except FileNotFoundError:
        raise FileUnusable(f"{path} does not exist; {absent}") from None
    except OSError as error:
        raise FileUnusable(f"{path} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise FileUnusable(f"{path} may be read or written by others (mode {mode:04o}): chmod 600 {path}")
    return content


def write_private(path: Path, text: str) -> None:
    """Put `text` in the file's place at once: no reader ever sees half of it, and no crash loses what was there."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FileUnusable(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time change the file; raises FileUnusable if its directory cannot be used."""
    try:
        directory = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise FileUnusable(f"{path.parent} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes when the file is written or replaced; raises FileUnusable. Of an absent file it is zeros."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0, 0
    except OSError as error:
        raise FileUnusable(f"{path} cannot be read: {error.strerror}") from error
    return found.st_mtime_ns, found.st_ino, found.st_size
