"""A cloud that answers at once, for tests of workflow logic alone: it records what it is asked and fails on request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.common import RawValue

from activities.contracts import Comparison, PlanQuestion, ProposalAnswer, WindowQuestion
from activities.failures import failure
from domain.account import AccessReport, RevocationProof
from domain.approval import risk_of
from domain.facts import (
    AddressPlan,
    Backup,
    Bucket,
    Certificate,
    Cluster,
    Domain,
    Firewall,
    Key,
    Leftover,
    LoadBalancer,
    Machine,
    Network,
    NodePool,
    Placement,
    RestoreProof,
    Roles,
    SmokeTest,
)
from domain.failure import FailureClass, FailureDetail
from domain.operation import OperationKind
from domain.plan import Plan, PlannedChange, PlannedStep, basis_of, hash_of
from domain.shape import Component, PoolName
from tests.lifecycle_steps import steps_of, undos_of
from tests.workflows import scripted_upgrade
from tests.workflows.scripted_upgrade import UpgradeScript
from tests.workflows.windows import next_opening
from workflows import steps

NOW = datetime(2026, 6, 1, tzinfo=UTC)

ANSWERS: dict[str, Any] = {
    "verify_access": AccessReport(principal="arn:aws:iam::1:role/byoc", verified_at=NOW, checked_actions=10),
    "prove_revoked": RevocationProof(proven_at=NOW, refusals=("AccessDenied",)),
    "check_permissions": AccessReport(principal="arn:aws:iam::1:role/byoc", verified_at=NOW, checked_actions=10),
    "check_quotas": None,
    "choose_placement": Placement(
        zones=("eu-west-1a", "eu-west-1b", "eu-west-1c"),
        machines=(
            Machine(pool=PoolName.STORE, instance_type="m7i.xlarge", minimum=3, maximum=6),
            Machine(pool=PoolName.SERVICES, instance_type="m7i.large", minimum=3, maximum=9),
        ),
    ),
    "plan_addresses": AddressPlan(cidr="10.64.0.0/16", private_cidrs=("10.64.0.0/19",), public_cidrs=()),
    "create_network": Network(network_id="vpc-1", private_subnet_ids=("subnet-1",), public_subnet_ids=("subnet-2",)),
    "create_firewall": Firewall(control_plane_group_id="sg-1", node_group_id="sg-2"),
    "create_roles": Roles(control_plane="r1", nodes="r2", storage_driver="r3", store="r4", restore="r5"),
    "create_encryption_key": Key(key_id="key-1"),
    "create_backup_bucket": Bucket(name="bucket-1"),
    "create_domain": Domain(zone_id="Z1", name="acme.example", name_servers=("ns1",)),
    "create_certificate": Certificate(certificate_id="cert-1"),
    "create_cluster": Cluster(name="byoc-acme", endpoint="https://c", certificate_authority="", version="1.33"),
    "open_endpoint": LoadBalancer(hostname="lb.example"),
    "smoke_test": SmokeTest(
        url="https://acme.example", release="4.12.1", components=dict.fromkeys(Component, "ok"), round_trip_ms=3.0
    ),
    "back_up": Backup(bucket="bucket-1", key="k", size_bytes=10, sha256="ab", records=1, taken_at=NOW),
    "lock_backup": Backup(
        bucket="bucket-1", key="k", size_bytes=10, sha256="ab", records=1, taken_at=NOW, retain_until=NOW
    ),
    "prove_restore": RestoreProof(key="k", records=1, sha256="ab", seconds=1.0, proven_at=NOW),
    "compare": Comparison(changes=(PlannedChange(call="ec2:CreateVpc"),)),
    "propose_rollouts": ProposalAnswer(rollouts=("2026-06",), left_alone=("Kubernetes: nothing has expired",)),
    "find_leftovers": (Leftover(resource_id="key-1", kind="kms:key", kept_because="scheduled for deletion"),),
}


class ScriptedCloud:
    """Answers every activity of the contract; `script` says which calls fail, and how."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.upgrades = UpgradeScript()
        self._callers: list[str] = []
        self._lock = threading.Lock()
        self._failures: dict[str, list[FailureDetail]] = {}
        self._refusals: dict[str, FailureDetail] = {}
        self._hooks: dict[str, Callable[[], None]] = {}
        self._unplanned: set[str] = set()

    def reset(self) -> None:
        """Forget calls and script."""
        self.calls.clear()
        self.upgrades.reset()
        self._callers.clear()
        self._failures.clear()
        self._refusals.clear()
        self._hooks.clear()
        self._unplanned.clear()

    def leave_out_of_plans(self, *names: str) -> None:
        """Make plans that lack these steps."""
        self._unplanned.update(names)

    def calls_for(self, name: str) -> list[str]:
        """Return the calls on behalf of one deployment (or account), whatever workflows of other tests still do."""
        with self._lock:
            return [call for call, caller in zip(self.calls, self._callers, strict=True) if name in caller.split("/")]

    def fail(self, name: str, *classes: FailureClass, action: str = "") -> None:
        """Let the next calls of `name` fail, one with each class."""
        self._failures[name] = [_detail(name, each, action) for each in classes]

    def refuse(self, name: str, refusal: FailureClass, action: str = "") -> None:
        """Let every call of `name` fail until `allow`."""
        self._refusals[name] = _detail(name, refusal, action)

    def allow(self, name: str) -> None:
        """End a refusal."""
        self._refusals.pop(name, None)

    def during(self, name: str, hook: Callable[[], None]) -> None:
        """Run `hook` inside each call of `name`, in the activity's thread."""
        self._hooks[name] = hook

    def activities(self) -> Sequence[Callable[..., Any]]:
        """Return the one dynamic activity that stands for all."""
        return [self._answer]

    @activity.defn(dynamic=True)
    def _answer(self, arguments: Sequence[RawValue]) -> Any:
        name = activity.info().activity_type
        with self._lock:
            self.calls.append(name)
            self._callers.append(activity.info().workflow_id or "")
            scripted = self._failures.get(name)
            refusal = self._refusals.get(name) or (scripted.pop(0) if scripted else None)
        if hook := self._hooks.get(name):
            hook()
        if refusal is not None:
            raise failure(refusal)
        if name in ANSWERS:
            return ANSWERS[name]
        converter = activity.payload_converter()
        if name in scripted_upgrade.NAMES:
            return self.upgrades.answer(name, converter.from_payload(arguments[0].payload, dict))
        match name:
            case "make_plan":
                return self._plan(converter.from_payload(arguments[0].payload, PlanQuestion))
            case "find_openings":
                return next_opening(converter.from_payload(arguments[0].payload, WindowQuestion))
            case "create_node_pool":
                request = converter.from_payload(arguments[0].payload, dict)
                return NodePool(pool=request["pool"], name=request["pool"], instance_type="m7i.large")
            case _:
                return None

    def _plan(self, question: PlanQuestion) -> Plan:
        """Return a plan with every step that an operation of the kind may run, but for those that are left out."""
        basis = basis_of(question.kind, question.order)
        planned = tuple(
            PlannedStep(name=name, summary=summary)
            for name, summary in _steps_of(question.kind)
            if name not in self._unplanned
        )
        deletes = question.kind is OperationKind.RETIRE
        return Plan(
            deployment=question.order.site.deployment,
            kind=question.kind,
            risk=risk_of(question.kind, changes_specification=question.order.first),
            basis=basis,
            hash=hash_of(basis, planned),
            made_at=datetime.now(UTC),
            steps=planned,
            irreversible=("The data in the store is deleted",) if deletes else (),
        )


