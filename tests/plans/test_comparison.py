"""What a plan says of the simulated world: which steps would change something; and that asking changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import boto3
import pytest
from botocore.config import Config
from pydantic import SecretStr

from activities.aws.cloud import AwsCloud
from activities.aws.settings import AwsSettings
from activities.contracts import (
    BackupRequest,
    Comparison,
    ComparisonQuestion,
    PlanQuestion,
    RestoreRequest,
    SmokeTestRequest,
)
from activities.kubernetes.access import KubernetesConnections
from activities.kubernetes.manifests.components import workload_reference
from activities.kubernetes.manifests.identity import SERVER_NAMESPACE
from activities.kubernetes.objects import AUTOSCALER, Reference
from activities.kubernetes.settings import KubernetesSettings
from domain.clouds import Cloud
from domain.deployment import FinalBackup
from domain.facts import Backup
from domain.model import Model
from domain.operation import OperationKind
from domain.plan import Plan
from domain.shape import Component
from domain.state import DeploymentPhase, DeploymentState
from domain.upgrade import UpgradeRequest
from starters.ordering import place_order, read_orders
from starters.planning import plan_of_deployment, plan_of_manifest
from starters.upgrading import work_for
from tests.durability.clouds import CLOUDS
from tests.durability.installation import REGION, Customer, Installation, manifest
from tests.durability.upgrading import NEW, OLD
from workers.assembly import declared_needs
from workers.rehearsal.planning import Planner

LOOKS = {"check_permissions", "check_quotas", "choose_placement", "plan_addresses"}
"""Steps of a first provisioning that make nothing."""


async def compared(installation: Installation, question: PlanQuestion, number: str = "1") -> Plan:
    """Return the plan, compared with what exists."""
    plane = await installation.connected()

    async def compare(step: ComparisonQuestion) -> Comparison:
        return await plane.compare(number, step)

    return await Planner(installation.settings, declared_needs).plan(question, compare=compare)


def changing(plan: Plan) -> dict[str, str]:
    """Return the first change of each step that would change something, keyed by step."""
    return {step.name: step.changes[0].call for step in plan.steps if step.changes}


def mutating(installation: Installation, customer: Customer, position: int) -> list[str]:
    """Return the calls in the customer's account since a position that could have changed something."""
    calls = installation.control.journal(after=position, account=customer.account, mutating=True)
    return [call.operation for call in calls if call.agent != "customer"]


def as_the_customer(installation: Installation, customer: Customer, service: str) -> Any:
    """Return a client with which the customer changes anything in the account."""
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=installation.endpoints.aws_url,
        aws_access_key_id=customer.account,
        aws_secret_access_key="unchecked",
        config=Config(user_agent="customer", retries={"total_max_attempts": 1}),
    )


async def test_a_fresh_deployment_would_be_made_and_is_not(installation: Installation, customer: Customer) -> None:
    """Every step that makes something says so, by its first call or by what it needs first; nothing is made."""
    plane = await installation.connected()
    (order,) = await read_orders(plane, manifest(customer, shape="v1-medium"))
    before, position = installation.inventory(customer), installation.control.position()

    plan = await compared(installation, await plan_of_manifest(plane, order))

    found = changing(plan)
    assert found.keys() == {step.name for step in plan.steps} - LOOKS
    assert found["create_network"] == "ec2:CreateVpc"
    assert found["create_encryption_key"] == "kms:CreateKey"
    (needing,) = next(step.changes or () for step in plan.steps if step.name == "create_cluster")
    assert needing.call == ""
    assert "network" in needing.detail
    assert mutating(installation, customer, position) == []
    assert installation.inventory(customer) == before


async def test_only_what_drifted_would_be_changed(installation: Installation, customer: Customer) -> None:
    """An unchanged deployment has nothing to change; after drift, exactly the steps that own what drifted have."""
    await installation.order(customer, shape="v1-medium", high_availability=True)
    state = await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    question = plan_of_deployment(state, OperationKind.PROVISION)
    position = installation.control.position()

    unchanged = await compared(installation, question, "unchanged")

    assert changing(unchanged) == {}
    assert all(step.changes == () for step in unchanged.steps)
    assert mutating(installation, customer, position) == []

    await asyncio.to_thread(_let_drift, installation, customer, state)
    before, position = installation.inventory(customer), installation.control.position()

    drifted = await compared(installation, question, "drifted")

    found = changing(drifted)
    assert found.keys() == {"create_egress", "install_component/api", "create_alarms"}
    assert found["create_egress"] == "ec2:CreateRoute"
    assert found["create_alarms"] == "cloudwatch:PutMetricAlarm"
    assert found["install_component/api"].startswith("PATCH /apis/autoscaling/v2/")
    assert mutating(installation, customer, position) == []
    assert installation.inventory(customer) == before
    assert drifted.hash == unchanged.hash
    assert drifted.takes > unchanged.takes


