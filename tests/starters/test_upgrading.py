"""`byoc deployments upgrade`, and the plan of an upgrade: what is typed, what is refused, and what is printed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from domain.actor import Actor, Door
from domain.operation import OperationPhase
from domain.pending import PendingChoice
from domain.plan import Plan
from starters.client import ControlPlane
from tests.starters.conftest import Byoc
from tests.starters.test_approvals import account_file
from tests.starters.test_cli import _watching, manifest
from tests.workflows.scripted_cloud import ScriptedCloud
from workflows.temporal import ids
from workflows.upgrade import Upgrade

WAY = [
    "control-plane 1.34",
    "add-ons 1.34",
    "nodes 1.34 services",
    "nodes 1.34 store",
    "server 4.12.1",
    "control-plane 1.35",
    "add-ons 1.35",
    "nodes 1.35 services",
    "nodes 1.35 store",
]
"""From 4.11.0 on 1.33, which the scripted cloud's clusters have, to 4.12.1 on 1.35."""
LAST = "Kubernetes 1.35 of the control plane: the version before cannot be put back"


REFUSED: tuple[tuple[list[str], list[str]], ...] = (
    (["--release", "4.12.9"], ['--release: "4.12.9" is no release', "4.12.1"]),
    (["--release", "4.12.0"], ['"4.12.0" is withdrawn', "4.12.1"]),
    (["--kubernetes", "1.40"], ['--kubernetes: "1.40" is supported on no cloud', "1.35"]),
    (["--release", "4.12.1", "--kubernetes", "1.35", "--urgent"], ["--reason: is missing"]),
    (["--kubernetes", "1.34", "--urgent", "--reason", "x"], ["--urgent: only a release of critical severity"]),
    (["--kubernetes", "1.34", "--dry-run", "--watch"], ["--watch: there is nothing to watch"]),
)
"""Options, and what is said of them."""


@pytest.fixture
async def older(byoc: Byoc, cloud: ScriptedCloud, tmp_path: Path, account: str, name: str) -> str:
    """An active deployment of an older release; its name."""
    file = manifest(tmp_path, name, account, release="4.11.0", kubernetes="1.34")
    made = await byoc("deployments", "create", "-f", file, "--watch")
    assert made.code == 0, made.err + made.out
    return name


@pytest.fixture
def plane(client: Client) -> ControlPlane:
    """The control plane as another operator asks it."""
    return ControlPlane(client, Actor(name="grace@vendor", door=Door.CLI))


async def test_a_dry_run_says_stages_and_window_and_asks_for_nothing(
    byoc: Byoc, older: str, plane: ControlPlane
) -> None:
    """Every stage in order, what cannot be taken back, the end of the notice, and a window after it."""
    asked = ("deployments", "upgrade", older, "--release", "4.12.1", "--kubernetes", "1.35", "--dry-run")

    table = await byoc(*asked)
    data = (await byoc(*asked, "-o", "json")).json()

    assert table.code == 0, table.err
    assert [stage["name"] for stage in data["stages"]] == WAY
    assert LAST in table.out
    assert "Nothing was asked for." in table.out
    assert data["opening"]["at"] >= data["noticeEnds"]
    assert data["operationId"] == ""
    assert (await plane.deployment(older)).queue == ()


async def test_an_upgrade_is_queued_with_the_stages_that_were_said(byoc: Byoc, older: str, plane: ControlPlane) -> None:
    """The deployment finds the same stages, notice and window by itself; the needs are those of the cloud's table."""
    ran = await byoc(
        "deployments",
        "upgrade",
        older,
        "--release",
        "4.12.1",
        "--kubernetes",
        "1.35",
        "--reason",
        "spring",
        "-o",
        "json",
    )
    assert ran.code == 0, ran.err
    said = ran.json()

    for _ in range(100):
        (queued,) = (await plane.deployment(older)).queue
        assert queued.appointment is not None
        if queued.appointment.opening is not None:
            break
        await asyncio.sleep(0.05)
    booked = queued.appointment
    assert [stage.model_dump(mode="json", by_alias=True) for stage in booked.stages] == said["stages"]
    assert booked.opening is not None
    assert booked.opening.model_dump(mode="json", by_alias=True)["end"] == said["opening"]["end"]
    assert (queued.summary.operation_id, queued.summary.reason) == (said["operationId"], "spring")
    again = await byoc("deployments", "upgrade", older, "--release", "4.12.1", "--kubernetes", "1.35")
    assert (again.code, "leads there already" in again.err) == (1, True)


