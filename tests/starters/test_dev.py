"""`byoc dev`: what it starts ends with it, in order when it is asked, and at once when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 120.0
"""Real seconds until a wait is given up, on a machine that runs other tests at the same time."""
CHILDREN = {
    "-m simulators": "simulators",
    "codec --address": "codec",
    "server start-dev": "temporal",
    "-m workers all": "workers",
    "-m workers cloud --cloud gcp": "worker gcp",
    "-m workers cloud --cloud azure": "worker azure",
}
"""How each child is known by its command line."""


class Playground:
    """A running `byoc dev` in a session of its own, as in a terminal of its own, with everything that it started."""

    def __init__(self, state: Path) -> None:
        self.output = state.with_suffix(".out")
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from starters.cli import main; main()", "dev", "--state", str(state)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        deadline = time.monotonic() + LONGEST
        while "The playground runs." not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)
        self.started = psutil.Process(self.process.pid).children(recursive=True)
        self.known = {process: _kind(process) for process in self.started}

    @property
    def said(self) -> str:
        """What it printed."""
        return self.output.read_text("utf-8")

    def living(self) -> list[str]:
        """Return the command lines of those processes which still run."""
        return [" ".join(process.cmdline()) for process in self.started if _runs(process)]

    def order_of_ends(self) -> list[str]:
        """Wait until every process has ended, and return the kinds in the order in which they did."""
        ended: list[str] = []
        deadline = time.monotonic() + LONGEST
        while len(ended) < len(self.started):
            assert time.monotonic() < deadline, self.living()
            for process, kind in self.known.items():
                if kind not in ended and not _runs(process):
                    ended.append(kind)
            time.sleep(0.01)
        return ended


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    """A running playground."""
    running = Playground(tmp_path / "playground")
    yield running
    for process in running.started:
        if process.is_running():
            process.kill()
    running.process.kill()
    running.process.wait()


def test_killed_it_leaves_no_process_behind(playground: Playground) -> None:
    """After SIGKILL, which leaves it no chance to stop anything, Temporal, simulators and workers end by themselves."""
    assert sorted(playground.known.values()) == sorted(CHILDREN.values())

    playground.process.send_signal(signal.SIGKILL)
    playground.process.wait(LONGEST)

    playground.order_of_ends()
    assert playground.living() == []


def test_ctrl_c_ends_everything_in_order(playground: Playground) -> None:
    """Workers first, which need the rest to finish; then Temporal and what reads it; then the clouds. Exit code 0."""
    os.killpg(playground.process.pid, signal.SIGINT)

    ends = playground.order_of_ends()
    assert ends == ["worker azure", "worker gcp", "workers", "temporal", "codec", "simulators"]
    assert playground.process.wait(LONGEST) == 0
    assert playground.said.endswith("Stopped: no process of the playground is left.\n")


def test_it_ends_when_a_child_dies(playground: Playground) -> None:
    """A playground without one of its parts is none: it says which one died, and stops the others."""
    (temporal,) = [process for process, kind in playground.known.items() if kind == "temporal"]

    temporal.kill()

    assert playground.process.wait(LONGEST) == 1
    assert "the temporal ended with code -9" in playground.said
    assert playground.living() == []


def _kind(process: psutil.Process) -> str:
    try:
        command = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return "ended since"
    return next((kind for words, kind in CHILDREN.items() if words in command), command)


def _runs(process: psutil.Process) -> bool:
    """Whether it still does anything: what has ended and was not waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
