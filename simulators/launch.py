"""Start the simulators as a child process, for tests and for the playground."""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO

from simulators.endpoints import Endpoints, Ports

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 5.0


@contextlib.contextmanager
def running_simulators(
    speed: float = math.inf,
    ports: Ports | None = None,
    *,
    gcp: bool = False,
    azure: bool = False,
    log_file: Path | None = None,
) -> Iterator[Endpoints]:
    """Serve the simulators in a child process while the context lasts; `gcp` and `azure` add those clouds.

    The child ends with its parent, even when that is killed, and leaves no files but its log, if one is wanted. Raises
    RuntimeError with the child's output if it does not serve within a minute.
    """
    clouds = [*(["--gcp"] if gcp else []), *(["--azure"] if azure else [])]
    with log_file.open("w+b") if log_file else tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 (our own module, with numbers for arguments)
            [sys.executable, "-m", "simulators", *_arguments(speed, ports or Ports()), *clouds],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=Path(__file__).parent.parent,
        )
        try:
            yield _announced(process, log)
        finally:
            _stop(process)


def _arguments(speed: float, ports: Ports) -> list[str]:
    named = {"--speed": speed, "--parent": os.getpid()}
    named |= {f"--{name.replace('_', '-')}-port": port for name, port in asdict(ports).items()}
    return [str(part) for pair in named.items() for part in pair]


def _announced(process: subprocess.Popen[bytes], log: IO[bytes]) -> Endpoints:
    """Return what the child prints when it serves."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(_START_TIMEOUT) else b""
    if not line:
        log.seek(0)
        raise RuntimeError(f"the simulators did not start:\n{log.read().decode(errors='replace')}")
    return Endpoints.model_validate_json(line)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
