"""Google Cloud and Azure on the command line: connected at the door, applied in their own forms, and played along."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
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
PURPOSES = ("observe", "operate", "delete")


@dataclass(frozen=True)
class Further:
    """What a test has to know of one cloud."""

    cloud: Cloud
    account: str
    """Its id in the cloud."""
    region: str
    id_in_words: str
    """What the door says an id should be."""
    not_an_id: str
    acting: dict[str, str]
    """The setting that says as whom we act, for templates that nobody applies."""
    in_the_template: tuple[str, ...]
    """Lines of the form that is usually applied."""
    foreign: str
    """A form of another cloud."""
    forms: str
    action: str
    """A permission of the template."""
    made: str
    """The type, in the inventory, of what the template makes for each of our purposes."""

    @property
    def principal(self) -> str:
        """The name of the setting that says as whom we act."""
        return next(iter(self.acting))

    def connecting(self, name: str, account: str = "", region: str = "") -> list[str]:
        """Return the command that connects an account."""
        where = ["--account-id", account or self.account, "--region", region or self.region]
        return ["accounts", "connect", name, "--customer", "acme", "--cloud", self.cloud, *where]


GCP = Further(
    cloud=Cloud.GCP,
    account="acme-data-4711",
    region="europe-west4",
    id_in_words="a project id of 6 to 30 lower-case letters, digits, hyphens",
    not_an_id="Acme",
    acting={"BYOC_GCP_PRINCIPAL": "control-plane@byoc-vendor.iam.gserviceaccount.com"},
    in_the_template=("#!/usr/bin/env bash\n", "project=acme-data-4711\n"),
    foreign="yaml",
    forms="gcloud, terraform, json, table",
    action="compute.routers.create",
    made="service-account",
)
AZURE = Further(
    cloud=Cloud.AZURE,
    account="8d7a1c9e-3f5b-4a6d-9c2e-1b0f4e7d6a58",
    region="westeurope",
    id_in_words="a subscription id (UUID)",
    not_an_id="acme-data-4711",
    acting={
        "BYOC_AZURE_APPLICATIONS": ",".join(
            f"{purpose}=0b5e7a10-0000-4000-8000-00000000000{number}" for number, purpose in enumerate(PURPOSES)
        )
    },
    in_the_template=(
        "// Lets byoc into the subscription 8d7a1c9e-3f5b-4a6d-9c2e-1b0f4e7d6a58.",
        "targetScope = 'subscription'\n",
    ),
    foreign="gcloud",
    forms="bicep, json, table",
    action="Microsoft.Network/natGateways/write",
    made="role-definition",
)
each_cloud = pytest.mark.parametrize("further", [GCP, AZURE], ids=lambda further: further.cloud)


@pytest.fixture
async def account(byoc: Byoc, cloud: ScriptedCloud, name: str, further: Further) -> str:
    """An account that has been invited."""
    connected = await byoc(*further.connecting(f"{name}-{further.cloud}"))
    assert connected.code == 0, connected.err
    return f"{name}-{further.cloud}"


@each_cloud
@pytest.mark.parametrize("wrong", ["its id", "an id of another cloud", "its region"])
async def test_an_account_is_validated_at_the_door(
    byoc: Byoc, workflows_started: Count, name: str, further: Further, wrong: str
) -> None:
    """The message names the option, what was given and what is allowed; nothing starts."""
    before = await workflows_started()
    if wrong == "its region":
        given = {"region": "eu-central-1"}
        words = ["--region", '"eu-central-1"', f"not a region of {further.cloud}"]
    else:
        given = {"account": further.not_an_id if wrong == "its id" else "111122223333"}
        words = ["--account-id", f'"{given["account"]}"', further.id_in_words]

    ran = await byoc(*further.connecting(name, **given))

    assert ran.code == 2
    assert [word for word in words if word not in ran.err] == []
    assert await workflows_started() == before


@each_cloud
async def test_the_examples_are_valid(byoc: Byoc, further: Further) -> None:
    """Both files are what the door takes."""
    for kind in ("account", "deployment"):
        ran = await byoc("validate", "-f", str(ROOT / f"docs/examples/{kind}-{further.cloud}.yaml"))
        assert ran.code == 0, ran.err


@each_cloud
async def test_a_template_is_printed_in_the_cloud_s_forms(byoc: Byoc, account: str, further: Further) -> None:
    """The usual one unless another is asked for; a form of another cloud is refused with those that there are."""
    usual = await byoc("accounts", "template", account, **further.acting)
    refused = await byoc("accounts", "template", account, "--format", further.foreign, **further.acting)

    assert [line for line in further.in_the_template if line not in usual.out] == []
    assert refused.code == 2
    assert f"--format: {further.foreign} is no form of {further.cloud}. Allowed: {further.forms}" in refused.err


@pytest.fixture(scope="module")
def endpoints() -> Iterator[Endpoints]:
    """The simulated clouds."""
    with running_simulators(gcp=True, azure=True) as endpoints:
        yield endpoints


@pytest.fixture(scope="module")
def control(endpoints: Endpoints) -> Iterator[ControlClient]:
    """Their control API."""
    control = ControlClient(endpoints.control_url)
    yield control
    control.close()


@each_cloud
async def test_the_customer_is_played(
    byoc: Byoc,
    account: str,
    further: Further,
    endpoints: Endpoints,
    control: ControlClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The template is applied, one permission taken away and given back, all of it deleted: in that account."""
    once = cache(lambda form: render_template(shown, form))
    monkeypatch.setattr(customer, "render_template", lambda _, form: once(form))
    shown = AccountState.model_validate((await byoc("accounts", "show", account, "-o", "json")).json())
    vendor = control.call("POST", f"/{further.cloud}/vendor")
    addresses = Addresses.model_validate(endpoints.model_dump())
    acting = CLOUDS[further.cloud].settings(addresses, vendor)[further.principal]
    settings = {"BYOC_PLAYGROUND_URL": endpoints.control_url, further.principal: acting}

    def made() -> int:
        """Return how much the template made."""
        return [each.type for each in control.inventory(further.account)].count(further.made)

    for command in (["apply-template"], ["deny", further.action], ["allow", further.action]):
        ran = await byoc("customer", command[0], account, *command[1:], **settings)
        assert ran.code == 0, ran.err
    before = made()
    again = await byoc("customer", "allow", account, further.action, **settings)
    gone = await byoc("customer", "delete-template", account, **settings)

    assert before == len(PURPOSES)
    assert (again.code, "was not taken away" in again.err) == (1, True)
    assert (gone.code, made()) == (0, 0)


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
