"""One installation in which every lifecycle is played, and everything that it wrote or showed meanwhile."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from typer.testing import CliRunner

from domain.account import AccountPhase
from domain.clouds import Cloud
from domain.state import DeploymentPhase
from simulators.faults import Fault, FaultKind
from starters.cli.app import app
from starters.codec.tokens import issue
from starters.key_usage import payloads_in
from tests.durability.clouds import CLOUDS
from tests.durability.installation import REGION, Customer, Installation, installed
from workflows.temporal import key_ring
from workflows.temporal.settings import Encryption, EncryptionSettings

PLANTED = "planted-7f3f2b1c9e5d4a6b8c0d"
"""Given as a reason, which is kept: the search must find it."""
_DENIED = "ec2:CreateNatGateway"
_TYPING = asyncio.Lock()
"""One command at a time: each is given the whole process's standard output."""


@dataclass(repr=False)
class Played:
    """What was written and shown, keyed by where, and every secret that there was."""

    texts: dict[str, str | bytes] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    """What each is, keyed by itself."""


class Operator:
    """Types commands, and remembers what they print."""

    def __init__(self, environment: dict[str, str], played: Played) -> None:
        self._environment = environment
        self._played = played

    async def types(self, *arguments: str, secret: str = "", code: int = 0) -> str:
        """Run `byoc` and return its output; where it shows a secret once, `secret` says which, and it is taken down."""
        async with _TYPING:
            ran = await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=self._environment)
        assert ran.exit_code == code, f"{arguments}: {ran.output}"
        where = f"byoc {' '.join(arguments)}, call {len(self._played.texts)}"
        self._played.texts[f"{where}: errors"] = ran.stderr
        if secret:
            self._played.secrets[json.loads(ran.stdout)[secret]] = f"{secret} from byoc {arguments[0]}"
        else:
            self._played.texts[where] = ran.stdout
        return str(ran.stdout)


