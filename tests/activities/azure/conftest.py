"""One simulated Azure for all tests here, and for each test a subscription in which we may do what is declared."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from azure.core.credentials import AccessToken
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from activities.azure.connection import AzureConnections
from activities.azure.part import AzurePart
from activities.azure.settings import AzureSettings
from activities.azure.template import ROLE_READ, as_json, template
from activities.azure.transport import LoopbackTransport
from activities.cloud import Activity
from activities.needs import Need, declared
from domain.account import access_to
from domain.deployment import Site
from domain.facts import Cluster
from simulators.azure.documents import AzureTemplate
from simulators.control_client import ControlClient, SubscriptionClient
from simulators.endpoints import Endpoints
from simulators.inventory import Resource
from simulators.launch import running_simulators
from tests.activities.ground import Ground
from tests.activities.tenant import Tenant, by_name

REGION = "westeurope"
EGRESS = ("198.51.100.7/32",)
"""From where the control plane of these tests would call."""
Client = TypeVar("Client")
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def endpoints() -> Iterator[Endpoints]:
    """The simulators, in which nothing takes time."""
    with running_simulators(azure=True) as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def control(endpoints: Endpoints) -> Iterator[ControlClient]:
    """The way to look into the simulated world and to make it misbehave."""
    control = ControlClient(endpoints.control_url)
    yield control
    control.close()


def settings_for(endpoints: Endpoints, control: ControlClient, folder: Path) -> AzureSettings:
    """Return how the activities reach that cloud and its authority: with the vendor's secrets, from the folder."""
    vendor, secrets, key = control.azure_vendor(), folder / "applications.json", folder / "account.pem"
    secrets.write_text(vendor.model_dump_json(), "utf-8")
    if not key.exists():
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        key.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(*form))
    return AzureSettings(
        applications={purpose: application.client_id for purpose, application in vendor.applications.items()},
        credentials_file=str(secrets),
        egress_cidrs=EGRESS,
        poll_interval=timedelta(milliseconds=20),
        consistency_wait=timedelta(milliseconds=50),
        validation_pause=timedelta(milliseconds=20),
        endpoint_url=endpoints.azure_url,
        acme_directory_url=endpoints.acme_url,
        acme_account_key_file=str(key),
        acme_ca_file=str(endpoints.internet_ca_file),
    )


@pytest.fixture(scope="session")
def settings(endpoints: Endpoints, control: ControlClient, tmp_path_factory: pytest.TempPathFactory) -> AzureSettings:
    """How the activities reach that cloud."""
    return settings_for(endpoints, control, tmp_path_factory.mktemp("vendor"))


@pytest.fixture(scope="session")
def connections(settings: AzureSettings) -> AzureConnections:
    """What the activities of one worker share."""
    return AzureConnections(settings)


def activities_of(*parts: type[AzurePart]) -> Callable[..., list[Activity]]:
    """Return how to make the activities of parts that are not the whole of a contract, from what the parts take."""

    def make(*arguments: Any) -> list[Activity]:
        made: list[Activity] = []
        for part in parts:
            alone = type(part.__name__, (part,), {})
            alone.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
            instance = alone(*arguments)
            found = (getattr(instance, name) for name in dir(part) if not name.startswith("_"))
            made += [each for each in found if hasattr(each, "__temporal_activity_definition") and _is_made(each)]
        return made

    return make


def _needs_of(activities: Sequence[Activity]) -> set[Need]:
    """Return what the activities declare, and what those declare for which a part was told to stand in."""
    told = [getattr(getattr(each, "__self__", None), "_declared_needs", None) for each in activities]
    return {*declared(activities), *(need for needs in told if needs for need in needs())}


def _is_made(activity: Activity) -> bool:
    return not getattr(activity, "__isabstractmethod__", False)


@pytest.fixture(scope="session")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """What a worker has; a module that tests parts alone overrides it, `activities_of(Part)(settings, connections)`."""
    return []


@dataclass
class Account(Tenant):
    """One customer's subscription, the deployment in it, and what a test does and sees there."""

    endpoints: Endpoints

    @property
    def subscription(self) -> str:
        """The subscription's id."""
        return self.site.cloud_account_id

    @property
    def owner(self) -> SubscriptionClient:
        """The owner of the subscription, who applies templates, sets quotas and makes networks of their own."""
        return self.control.subscription(self.subscription)

    def customer(self, kind: type[Client], **options: Any) -> Client:
        """Return a management client with which the subscription's owner looks at, or changes, anything in it."""
        transport = LoopbackTransport(self.endpoints.azure_url)
        return kind(
            Owner(self.subscription),  # type: ignore[call-arg]
            self.subscription,
            transport=transport,
            retry_total=0,
            polling_interval=0,
            **options,
        )

    def resources(self) -> list[Resource]:
        """Return what the subscription holds, without what the template made."""
        templates = ("role-definition", "role-assignment")
        scope = f"/subscriptions/{self.subscription}/providers/".lower()
        return [
            each
            for each in self.control.inventory(self.subscription)
            if not (each.type in templates and each.id.lower().startswith(scope))
        ]

    def used_by(self, activity: str) -> set[str]:
        """Return the actions that an activity needed here, without what the first look at any subscription needs."""
        return {
            each.action
            for each in self.control.authorizations(self.subscription)
            if f"step/{activity} " in each.agent and each.action != ROLE_READ
        }


class Owner:
    """The owner of a subscription, as a credential of the SDKs."""

    def __init__(self, subscription: str) -> None:
        self._subscription = subscription

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return the owner's token."""
        return AccessToken(f"owner:{self._subscription}", int(time.time()) + 3600)


def site_of(number: int) -> Site:
    """Return the site of a deployment in a subscription that no other number has."""
    return Site(
        deployment=f"acme-{number}",
        customer="acme",
        account=f"acme-azure-{number}",
        cloud="azure",
        cloud_account_id=str(UUID(int=0xACE0_0000_0000 + number)),
        external_id="3b5b4a3e",
        region=REGION,
        operation="deployment/acme/provision/1",
    )


def fresh_site() -> Site:
    """Return the site of a deployment in a subscription that nobody has used."""
    return site_of(next(_numbers))


def open_account(
    endpoints: Endpoints,
    control: ControlClient,
    settings: AzureSettings,
    activities: Sequence[Activity],
    needs: Iterable[Need],
    site: Site,
) -> Account:
    """Return the subscription of a site, whose customer has applied our template: it grants the needs, nothing else."""
    document = template(access_to(site), settings.applications, needs)
    control.subscription(site.cloud_account_id).apply_template(AzureTemplate(**json.loads(as_json(document))))
    return Account(site, by_name(activities), control, control.position(), endpoints)


@pytest.fixture
def account(
    endpoints: Endpoints, control: ControlClient, settings: AzureSettings, activities: Sequence[Activity]
) -> Iterator[Account]:
    """A fresh subscription whose customer has applied our template: it grants what the activities declare."""
    yield open_account(endpoints, control, settings, activities, _needs_of(activities), fresh_site())
    control.clear_faults()


@pytest.fixture
def ground(account: Account) -> Ground[Account]:
    """What a cluster stands on."""
    from tests.activities.azure.ground import make_ground

    return make_ground(account)


@pytest.fixture
def cluster(account: Account, ground: Ground[Account]) -> Cluster:
    """The deployment's control plane."""
    made: Cluster = account.run("create_cluster", ground.cluster_request())
    return made
