"""Which clouds a worker acts in, with what installed, and what their customers are given to apply."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.contracts import AccountContract
from activities.step_contracts import STEP_CONTRACTS
from domain.account import AccountAccess
from domain.clouds import Cloud, Purpose
from domain.permission import FORMS, PermissionTable, TemplateForm
from tests.workers.processes import ROOT, WorkerProcesses, clean_environment
from workers.__main__ import _clouds
from workers.assembly import cloud_activities, declared_needs, permission_template
from workers.clouds import NoSuchForm
from workers.settings import PRINCIPALS, WorkerSettings, variable
from workflows.temporal.settings import BadSettings

SETTINGS = WorkerSettings(
    aws_principal="arn:aws:iam::111111111111:role/control-plane",
    gcp_principal="control-plane@byoc-vendor.iam.gserviceaccount.com",
    azure_applications={
        purpose: f"0b5e7a10-0000-4000-8000-00000000000{number}" for number, purpose in enumerate(Purpose)
    },
)
ACCESS = {
    Cloud.AWS: AccountAccess(
        account="acme-aws", customer="acme", cloud=Cloud.AWS, cloud_account_id="222222222222", external_id="3b5b4a3e"
    ),
    Cloud.GCP: AccountAccess(
        account="acme-gcp", customer="acme", cloud=Cloud.GCP, cloud_account_id="acme-data-4711", external_id="3b5b4a3e"
    ),
    Cloud.AZURE: AccountAccess(
        account="acme-azure",
        customer="acme",
        cloud=Cloud.AZURE,
        cloud_account_id="8d7a1c9e-3f5b-4a6d-9c2e-1b0f4e7d6a58",
        external_id="3b5b4a3e",
    ),
}
REGIONS = {Cloud.AWS: ("eu-west-1",), Cloud.GCP: ("europe-west4",), Cloud.AZURE: ("westeurope",)}
SERVED = sorted(FORMS)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[WorkerProcesses]:
    """Starts workers that are told nothing but what a test tells them."""
    processes = WorkerProcesses(tmp_path, {})
    yield processes
    processes.kill_all()


@pytest.mark.parametrize("cloud", SERVED)
def test_a_cloud_s_worker_registers_the_whole_contract(cloud: Cloud) -> None:
    """Every activity that a workflow may send to the cloud's queue is there, once, by its own name."""
    owed = {name for contract in (*STEP_CONTRACTS, AccountContract) for name in contract.__abstractmethods__}

    registered = [activity.__name__ for activity in cloud_activities(SETTINGS, cloud)]

    assert sorted(registered) == sorted(owed)


@pytest.mark.parametrize("cloud", SERVED)
def test_a_cloud_s_customers_get_it_in_the_cloud_s_own_forms(cloud: Cloud) -> None:
    """Every form can be made; without one it is the first; what is no form there is refused with those that are."""
    made = {form: permission_template(ACCESS[cloud], REGIONS[cloud], form, SETTINGS) for form in FORMS[cloud]}

    assert all(made.values())
    assert permission_template(ACCESS[cloud], REGIONS[cloud], None, SETTINGS) == made[FORMS[cloud][0]]
    table = PermissionTable.model_validate_json(made[TemplateForm.TABLE_JSON])
    assert {line.action for line in table.lines} >= {need.action for need in declared_needs(SETTINGS, cloud)}
    other = next(form for form in TemplateForm if form not in FORMS[cloud])
    with pytest.raises(NoSuchForm, match=f"--format: {other} is no form of {cloud}. Allowed: {FORMS[cloud][0]}, "):
        permission_template(ACCESS[cloud], REGIONS[cloud], other, SETTINGS)


def test_the_forms_of_google_cloud_say_the_same() -> None:
    """Script, Terraform and document name each service account and each permission."""
    document = json.loads(permission_template(ACCESS[Cloud.GCP], REGIONS[Cloud.GCP], TemplateForm.JSON, SETTINGS))
    script = permission_template(ACCESS[Cloud.GCP], REGIONS[Cloud.GCP], TemplateForm.GCLOUD, SETTINGS)
    terraform = permission_template(ACCESS[Cloud.GCP], REGIONS[Cloud.GCP], TemplateForm.TERRAFORM, SETTINGS)

    names = [each["accountId"] for each in document["serviceAccounts"]]
    permissions = {each for role in document["roles"] for each in role["includedPermissions"]}
    assert len(names) == 3
    for text in (script, terraform):
        assert [each for each in (*names, *permissions, SETTINGS.gcp_principal) if each not in text] == []


