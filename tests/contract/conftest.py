"""Each cloud's lives: lived through once for the whole test run, however many processes share it."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from domain.clouds import Cloud
from simulators.control_client import ControlClient
from simulators.launch import running_simulators
from tests.contract.clouds import CLOUDS
from tests.contract.living import Living
from tests.contract.record import Life
from tests.contract.under_test import CloudUnderTest, World


class Lives:
    """Lives through a deployment's life when a test first asks for its record."""

    def __init__(self, folder: Path, world: Callable[[], World]) -> None:
        self._folder = folder
        self._world = world
        self._known: dict[str, Life] = {}

    def undisturbed(self, cloud: CloudUnderTest) -> Life:
        """Return the record of a life in which everything went well."""
        return self._record(f"{cloud.cloud}-undisturbed", lambda: Living(cloud, self._world(), 1).undisturbed())

    def troubled(self, cloud: CloudUnderTest) -> Life:
        """Return the record of a life in which everything went wrong that can."""
        return self._record(f"{cloud.cloud}-troubled", lambda: Living(cloud, self._world(), 2).troubled())

    def _record(self, name: str, live: Callable[[], Life]) -> Life:
        """Return a record; of several processes that ask for it the first one makes it, and the others wait."""
        if name not in self._known:
            file = self._folder / name
            with (self._folder / f"{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not file.exists():
                    file.write_bytes(pickle.dumps(live()))
                self._known[name] = pickle.loads(file.read_bytes())
        return self._known[name]


@pytest.fixture(scope="session")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """The records of all lives; the simulators start when the first one is lived."""
    base = tmp_path_factory.getbasetemp()
    # Processes of one test run have folders of their own below the run's.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "lives"
    shared.mkdir(exist_ok=True)
    with ExitStack() as running:
        worlds: list[World] = []

        def world() -> World:
            if not worlds:
                served = {each.cloud for each in CLOUDS}
                endpoints = running.enter_context(
                    running_simulators(gcp=Cloud.GCP in served, azure=Cloud.AZURE in served)
                )
                control = ControlClient(endpoints.control_url)
                running.callback(control.close)
                worlds.append(World(endpoints, control, tmp_path_factory.mktemp("credentials")))
            return worlds[0]

        yield Lives(shared, world)
