"""Worker processes as an operator starts them, and what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0
"""Real seconds until a wait is given up, on a machine that runs other tests at the same time."""
_USERS = ("AWS_", "BYOC_", "TEMPORAL_", "OTEL_")


def clean_environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without what would configure a worker, unencrypted, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_USERS)}
    return {**kept, "PYTHONUNBUFFERED": "1", "BYOC_ENCRYPTION": "off", **variables}


@dataclass
class WorkerProcess:
    """One `python -m workers …`."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def said(self) -> str:
        """What it wrote to standard output and standard error."""
        return self.log.read_text("utf-8")

    def until_said(self, words: str) -> None:
        """Wait until it has written `words`."""
        deadline = time.monotonic() + PATIENCE
        while words not in self.said:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.said}"
            assert time.monotonic() < deadline, f"it never said {words!r}: {self.said}"
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(PATIENCE)


@dataclass
class WorkerProcesses:
    """Starts worker processes for one test, against one server, and leaves none of them."""

    folder: Path
    environment: Mapping[str, str]
    started: list[WorkerProcess] = field(default_factory=list)

    def start(self, *arguments: str, folder: Path = ROOT, **variables: str) -> WorkerProcess:
        """Start one, with the code in `folder`, and return it once it polls."""
        worker = self.start_anyhow(*arguments, folder=folder, **variables)
        worker.until_said("worker runs")
        return worker

    def start_anyhow(self, *arguments: str, folder: Path = ROOT, **variables: str) -> WorkerProcess:
        """Start one that need not come to run."""
        log = self.folder / f"worker-{len(self.started)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers", *arguments],
                cwd=folder,
                env=clean_environment(**{"BYOC_LOG_JSON": "false", **self.environment, **variables}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        worker = WorkerProcess(process, log)
        self.started.append(worker)
        return worker

    def kill_all(self) -> None:
        """Kill those that still run."""
        for worker in self.started:
            worker.process.kill()
            worker.process.wait()