def test_the_forms_of_azure_say_the_same() -> None:
    """Bicep and document name each role, each action, each condition and each application."""
    document = json.loads(permission_template(ACCESS[Cloud.AZURE], REGIONS[Cloud.AZURE], TemplateForm.JSON, SETTINGS))
    bicep = permission_template(ACCESS[Cloud.AZURE], REGIONS[Cloud.AZURE], TemplateForm.BICEP, SETTINGS)

    roles = document["roles"]
    actions = {each for role in roles for each in (*role["actions"], *role["dataActions"])}
    conditions = {each["condition"].replace("'", "\\'") for each in document["assignments"]}
    assert len(roles) == 3
    named = (*(role["name"] for role in roles), *actions, *conditions, *document["providers"])
    assert [each for each in (*named, *SETTINGS.azure_applications.values()) if each not in bicep] == []


@pytest.mark.parametrize("cloud", SERVED)
def test_a_template_needs_to_know_who_is_let_in(cloud: Cloud) -> None:
    """Without a principal there is none, and the variable is named."""
    with pytest.raises(ValueError, match=f"{variable(PRINCIPALS[cloud])} is not set"):
        permission_template(ACCESS[cloud], REGIONS[cloud], TemplateForm.JSON, WorkerSettings())


@pytest.mark.parametrize(("cloud", "package"), [(Cloud.GCP, "google.cloud"), (Cloud.AZURE, "azure.mgmt")])
def test_a_missing_extra_is_one_line(tmp_path: Path, cloud: Cloud, package: str) -> None:
    """Whoever has not installed a cloud's SDK is told how; exit code 2."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules['{package}'] = None\n", "utf-8")

    ran = subprocess.run(
        [sys.executable, "-m", "workers", "template", "--region", *REGIONS[cloud]],
        input=ACCESS[cloud].model_dump_json(), env=clean_environment(PYTHONPATH=str(tmp_path)),
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ran.returncode == 2, ran.stderr
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"cloud is {cloud}, whose SDK is not installed (")
    assert line.endswith(f"): pip install 'byoc[{cloud}]'")


def test_all_serves_the_clouds_whose_settings_are_there(processes: WorkerProcesses, address: str) -> None:
    """One process takes the steps of every queue."""
    applications = ",".join(f"{purpose}={client}" for purpose, client in SETTINGS.azure_applications.items())
    principals = {
        "BYOC_AWS_PRINCIPAL": SETTINGS.aws_principal,
        "BYOC_GCP_PRINCIPAL": SETTINGS.gcp_principal,
        "BYOC_AZURE_APPLICATIONS": applications,
    }
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}

    worker = processes.start("all", TEMPORAL_ADDRESS=address, **principals, **keys)

    assert "aws, gcp, azure" in worker.said


def test_all_without_settings_of_any_cloud_is_one_line(processes: WorkerProcesses) -> None:
    """Exit code 2, with what would make it serve one."""
    worker = processes.start_anyhow("all")

    assert worker.exit_code() == 2
    names = "BYOC_AWS_PRINCIPAL or BYOC_GCP_PRINCIPAL or BYOC_AZURE_APPLICATIONS"
    assert worker.said == f"no cloud has its settings: set {names}, or give --cloud\n"


def test_a_region_is_of_one_cloud() -> None:
    """A process of several clouds cannot be that of a region; named, a cloud is the only one."""
    asked = Namespace(kind="all", cloud=None, region="eu-west-1")

    with pytest.raises(BadSettings, match="eu-west-1 is of one cloud; there are settings for aws and gcp and azure"):
        _clouds(asked, SETTINGS)
    assert _clouds(Namespace(kind="all", cloud="aws", region="eu-west-1"), SETTINGS) == (Cloud.AWS,)
    assert _clouds(Namespace(kind="services", cloud=None, region=""), SETTINGS) == ()
