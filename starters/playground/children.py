"""Child processes of the playground: started with a log each, watched, and stopped without a trace."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

GRACE = 10.0
"""Seconds that a child may take to end by itself before it is killed."""

_PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>: the signal that a process gets when the thread that started it ends."""
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildDied(Exception):  # noqa: N818 - it names what happened
    """A process that the playground stands on has ended; the message says which, and where its log is."""


class Child:
    """One child process in a process group of its own, so that Ctrl-C reaches it through us alone and in order.

    On Linux it does not outlive us even if we are killed without a chance to stop it. It is to be started by a thread
    that lives as long as it shall live: to the kernel the thread is the parent.
    """

    def __init__(self, name: str, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
        """Start it; what it prints goes into `log`."""
        self.name = name
        self.log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                arguments,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=_end_with_parent(os.getpid()),  # noqa: PLW1509 - it takes no lock and allocates nothing shared
            )

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group."""
        return self._process.pid

    def check(self) -> None:
        """Raise ChildDied if it does not run any more."""
        code = self._process.poll()
        if code is not None:
            raise ChildDied(f"the {self.name} ended with code {code}; its log is {self.log}{_last_line(self.log)}")

    def stop(self) -> None:
        """End it and whatever it has started: by SIGTERM, and after the grace by SIGKILL."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def kill(self) -> None:
        """End it at once: for one that has nothing to finish."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """Return what a child runs before its program, so that it gets SIGTERM when `parent` ends; None if not on Linux."""
    libc = _libc
    if libc is None:
        return None

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # It ended before the kernel was asked.

    return ask_kernel


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    return f" and ends with: {lines[-1][:300]}" if lines else ""
