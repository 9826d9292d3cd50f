"""Every lifecycle of accounts and deployments, with the mishaps and the drift that make each repair run.

Whoever adds a branch to an activity adds here what makes it run: `test_recorded_calls` names what was never called.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config

from activities.aws.controller_made import CLUSTER_TAGS
from domain.account import AccountPhase
from domain.deployment import FinalBackup
from domain.facts import ApiKeyRecord
from domain.naming import TAG_DEPLOYMENT, TAG_OWNER, TAG_RESOURCE
from domain.operation import Choice, OperationKind, StepDecision
from domain.state import ApiKeyChange, ApiKeyChangeKind, DeploymentPhase, OperationRequest
from simulators.customer import OwnNetwork, OwnNetworkFacts
from simulators.faults import Fault, FaultKind
from starters.ordering import place_order, read_orders
from tests.durability.installation import ACTOR, REGION, Customer, Installation, manifest
from tests.permissions.upgrading import upgrade
from workflows import steps

Tags = Mapping[str, str]


@dataclass(frozen=True)
class Life:
    """One customer, their deployment, and what happens to it."""

    installation: Installation
    customer: Customer

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.customer.name

    @property
    def base(self) -> str:
        """What the names of the deployment's resources begin with."""
        return f"byoc-{self.name}"

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which the control plane knows what is the deployment's."""
        return {TAG_OWNER: "managed", TAG_DEPLOYMENT: self.name}

    def root(self, service: str) -> Any:
        """Return a client of the account's administrator, who may do anything."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.installation.endpoints.aws_url,
            aws_access_key_id=self.customer.account,
            aws_secret_access_key="unchecked",
            config=Config(user_agent="customer", retries={"total_max_attempts": 1}),
        )

    def inject(self, kind: FaultKind, operation: str, **details: Any) -> None:
        """Make one call of the control plane in this account go wrong."""
        fault = Fault(kind=kind, operation=operation, account=self.customer.account, agent="byoc/", times=1, **details)
        self.installation.control.inject(fault)

    async def held_at(self, activity: str) -> str:
        """Wait until a call of the activity is held in this account, and return the hold's id."""
        deadline = time.monotonic() + self.installation.patience
        while time.monotonic() < deadline:
            for held in await asyncio.to_thread(self.installation.control.held):
                if held.call.account == self.customer.account and f"step/{activity}" in held.call.agent:
                    return held.id
            await asyncio.sleep(0.05)
        raise AssertionError(f"{activity} made no call that could be held")

    async def order(self, text: str) -> None:
        """Order a deployment by its manifest."""
        plane = await self.installation.connected()
        (order,) = await read_orders(plane, text)
        await plane.order(await place_order(plane, order, pace=self.installation.pace))

    async def converge(self) -> None:
        """Provision again, and wait until that is over."""
        plane = await self.installation.connected()
        past = len((await plane.deployment(self.name)).past)
        request = OperationRequest(request_id=f"again-{past}", kind=OperationKind.PROVISION, actor=ACTOR)
        await plane.request(self.name, request)
        await self.until_over(past + 1)

    async def until_over(self, operations: int) -> None:
        """Wait until so many operations are over."""
        await self.installation.until(self.customer, lambda state: len(state.past) >= operations)

    async def until(self, phase: DeploymentPhase) -> None:
        """Wait until the deployment is in the phase."""
        await self.installation.until_phase(self.customer, phase)

    async def retire(self, final_backup: FinalBackup) -> None:
        """Begin to retire the deployment."""
        plane = await self.installation.connected()
        await plane.retire(self.name, final_backup=final_backup)

    async def revoke(self) -> None:
        """Let the customer delete the template, and have it proven."""
        plane = await self.installation.connected()
        await plane.revoke_account(self.customer.account_name)
        await asyncio.to_thread(self.installation.control.customer(self.customer.account).delete_template)
        await self.installation.until_account(self.customer.account_name, AccountPhase.REVOKED)


async def everything(installation: Installation) -> None:
    """Live through every lifecycle, side by side: provisioning of every kind, repair, abort, retirement, revocation."""
    lives = [Life(installation, await installation.customer(name)) for name in ("worn", "grand", "guest", "given-up")]
    worn, grand, guest, given_up = lives
    await asyncio.gather(_worn(worn), _grand(grand), _guest(guest), _given_up(given_up))
    await asyncio.gather(*(life.revoke() for life in lives))


