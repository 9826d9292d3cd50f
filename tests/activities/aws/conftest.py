"""One simulated AWS for all tests here, and for each test an account of its own with our template applied in it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import boto3
import pytest
from botocore.config import Config
from pydantic import SecretStr

from activities.aws.cloud import AwsCloud
from activities.aws.connection import AwsClient
from activities.aws.settings import AwsSettings
from activities.aws.template import template
from activities.contracts import AddOn, ClusterRequest, NodePoolRequest
from domain.account import access_to
from domain.deployment import Site
from domain.facts import Cluster, Firewall, Key, Machine, Network, Placement, Roles
from domain.shape import PoolName
from simulators.control_client import ControlClient
from simulators.customer import OwnNetwork
from simulators.endpoints import Endpoints
from simulators.inventory import Resource
from simulators.launch import running_simulators
from tests.activities.tenant import Tenant, by_name

REGION = "eu-west-1"
EGRESS = ("198.51.100.7/32",)
"""From where the control plane of these tests would call."""

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def endpoints() -> Iterator[Endpoints]:
    """The simulators, in which nothing takes time."""
    with running_simulators() as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def control(endpoints: Endpoints) -> Iterator[ControlClient]:
    """The way to look into the simulated world and to make it misbehave."""
    control = ControlClient(endpoints.control_url)
    yield control
    control.close()


def connect(endpoints: Endpoints, control: ControlClient) -> AwsCloud:
    """Return the activities, as a worker has them."""
    vendor = control.vendor()
    return AwsCloud(
        AwsSettings(
            principal=vendor.principal,
            egress_cidrs=EGRESS,
            poll_interval=timedelta(milliseconds=20),
            consistency_wait=timedelta(milliseconds=50),
            endpoint_url=endpoints.aws_url,
            access_key_id=vendor.access_key_id,
            secret_access_key=SecretStr(vendor.secret_access_key),
        )
    )


@pytest.fixture(scope="session")
def cloud(endpoints: Endpoints, control: ControlClient) -> AwsCloud:
    """The activities, as a worker has them."""
    return connect(endpoints, control)


@dataclass
class Account(Tenant):
    """One customer's AWS account, the deployment in it, and what a test does and sees there."""

    endpoint: str
    cloud: AwsCloud

    def customer(self, service: str, region: str = REGION) -> AwsClient:
        """Return a client with which the customer looks at, or changes, anything in the account."""
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.site.cloud_account_id,
            aws_secret_access_key="unchecked",
            config=Config(user_agent="customer", retries={"total_max_attempts": 1}),
        )

    def resources(self, service: str) -> list[Resource]:
        """Return what the account holds of one service, without what the template made."""
        return [
            resource
            for resource in self.control.inventory(self.site.cloud_account_id)
            if resource.service == service and resource.tags.get("byoc:deployment")
        ]


def open_account(endpoints: Endpoints, control: ControlClient, cloud: AwsCloud, number: int) -> Account:
    """Return a fresh account in which the customer has applied our template."""
    site = Site(
        deployment=f"acme-{number}",
        customer="acme",
        account=f"acme-aws-{number}",
        cloud="aws",
        cloud_account_id=f"{222_000_000_000 + number}",
        external_id="3b5b4a3e",
        region=REGION,
        operation="deployment/acme/provision/1",
    )
    document = template(access_to(site), (REGION,), control.vendor().principal, cloud.needs())
    control.customer(site.cloud_account_id).apply_template(json.dumps(document))
    return Account(site, by_name(cloud.activities()), control, control.position(), endpoints.aws_url, cloud)


@pytest.fixture
def account(endpoints: Endpoints, control: ControlClient, cloud: AwsCloud) -> Iterator[Account]:
    """A fresh account in which the customer has applied our template."""
    yield open_account(endpoints, control, cloud, next(_numbers))
    control.clear_faults()


@dataclass
class Ground:
    """What a cluster stands on: a network of the customer's, and the roles and the key that we made."""

    network: Network
    firewall: Firewall
    roles: Roles
    key: Key
    placement: Placement


@pytest.fixture
def ground(account: Account) -> Ground:
    """Everything that has to exist before a cluster."""
    own = account.control.customer(account.site.cloud_account_id).make_network(
        OwnNetwork(region=REGION, nat_gateways=False)
    )
    ec2 = account.customer("ec2")
    groups = [
        ec2.create_security_group(GroupName=name, Description=name, VpcId=own.vpc)["GroupId"]
        for name in ("control-plane", "nodes")
    ]
    return Ground(
        network=Network(
            network_id=own.vpc,
            private_subnet_ids=own.private_subnets,
            public_subnet_ids=own.public_subnets,
            ours=False,
        ),
        firewall=Firewall(control_plane_group_id=groups[0], node_group_id=groups[1]),
        roles=account.run("create_roles", account.site),
        key=account.run("create_encryption_key", account.site),
        placement=Placement(
            zones=tuple(f"{REGION}{letter}" for letter in "abc"),
            machines=(
                Machine(pool=PoolName.STORE, instance_type="m6i.xlarge", minimum=3, maximum=6),
                Machine(pool=PoolName.SERVICES, instance_type="m6i.large", minimum=2, maximum=8),
            ),
        ),
    )


@pytest.fixture
def cluster_request(account: Account, ground: Ground) -> ClusterRequest:
    """The order for the deployment's control plane."""
    return ClusterRequest(
        site=account.site,
        kubernetes="1.33",
        network=ground.network,
        firewall=ground.firewall,
        roles=ground.roles,
        key=ground.key,
    )


@pytest.fixture
def cluster(account: Account, cluster_request: ClusterRequest) -> Cluster:
    """The deployment's control plane."""
    cluster: Cluster = account.run("create_cluster", cluster_request)
    return cluster


@pytest.fixture
def pool_request(account: Account, ground: Ground, cluster: Cluster) -> Callable[[PoolName], NodePoolRequest]:
    """The order for one of the deployment's pools; the cluster has the network plug-in, without which no node joins."""
    account.run("install_add_on", AddOn(site=account.site, cluster=cluster, roles=ground.roles, name="network"))

    def order(pool: PoolName) -> NodePoolRequest:
        return NodePoolRequest(
            site=account.site,
            cluster=cluster,
            network=ground.network,
            firewall=ground.firewall,
            roles=ground.roles,
            key=ground.key,
            placement=ground.placement,
            pool=pool,
        )

    return order
