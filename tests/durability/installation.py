"""A control plane on this machine whose processes can be killed: simulated clouds, Temporal on a file, a worker."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import multiprocessing
import os
import re
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from temporalio.service import RPCError

from domain.account import AccountAccess, AccountPhase, AccountSpec
from domain.actor import Actor, Door
from domain.clouds import Cloud, Purpose
from domain.naming import TAG_RESOURCE
from domain.operation import Pace
from domain.permission import TemplateForm
from domain.state import DeploymentPhase, DeploymentState
from simulators.control_client import ControlClient
from simulators.endpoints import Endpoints
from simulators.faults import Fault, FaultKind
from simulators.inventory import Resource
from simulators.launch import running_simulators
from starters.client import ControlPlane, Unreachable
from starters.ordering import place_order, read_orders
from tests.conftest import dynamic_config_arguments, executable
from tests.durability import forked
from tests.durability.clouds import CLOUDS
from workers.assembly import permission_template
from workers.settings import WorkerSettings
from workflows.temporal import search_attributes
from workflows.temporal.connection import connect
from workflows.temporal.settings import UNENCRYPTED, EncryptionSettings

REGION = CLOUDS[Cloud.AWS].region
ACTOR = Actor(name="durability@test", door=Door.CONTROL_PLANE)
BRISK = Pace(
    permission_probe=timedelta(seconds=1),
    quota_probe=timedelta(seconds=1),
    capacity_probe=timedelta(seconds=1),
    first_verification_probe=timedelta(seconds=1),
    liveness=timedelta(seconds=1.5),
)
_processes = multiprocessing.get_context("forkserver")
_accounts = itertools.count(os.getpid() * 1000)


@dataclass
class Customer:
    """One customer's account, connected, and the deployment that is ordered in it."""

    account: str
    """Its id in the cloud: 12 digits on AWS, a project at Google Cloud, a subscription at Azure."""
    name: str
    cloud: Cloud = Cloud.AWS

    @property
    def account_name(self) -> str:
        """What the account is called here."""
        return f"{self.name}-{self.cloud}"


