"""`byoc deployments plan` and `byoc durations`: what is typed, and what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from domain.clouds import Cloud
from domain.durations import Durations
from domain.plan import Plan
from tests.starters.conftest import Byoc
from tests.starters.test_cli import Count, deployment, manifest  # noqa: F401 - a fixture
from tests.workflows.scripted_cloud import ScriptedCloud


async def test_a_file_is_planned_and_nothing_starts(
    byoc: Byoc, workflows_started: Count, tmp_path: Path, account: str, name: str
) -> None:
    """The table has every step, side by side where it is so; permissions, quotas, cost and approvals follow."""
    file = manifest(tmp_path, name, account, shape="v1-medium", highAvailability=True)
    before = await workflows_started()

    ran = await byoc("deployments", "plan", "-f", file)

    assert ran.code == 0, ran.err
    assert f"provision {name}  significant, 39 steps" in ran.out
    assert "Create the Kubernetes control plane" in ran.out
    assert "∥" in ran.out
    assert "Running On-Demand Standard instances (vCPU)" in ran.out
    assert "3 m7i.xlarge for the store pool" in ran.out
    assert "nobody has to approve it" in ran.out
    assert await workflows_started() == before


async def test_programs_get_the_plan_itself(byoc: Byoc, tmp_path: Path, account: str, name: str) -> None:
    """JSON and YAML hold the same plan, which is that of a second call."""
    file = manifest(tmp_path, name, account)

    as_json = await byoc("deployments", "plan", "-f", file, "-o", "json")
    as_yaml = await byoc("deployments", "plan", "-f", file, "-o", "yaml")

    first, second = Plan.model_validate(as_json.json()), Plan.model_validate(yaml.safe_load(as_yaml.out))
    assert first.hash == second.hash
    assert first.steps == second.steps
    assert first.deployment == name


async def test_permissions_are_listed_when_asked_for(byoc: Byoc, tmp_path: Path, account: str, name: str) -> None:
    """Each with its purpose and the steps that use it."""
    ran = await byoc("deployments", "plan", "-f", manifest(tmp_path, name, account), "--permissions")

    (line,) = [line for line in ran.out.splitlines() if "ec2:CreateNatGateway" in line]
    assert line.split() == ["operate", "ec2:CreateNatGateway", "create_egress"]


async def test_a_deployment_is_planned_as_it_is_known(byoc: Byoc, deployment: str) -> None:  # noqa: F811 - the fixture
    """Converging is routine; retiring names what nobody can take back."""
    converging = await byoc("deployments", "plan", deployment)
    retiring = await byoc("deployments", "plan", deployment, "--for", "retire", "-o", "json")
    keys = await byoc("deployments", "plan", deployment, "--for", "reconfigure", "-o", "json")

    assert f"provision {deployment}  routine" in converging.out
    assert "Delete the encryption key, but for what is kept" in retiring.json()["irreversible"]
    assert [step["name"] for step in keys.json()["steps"]] == ["apply_api_keys"]


async def test_a_plan_names_who_will_have_to_approve_it(
    byoc: Byoc,
    tmp_path: Path,
    account: str,
    deployment: str,  # noqa: F811 - the fixture
) -> None:
    """By the account's policy as it is now, although the deployment was ordered before there was one."""
    file = tmp_path / "account.yaml"
    spec = {
        "customer": "acme",
        "cloud": "aws",
        "cloudAccountId": "222222222222",
        "regions": ["eu-central-1"],
        "approvals": {"destructive": ["vendor", "customer"]},
    }
    document = {"apiVersion": "byoc.dev/v1", "kind": "Account", "metadata": {"name": account}, "spec": spec}
    file.write_text(yaml.safe_dump(document), "utf-8")
    changed = await byoc("approvals", "policy", account, "-f", str(file))

    retiring = await byoc("deployments", "plan", deployment, "--for", "retire")
    converging = await byoc("deployments", "plan", deployment)

    assert changed.code == 0, changed.err
    assert "Approvals: vendor and customer." in retiring.out
    assert "nobody has to approve it" in converging.out


async def test_a_comparison_says_what_each_step_would_change(
    byoc: Byoc,
    cloud: ScriptedCloud,
    deployment: str,  # noqa: F811 - the fixture
) -> None:
    """With --diff the cloud is asked about every step that is about something which exists."""
    cloud.reset()

    ran = await byoc("deployments", "plan", deployment, "--for", "reconfigure", "--diff")

    assert ran.code == 0, ran.err
    assert "1 of 1 steps would change something" in ran.out
    assert "Apply the API keys: ec2:CreateVpc" in ran.out
    assert cloud.calls == ["compare"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "NAME: is missing"),
        (["-f", "/nowhere.yaml"], "--file: /nowhere.yaml cannot be read"),
        (["-f", "docs/examples/deployment-small.yaml", "--for", "retire"], "--for: retire takes no file"),
    ],
)
async def test_what_cannot_be_planned_is_refused_at_the_door(byoc: Byoc, arguments: list[str], said: str) -> None:
    """Exit code 2, with the option and what is allowed."""
    ran = await byoc("deployments", "plan", *arguments)

    assert ran.code == 2
    assert said in " ".join(ran.err.split())


async def test_a_wrong_file_is_refused_as_when_it_is_ordered(
    byoc: Byoc, tmp_path: Path, account: str, name: str
) -> None:
    """The field, its value and what is allowed, from the same rules."""
    ran = await byoc("deployments", "plan", "-f", manifest(tmp_path, name, account, shape="v1-tiny"))

    assert ran.code == 2
    assert "spec.shape" in ran.err


async def test_durations_are_learnt_from_what_ran(
    byoc: Byoc,
    tmp_path: Path,
    deployment: str,  # noqa: F811 - the fixture
) -> None:
    """After a provisioning each of its steps was seen; the written table is one that plans can use."""
    table = tmp_path / "durations.yaml"

    learnt = await byoc("durations", "learn", "--write", str(table), "-o", "json")
    shown = await byoc("durations", "show", "--table", str(table), "-o", "json")

    assert learnt.code == 0, learnt.err
    assert learnt.json() == shown.json()
    steps = Durations.model_validate(learnt.json()).clouds[Cloud.AWS].steps
    assert steps["install_component/store"].runs >= 1
    assert steps["create_cluster"].p50 < 60
    planned = await byoc("deployments", "plan", deployment, "-o", "json", BYOC_DURATIONS_FILE=str(table))
    assert planned.code == 0, planned.err
