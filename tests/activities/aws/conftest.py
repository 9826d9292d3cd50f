"""One simulated AWS for all tests here, and for each test an account of its own with our template applied in it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from pydantic import SecretStr
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.aws.cloud import AwsCloud
from activities.aws.connection import AwsClient
from activities.aws.identity import access_to
from activities.aws.settings import AwsSettings
from activities.aws.template import template
from activities.contracts import AddOn, ClusterRequest, NodePoolRequest
from domain.deployment import Site
from domain.facts import Cluster, Firewall, Key, Machine, Network, Placement, Roles
from domain.failure import FailureClass, FailureDetail
from domain.shape import PoolName
from simulators.control_client import ControlClient
from simulators.customer import OwnNetwork
from simulators.endpoints import Endpoints
from simulators.faults import Fault, FaultKind
from simulators.inventory import Resource
from simulators.journal import Call
from simulators.launch import running_simulators

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


@pytest.fixture(scope="session")
def cloud(endpoints: Endpoints, control: ControlClient) -> AwsCloud:
    """The activities, as a worker has them."""
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


@dataclass
class Account:
    """One customer's account, the deployment in it, and what a test does and sees there."""

    site: Site
    cloud: AwsCloud
    control: ControlClient
    endpoint: str
    since: int
    """The journal's position when the account was made."""

    def run(self, activity: str, argument: object, *, patience: float = 20.0) -> Any:
        """Run an activity as Temporal does: again while it says that it is not ready, for `patience` real seconds."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return self.attempt(activity, argument)
            except ApplicationError as error:
                if error.type != FailureClass.NOT_READY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def run_through(self, activity: str, argument: object) -> Any:
        """Run an activity as Temporal does when replies are lost: passing faults are tried again too."""
        for _ in range(20):
            try:
                return self.run(activity, argument)
            except ApplicationError as error:
                if error.type not in {FailureClass.TRANSIENT, FailureClass.CONFLICT}:
                    raise
        raise AssertionError(f"{activity} did not get through 20 passing faults")

    def attempt(self, activity: str, argument: object, *, age: timedelta = timedelta()) -> Any:
        """Run an activity once, as an attempt of a step that began `age` ago."""
        found = {method.__name__: method for method in self.cloud.activities()}[activity]
        environment = ActivityEnvironment()
        begun = datetime.now(UTC) - age
        environment.info = replace(environment.info, activity_type=activity, scheduled_time=begun)
        return environment.run(found, argument)

    def attempt_once(self, activity: str, argument: object, *, age: timedelta = timedelta()) -> FailureDetail | None:
        """Run an activity once and return how it failed, None if it did not."""
        try:
            self.attempt(activity, argument, age=age)
        except ApplicationError as error:
            detail: FailureDetail = error.details[0]
            return detail
        return None

    def failure(self, activity: str, argument: object) -> FailureDetail:
        """Run an activity until it fails for good, and return how."""
        with pytest.raises(ApplicationError) as caught:
            self.run(activity, argument)
        detail: FailureDetail = caught.value.details[0]
        return detail

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

    def inject(self, kind: FaultKind, operation: str, **details: Any) -> Fault:
        """Make an operation misbehave in this account."""
        fault = Fault(kind=kind, operation=operation, account=self.site.cloud_account_id, agent="byoc/", **details)
        return self.control.inject(fault)

    def changes(self, after: int | None = None) -> list[Call]:
        """Return the calls of ours that changed something, since the account was made or since a position."""
        return self.control.journal(
            after=self.since if after is None else after,
            account=self.site.cloud_account_id,
            agent="byoc/",
            changed=True,
        )

    def resources(self, service: str) -> list[Resource]:
        """Return what the account holds of one service, without what the template made."""
        return [
            resource
            for resource in self.control.inventory(self.site.cloud_account_id)
            if resource.service == service and resource.tags.get("byoc:deployment")
        ]


@pytest.fixture
def account(endpoints: Endpoints, control: ControlClient, cloud: AwsCloud) -> Iterator[Account]:
    """A fresh account in which the customer has applied our template."""
    number = next(_numbers)
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
    yield Account(site, cloud, control, endpoints.aws_url, control.position())
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