async def _worn(life: Life) -> None:
    """Meet every mishap: failures while it is made, drift, leaks, a kept backup, a second generation."""
    await asyncio.to_thread(_leave_traces_of_others, life)
    for operation in ("CreateCluster", "CreateNodegroup", "CreateAddon", "CreateNatGateway"):
        life.inject(FaultKind.CRASH, operation)
    # For most quotas no value was ever applied to an account.
    life.inject(FaultKind.ERROR, "GetServiceQuota", code="NoSuchResourceException")
    await life.order(manifest(life.customer))
    await life.until(DeploymentPhase.ACTIVE)
    await asyncio.to_thread(_drift, life)
    await _change_policy_behind_the_back(life)
    await _grant_too_much(life)
    await asyncio.to_thread(leave_for_deletion, life)
    await life.retire(FinalBackup.KEEP)
    await life.until(DeploymentPhase.RETIRED)
    await life.order(manifest(life.customer))
    await life.until(DeploymentPhase.ACTIVE)
    await _leave_something_until_it_is_named(life)
    await life.until(DeploymentPhase.RETIRED)


async def _grand(life: Life) -> None:
    """Run highly available, change the API keys, and leave without a backup."""
    await life.order(manifest(life.customer, shape="v1-medium", high_availability=True))
    await life.until(DeploymentPhase.ACTIVE)
    plane = await life.installation.connected()
    now = datetime.now(UTC)
    record = ApiKeyRecord(
        id="k1", name="k1", sha256="0" * 64, scopes=("read",), created_at=now, expires_at=now + timedelta(days=9)
    )
    await plane.change_api_keys(
        life.name, ApiKeyChange(request_id="k1", kind=ApiKeyChangeKind.CREATE, actor=ACTOR, record=record)
    )
    await life.until_over(2)
    await life.retire(FinalBackup.NONE)
    await life.until(DeploymentPhase.RETIRED)


async def _guest(life: Life) -> None:
    """Live, and have the cluster upgraded, in a network of the customer's own."""
    own = await asyncio.to_thread(_own_network, life)
    text = manifest(life.customer).replace(
        "network: {cidr: 10.64.0.0/16}",
        f"network: {{existing: {{networkId: {own.vpc}, privateSubnetIds: [{', '.join(own.private_subnets)}],"
        f" publicSubnetIds: [{', '.join(own.public_subnets)}]}}}}",
    )
    await life.order(text)
    await life.until(DeploymentPhase.ACTIVE)
    state = await (await life.installation.connected()).deployment(life.name)
    await asyncio.to_thread(upgrade, life.installation, state)
    await life.retire(FinalBackup.NONE)
    await life.until(DeploymentPhase.RETIRED)


async def _given_up(life: Life) -> None:
    """Be aborted at the last step, and taken back."""
    fault = life.installation.hold(life.customer, steps.CREATE_ALARMS.name, after_the_deed=True)
    await life.order(manifest(life.customer))
    held = await life.held_at(steps.CREATE_ALARMS.name)
    plane = await life.installation.connected()
    await plane.decide(life.name, StepDecision(choice=Choice.ABORT, actor=ACTOR))
    life.installation.control.release(held)
    life.installation.control.remove_fault(fault.id)
    await life.until(DeploymentPhase.ABORTED)


def _own_network(life: Life) -> OwnNetworkFacts:
    """Return a network of the customer's, tagged for load balancers as clusters want it."""
    own = life.installation.control.customer(life.customer.account).make_network(OwnNetwork(region=REGION))
    ec2 = life.root("ec2")
    for subnets, role in ((own.private_subnets, "internal-elb"), (own.public_subnets, "elb")):
        ec2.create_tags(Resources=list(subnets), Tags=_listed({f"kubernetes.io/role/{role}": "1"}))
    return own


def _leave_traces_of_others(life: Life) -> None:
    """Leave what looks like the deployment's and is not, or is its predecessor's."""
    kms = life.root("kms")
    former = kms.create_key(Tags=[{"TagKey": key, "TagValue": value} for key, value in life.tags.items()])
    key = former["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=f"alias/{life.base}", TargetKeyId=key)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    _make_zone_of_others(life, "first")
    life.root("acm").request_certificate(DomainName="elsewhere.example", ValidationMethod="DNS")
    life.root("cloudwatch").put_metric_alarm(
        AlarmName=f"{life.base}-theirs", MetricName="CPUUtilization", Namespace="AWS/EC2", Statistic="Average",
        Period=60, EvaluationPeriods=1, Threshold=1.0, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    network = _own_network(life)
    life.root("elbv2").create_load_balancer(Name="theirs", Type="network", Subnets=list(network.public_subnets))


def _make_zone_of_others(life: Life, reference: str) -> None:
    """Make a zone that has the comment of the deployment's and not its tags."""
    life.root("route53").create_hosted_zone(
        Name=f"{reference}.example",
        CallerReference=f"{life.name}-{reference}",
        HostedZoneConfig={"Comment": f"byoc deployment {life.name}"},
    )


def _drift(life: Life) -> None:
    """Change by hand what the deployment consists of, and leave what a lost reply would have left."""
    _drift_in_network(life)
    _drift_in_foundation(life)
    _drift_in_cluster(life)


def _drift_in_network(life: Life) -> None:
    ec2 = life.root("ec2")
    network = _tagged(ec2.describe_vpcs, "Vpcs", life)[0]
    gateway = _tagged(ec2.describe_internet_gateways, "InternetGateways", life)[0]
    address = _tagged(ec2.describe_addresses, "Addresses", life)[0]
    ec2.create_vpc(CidrBlock=network["CidrBlock"], TagSpecifications=_like(network, "vpc"))
    ec2.create_internet_gateway(TagSpecifications=_like(gateway, "internet-gateway"))
    ec2.allocate_address(Domain="vpc", TagSpecifications=_like(address, "elastic-ip"))
    tables = _tagged(ec2.describe_route_tables, "RouteTables", life)
    private = next(table for table in tables if any(route.get("NatGatewayId") for route in table["Routes"]))
    ec2.replace_route(
        RouteTableId=private["RouteTableId"],
        DestinationCidrBlock="0.0.0.0/0",
        GatewayId=gateway["InternetGatewayId"],
    )


def _drift_in_foundation(life: Life) -> None:
    kms, s3, iam = life.root("kms"), life.root("s3"), life.root("iam")
    key = kms.describe_key(KeyId=f"alias/{life.base}")["KeyMetadata"]["KeyId"]
    open_to_all = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}
    kms.put_key_policy(
        KeyId=key, PolicyName="default", Policy=json.dumps({"Version": "2012-10-17", "Statement": [open_to_all]})
    )
    kms.create_key(Tags=[{"TagKey": name, "TagValue": value} for name, value in life.tags.items()])
    bucket = _bucket_of(life)
    s3.delete_public_access_block(Bucket=bucket)
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}
    del tags[TAG_RESOURCE]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": _listed(tags)})
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = f"{life.base}-store"
    iam.update_assume_role_policy(
        RoleName=role, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    iam.delete_role_permissions_boundary(RoleName=role)


def _drift_in_cluster(life: Life) -> None:
    eks = life.root("eks")
    which = {"clusterName": life.base}
    eks.update_cluster_config(name=life.base, deletionProtection=False)
    group = eks.list_nodegroups(**which)["nodegroups"][0]
    eks.update_nodegroup_config(
        **which, nodegroupName=group, scalingConfig={"minSize": 1, "maxSize": 9, "desiredSize": 1}
    )
    eks.update_addon(**which, addonName="aws-ebs-csi-driver", configurationValues="{}")
    identities = eks.list_pod_identity_associations(**which, namespace="kube-system")["associations"]
    eks.update_pod_identity_association(
        **which,
        associationId=identities[0]["associationId"],
        roleArn=f"arn:aws:iam::{life.customer.account}:role/byoc/{life.base}-restore",
    )


async def _change_policy_behind_the_back(life: Life) -> None:
    """Converge, and change the upgrade policy after the step that makes the cluster and before the one that sets it."""
    fault = life.installation.hold(
        life.customer, steps.SET_MAINTENANCE_POLICY.name, after_the_deed=False, mutating=None
    )
    converging = asyncio.create_task(life.converge())
    held = await life.held_at(steps.SET_MAINTENANCE_POLICY.name)
    eks = life.root("eks")
    await asyncio.to_thread(eks.update_cluster_config, name=life.base, upgradePolicy={"supportType": "EXTENDED"})
    life.installation.control.release(held)
    life.installation.control.remove_fault(fault.id)
    await converging


async def _grant_too_much(life: Life) -> None:
    """Give one of our roles more than the template does, have the account verified, and take it away again."""
    everything_in_ec2 = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}
    iam, which = life.root("iam"), {"RoleName": f"byoc-{life.name}-aws-operate", "PolicyName": "generous"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [everything_in_ec2]})
    await asyncio.to_thread(iam.put_role_policy, **which, PolicyDocument=document)
    plane = await life.installation.connected()
    state = await plane.verify_account(life.customer.account_name)
    assert state.phase is AccountPhase.ACTIVE
    assert state.report is not None
    assert [surplus.action for surplus in state.report.surplus] == ["ec2:*"]
    await asyncio.to_thread(iam.delete_role_policy, **which)


