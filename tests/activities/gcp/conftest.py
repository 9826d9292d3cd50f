"""One simulated Google Cloud for all tests here, and for each test a project in which we may do what is declared."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
import requests
from google.api_core.client_options import ClientOptions
from google.auth.transport.grpc import secure_authorized_channel
from google.auth.transport.requests import Request
from google.cloud import dns, storage
from google.oauth2.credentials import Credentials

from activities.gcp.cloud import GcpCloud
from activities.gcp.settings import GcpSettings
from activities.gcp.template import as_json, template
from domain.account import access_to
from domain.deployment import Site
from domain.facts import Cluster
from simulators.control_client import ControlClient
from simulators.endpoints import Endpoints
from simulators.inventory import Resource
from simulators.launch import running_simulators
from tests.activities.ground import Ground
from tests.activities.tenant import Tenant, by_name

REGION = "europe-west4"
EGRESS = ("198.51.100.7/32",)
"""From where the control plane of these tests would call."""
Client = TypeVar("Client")
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def endpoints() -> Iterator[Endpoints]:
    """The simulators, in which nothing takes time."""
    with running_simulators(gcp=True) as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def control(endpoints: Endpoints) -> Iterator[ControlClient]:
    """The way to look into the simulated world and to make it misbehave."""
    control = ControlClient(endpoints.control_url)
    yield control
    control.close()


def settings_for(endpoints: Endpoints, control: ControlClient, folder: Path) -> GcpSettings:
    """Return how the activities reach that cloud: with the vendor's key, from a file in the folder."""
    vendor = control.gcp_vendor()
    key = folder / "key.json"
    key.write_text(json.dumps(vendor.key), "utf-8")
    return GcpSettings(
        principal=vendor.principal,
        egress_cidrs=EGRESS,
        poll_interval=timedelta(milliseconds=20),
        consistency_wait=timedelta(milliseconds=50),
        endpoint_url=endpoints.gcp_url,
        grpc_address=endpoints.gcp_grpc_address,
        credentials_file=str(key),
    )


@pytest.fixture(scope="session")
def settings(endpoints: Endpoints, control: ControlClient, tmp_path_factory: pytest.TempPathFactory) -> GcpSettings:
    """How the activities reach that cloud."""
    return settings_for(endpoints, control, tmp_path_factory.mktemp("vendor"))


@pytest.fixture(scope="session")
def cloud(settings: GcpSettings) -> GcpCloud:
    """What a worker has."""
    return GcpCloud(settings)


@dataclass
class Account(Tenant):
    """One customer's project, the deployment in it, and what a test does and sees there."""

    endpoints: Endpoints

    @property
    def project(self) -> str:
        """The project's id."""
        return self.site.cloud_account_id

    def customer(self, kind: type[Client]) -> Client:
        """Return a client with which the project's owner looks at, or changes, anything in it."""
        owner = Credentials(f"owner:{self.project}")
        options = ClientOptions(api_endpoint=self.endpoints.gcp_url)
        if kind in (storage.Client, dns.Client):
            return kind(project=self.project, credentials=owner, client_options=options)
        try:
            transport = kind.get_transport_class("grpc")
        except KeyError:
            return kind(credentials=owner, client_options=options)
        channel = secure_authorized_channel(
            owner, Request(), self.endpoints.gcp_grpc_address, ssl_credentials=grpc.local_channel_credentials()
        )
        return kind(transport=transport(channel=channel))

    def resources(self) -> list[Resource]:
        """Return what the project holds, without what the template made."""
        return [each for each in self.control.inventory(self.project) if each.service not in ("iam", "serviceusage")]


def open_account(
    endpoints: Endpoints, control: ControlClient, cloud: GcpCloud, settings: GcpSettings, number: int
) -> Account:
    """Return a fresh project whose customer has applied our template: it grants what is declared, nothing else."""
    site = Site(
        deployment=f"acme-{number}",
        customer="acme",
        account=f"acme-gcp-{number}",
        cloud="gcp",
        cloud_account_id=f"acme-project-{number}",
        external_id="3b5b4a3e",
        region=REGION,
        operation="deployment/acme/provision/1",
    )
    document = template(access_to(site), (REGION,), settings.principal, cloud.needs())
    url = f"{endpoints.control_url}/gcp/projects/{site.cloud_account_id}/customer/apply-template"
    requests.post(url, json=json.loads(as_json(document)), timeout=60).raise_for_status()
    return Account(site, by_name(cloud.activities()), control, control.position(), endpoints)


@pytest.fixture
def account(endpoints: Endpoints, control: ControlClient, settings: GcpSettings, cloud: GcpCloud) -> Iterator[Account]:
    """A fresh project whose customer has applied our template: it grants what the activities declare, nothing else."""
    yield open_account(endpoints, control, cloud, settings, next(_numbers))
    control.clear_faults()


@pytest.fixture
def ground(account: Account) -> Ground[Account]:
    """What a cluster stands on."""
    from tests.activities.gcp.ground import make_ground

    return make_ground(account)


@pytest.fixture
def cluster(account: Account, ground: Ground[Account]) -> Cluster:
    """The deployment's control plane."""
    made: Cluster = account.run("create_cluster", ground.cluster_request())
    return made