async def test_another_specification_would_change_what_runs_it(installation: Installation, customer: Customer) -> None:
    """Other limits of a component would patch its objects in the cluster, and nothing is patched by asking."""
    await installation.order(customer)
    state = await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    plane = await installation.connected()
    text = manifest(customer) + "  scaling: {api: {minimum: 2, maximum: 4}}\n"
    (order,) = await read_orders(plane, text)
    question = await plan_of_manifest(plane, order)
    position = installation.control.position()

    plan = await compared(installation, question)

    assert question.changes_specification
    assert plan.risk == "significant"
    assert changing(plan)["install_component/api"].startswith("PATCH /apis/")
    assert not changing(plan).keys() & {"create_network", "create_cluster", "install_component/store"}
    assert mutating(installation, customer, position) == []
    assert (await plane.deployment(customer.name)).order == state.order


@pytest.mark.parametrize("final_backup", [FinalBackup.NONE, FinalBackup.KEEP])
async def test_a_retirement_would_delete_and_does_not(
    installation: Installation, customer: Customer, final_backup: FinalBackup
) -> None:
    """Every deletion that has something to delete names its first call; the deployment is as it was."""
    await installation.order(customer)
    state = await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    before, position = installation.inventory(customer), installation.control.position()

    plan = await compared(
        installation, plan_of_deployment(state, OperationKind.RETIRE, final_backup=final_backup), final_backup
    )

    found = changing(plan)
    assert found["delete_node_pools"] == "eks:DeleteNodegroup"
    assert "delete_cluster" in found
    assert found["delete_workloads"].startswith("DELETE /")
    assert ("back_up" in found) is (final_backup is FinalBackup.KEEP)
    # The backup that keeps its key is not there yet: a look at the key would not know of it.
    assert found["delete_encryption_key"] == ("" if final_backup is FinalBackup.KEEP else "kms:ScheduleKeyDeletion")
    assert mutating(installation, customer, position) == []
    assert installation.inventory(customer) == before


async def test_a_missing_permission_is_what_a_step_would_wait_for(
    installation: Installation, customer: Customer
) -> None:
    """What the customer would have to grant is told before anybody waits for it."""
    plane = await installation.connected()
    (order,) = await read_orders(plane, manifest(customer))
    installation.control.customer(customer.account).deny(f"byoc-{customer.name}-aws-operate", "ec2:CreateNatGateway")

    plan = await compared(installation, await plan_of_manifest(plane, order))

    (told,) = next(step.changes or () for step in plan.steps if step.name == "check_permissions")
    assert told.call == ""
    assert "would wait for the customer" in told.detail
    assert "ec2:CreateNatGateway" in told.detail


async def test_deeds_on_data_are_barred_too(installation: Installation, customer: Customer) -> None:
    """No key is made to use the server, no backup is taken, nothing is restored: each stops at its first deed."""
    await installation.order(customer)
    state = await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    plane = await installation.connected()
    facts, order, site = state.facts, state.order, state.order.site
    assert facts.cluster is not None
    assert facts.domain is not None
    assert facts.bucket is not None
    assert facts.restore_proof is not None
    position = installation.control.position()
    proof = facts.restore_proof
    backup = Backup(
        bucket=facts.bucket.name, key=proof.key, size_bytes=1, sha256="0" * 64, records=1, taken_at=proof.proven_at
    )
    asked: dict[str, Model] = {
        "smoke_test": SmokeTestRequest(site=site, cluster=facts.cluster, domain=facts.domain, release=order.release),
        "back_up": BackupRequest(
            site=site, cluster=facts.cluster, bucket=facts.bucket, release=order.release, name="another"
        ),
        "prove_restore": RestoreRequest(site=site, cluster=facts.cluster, backup=backup, release=order.release),
    }

    found = {
        step: await plane.compare(
            "deeds",
            ComparisonQuestion(site=site, step=step, activity=step, question=question.model_dump(mode="json")),
        )
        for step, question in asked.items()
    }

    assert found["smoke_test"].changes[0].call == "PATCH /api/v1/namespaces/byoc-server/secrets/api-keys"
    assert found["back_up"].changes[0].call == "PATCH /apis/batch/v1/namespaces/byoc-server/jobs/backup-another"
    assert found["prove_restore"].changes
    assert mutating(installation, customer, position) == []