@dataclass
class Installation:
    """The running processes, and how to kill and restart them."""

    endpoints: Endpoints
    control: ControlClient
    folder: Path
    port: int
    worker_environment: dict[str, str]
    encryption: EncryptionSettings = UNENCRYPTED
    server: subprocess.Popen[bytes] | None = None
    worker: BaseProcess | None = None
    patience: float = 120.0
    """Real seconds until a wait is given up."""
    pace: Pace = BRISK
    """Of everything that is connected and ordered."""

    @property
    def address(self) -> str:
        """Where Temporal answers."""
        return f"127.0.0.1:{self.port}"

    @cached_property
    def settings(self) -> WorkerSettings:
        """The worker's settings; read once, because reading them touches the environment of the whole process."""
        with _environment(self.worker_environment):
            return WorkerSettings()

    def start_server(self) -> None:
        """Start Temporal on its database file."""
        arguments = [
            executable("temporal"), "server", "start-dev", "--headless", "--ip", "127.0.0.1",
            "--port", str(self.port), "--db-filename", str(self.folder / "temporal.db"),
            "--sqlite-pragma", "journal_mode=wal", "--log-level", "error",
            *dynamic_config_arguments(),
            *(f"--search-attribute={key.name}=Keyword" for key in search_attributes.ALL),
        ]  # fmt: skip
        with (self.folder / "temporal.log").open("ab") as log:
            self.server = subprocess.Popen(arguments, stdout=log, stderr=log)

    def kill_server(self) -> None:
        """Kill Temporal as a power cut would."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    def start_worker(self) -> None:
        """Start a worker of all queues. It is forked from a process that has everything imported."""
        process = _processes.Process(
            target=forked.work, args=(self.worker_environment, str(self.folder / "worker.log"))
        )
        process.start()
        self.worker = process

    def kill_worker(self) -> None:
        """Kill the worker as a power cut would."""
        assert self.worker is not None
        assert self.worker.pid is not None
        os.kill(self.worker.pid, signal.SIGKILL)
        self.worker.join()

    async def connected(self, *, patience: float = 15.0) -> ControlPlane:
        """Return a client once Temporal answers (again); it waits `patience` seconds for a worker's answer."""
        for _ in range(300):
            with contextlib.suppress(RuntimeError, RPCError):
                client = await connect(target_host=self.address, identity="test", encryption=self.encryption)
                await client.count_workflows("WorkflowType = 'Account'")
                return ControlPlane(client, ACTOR, timedelta(seconds=patience))
            await asyncio.sleep(0.05)
        raise AssertionError(f"Temporal does not answer: {(self.folder / 'temporal.log').read_text()[-2000:]}")

    async def customer(self, name: str, cloud: Cloud = Cloud.AWS) -> Customer:
        """Connect a fresh account whose customer has applied our template."""
        plane = await self.connected(patience=self.patience)
        customer = Customer(account=CLOUDS[cloud].account_id(next(_accounts)), name=name, cloud=cloud)
        spec = AccountSpec(
            name=customer.account_name,
            customer="acme",
            cloud=cloud,
            cloud_account_id=customer.account,
            regions=(CLOUDS[cloud].region,),
        )
        await plane.connect_account(spec, pace=self.pace)
        await self.apply_template(customer)
        await self.until_account(spec.name, AccountPhase.ACTIVE)
        return customer

    async def apply_template(self, customer: Customer, *, without: Purpose | None = None) -> None:
        """Let the customer apply our template (again), as it is or without one of its roles."""
        plane = await self.connected(patience=self.patience)
        state = await plane.account(customer.account_name)
        spec = state.spec
        access = AccountAccess(
            account=spec.name,
            customer=spec.customer,
            cloud=spec.cloud,
            cloud_account_id=spec.cloud_account_id,
            external_id=state.external_id,
        )
        cloud = CLOUDS[spec.cloud]
        document = json.loads(permission_template(access, spec.regions, TemplateForm.JSON, self.settings))
        if without is not None:
            document = cloud.without(document, without)
        await asyncio.to_thread(cloud.apply_template, self.control, customer.account, document)

    async def order(self, customer: Customer, **spec: Any) -> None:
        """Order the customer's deployment (or another one, by `name`, in the same account)."""
        plane = await self.connected(patience=self.patience)
        text = manifest(customer, **spec)
        (order,) = await read_orders(plane, text)
        await plane.order(await place_order(plane, order, pace=self.pace))

    async def until_account(self, name: str, phase: AccountPhase) -> None:
        """Wait until an account is in a phase; who answers may be away for a while."""
        plane = await self.connected()
        async with asyncio.timeout(self.patience):
            while True:
                with contextlib.suppress(Unreachable):
                    if (await plane.account(name)).phase is phase:
                        return
                await asyncio.sleep(0.1)

    async def until_phase(self, customer: Customer, *phases: DeploymentPhase) -> DeploymentState:
        """Wait until the deployment is in one of the phases."""
        return await self.until(customer, lambda state: state.phase in phases)

    async def until(self, customer: Customer, condition: Callable[[DeploymentState], bool]) -> DeploymentState:
        """Wait until `condition` holds of the deployment; Temporal may be away for a while."""
        plane = await self.connected()
        state = None
        try:
            async with asyncio.timeout(self.patience):
                while True:
                    with contextlib.suppress(Unreachable):
                        state = await plane.deployment(customer.name)
                        if condition(state):
                            return state
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(await self._explained(plane, customer, state)) from None

    async def until_held(self) -> str:
        """Wait until a call is held at a rule, and return the hold's id."""
        held = await asyncio.to_thread(self.control.held, wait=min(self.patience, 60.0))
        assert held, "no call was held: the step made none of the kind that was waited for"
        return held[0].id

    def replace_worker(self) -> None:
        """Kill the worker, with whatever it was about to learn, and start another one in a world without faults."""
        self.kill_worker()
        self.control.clear_faults()
        self.start_worker()

    def restart_server(self) -> None:
        """Kill Temporal and start it on its database, in a world without faults."""
        self.kill_server()
        self.start_server()
        self.control.clear_faults()

    def hold(self, customer: Customer, activity: str, *, after_the_deed: bool, mutating: bool | None = True) -> Fault:
        """Let the first (mutating) call of an activity for this customer be held."""
        return self.control.inject(
            Fault(
                kind=FaultKind.HOLD if after_the_deed else FaultKind.HOLD_BEFORE,
                account=customer.account,
                agent=f"step/{activity}",
                mutating=mutating,
                times=1,
            )
        )

    def inventory(self, customer: Customer) -> Counter[str]:
        """Return what the customer's account holds, described so that two customers' can be compared."""
        return Counter(_described(resource, customer) for resource in self.control.inventory(customer.account))

    async def _explained(self, plane: ControlPlane, customer: Customer, state: DeploymentState | None) -> str:
        lines = [f"deployment {customer.name} stays {state.phase if state else 'unknown'}"]
        if state and state.running:
            progress = await plane.progress(state.running.summary.workflow_id)
            lines += [f"{step.name}: {step.state}" for step in progress.steps if step.state != "done"]
            lines += [f"waits: {wait.step}: {wait.missing}" for wait in progress.waiting_for]
        log = self.folder / "worker.log"
        lines.append(log.read_text()[-3000:] if log.exists() else "")
        return "\n".join(lines)


