"""Rehearsals: which step needs which, what plans say of steps, and what is left of a rehearsal (nothing)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

import catalog
from activities.contracts import PlanQuestion
from bench.graph import NEEDS
from domain.addresses import plan_overlaid_subnets, plan_regional_subnets, plan_subnets
from domain.approval import ApprovalPolicy, RiskClass, Side
from domain.clouds import Cloud
from domain.deployment import FinalBackup
from domain.operation import OperationKind
from domain.plan import Plan
from domain.upgrade import UpgradeRequest, UpgradeWork
from domain.upgrade_path import stages_of
from tests.plans.orders import FACTS, order, question
from workers.assembly import declared_needs
from workers.rehearsal.answers import ACTIVITIES, Answers, _value, is_planned
from workers.rehearsal.planning import Planner
from workers.rehearsal.server import CannotRehearse, rehearsal_server
from workers.rehearsal.stage import Stage
from workers.settings import WorkerSettings
from workflows.temporal.plugin import workflow_runner

ROOT = Path(__file__).parents[2]

COUNTING = {"measure"}
"""Activities whose answers grow, as counters do."""

Made = Callable[[PlanQuestion], Awaitable[Plan]]


@pytest.fixture(scope="session")
def made() -> Made:
    """Make a plan."""
    return Planner(WorkerSettings(), declared_needs).plan


@pytest.fixture(scope="session")
async def fresh(made: Made) -> Plan:
    """The plan of a first provisioning: v1-medium."""
    return await made(question())


def test_a_first_provisioning_needs_what_the_graph_says(fresh: Plan) -> None:
    """The rehearsal finds the graph that is written down for the measurements: every edge of it, and no other."""
    assert {step.name: set(step.after) for step in fresh.steps} == {step: set(needs) for step, needs in NEEDS.items()}


def test_a_plan_says_what_each_step_needs_and_is(fresh: Plan) -> None:
    """Words, permissions by purpose, and whether an operator may skip it, all from where they are declared."""
    steps = {step.name: step for step in fresh.steps}

    assert fresh.kind is OperationKind.PROVISION
    assert fresh.risk is RiskClass.SIGNIFICANT
    assert fresh.irreversible == ()
    assert steps["install_component/store"].summary == "Install the store component"
    assert ("ec2:CreateVpc", "operate") in {(each.action, each.purpose) for each in steps["create_network"].actions}
    assert steps["create_alarms"].may_skip
    assert not steps["create_cluster"].may_skip
    assert steps["create_namespace"].actions == ()
    assert all(step.changes is None for step in fresh.steps)


def test_expected_instants_follow_the_longest_chain(fresh: Plan) -> None:
    """No step starts before those that it needs have ended, and the whole takes as long as its last step says."""
    steps = {step.name: step for step in fresh.steps}

    for step in fresh.steps:
        ends = [steps[need].starts_after + steps[need].takes for need in step.after]
        assert step.starts_after == max(ends, default=timedelta(0))
    last = steps["prove_restore"]
    assert fresh.takes == last.starts_after + last.takes
    assert steps["create_cluster"].takes == catalog.durations().clouds[Cloud.AWS].expected(
        "create_cluster", changes=True
    )


def test_quotas_are_those_of_the_whole_deployment(fresh: Plan) -> None:
    """Each quota of the catalogue comes with what the shape takes of it when it is scaled to its maximum."""
    needed = {quota.code: quota.needed for quota in fresh.quotas}

    pools = order().shape.pools.values()
    assert needed["L-1216C47A"] == sum(pool.cpu * pool.maximum for pool in pools)
    assert needed["L-0263D0A3"] == 3
    assert needed["L-7A658B76"] == 1


async def test_a_plan_for_google_cloud_is_one_of_its_own(made: Made, fresh: Plan) -> None:
    """The same steps in the same order, with the permissions, quotas, durations and prices of that cloud."""
    plain = order()
    site = plain.site.model_copy(update={"cloud": Cloud.GCP, "cloud_account_id": "acme-data", "region": "europe-west4"})
    spec = plain.spec.model_copy(update={"region": "europe-west4", "kubernetes": "1.34"})

    plan = await made(PlanQuestion(kind=OperationKind.PROVISION, order=order(site=site, spec=spec)))

    steps = {step.name: step for step in plan.steps}
    assert [(step.name, step.after) for step in plan.steps] == [(step.name, step.after) for step in fresh.steps]
    assert "compute.routers.create" in {action.action for action in steps["create_egress"].actions}
    assert {quota.service for quota in plan.quotas} == {"compute.googleapis.com"}
    expected = catalog.durations().clouds[Cloud.GCP].expected("create_cluster", changes=True)
    assert steps["create_cluster"].takes == expected
    assert any("n2-standard" in item.what or "n4-standard" in item.what for item in plan.costs)


async def test_a_plan_for_azure_is_one_of_its_own(made: Made, fresh: Plan) -> None:
    """The same steps in the same order, with the permissions, quotas, durations and prices of that cloud."""
    plain = order()
    subscription = "8d7a1c9e-3f5b-4a6d-9c2e-1b0f4e7d6a58"
    site = plain.site.model_copy(
        update={"cloud": Cloud.AZURE, "cloud_account_id": subscription, "region": "westeurope"}
    )
    spec = plain.spec.model_copy(update={"region": "westeurope", "kubernetes": "1.34"})

    plan = await made(PlanQuestion(kind=OperationKind.PROVISION, order=order(site=site, spec=spec)))

    steps = {step.name: step for step in plan.steps}
    assert [(step.name, step.after) for step in plan.steps] == [(step.name, step.after) for step in fresh.steps]
    assert "Microsoft.Network/natGateways/write" in {action.action for action in steps["create_egress"].actions}
    assert {quota.service for quota in plan.quotas} == {"Microsoft.Compute", "Microsoft.Network"}
    expected = catalog.durations().clouds[Cloud.AZURE].expected("create_cluster", changes=True)
    assert steps["create_cluster"].takes == expected
    assert any("Standard_D" in item.what for item in plan.costs)


async def test_the_same_order_gives_the_same_plan_in_any_process(fresh: Plan) -> None:
    """Hash, basis and steps are the same when another process makes the plan; only the instant differs."""
    other = await asyncio.to_thread(_in_a_process, question())

    assert other.model_copy(update={"made_at": fresh.made_at}) == fresh


@pytest.mark.parametrize(
    "changed",
    [order(high_availability=True), order(first=False, facts=FACTS)],
    ids=["another specification", "known facts"],
)
async def test_another_order_gives_another_plan(made: Made, fresh: Plan, changed: Any) -> None:
    """What people would approve differs as soon as what it starts from does."""
    other = await made(PlanQuestion(kind=OperationKind.PROVISION, order=changed))

    assert other.basis != fresh.basis
    assert other.hash != fresh.hash


async def test_who_asks_and_when_is_no_part_of_a_plan(made: Made, fresh: Plan) -> None:
    """The same change asked for as another operation, for another reason, is the same plan."""
    asked = order(operation_id="provision/9", reason="again")

    other = await made(PlanQuestion(kind=OperationKind.PROVISION, order=asked))

    assert other.hash == fresh.hash


async def test_the_sandbox_changes_nothing_in_a_rehearsal(fresh: Plan) -> None:
    """The workflow runs in its sandbox as well, with the same steps in the same order."""
    asked = question()
    async with rehearsal_server() as client:
        stage = Stage(client, asked.kind, asked.order, _answers())
        steps = await stage.rehearse(runner=workflow_runner())

    assert [(step.name, step.after) for step in steps] == [(step.name, step.after) for step in fresh.steps]


async def test_a_slow_machine_changes_nothing_in_a_rehearsal(fresh: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock does not jump while an answer is on its way, however long it takes."""
    at_once = Stage._answer

    async def late(stage: Stage, key: str, name: str, argument: Any) -> Any:
        await asyncio.sleep(len(key) % 7 / 100)
        return await at_once(stage, key, name, argument)

    monkeypatch.setattr(Stage, "_answer", late)
    asked = question()
    async with rehearsal_server() as client:
        steps = await Stage(client, asked.kind, asked.order, _answers()).rehearse()

    assert [(step.name, step.after) for step in steps] == [(step.name, step.after) for step in fresh.steps]


