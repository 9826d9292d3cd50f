"""`python -m simulators`: serve the simulated clouds on loopback until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path

from simulators.endpoints import Ports
from simulators.process import Simulators

_PARENT_CHECK_INTERVAL = 0.5
"""Real seconds."""


def main(arguments: list[str] | None = None) -> None:
    """Serve; print one line of JSON, an `Endpoints`, once everything can be called."""
    options = _parser().parse_args(arguments)
    ports = Ports(
        aws=options.aws_port,
        kubernetes=options.kubernetes_port,
        internet=options.internet_port,
        control=options.control_port,
        gcp=options.gcp_port,
        gcp_grpc=options.gcp_grpc_port,
        azure=options.azure_port,
        acme=options.acme_port,
    )
    with tempfile.TemporaryDirectory(prefix="byoc-simulators-") as directory:
        asyncio.run(_serve(Path(directory), ports, options))


async def _serve(directory: Path, ports: Ports, options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Simulators(
        directory, speed=options.speed, ports=ports, gcp=options.gcp, azure=options.azure
    ) as simulators:
        line = simulators.endpoints.model_dump_json()
        if options.ready_file is not None:
            # Renamed into place, so that whoever waits for the file never reads half of it.
            partial = options.ready_file.with_suffix(".partial")
            partial.write_text(line)
            partial.replace(options.ready_file)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        await _wait_for_end(stopped, options.parent)


async def _wait_for_end(stopped: asyncio.Event, parent: int | None) -> None:
    """Return when a signal came, or `parent` is no longer this process's parent (it ended, or was killed)."""
    while not stopped.is_set() and (parent is None or os.getppid() == parent):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PARENT_CHECK_INTERVAL if parent is not None else None):
                await stopped.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulators", description=__doc__)
    for name in ("aws", "kubernetes", "internet", "control", "gcp", "gcp-grpc", "azure", "acme"):
        parser.add_argument(f"--{name}-port", type=int, default=0, help="0 (the default) chooses a free port")
    parser.add_argument("--gcp", action="store_true", help="simulate Google Cloud too; needs the extra gcp-simulator")
    parser.add_argument("--azure", action="store_true", help="simulate Azure too")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds in one real second; inf is allowed")
    parser.add_argument("--ready-file", type=Path, help="file that gets the same JSON line")
    parser.add_argument("--parent", type=int, help="end when the process of this id is no longer the parent")
    return parser


if __name__ == "__main__":
    main()