def manifest(
    customer: Customer, *, name: str = "", shape: str = "v1-small", high_availability: bool = False, cidr: str = ""
) -> str:
    """Return the manifest of a deployment in the customer's account."""
    name = name or customer.name
    return f"""
apiVersion: byoc.dev/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  account: {customer.account_name}
  region: {CLOUDS[customer.cloud].region}
  shape: {shape}
  highAvailability: {str(high_availability).lower()}
  endpoint: {{domain: {name}.db.acme.example}}
  authWebhook: {{url: "https://login.acme.example/byoc"}}
  network: {{cidr: {cidr or "10.64.0.0/16"}}}
"""


def left_behind(resources: Counter[str]) -> Counter[str]:
    """Return what of these is an orphan: all but what is on its way out, which no cloud lets go at once."""
    return Counter({name: number for name, number in resources.items() if not _LEAVING.search(name)})


_LEAVING = re.compile("PendingDeletion|DESTROYED|deleted-vault key .*SoftDeleted")
_DIGEST = re.compile("-[0-9a-f]{8}$|[-_]?[0-9a-f]{10}(?=$|_)")
_CHOSEN = re.compile("(?<=-)a?[0-9a-f]{2,}(?=-|$)|(?<=OsDisk_1_)[0-9a-f]+$")
"""In a name that Google, Azure or a cluster's controller has chosen: what it made up."""


def _described(resource: Resource, customer: Customer) -> str:
    """Say what a resource is, without what differs from customer to customer (ids, names, account)."""
    role = resource.tags.get(TAG_RESOURCE) or resource.tags.get(TAG_RESOURCE.replace(":", "-"), "")
    named = resource.name or resource.id if resource.service in CLOUDS[customer.cloud].named else ""
    named = _DIGEST.sub("", named.replace(customer.name, "NAME").replace(customer.account, "ACCOUNT"))
    if resource.service in ("compute", "network"):
        named = _CHOSEN.sub("#", named)
    objects = resource.details.get("objects", resource.details.get("blobs", ""))
    return f"{resource.service} {resource.type} {role} {named} {resource.state} {resource.encrypted} {objects}".strip()


@contextlib.asynccontextmanager
async def installed(
    folder: Path,
    speed: float = math.inf,
    *,
    clouds: Sequence[Cloud] = (Cloud.AWS,),
    encryption: EncryptionSettings = UNENCRYPTED,
    **settings: str,
) -> AsyncIterator[Installation]:
    """Start everything; stop what then runs. The worker has `settings` in its environment besides its usual ones."""
    # It has effect before the first process is forked. So it is every cloud: another test of this process may want it.
    _processes.set_forkserver_preload([*(f"workers.{cloud}" for cloud in Cloud), "tests.durability.forked"])
    further = {cloud.value: cloud in clouds for cloud in (Cloud.GCP, Cloud.AZURE)}
    with running_simulators(speed=speed, **further, log_file=folder / "simulators.log") as endpoints:
        control = ControlClient(endpoints.control_url)
        port = _free_port()
        environment = {
            "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
            "BYOC_LOG_LEVEL": "warning",
            "BYOC_LOG_JSON": "false",
            "BYOC_POLL_INTERVAL": "0.05",
            "BYOC_CONSISTENCY_WAIT": "0.05" if math.isinf(speed) else f"{20 / speed:.2f}",
            "BYOC_STICKY_TIMEOUT": "1",
            "BYOC_GRACEFUL_SHUTDOWN": "1",
            "BYOC_PUBLIC_PROXY": endpoints.internet_proxy_url,
            "BYOC_PUBLIC_CA_FILE": str(endpoints.internet_ca_file),
            "BYOC_ENCRYPTION": encryption.encryption.value,
            "BYOC_ENCRYPTION_KEYS": str(encryption.encryption_keys or ""),
            **settings,
        }
        for cloud in clouds:
            environment |= CLOUDS[cloud].environment(endpoints, folder)
        installation = Installation(endpoints, control, folder, port, environment, encryption)
        installation.start_server()
        try:
            await installation.connected()
            installation.start_worker()
            yield installation
        finally:
            if installation.worker is not None and installation.worker.is_alive():
                installation.kill_worker()
            installation.kill_server()
            control.close()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
