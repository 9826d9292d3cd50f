"""Two builds of the workflows' code on one server: what stays, what goes over, and what is known before."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from domain.account import AccountPhase, AccountSpec
from domain.actor import Actor, Door
from domain.clouds import Cloud
from domain.failure import FailureClass
from domain.operation import OperationKind
from domain.state import AccountState, DeploymentPhase, OperationRequest
from starters.client import ControlPlane
from starters.versions import BuildStatus, builds
from tests.starters.conftest import Byoc
from tests.workers.processes import ROOT, WorkerProcess, WorkerProcesses, clean_environment
from tests.workflows.orders import ADA, BRISK
from tests.workflows.scenes import Stage, until_waiting
from workflows.account import Account, AccountRequest
from workflows.deployment import Deployment
from workflows.temporal import ids

PACKAGES = ("activities", "catalog", "domain", "simulators", "starters", "workers", "workflows")
LOOKS_FIRST = "            placement, addresses = await self._look_before()\n"
REORDERED = "            await self.steps.run(steps.CREATE_DOMAIN, DomainRequest(site=order.site, domain='x'))\n"


@pytest.fixture
def plane(client: Client) -> ControlPlane:
    """The client library."""
    return ControlPlane(client, Actor(name="ada@vendor.example", door=Door.CLI), timedelta(seconds=60))


@pytest.fixture
async def first(byoc: Byoc, plane: ControlPlane, worker_processes: WorkerProcesses) -> WorkerProcess:
    """The lifecycles worker of build `one`, which is current."""
    worker = worker_processes.start("lifecycles", BYOC_BUILD_ID="one")
    await until_known(plane, "one")
    promoted = await byoc("versions", "promote", "one")
    assert promoted.code == 0, promoted.err + promoted.out
    return worker


async def test_an_operation_ends_on_its_build_and_its_deployment_goes_over(
    byoc: Byoc, plane: ControlPlane, stage: Stage, first: WorkerProcess, worker_processes: WorkerProcesses
) -> None:
    """A new build is promoted while a provisioning waits: the provisioning ends on the old build, the rest is new."""
    account = await connected(plane, "acme-aws")
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    deployment = await stage.deployment()
    before = await stage.until(deployment, lambda state: bool(state.report and state.report.waiting_for))
    running = stage.client.get_workflow_handle(ids.operation_workflow_id(stage.name, "provision/1"))
    assert [await build_of(each) for each in (account, deployment, running)] == ["one", "one", "one"]

    worker_processes.start("lifecycles", BYOC_BUILD_ID="two")
    await until_known(plane, "two")
    promoted = await byoc("versions", "promote", "two", "-o", "json")

    assert promoted.code == 0, promoted.err
    assert promoted.json()["previous"] == "one"
    assert sorted(promoted.json()["asked"]) == ["account/acme-aws", "deployment/acme-prod"]
    after = await stage.until(deployment, lambda state: state.runs == 2)
    assert after.running == before.running
    assert after.trail[: len(before.trail)] == before.trail
    await until_equal(lambda: build_of(deployment), "two")
    await until_equal(lambda: build_of(account), "two")
    assert await build_of(running) == "one"

    stage.cloud.allow("create_cluster")
    await stage.until_phase(deployment, DeploymentPhase.ACTIVE)
    assert await build_of(running) == "one"
    again = OperationRequest(request_id="again", kind=OperationKind.PROVISION, actor=ADA)
    await deployment.execute_update(Deployment.request, again)
    await stage.until(deployment, lambda state: len(state.past) == 2)
    converged = stage.client.get_workflow_handle(ids.operation_workflow_id(stage.name, "provision/2"))
    assert await build_of(converged) == "two"


async def test_the_list_says_which_workers_may_go(
    byoc: Byoc, plane: ControlPlane, stage: Stage, first: WorkerProcess, worker_processes: WorkerProcesses
) -> None:
    """The build of before counts what still runs on it, and is drained when that has ended."""
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    deployment = await stage.deployment()
    await stage.until(deployment, lambda state: bool(state.report and state.report.waiting_for))
    worker_processes.start("lifecycles", BYOC_BUILD_ID="two")
    await until_known(plane, "two")
    await byoc("versions", "promote", "two")
    await stage.until(deployment, lambda state: state.runs == 2)

    async def listed() -> dict[str, tuple[str, int]]:
        rows = (await byoc("versions", "list", "-o", "json")).json()
        return {row["buildId"]: (row["status"], row["openWorkflows"]) for row in rows}

    await until_equal(listed, {"two": ("current", 1), "one": ("draining", 1)})

    stage.cloud.allow("create_cluster")

    await until_equal(listed, {"two": ("current", 1), "one": ("drained", 0)})
    assert first.process.poll() is None


async def test_a_promotion_can_be_repeated_and_taken_back(
    byoc: Byoc, plane: ControlPlane, stage: Stage, first: WorkerProcess, worker_processes: WorkerProcesses
) -> None:
    """A repeat asks nobody who has gone over; promoting the build of before brings the deployment back to it."""
    deployment = await stage.deployment()
    await stage.until_phase(deployment, DeploymentPhase.ACTIVE)
    worker_processes.start("lifecycles", BYOC_BUILD_ID="two")
    await until_known(plane, "two")
    await byoc("versions", "promote", "two")
    await until_equal(lambda: listed_build_of(plane, deployment), "byoc:two")

    repeated = await byoc("versions", "promote", "two")
    back = await byoc("versions", "promote", "one")

    assert repeated.code == back.code == 0
    assert "Build two was current already." in repeated.out
    assert "1 run on it, 0 go over now" in repeated.out
    assert "Build one is current, instead of two." in back.out
    await until_equal(lambda: build_of(deployment), "one")


async def test_a_build_without_workers_is_not_promoted(byoc: Byoc, stage: Stage, first: WorkerProcess) -> None:
    """A misspelt build id is refused with the known ones, and nothing changes."""
    refused = await byoc("versions", "promote", "tow")

    assert refused.code == 1
    assert "no worker of build 'tow' has come yet (known: one)" in refused.err
    listed = (await byoc("versions", "list", "-o", "json")).json()
    assert [(row["buildId"], row["status"]) for row in listed] == [("one", "current")]


async def test_an_entity_without_a_worker_is_named(
    byoc: Byoc, plane: ControlPlane, stage: Stage, first: WorkerProcess, worker_processes: WorkerProcesses
) -> None:
    """Whoever stops the old workers too early learns which deployments they left behind, and may repeat."""
    deployment = await stage.deployment()
    await stage.until_phase(deployment, DeploymentPhase.ACTIVE)
    first.process.terminate()
    first.exit_code()
    worker_processes.start("lifecycles", BYOC_BUILD_ID="two")
    await until_known(plane, "two")

    promoted = await byoc("--patience", "2", "versions", "promote", "two")

    assert promoted.code == 1
    assert "deployment/acme-prod does not answer" in promoted.out
    worker_processes.start("lifecycles", BYOC_BUILD_ID="one")
    assert (await byoc("versions", "promote", "two")).code == 0
    await until_equal(lambda: build_of(deployment), "two")


async def test_a_retired_deployment_is_shown_without_the_workers_of_its_build(
    byoc: Byoc, stage: Stage, first: WorkerProcess
) -> None:
    """What has ended needs no worker any more: the receipt can be read, and the name be used again."""
    deployment = await stage.deployment()
    await stage.until_phase(deployment, DeploymentPhase.ACTIVE)
    leaving = OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=ADA)
    await deployment.execute_update(Deployment.request, leaving)
    await deployment.result()
    first.process.terminate()
    assert first.exit_code() == 0

    shown = await byoc("--patience", "5", "deployments", "show", stage.name, "-o", "json")

    assert shown.code == 0, shown.err
    assert shown.json()["phase"] == "retired"
    assert shown.json()["receipt"]["deployment"] == stage.name


async def test_unversioned_workflows_go_over_to_the_first_build(
    byoc: Byoc, plane: ControlPlane, stage: Stage, worker_processes: WorkerProcesses
) -> None:
    """Versioning can be begun on a running fleet: what an unversioned worker began is taken over and pinned."""
    worker_processes.start("lifecycles")
    deployment = await stage.deployment()
    await stage.until_phase(deployment, DeploymentPhase.ACTIVE)
    assert (await byoc("versions", "list")).out.startswith("No build is known")
    worker_processes.start("lifecycles", BYOC_BUILD_ID="one")
    await until_known(plane, "one")

    promoted = await byoc("versions", "promote", "one")

    assert promoted.code == 0, promoted.out
    await until_equal(lambda: build_of(deployment), "one")
    assert (await stage.until(deployment, lambda state: state.runs == 2)).phase is DeploymentPhase.ACTIVE


async def test_check_finds_that_everything_replays(byoc: Byoc, stage: Stage, worker_processes: WorkerProcesses) -> None:
    """The code that runs replays what it has begun; the bound says what was left out."""
    worker_processes.start("lifecycles")
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    await until_waiting(await stage.provision())
    other = Stage(stage.client, stage.cloud, "acme-test")
    await until_waiting(await other.provision())

    checked = await byoc("versions", "check")
    bounded = await byoc("versions", "check", "--limit", "1")
    narrowed = await byoc("versions", "check", "--query", "WorkflowType = 'Deployment'", "-o", "json")
    misspelt = await byoc("versions", "check", "--query", "Workflow = ")

    assert (checked.code, bounded.code, narrowed.code, misspelt.code) == (0, 0, 0, 2)
    assert checked.out == "2 of 2 open workflows replay with the code that is installed here.\n"
    assert "1 of 1" in bounded.out
    assert "These are the newest of 2" in bounded.out
    assert narrowed.json() == {"found": 0, "replayed": []}
    assert "--query: 'Workflow = '" in misspelt.err


async def test_check_names_a_workflow_whose_code_was_reordered(
    address: str, stage: Stage, worker_processes: WorkerProcesses, tmp_path: Path
) -> None:
    """With the code of a careless edit `check` names the provisioning that it would break, and not its deployment."""
    worker_processes.start("lifecycles")
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    deployment = await stage.deployment()
    await stage.until(deployment, lambda state: bool(state.report and state.report.waiting_for))
    edited = copied(tmp_path / "edited")
    provision = edited / "workflows" / "provision.py"
    source = provision.read_text("utf-8")
    assert source.count(LOOKS_FIRST) == 1
    provision.write_text(source.replace(LOOKS_FIRST, REORDERED + LOOKS_FIRST), "utf-8")

    checked = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", "from starters.cli import main; main()", "versions", "check"],
        cwd=edited,
        env=clean_environment(TEMPORAL_ADDRESS=address),
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 1, checked.stderr
    named = [line.split() for line in checked.stdout.splitlines() if line.startswith("deployment/")]
    assert named[0][:2] == ["deployment/acme-prod/provision/1", "Provision"]
    assert len([row for row in named if len(row) > 1 and row[1] in ("Provision", "Deployment")]) == 1
    assert "NondeterminismError" in checked.stdout
    assert "1 of 2 open workflows replay" in checked.stdout


async def connected(plane: ControlPlane, name: str) -> WorkflowHandle[Any, AccountState]:
    """Connect an account and return its workflow once it is active and idle for a day."""
    spec = AccountSpec(
        name=name, customer="acme", cloud=Cloud.AWS, cloud_account_id="222222222222", regions=("eu-west-1",)
    )
    await plane.connect_account(spec, pace=BRISK)
    handle: WorkflowHandle[Any, AccountState] = plane.client.get_workflow_handle(ids.account_id(name))
    state = await handle.execute_update(Account.verify, AccountRequest(actor=ADA))
    assert state.phase is AccountPhase.ACTIVE
    return handle


async def until_known(plane: ControlPlane, build_id: str) -> None:
    """Wait until the server has seen the workers of a build."""

    async def known() -> bool:
        return any(
            build.build_id == build_id and build.status is not BuildStatus.CREATED
            for build in await builds(plane, "byoc")
        )

    await until_equal(known, True)


async def build_of(handle: WorkflowHandle[Any, Any]) -> str:
    """Return the build that the workflow's present (or last) run is pinned to, by the server's own record."""
    description = await handle.describe()
    build: str = description.raw_description.workflow_execution_info.versioning_info.deployment_version.build_id
    return build


async def listed_build_of(plane: ControlPlane, handle: WorkflowHandle[Any, Any]) -> str:
    """Return the version by which lists find the workflow."""
    query = f"WorkflowId = '{handle.id}' AND ExecutionStatus = 'Running'"
    rows = [row async for row in plane.client.list_workflows(query)]
    return str(rows[0].search_attributes.get("TemporalWorkerDeploymentVersion", [""])[0]) if rows else ""


async def until_equal(look: Callable[[], Any], wanted: object) -> None:
    """Wait until `look` returns what is wanted."""
    seen = None
    for _ in range(1200):
        seen = await look()
        if seen == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"it stayed {seen!r} and never became {wanted!r}")


def copied(folder: Path) -> Path:
    """Return a folder with a copy of our code: another build's."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder
