"""Plans of upgrades: every stage with steps of its own, what cannot be taken back, and how long it takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import catalog
from activities.contracts import PlanQuestion
from domain.facts import RestoreProof
from domain.operation import OperationKind
from domain.plan import Plan, basis_of
from domain.release import Release
from domain.upgrade import StageKind, UpgradeRequest, UpgradeWork, Verification
from domain.upgrade_path import stages_of
from tests.plans.orders import FACTS, question
from workers.assembly import declared_needs
from workers.rehearsal.planning import Planner
from workers.settings import WorkerSettings


def release(version: str) -> Release:
    """Return a release of the catalogue."""
    found = catalog.load().release(version)
    assert found is not None, version
    return found


def asked() -> PlanQuestion:
    """Return the question for an upgrade over one release and two minor versions, whose backup was proven just now."""
    request = UpgradeRequest(release=release("4.12.1"), kubernetes="1.36", verification=Verification(rounds=2))
    stages = stages_of(request, release=release("4.11.0"), kubernetes="1.34", high_availability=False)
    proof = RestoreProof(key="k", records=1, sha256="ab", seconds=1.0, proven_at=datetime.now(UTC))
    plain = question(OperationKind.UPGRADE, facts=FACTS.model_copy(update={"restore_proof": proof}))
    work = UpgradeWork(stages=stages, verification=request.verification, window_ends=datetime(2026, 1, 1, tzinfo=UTC))
    return plain.model_copy(
        update={"order": plain.order.model_copy(update={"release": release("4.11.0"), "upgrade": work})}
    )


@pytest.fixture(scope="module")
async def upgrade() -> Plan:
    """The plan of that upgrade."""
    return await Planner(WorkerSettings(), declared_needs).plan(asked())


def test_what_is_done_twice_is_two_steps(upgrade: Plan) -> None:
    """Each minor version has its own control plane, add-ons, canaries and pools, one stage after the other."""
    after = {step.name: step.after for step in upgrade.steps}

    add_ons = {f"upgrade_add_on/{name} 1.35" for name in ("network", "proxy", "identity", "dns", "storage", "metrics")}
    assert set(after["smoke_test/the add-ons 1.35"]) == add_ons
    assert after["validate_node/services 1.35"] == ("create_canary_node/services 1.35",)
    assert after["upgrade_node_pool/services 1.35"] == ("delete_canary_nodes/services 1.35",)
    assert after["upgrade_control_plane/1.36"] == ("smoke_test/the store machines 1.35",)
    assert after["upgrade_node_pool/store 1.36"] == ("delete_canary_nodes/store 1.36",)
    assert upgrade.steps[-1].name == "smoke_test/the store machines 1.36"


def test_what_cannot_be_taken_back_is_what_the_stages_say(upgrade: Plan) -> None:
    """Both minor versions; a canary's machine that is deleted is no loss."""
    assert upgrade.irreversible == tuple(
        f"Kubernetes {minor} of the control plane: the version before cannot be put back" for minor in ("1.35", "1.36")
    )


def test_a_backup_is_proven_in_the_plan_even_if_one_was_proven_today(upgrade: Plan) -> None:
    """It may be too long ago when the window opens, and then a step that nobody approved could not run."""
    assert "prove_restore" in {step.name for step in upgrade.steps}


def test_canaries_are_observed_and_control_planes_bake(upgrade: Plan) -> None:
    """Both take time in which no step runs, and the instants after them say so."""
    steps = {step.name: step for step in upgrade.steps}
    measured, promoted = steps["measure/store 4.12.1"], steps["install_component/store 4.12.1"]
    used, next_ = steps["smoke_test/the control plane 1.35"], steps["upgrade_add_on/dns 1.35"]

    assert promoted.starts_after - measured.starts_after - measured.takes == timedelta(minutes=2)
    assert next_.starts_after - used.starts_after - used.takes == timedelta(minutes=30)


def test_what_a_stage_is_thought_to_need_is_no_part_of_what_is_approved() -> None:
    """Durations may be learnt anew: it is the same upgrade, unless one of its stages is another."""
    order = asked().order
    work = order.upgrade
    assert work is not None
    longer = tuple(stage.model_copy(update={"need": 2 * stage.need}) for stage in work.stages)
    without = tuple(stage for stage in work.stages if stage.kind is not StageKind.SERVER)

    bases = [
        basis_of(
            OperationKind.UPGRADE,
            order.model_copy(update={"upgrade": work.model_copy(update={"stages": stages})}),
        )
        for stages in (work.stages, longer, without)
    ]

    assert bases[0] == bases[1] != bases[2]
