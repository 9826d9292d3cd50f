"""Orders for tests of workflow logic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from domain.account import AccountSpec, AccountStanding
from domain.actor import Actor, Door
from domain.approval import ApprovalPolicy, ApprovedPlan
from domain.clouds import Cloud
from domain.deployment import DeploymentSpec, Endpoint, FinalBackup, Site
from domain.facts import DeploymentFacts
from domain.operation import Pace
from domain.release import Release
from domain.shape import Component, ComponentSize, PoolName, PoolSize, Scale, Shape, ShapeName
from domain.state import AccountState, DeploymentOrder, DeploymentState, OperationOrder

ADA = Actor(name="ada@vendor.example", door=Door.CLI)
GRACE = Actor(name="grace@vendor.example", door=Door.CLI)

NO_APPROVALS = ApprovalPolicy()

BRISK = Pace(
    permission_probe=timedelta(milliseconds=300),
    quota_probe=timedelta(milliseconds=300),
    capacity_probe=timedelta(milliseconds=300),
    first_verification_probe=timedelta(milliseconds=300),
    liveness=timedelta(seconds=5),
)
"""Probes within a test's patience."""


def site(name: str, account: str = "acme-aws") -> Site:
    return Site(
        deployment=name,
        customer="acme",
        account=account,
        cloud="aws",
        cloud_account_id="222222222222",
        external_id="ext-1",
        region="eu-west-1",
    )


def spec(account: str = "acme-aws") -> DeploymentSpec:
    return DeploymentSpec(
        account=account,
        region="eu-west-1",
        release="4.12.1",
        kubernetes="1.33",
        endpoint=Endpoint(domain="acme.db.example"),
    )


def shape() -> Shape:
    size = ComponentSize(cpu_millis=250, memory_mib=512, scale=Scale(minimum=1, maximum=3))
    pool = PoolSize(cpu=2, memory_gib=8, minimum=1, maximum=3)
    return Shape(
        name=ShapeName.V1_SMALL,
        description="small",
        high_availability_offered=False,
        components=dict.fromkeys(Component, size),
        highly_available_replicas={},
        pools=dict.fromkeys(PoolName, pool),
    )


def release() -> Release:
    return Release(
        version="4.12.1",
        components=dict.fromkeys(Component, "registry.byoc.example/server/api@sha256:" + "0" * 64),
        min_from="4.11.0",
        kubernetes_minimum="1.32",
        kubernetes_maximum="1.35",
        schema_epoch=7,
    )


def account_state(name: str, pace: Pace = BRISK) -> AccountState:
    connected = AccountSpec(
        name=name, customer="acme", cloud=Cloud.AWS, cloud_account_id="222222222222", regions=("eu-west-1",)
    )
    return AccountState(spec=connected, external_id="ext-1", pace=pace, since=datetime(2026, 6, 1, tzinfo=UTC))


def deployment_order(
    name: str, *, pace: Pace = BRISK, account: str = "acme-aws", approvals: ApprovalPolicy = NO_APPROVALS
) -> DeploymentOrder:
    return DeploymentOrder(
        site=site(name, account),
        spec=spec(account),
        shape=shape(),
        release=release(),
        actor=ADA,
        pace=pace,
        approvals=approvals,
    )


def deployment_state(
    name: str, pace: Pace = BRISK, *, account: str = "acme-aws", approvals: ApprovalPolicy = NO_APPROVALS
) -> DeploymentState:
    order = deployment_order(name, pace=pace, account=account, approvals=approvals)
    return DeploymentState(order=order, since=datetime(2026, 6, 1, tzinfo=UTC))


def operation_order(
    name: str,
    operation: str = "provision/1",
    *,
    pace: Pace = BRISK,
    facts: DeploymentFacts | None = None,
    first: bool = True,
    final_backup: FinalBackup = FinalBackup.KEEP,
    approved: ApprovedPlan | None = None,
    standing: AccountStanding | None = None,
) -> OperationOrder:
    return OperationOrder(
        operation_id=operation,
        site=site(name),
        spec=spec(),
        shape=shape(),
        release=release(),
        facts=facts or DeploymentFacts(),
        actor=ADA,
        pace=pace,
        first=first,
        final_backup=final_backup,
        approved=approved,
        standing=standing,
    )