async def test_what_cannot_be_asked_is_refused_at_the_door(byoc: Byoc, older: str, plane: ControlPlane) -> None:
    """Exit code 2, with the option and what is allowed; for an upgrade and for its plan; nothing is queued.

    Without options the newest release is meant: where no way leads there, it is said what to ask for (1).
    """
    for options, said in REFUSED:
        ran = await byoc("deployments", "upgrade", older, *options)
        assert ran.code == 2, options
        assert [words for words in said if words not in " ".join(ran.err.split())] == []
    newest = await byoc("deployments", "upgrade", older)
    converging = await byoc("deployments", "plan", older, "--release", "4.12.1")
    unknown = await byoc("deployments", "plan", older, "--for", "upgrade", "--release", "4.12.9")

    assert newest.code == 1
    assert "Ask for a version of Kubernetes from 1.34 on with it" in newest.err
    assert (converging.code, "--for: converge goes to no other version" in converging.err) == (2, True)
    assert (unknown.code, '"4.12.9" is no release' in unknown.err) == (2, True)
    assert (await plane.deployment(older)).queue == ()


async def test_an_urgent_one_asks_for_two_others(byoc: Byoc, older: str, plane: ControlPlane) -> None:
    """It says how they approve; whoever asked cannot, and two others can."""
    asked = ("--release", "4.12.1", "--kubernetes", "1.35", "--urgent", "--reason", "CVE-2026-1234 is exploited")

    ran = await byoc("deployments", "upgrade", older, *asked)
    own = await byoc("deployments", "override", "approve", older)
    one = await byoc("deployments", "override", "approve", older, "-o", "json", BYOC_ACTOR="grace@vendor")

    assert ran.code == 0, ran.err
    assert f"byoc deployments override approve {older} upgrade/2" in " ".join(ran.out.split())
    assert (own.code, "cannot approve its override as well" in own.err) == (1, True)
    assert one.json()["missing"] == 1
    (queued,) = (await plane.deployment(older)).queue
    assert queued.appointment is not None
    assert queued.appointment.override is not None
    assert queued.appointment.override.reason == "CVE-2026-1234 is exploited"


async def test_who_watches_waits_for_the_window_again_after_it_has_parked(
    byoc: Byoc, older: str, plane: ControlPlane, temporal: WorkflowEnvironment
) -> None:
    """It stops between two stages and is watched on; withdrawn then, it is over, and the exit code says so."""
    asked = await byoc("deployments", "upgrade", older, "--kubernetes", "1.34")
    watching = await _watching(temporal, older, "--operation", "upgrade/2")
    assert watching.stdout is not None
    waits = await asyncio.wait_for(watching.stdout.readline(), 30)
    await plane.decide_pending(older, "upgrade/2", PendingChoice.IMMEDIATE)
    running = plane.client.get_workflow_handle(ids.operation_workflow_id(older, "upgrade/2"))
    while not (await watching.stdout.readline()).decode().startswith("✔ Use the server"):
        assert watching.returncode is None
    await running.signal(Upgrade.stop_at_checkpoint, "an audit")
    for _ in range(200):
        state = await plane.deployment(older)
        if state.queue:
            break
        await asyncio.sleep(0.05)
    await plane.decide_pending(older, "upgrade/2", PendingChoice.WITHDRAW, reason="enough")
    out, _ = await asyncio.wait_for(watching.communicate(), 60)

    assert asked.code == 0, asked.err
    assert waits.decode().startswith("upgrade/2 waits for")
    assert state.queue[0].summary.phase is OperationPhase.PARKED
    assert state.kubernetes == "1.34"
    assert watching.returncode == 4, out.decode()


async def test_a_plan_of_an_upgrade_is_the_one_that_will_have_to_be_approved(
    byoc: Byoc, cloud: ScriptedCloud, tmp_path: Path, name: str, plane: ControlPlane
) -> None:
    """It starts from the same as the plan that the deployment has made, and says what cannot be taken back."""
    connected = await byoc("accounts", "connect", "-f", account_file(tmp_path, f"{name}-aws"), "--wait")
    assert connected.code == 0, connected.err
    file = manifest(tmp_path, name, f"{name}-aws", release="4.11.0", kubernetes="1.34")
    made = await byoc("deployments", "create", "-f", file, "--watch")
    assert made.code == 0, made.err + made.out
    careful = account_file(tmp_path, f"{name}-aws", significant=["customer"])
    changed = await byoc("approvals", "policy", f"{name}-aws", "-f", careful)
    assert changed.code == 0, changed.err

    ran = await byoc("deployments", "plan", name, "--for", "upgrade", "--kubernetes", "1.34", "-o", "json")
    asked = await byoc("deployments", "upgrade", name, "--kubernetes", "1.34")
    for _ in range(200):
        (queued,) = (await plane.deployment(name)).queue
        if queued.approval is not None and queued.approval.plan is not None:
            break
        await asyncio.sleep(0.05)

    assert ran.code == 0, ran.err
    assert asked.code == 0, asked.err
    plan = Plan.model_validate(ran.json())
    assert queued.approval is not None
    assert queued.approval.plan is not None
    assert plan.basis == queued.approval.plan.basis
    assert plan.irreversible == ("Kubernetes 1.34 of the control plane: the version before cannot be put back",)
    assert (plan.risk, plan.approvals) == ("significant", ("customer",))
    assert "upgrade_control_plane/1.34" in {step.name for step in plan.steps}
