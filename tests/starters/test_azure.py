"""Azure on the command line: connected at the door, applied in its own forms, and a customer who plays along."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from domain.clouds import Cloud
from domain.state import AccountState
from simulators.control_client import ControlClient
from simulators.endpoints import Endpoints
from simulators.launch import running_simulators
from starters.cli import customer
from starters.cli.accounts import render_template
from starters.playground.clouds import CLOUDS, Addresses
from tests.starters.conftest import Byoc
from tests.starters.test_cli import Count
from tests.workflows.scripted_cloud import ScriptedCloud

ROOT = Path(__file__).parents[2]
SUBSCRIPTION, REGION = "8d7a1c9e-3f5b-4a6d-9c2e-1b0f4e7d6a58", "westeurope"
APPLICATIONS = {
    "BYOC_AZURE_APPLICATIONS": "observe=0b5e7a10-0000-4000-8000-000000000001,"
    "operate=0b5e7a10-0000-4000-8000-000000000002,delete=0b5e7a10-0000-4000-8000-000000000003"
}
PURPOSES, ACTION = ("observe", "operate", "delete"), "Microsoft.Network/natGateways/write"


def connecting(name: str, subscription: str = SUBSCRIPTION, region: str = REGION) -> list[str]:
    """Return the command that connects a subscription."""
    where = ["--account-id", subscription, "--region", region]
    return ["accounts", "connect", name, "--customer", "acme", "--cloud", "azure", *where]


@pytest.fixture
async def subscription(byoc: Byoc, cloud: ScriptedCloud, name: str) -> str:
    """The account of a subscription that has been invited."""
    connected = await byoc(*connecting(f"{name}-azure"))
    assert connected.code == 0, connected.err
    return f"{name}-azure"


@pytest.mark.parametrize(
    ("subscription", "region", "words"),
    [
        ("acme-data-4711", REGION, ["--account-id", '"acme-data-4711"', "a subscription id (UUID)"]),
        ("111122223333", REGION, ["--account-id", '"111122223333"', "a subscription id (UUID)"]),
        (SUBSCRIPTION, "eu-central-1", ["--region", '"eu-central-1"', "not a region of azure"]),
    ],
)
async def test_a_subscription_is_validated_at_the_door(
    byoc: Byoc, workflows_started: Count, name: str, subscription: str, region: str, words: list[str]
) -> None:
    """The message names the option, what was given and what is allowed; nothing starts."""
    before = await workflows_started()

    ran = await byoc(*connecting(name, subscription, region))

    assert ran.code == 2
    assert [word for word in words if word not in ran.err] == []
    assert await workflows_started() == before


async def test_the_examples_of_azure_are_valid(byoc: Byoc) -> None:
    """Both files are what the door takes."""
    for kind in ("account", "deployment"):
        ran = await byoc("validate", "-f", str(ROOT / f"docs/examples/{kind}-azure.yaml"))
        assert ran.code == 0, ran.err


async def test_a_template_is_printed_in_the_cloud_s_forms(byoc: Byoc, subscription: str) -> None:
    """Bicep unless something else is asked for; a script for Google Cloud is refused with what there is."""
    bicep = await byoc("accounts", "template", subscription, **APPLICATIONS)
    refused = await byoc("accounts", "template", subscription, "--format", "gcloud", **APPLICATIONS)

    assert f"// Lets byoc into the subscription {SUBSCRIPTION}." in bicep.out
    assert "targetScope = 'subscription'\n" in bicep.out
    assert refused.code == 2
    assert "--format: gcloud is no form of azure. Allowed: bicep, json, table" in refused.err


@pytest.fixture(scope="module")
def endpoints() -> Iterator[Endpoints]:
    """The simulated clouds."""
    with running_simulators(azure=True) as endpoints:
        yield endpoints


@pytest.fixture(scope="module")
def control(endpoints: Endpoints) -> Iterator[ControlClient]:
    """Their control API."""
    control = ControlClient(endpoints.control_url)
    yield control
    control.close()


async def test_the_owner_of_a_subscription_is_played(
    byoc: Byoc, subscription: str, control: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template is applied, one permission taken away and given back, all of it deleted: in that subscription."""
    once = cache(lambda form: render_template(shown, form))
    monkeypatch.setattr(customer, "render_template", lambda _, form: once(form))
    shown = AccountState.model_validate((await byoc("accounts", "show", subscription, "-o", "json")).json())
    applications = {name: each.client_id for name, each in control.azure_vendor().applications.items()}
    settings = {"BYOC_PLAYGROUND_URL": control._url, "BYOC_AZURE_APPLICATIONS": json.dumps(applications)}

    def roles() -> int:
        """Return how many the template made."""
        return [each.type for each in control.inventory(SUBSCRIPTION)].count("role-definition")

    for command in (["apply-template"], ["deny", ACTION], ["allow", ACTION]):
        ran = await byoc("customer", command[0], subscription, *command[1:], **settings)
        assert ran.code == 0, ran.err
    before = roles()
    again = await byoc("customer", "allow", subscription, ACTION, **settings)
    gone = await byoc("customer", "delete-template", subscription, **settings)

    assert before == len(PURPOSES)
    assert (again.code, "was not taken away" in again.err) == (1, True)
    assert (gone.code, roles()) == (0, 0)


def test_the_playground_s_secrets_are_its_workers_alone(
    tmp_path: Path, endpoints: Endpoints, control: ControlClient
) -> None:
    """Files with secrets have mode 600, also where others were; the environment of `byoc` has none of them."""
    azure, vendor = CLOUDS[Cloud.AZURE], control.azure_vendor().model_dump()
    (tmp_path / "azure-vendor.json").touch(0o644)

    said = " ".join(azure.settings(Addresses.model_validate(endpoints.model_dump()), vendor).values())
    files = [Path(file) for file in azure.credentials(vendor, tmp_path).values()]

    assert {file.name for file in files} == {"azure-vendor.json", "acme-account.pem"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert not any(each["client_secret"] in said for each in vendor["applications"].values())
    assert json.loads(files[0].read_text("utf-8")) == vendor