async def test_a_retirement_is_told_with_what_cannot_be_taken_back(made: Made) -> None:
    """Its deletions are irreversible, the server's first; whoever has to approve is named."""
    asked = question(OperationKind.RETIRE)
    policy = ApprovalPolicy(destructive=(Side.VENDOR, Side.CUSTOMER))

    plan = await made(asked.model_copy(update={"policy": policy}))

    steps = {step.name: step for step in plan.steps}
    assert plan.risk is RiskClass.DESTRUCTIVE
    assert plan.approvals == (Side.VENDOR, Side.CUSTOMER)
    assert plan.irreversible[:2] == ("Lock the final backup", "Delete the server from the cluster")
    assert steps["lock_backup"].after == ("back_up",)
    assert steps["delete_node_pools"].after == steps["delete_alarms"].after == ("delete_workloads",)
    assert set(steps["delete_firewall"].after) == {"delete_domain", "delete_egress", "delete_private_endpoints"}
    assert steps["find_leftovers"].after == ("delete_encryption_key",)
    assert {item.what for item in plan.costs} == {"Encryption key", "Backup of at most 200 GiB"}


async def test_a_retirement_without_a_backup_leaves_nothing_to_pay(made: Made) -> None:
    """Nothing is backed up, and nothing stands there afterwards."""
    plan = await made(question(OperationKind.RETIRE, final_backup=FinalBackup.NONE))

    assert not {"back_up", "lock_backup"} & {step.name for step in plan.steps}
    assert plan.costs == ()


async def test_converging_looks_instead_of_making(made: Made, fresh: Plan) -> None:
    """A deployment with its proof is not backed up again, and what is expected to be as it should be is quick."""
    plan = await made(PlanQuestion(kind=OperationKind.PROVISION, order=order(first=False, facts=FACTS)))

    assert {step.name for step in fresh.steps} - {step.name for step in plan.steps} == {"back_up", "prove_restore"}
    assert plan.risk is RiskClass.ROUTINE
    assert plan.takes < fresh.takes


async def test_a_reconfiguration_is_one_step(made: Made) -> None:
    """The keys are applied, and nothing else."""
    plan = await made(question(OperationKind.RECONFIGURE))

    assert [step.name for step in plan.steps] == ["apply_api_keys"]
    assert plan.quotas == ()


async def test_an_upgrade_is_planned_stage_after_stage_and_says_what_cannot_be_taken_back(made: Made) -> None:
    """Preflight and backup first, then the server by canaries, then control plane, add-ons and nodes."""
    catalogue = catalog.load()
    present, target = catalogue.release("4.11.0"), catalogue.release("4.12.1")
    assert present is not None
    asked = UpgradeRequest(release=target, kubernetes="1.36")
    stages = stages_of(asked, release=present, kubernetes="1.35", high_availability=False)
    upgraded = question(OperationKind.UPGRADE, facts=FACTS)
    order_ = upgraded.order.model_copy(update={"release": present, "upgrade": UpgradeWork(stages=stages)})

    plan = await made(upgraded.model_copy(update={"order": order_}))

    names = [step.name for step in plan.steps]
    first = [
        "check_server",
        "back_up",
        "migrate/expand 4.12.1",
        "stage_canary/store 4.12.1",
        "measure/store 4.12.1",
        "install_component/store 4.12.1",
        "stage_canary/cdc 4.12.1",
        "migrate/activate 4.12.1",
        "upgrade_control_plane/1.36",
        "upgrade_add_on/dns 1.36",
        "create_canary_node/services 1.36",
        "upgrade_node_pool/services 1.36",
        "create_canary_node/store 1.36",
        "upgrade_node_pool/store 1.36",
    ]
    assert sorted(first, key=names.index) == first
    assert plan.irreversible == tuple(stage.irreversible for stage in stages if stage.irreversible)
    assert any("Kubernetes 1.36" in words for words in plan.irreversible)


async def test_an_operation_that_would_not_end_well_has_no_plan(made: Made) -> None:
    """One sentence says why: there is no cluster whose keys could be changed."""
    with pytest.raises(CannotRehearse, match="would end aborted: there is no cluster"):
        await made(question(OperationKind.RECONFIGURE, facts=FACTS.model_copy(update={"cluster": None})))


