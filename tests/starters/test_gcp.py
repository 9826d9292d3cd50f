"""Google Cloud on the command line: connected at the door, applied in its own forms, and a customer who plays along."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from domain.state import AccountState
from simulators.control_client import ControlClient
from simulators.launch import running_simulators
from starters.cli import customer
from starters.cli.accounts import render_template
from tests.starters.conftest import Byoc
from tests.starters.test_cli import Count
from tests.workflows.scripted_cloud import ScriptedCloud

ROOT = Path(__file__).parents[2]
PROJECT, REGION = "acme-data-4711", "europe-west4"
PRINCIPAL = {"BYOC_GCP_PRINCIPAL": "control-plane@byoc-vendor.iam.gserviceaccount.com"}


def connecting(name: str, project: str = PROJECT, region: str = REGION) -> list[str]:
    """Return the command that connects a project."""
    where = ["--account-id", project, "--region", region]
    return ["accounts", "connect", name, "--customer", "acme", "--cloud", "gcp", *where]


@pytest.fixture
async def project(byoc: Byoc, cloud: ScriptedCloud, name: str) -> str:
    """The account of a project that has been invited."""
    connected = await byoc(*connecting(f"{name}-gcp"))
    assert connected.code == 0, connected.err
    return f"{name}-gcp"


@pytest.mark.parametrize(
    ("project", "region", "words"),
    [
        ("Acme", REGION, ["--account-id", '"Acme"', "a project id of 6 to 30 lower-case letters, digits, hyphens"]),
        ("111122223333", REGION, ["--account-id", '"111122223333"', "a project id"]),
        (PROJECT, "eu-central-1", ["--region", '"eu-central-1"', "not a region of gcp"]),
    ],
)
async def test_a_project_is_validated_at_the_door(
    byoc: Byoc, workflows_started: Count, name: str, project: str, region: str, words: list[str]
) -> None:
    """The message names the option, what was given and what is allowed; nothing starts."""
    before = await workflows_started()

    ran = await byoc(*connecting(name, project, region))

    assert ran.code == 2
    assert [word for word in words if word not in ran.err] == []
    assert await workflows_started() == before


async def test_the_examples_of_google_cloud_are_valid(byoc: Byoc) -> None:
    """Both files are what the door takes."""
    for kind in ("account", "deployment"):
        ran = await byoc("validate", "-f", str(ROOT / f"docs/examples/{kind}-gcp.yaml"))
        assert ran.code == 0, ran.err


async def test_a_template_is_printed_in_the_cloud_s_forms(byoc: Byoc, project: str) -> None:
    """A script unless Terraform is asked for; CloudFormation's YAML is refused with what there is."""
    script = await byoc("accounts", "template", project, **PRINCIPAL)
    refused = await byoc("accounts", "template", project, "--format", "yaml", **PRINCIPAL)

    assert script.out.startswith("#!/usr/bin/env bash\n")
    assert f"project={PROJECT}" in script.out
    assert refused.code == 2
    assert "--format: yaml is no form of gcp. Allowed: gcloud, terraform, json, table" in refused.err


@pytest.fixture(scope="module")
def control() -> Iterator[ControlClient]:
    """The simulated clouds' control API."""
    with running_simulators(gcp=True) as endpoints:
        control = ControlClient(endpoints.control_url)
        yield control
        control.close()


async def test_the_owner_of_a_project_is_played(
    byoc: Byoc, project: str, control: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template is applied, one permission taken away and given back, and all of it deleted: in that project."""
    once = cache(lambda form: render_template(shown, form))
    monkeypatch.setattr(customer, "render_template", lambda _, form: once(form))
    shown = AccountState.model_validate((await byoc("accounts", "show", project, "-o", "json")).json())
    settings = {"BYOC_PLAYGROUND_URL": control._url, "BYOC_GCP_PRINCIPAL": control.gcp_vendor().principal}

    for command in (["apply-template"], ["deny", "compute.routers.create"], ["allow", "compute.routers.create"]):
        ran = await byoc("customer", command[0], project, *command[1:], **settings)
        assert ran.code == 0, ran.err
    names = {each.name.rpartition("-")[0] for each in control.inventory(PROJECT) if each.type == "service-account"}
    again = await byoc("customer", "allow", project, "compute.routers.create", **settings)
    gone = await byoc("customer", "delete-template", project, **settings)

    assert names == {"byoc-observe", "byoc-operate", "byoc-delete"}
    assert (again.code, "was not taken away" in again.err) == (1, True)
    assert (gone.code, control.inventory(PROJECT)) == (0, [])