def _steps_of(kind: OperationKind) -> list[tuple[str, str]]:
    """Return names and sentences of the steps that an operation of this kind may run."""
    match kind:
        case OperationKind.RECONFIGURE:
            return [(each.name, each.summary) for each in (steps.APPLY_API_KEYS, steps.SET_MAINTENANCE_POLICY)]
        case OperationKind.UPGRADE:
            return [("upgrade", "Upgrade")]
        case OperationKind.RETIRE:
            made = [(each.name, each.summary) for each in (steps.BACK_UP, steps.LOCK_BACKUP, steps.FIND_LEFTOVERS)]
            return [*made, *((undo.name, undo.summary) for undo in undos_of("provision"))]
    abouts = {
        steps.INSTALL_ADD_ON.name: ["network", "proxy", "identity", "dns", "storage", "metrics"],
        steps.CREATE_POOL.name: [*PoolName],
        steps.INSTALL_COMPONENT.name: [*Component],
    }
    return [
        (f"{step.name}/{about}" if about else step.name, step.summary.format(about=about))
        for step in steps_of("provision")
        for about in abouts.get(step.name, [""])
    ]


def _detail(name: str, failure_class: FailureClass, action: str) -> FailureDetail:
    return FailureDetail(failure=failure_class, message=f"{name} met {failure_class}", action=action)