@pytest.mark.parametrize("activity", sorted(ACTIVITIES))
def test_every_activity_of_the_contract_has_an_answer(activity: str) -> None:
    """An answer of the declared type can be made of the type alone, twice the same unless it counts."""
    asked = ACTIVITIES[activity]
    answers = _answers()
    asked_about = _made_up(asked.takes)

    answer = answers.answer(activity, asked_about)

    assert activity in COUNTING or answer == answers.answer(activity, asked_about)
    assert answer is None or isinstance(answer, getattr(asked.returns, "__origin__", asked.returns))


def test_what_is_made_up_says_so() -> None:
    """An id that does not exist yet is told from one that does, however deep in a question it is."""
    network = _answers().answer("create_network", _made_up(ACTIVITIES["create_network"].takes))

    assert network.network_id == "planned:network_id"
    assert is_planned({"request": [network.model_dump(mode="json")]})
    assert not is_planned(FACTS.model_dump(mode="json"))


def test_known_facts_are_answered_with() -> None:
    """Of two pools that are known, the one that is asked about is the answer."""
    answers = Answers(FACTS, catalog.load(), None)
    asked = _made_up(ACTIVITIES["create_node_pool"].takes)

    for pool in FACTS.pools:
        assert answers.answer("create_node_pool", asked.model_copy(update={"pool": pool.pool})) == pool


def test_addresses_are_planned_as_the_cloud_s_preflight_does() -> None:
    """Where subnets span a region there is one of each; where they are zonal there is one for each zone."""
    asked = _made_up(ACTIVITIES["plan_addresses"].takes)
    on_gcp, on_azure = (
        asked.model_copy(update={"site": asked.site.model_copy(update={"cloud": cloud})})
        for cloud in (Cloud.GCP, Cloud.AZURE)
    )

    assert _answers().answer("plan_addresses", asked) == plan_subnets(asked.network.cidr, len(asked.placement.zones))
    assert _answers().answer("plan_addresses", on_gcp) == plan_regional_subnets(asked.network.cidr)
    assert _answers().answer("plan_addresses", on_azure) == plan_overlaid_subnets(asked.network.cidr)


async def test_no_process_is_left_when_a_plan_is_made(made: Made) -> None:
    """The rehearsal's server ends with the rehearsal."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}

    await made(question(OperationKind.RECONFIGURE))

    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


async def test_no_process_is_left_when_the_maker_of_a_plan_is_killed() -> None:
    """The rehearsal's server does not outlive the process that holds it, however that ends."""
    maker = await asyncio.to_thread(_making, question())
    server = await asyncio.to_thread(_child_of, maker)

    maker.kill()
    maker.wait()

    psutil.wait_procs([server], timeout=30)
    assert not server.is_running()


def _answers() -> Answers:
    prices = catalog.prices().clouds
    return Answers(order().facts, catalog.load(), next(iter(prices.values())))


def _made_up(wanted: type[Any]) -> Any:
    """Return a question of this type whose parts are as in an order, or made up."""
    asked = order(high_availability=True)
    known = {"site": asked.site, "shape": asked.shape, "spec": asked.spec, "release": asked.release}
    known |= {"placement": FACTS.placement, "network": FACTS.network}
    if wanted is type(asked.site):
        return asked.site
    values = {}
    for name, field in wanted.model_fields.items():
        fits = isinstance(field.annotation, type) and isinstance(known.get(name), field.annotation)
        if fits:
            values[name] = known[name]
        elif field.is_required():
            values[name] = _value(field.annotation, name, "a test", asked.site)
    return wanted.model_validate(values)


def _in_a_process(asked: PlanQuestion) -> Plan:
    made = subprocess.run(
        [sys.executable, "-m", "workers", "plan"],
        input=asked.model_dump_json(),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return Plan.model_validate_json(made.stdout)


def _making(asked: PlanQuestion) -> subprocess.Popen[bytes]:
    """Start the process that makes a plan."""
    maker = subprocess.Popen([sys.executable, "-m", "workers", "plan"], stdin=subprocess.PIPE, cwd=ROOT)
    assert maker.stdin is not None
    maker.stdin.write(asked.model_dump_json().encode())
    maker.stdin.close()
    return maker


def _child_of(process: subprocess.Popen[bytes]) -> psutil.Process:
    """Return the server that a process has started, as soon as it has."""
    for _ in range(1200):
        for child in psutil.Process(process.pid).children():
            if "temporal-test-server" in " ".join(child.cmdline()):
                return child
        time.sleep(0.05)
    raise AssertionError("no rehearsal was begun")