@pytest.fixture(scope="session")
async def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Connect, provision with trouble, change keys, converge, abort, back up, retire, revoke; then collect."""
    folder = tmp_path_factory.mktemp("secrets")
    keys = folder / "keys.json"
    key_ring.make(keys)
    metrics = f"127.0.0.1:{_free_port()}"
    encryption = EncryptionSettings(encryption=Encryption.REQUIRED, encryption_keys=keys)
    options = {"BYOC_METRICS_ADDRESS": metrics, "BYOC_LOG_LEVEL": "debug"}
    found = Played()
    async with installed(folder, clouds=tuple(CLOUDS), encryption=encryption, **options) as installation:
        environment = {
            "TEMPORAL_ADDRESS": installation.address,
            **{name: value for name, value in installation.worker_environment.items() if name.startswith("BYOC_")},
        }
        await _play(installation, Operator(environment, found))
        further = [cloud for cloud in CLOUDS if cloud is not Cloud.AWS]
        await asyncio.gather(*(_play_in(cloud, installation, Operator(environment, found)) for cloud in further))
        await _read_through_the_codec(installation, environment, folder, found)
        await _collect(installation, found)
        reply = await asyncio.to_thread(requests.get, f"http://{metrics}/metrics", timeout=10)
        found.texts["the worker's metrics"] = reply.text
        found.secrets |= {secret.value: secret.kind.value for secret in installation.control.secrets()}
        vendor = installation.control.vendor()
        found.secrets[vendor.secret_access_key] = "the vendor's secret access key"
    for key in key_ring.read(keys).keys:
        found.secrets[base64.b64encode(key.secret).decode()] = "encryption key"
        found.secrets[key.secret.hex()] = "encryption key in hexadecimal"
    for line in (folder / "acme-account.pem").read_text("utf-8").splitlines():
        if not line.startswith("-"):
            found.secrets[line] = "key of the vendor's account at the certificates' authority"
    for path in sorted(folder.iterdir()):
        if path.suffix == ".log" or path.name.startswith("temporal.db"):
            found.texts[path.name] = path.read_bytes()
    return found


async def _play(installation: Installation, operator: Operator) -> None:
    """Do everything that an operator can, with trouble on the way: each kind of error is met and shown."""
    customer = await installation.customer("secretive")
    account, name = f"{customer.name}-aws", customer.name
    administrator = installation.control.customer(customer.account)
    known = ["--customer", "acme", "--account-id", customer.account, "--region", REGION]
    await operator.types("accounts", "connect", account, *known)
    await operator.types("accounts", "template", account)

    await asyncio.to_thread(administrator.deny, f"byoc-{account}-operate", _DENIED)
    for kind, service in (
        (FaultKind.ERROR, "kubernetes"),
        (FaultKind.REVOKE, "kubernetes"),
        (FaultKind.LOST_REPLY, "sts"),
        (FaultKind.ERROR, "eks"),
    ):
        installation.control.inject(Fault(kind=kind, service=service, times=2))
    await installation.order(customer)
    await _until_waiting(installation, customer)
    await operator.types("deployments", "show", name)
    await operator.types("accounts", "verify", account, code=1)
    await asyncio.to_thread(administrator.allow, f"byoc-{account}-operate", _DENIED)
    await operator.types("accounts", "verify", account, "-o", "json")
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)

    key = ("--name", "reporting", "--scope", "write", "-o", "json")
    made = await operator.types("api-keys", "create", name, *key, secret="key")
    rotated = await operator.types("api-keys", "rotate", name, json.loads(made)["id"], "-o", "json", secret="key")
    await operator.types("api-keys", "list", name, "-o", "json")
    await operator.types("api-keys", "revoke", name, json.loads(rotated)["id"])
    await operator.types("deployments", "converge", name, "--reason", PLANTED, "--watch")

    other = Customer(account=customer.account, name="secretive-two")
    installation.control.inject(Fault(kind=FaultKind.REVOKE, operation="CreateNatGateway"))
    await installation.order(customer, name=other.name, cidr="10.65.0.0/16")
    await _until_waiting(installation, other)
    await operator.types("deployments", "abort", other.name, "--yes")
    await installation.until_phase(other, DeploymentPhase.ABORTED)
    installation.control.clear_faults()

    await operator.types("deployments", "retire", name, "--yes", "--watch")
    await operator.types("deployments", "receipt", name)
    await operator.types("deployments", "list", "--all")
    await operator.types("deployments", "show", name, "-o", "json")
    await operator.types("accounts", "show", account, "-o", "json")
    await operator.types("keys", "list", "-o", "json")
    await operator.types("keys", "check", "-o", "json")
    await operator.types("accounts", "revoke", account)
    await asyncio.to_thread(administrator.delete_template)
    await installation.until_account(account, AccountPhase.REVOKED)


async def _play_in(cloud: Cloud, installation: Installation, operator: Operator) -> None:
    """Connect, provision with trouble, retire with a backup and revoke in a further cloud."""
    customer = await installation.customer(f"secretive-{cloud}", cloud)
    for kind in (FaultKind.ERROR, FaultKind.REVOKE, FaultKind.LOST_REPLY, FaultKind.THROTTLE):
        installation.control.inject(Fault(kind=kind, account=customer.account, agent="step/create_", times=2))
    await installation.order(customer)
    await _until_waiting(installation, customer)
    await operator.types("deployments", "show", customer.name)
    await operator.types("accounts", "template", customer.account_name)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    await operator.types("deployments", "retire", customer.name, "--yes", "--watch")
    await operator.types("deployments", "receipt", customer.name)
    await operator.types("accounts", "show", customer.account_name, "-o", "json")
    await operator.types("accounts", "revoke", customer.account_name)
    await asyncio.to_thread(CLOUDS[cloud].delete_template, installation.control, customer.account)
    await installation.until_account(customer.account_name, AccountPhase.REVOKED)


async def _until_waiting(installation: Installation, customer: Customer) -> None:
    plane = await installation.connected()
    async with asyncio.timeout(installation.patience):
        while True:
            state = await plane.deployment(customer.name)
            if state.running and (await plane.progress(state.running.summary.workflow_id)).waiting_for:
                return
            await asyncio.sleep(0.1)


async def _read_through_the_codec(
    installation: Installation, environment: dict[str, str], folder: Path, found: Played
) -> None:
    """Read a history through the codec endpoint, so that its log has something to give away."""
    tokens, address = folder / "codec-tokens.json", f"127.0.0.1:{_free_port()}"
    given, _ = issue(tokens, "ada", lifetime=timedelta(days=1))
    found.secrets[given] = "codec token"
    command = [sys.executable, "-c", "from starters.cli import main; main()", "codec", "--address", address]
    with (folder / "codec.log").open("wb") as log:
        codec = await asyncio.to_thread(
            subprocess.Popen,
            [*command, "--tokens", str(tokens)], env={**os.environ, **environment}, stdout=log, stderr=log,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
    try:
        payloads = await _payloads(installation)
        body = {"payloads": [_as_json(payload) for payload in payloads[:200]]}
        for token, status in ((given, 200), (f"{given}x", 401)):
            reply = await _posted(f"http://{address}/decode", body, token)
            assert reply.status_code == status, reply.text
    finally:
        codec.terminate()
        codec.wait()


async def _posted(url: str, body: Any, token: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}", "X-Namespace": "default"}
    async with asyncio.timeout(60):
        while True:
            try:
                return await asyncio.to_thread(requests.post, url, json=body, headers=headers, timeout=30)
            except requests.ConnectionError:
                await asyncio.sleep(0.1)


async def _payloads(installation: Installation) -> list[Any]:
    plane = await installation.connected()
    found = []
    async for execution in plane.client.list_workflows():
        history = plane.client.get_workflow_handle(execution.id, run_id=execution.run_id).fetch_history_events()
        found += [payload async for event in history for payload in payloads_in(event)]
    return found


async def _collect(installation: Installation, found: Played) -> None:
    """Take down every history, as it is kept and opened, with its description, search attributes and memo."""
    codec = installation.encryption.codec()
    assert codec is not None
    plane = await installation.connected()
    async for execution in plane.client.list_workflows():
        name = f"{execution.id} ({execution.run_id})"
        handle = plane.client.get_workflow_handle(execution.id, run_id=execution.run_id)
        events = [event async for event in handle.fetch_history_events()]
        payloads = [payload for event in events for payload in payloads_in(event)]
        opened = [payload.data.decode(errors="replace") for payload in await codec.decode(payloads)]
        found.texts[f"history of {name}"] = "\n".join(map(str, events))
        found.texts[f"opened history of {name}"] = "\n".join(opened)
        found.texts[f"list entry of {name}"] = str(execution.raw_info)
        found.texts[f"description of {name}"] = str((await handle.describe()).raw_description)


def _as_json(payload: Any) -> dict[str, Any]:
    metadata = {name: base64.b64encode(value).decode() for name, value in payload.metadata.items()}
    return {"metadata": metadata, "data": base64.b64encode(payload.data).decode()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