def _let_drift(installation: Installation, customer: Customer, state: DeploymentState) -> None:
    """Delete a route and an alarm, and change how far the API server scales."""
    facts, site = state.facts, state.order.site
    assert facts.network is not None
    assert facts.cluster is not None
    ec2 = as_the_customer(installation, customer, "ec2")
    mine = [{"Name": "vpc-id", "Values": [facts.network.network_id]}]
    table = next(
        table["RouteTableId"]
        for table in ec2.describe_route_tables(Filters=mine)["RouteTables"]
        if any(route.get("NatGatewayId") for route in table["Routes"])
    )
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    cloudwatch = as_the_customer(installation, customer, "cloudwatch")
    alarm = cloudwatch.describe_alarms()["MetricAlarms"][0]["AlarmName"]
    cloudwatch.delete_alarms(AlarmNames=[alarm])
    vendor = installation.worker_environment
    cloud = AwsCloud(
        AwsSettings(
            principal=installation.settings.aws_principal,
            endpoint_url=installation.endpoints.aws_url,
            access_key_id=vendor["AWS_ACCESS_KEY_ID"],
            secret_access_key=SecretStr(vendor["AWS_SECRET_ACCESS_KEY"]),
        )
    )
    api = KubernetesConnections(cloud.cluster_credentials, KubernetesSettings()).api(site, facts.cluster)
    scaler = api.get(Reference(AUTOSCALER, workload_reference(Component.API).name, SERVER_NAMESPACE))
    assert scaler is not None
    kept = {each: scaler["metadata"][each] for each in ("name", "namespace", "labels", "annotations")}
    spec = {**scaler["spec"], "maxReplicas": scaler["spec"]["maxReplicas"] + 1}
    api.apply({"apiVersion": "autoscaling/v2", "kind": scaler["kind"], "metadata": kept, "spec": spec}, force=True)


FIRST_CALLS = {
    Cloud.AWS: ("eks:UpdateClusterVersion", "eks:CreateNodegroup", "eks:UpdateNodegroupVersion"),
    Cloud.GCP: ("container.UpdateCluster", "container.CreateNodePool", "container.UpdateNodePool"),
    Cloud.AZURE: (
        "containerservice.managedClusters/write",
        "containerservice.managedClusters/agentPools/write",
        "containerservice.managedClusters/agentPools/write",
    ),
}
"""By which the control plane moves on, a canary machine is made, and the machines of a pool follow."""
ON_A_POOL = ("create_canary_node", "upgrade_node_pool")
VERSIONS = {Cloud.AWS: ("1.34", "1.35", "1.36"), Cloud.GCP: ("1.34", "1.35", "1.36"), Cloud.AZURE: ("1.34", "1.35")}
"""Kubernetes, one minor version after the other; at Azure 1.36 is a preview."""


@pytest.mark.parametrize("cloud", list(CLOUDS))
async def test_an_upgrade_would_change_what_its_stages_say_and_does_not(
    installation: Installation, customer: Customer, cloud: Cloud
) -> None:
    """Control plane, machines and server name their first calls; a canary that is not there is not asked for.

    What would stop a step, did the ones before it not do their part first, is not said.
    """
    plane = await installation.connected()
    old, *hops = VERSIONS[cloud]
    versions = f'spec:\n  release: {OLD.version}\n  kubernetes: "{old}"\n'
    text = manifest(customer).replace("spec:\n", versions, 1)
    (order,) = await read_orders(plane, text)
    await plane.order(await place_order(plane, order, pace=installation.pace))
    state = await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    asked = UpgradeRequest(release=NEW, kubernetes=hops[-1])
    before, position = installation.inventory(customer), installation.control.position()

    plan = await compared(
        installation, plan_of_deployment(state, OperationKind.UPGRADE, upgrade=work_for(state, asked)), "upgrade"
    )

    found = changing(plan)
    for new in hops:
        steps = (f"upgrade_control_plane/{new}", *(f"{step}/services {new}" for step in ON_A_POOL))
        assert tuple(found[step] for step in steps) == FIRST_CALLS[cloud]
    said = {change.detail for step in plan.steps for change in step.changes or ()}
    assert [each for each in said if "would wait" in each] == []
    assert found["stage_canary/api 4.12.1"].startswith("PATCH /apis/")
    assert "migrate/expand 4.12.1" in found
    (needing,) = next(step.changes or () for step in plan.steps if step.name == "measure/api 4.12.1")
    assert (needing.call, "canary" in needing.detail) == ("", True)
    assert not found.keys() & {"check_upgrade", "check_server"}
    assert mutating(installation, customer, position) == []
    assert installation.inventory(customer) == before
