"""One simulated Google Cloud for all tests here, and for each test a project in which we may do what is declared."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import requests
from google.api_core.client_options import ClientOptions
from google.auth.transport.grpc import secure_authorized_channel
from google.auth.transport.requests import Request
from google.cloud import dns, storage
from google.oauth2.credentials import Credentials
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.gcp.cloud import GcpCloud
from activities.gcp.identity import access_to
from activities.gcp.settings import GcpSettings
from activities.gcp.template import as_json, template
from domain.deployment import Site
from domain.failure import FailureClass, FailureDetail
from simulators.control_client import ControlClient
from simulators.endpoints import Endpoints
from simulators.faults import Fault, FaultKind
from simulators.inventory import Resource
from simulators.journal import Call
from simulators.launch import running_simulators

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


@pytest.fixture(scope="session")
def settings(endpoints: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> GcpSettings:
    """How the activities reach that cloud: with the vendor's key, from a file."""
    vendor = requests.post(f"{endpoints.control_url}/gcp/vendor", timeout=30).json()
    key: Path = tmp_path_factory.mktemp("vendor") / "key.json"
    key.write_text(json.dumps(vendor["key"]), "utf-8")
    return GcpSettings(
        principal=vendor["principal"],
        egress_cidrs=EGRESS,
        poll_interval=timedelta(milliseconds=20),
        consistency_wait=timedelta(milliseconds=50),
        endpoint_url=endpoints.gcp_url,
        grpc_address=endpoints.gcp_grpc_address,
        credentials_file=str(key),
    )


@pytest.fixture(scope="session")
def cloud(settings: GcpSettings) -> GcpCloud:
    """What a worker has."""
    return GcpCloud(settings)


@pytest.fixture(scope="session")
def activities(cloud: GcpCloud) -> dict[str, Callable[..., Any]]:
    """The activities, keyed by name."""
    return {activity.__name__: activity for activity in cloud.activities()}


@dataclass
class Account:
    """One customer's project, the deployment in it, and what a test does and sees there."""

    site: Site
    activities: dict[str, Callable[..., Any]]
    control: ControlClient
    endpoints: Endpoints
    since: int
    """The journal's position when the project was made."""

    @property
    def project(self) -> str:
        """The project's id."""
        return self.site.cloud_account_id

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
        environment = ActivityEnvironment()
        begun = datetime.now(UTC) - age
        environment.info = replace(environment.info, activity_type=activity, scheduled_time=begun)
        return environment.run(self.activities[activity], argument)

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

    def inject(self, kind: FaultKind, operation: str, **details: Any) -> Fault:
        """Make an operation misbehave in this project."""
        fault = Fault(kind=kind, operation=operation, account=self.project, agent="byoc/", **details)
        return self.control.inject(fault)

    def changes(self, after: int | None = None) -> list[Call]:
        """Return the calls of ours that changed something, since the project was made or since a position."""
        return self.control.journal(
            after=self.since if after is None else after, account=self.project, agent="byoc/", changed=True
        )

    def resources(self) -> list[Resource]:
        """Return what the project holds, without what the template made."""
        return [each for each in self.control.inventory(self.project) if each.service not in ("iam", "serviceusage")]


@pytest.fixture
def account(
    endpoints: Endpoints,
    control: ControlClient,
    settings: GcpSettings,
    cloud: GcpCloud,
    activities: dict[str, Callable[..., Any]],
) -> Iterator[Account]:
    """A fresh project whose customer has applied our template: it grants what the activities declare, nothing else."""
    number = next(_numbers)
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
    access = access_to(site)
    document = template(access, (REGION,), settings.principal, cloud.needs())
    url = f"{endpoints.control_url}/gcp/projects/{site.cloud_account_id}/customer/apply-template"
    requests.post(url, json=json.loads(as_json(document)), timeout=60).raise_for_status()
    yield Account(site, activities, control, endpoints, control.position())
    control.clear_faults()