def leave_for_deletion(life: Life) -> None:
    """Leave what the cluster's controllers make, as if they had been deleted before they could clean up.

    Of each kind there is one with our tags, and one with each of those that controllers write. An upload is broken off,
    a role is gone, and somebody's zone says that it is the deployment's.
    """
    ec2, balancing = life.root("ec2"), life.root("elbv2")
    subnets = [subnet["SubnetId"] for subnet in _tagged(ec2.describe_subnets, "Subnets", life)]
    network = _tagged(ec2.describe_vpcs, "Vpcs", life)[0]["VpcId"]
    for number, tags in enumerate([life.tags, *({tag: life.base} for tag in CLUSTER_TAGS)]):
        by_cluster = _listed(tags)
        name = f"{life.name}-leak-{number}"
        balancing.create_load_balancer(Name=name, Type="network", Subnets=subnets[:1], Tags=by_cluster)
        balancing.create_target_group(
            Name=name, Protocol="TCP", Port=443, VpcId=network, TargetType="instance", Tags=by_cluster
        )
        ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=_specified("volume", tags))
    interface = ec2.create_network_interface(SubnetId=subnets[0])["NetworkInterface"]["NetworkInterfaceId"]
    ec2.create_tags(Resources=[interface], Tags=_listed({"cluster.k8s.amazonaws.com/name": life.base}))
    life.root("s3").create_multipart_upload(Bucket=_bucket_of(life), Key="broken-off")
    _make_zone_of_others(life, "second")
    iam, role = life.root("iam"), f"{life.base}-restore"
    for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        iam.delete_role_policy(RoleName=role, PolicyName=policy)
    iam.delete_role(RoleName=role)


async def _leave_something_until_it_is_named(life: Life) -> None:
    """Retire, and find gateway and endpoint that somebody made with the deployment's tag; then they are gone."""
    find = steps.FIND_LEFTOVERS.name
    fault = life.installation.hold(life.customer, find, after_the_deed=False, mutating=None)
    await life.retire(FinalBackup.NONE)
    held = await life.held_at(find)
    ec2 = life.root("ec2")
    own = await asyncio.to_thread(_own_network, life)
    gateway = ec2.create_nat_gateway(
        SubnetId=own.private_subnets[0],
        ConnectivityType="private",
        TagSpecifications=_specified("natgateway", life.tags),
    )["NatGateway"]["NatGatewayId"]
    endpoint = ec2.create_vpc_endpoint(
        VpcId=own.vpc,
        ServiceName=f"com.amazonaws.{REGION}.s3",
        TagSpecifications=_specified("vpc-endpoint", life.tags),
    )["VpcEndpoint"]["VpcEndpointId"]
    life.installation.control.remove_fault(fault.id)
    life.installation.control.release(held)
    state = await life.installation.until(life.customer, lambda state: bool(state.report and state.report.waiting_for))
    assert state.report is not None
    assert gateway in state.report.waiting_for[0].missing
    ec2.delete_nat_gateway(NatGatewayId=gateway)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])


def _bucket_of(life: Life) -> str:
    buckets = life.root("s3").list_buckets()["Buckets"]
    return next(str(bucket["Name"]) for bucket in buckets if str(bucket["Name"]).startswith(f"{life.base}-backups"))


def _tagged(describe: Any, member: str, life: Life) -> list[dict[str, Any]]:
    """Return what carries the deployment's tag."""
    found: list[dict[str, Any]] = describe(Filters=[{"Name": f"tag:{TAG_DEPLOYMENT}", "Values": [life.name]}])[member]
    return found


def _like(description: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the tags of something, to make another of its kind."""
    return [{"ResourceType": kind, "Tags": description["Tags"]}]


def _specified(kind: str, tags: Tags) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": _listed(tags)}]


def _listed(tags: Tags) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]
