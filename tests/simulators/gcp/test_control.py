"""Google Cloud in the simulators' own process: the vendor, the customer and the control API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import grpc
import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import Forbidden, PermissionDenied
from google.auth import impersonated_credentials
from google.auth.transport.grpc import secure_authorized_channel
from google.auth.transport.requests import Request
from google.cloud import compute_v1, kms_v1
from google.oauth2 import service_account

from simulators.control_client import ControlClient, ControlError
from simulators.endpoints import Endpoints
from simulators.faults import Fault, FaultKind
from simulators.gcp.documents import (
    Binding,
    Condition,
    CustomRole,
    GcpOwnNetwork,
    GcpTemplate,
    Quota,
    ServiceAccountGrant,
)
from simulators.launch import running_simulators

PROJECT = "acme-prod"
REGION = "europe-west4"
LOCATION = f"projects/{PROJECT}/locations/{REGION}"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
OPERATE = "byoc_operate"
PERMISSIONS = ("cloudkms.keyRings.create", "cloudkms.keyRings.list", "compute.networks.get")


@pytest.fixture(scope="module")
def endpoints() -> Iterator[Endpoints]:
    """The simulators, with Google Cloud among them."""
    with running_simulators(gcp=True) as served:
        yield served


@pytest.fixture
def control(endpoints: Endpoints) -> Iterator[ControlClient]:
    """The control API of a fresh world."""
    client = ControlClient(endpoints.control_url)
    client.reset()
    yield client
    client.close()


class Vendor:
    """The control plane's way into a customer's project."""

    def __init__(self, endpoints: Endpoints, control: ControlClient) -> None:
        self._endpoints = endpoints
        self.identity = control.gcp_vendor()

    def template(self, *permissions: str, condition: Condition | None = None) -> GcpTemplate:
        """Return a template in the manner of ours, with one service account and one role."""
        trusted = (f"serviceAccount:{self.identity.principal}",)
        return GcpTemplate(
            services=("cloudkms.googleapis.com", "compute.googleapis.com", "iam.googleapis.com"),
            accounts=(ServiceAccountGrant(account_id="byoc-operate", impersonators=trusted),),
            roles=(CustomRole(role_id=OPERATE, title="Operate", permissions=permissions or PERMISSIONS),),
            bindings=(Binding(role=OPERATE, accounts=("byoc-operate",), condition=condition),),
        )

    def credentials(self, email: str) -> impersonated_credentials.Credentials:
        """Return credentials of a customer's service account."""
        source = service_account.Credentials.from_service_account_info(self.identity.key, scopes=SCOPES)
        override = f"{self._endpoints.gcp_url}/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
        return impersonated_credentials.Credentials(source, email, SCOPES, iam_endpoint_override=override)

    def kms(self, email: str) -> kms_v1.KeyManagementServiceClient:
        """Return a client of KMS."""
        channel = secure_authorized_channel(
            self.credentials(email),
            Request(),
            self._endpoints.gcp_grpc_address,
            ssl_credentials=grpc.local_channel_credentials(),
        )
        transport = kms_v1.KeyManagementServiceClient.get_transport_class("grpc")(channel=channel)
        return kms_v1.KeyManagementServiceClient(transport=transport)

    def networks(self, email: str) -> compute_v1.NetworksClient:
        """Return a client of networks."""
        options = ClientOptions(api_endpoint=self._endpoints.gcp_url)
        return compute_v1.NetworksClient(credentials=self.credentials(email), client_options=options)


@pytest.fixture
def vendor(endpoints: Endpoints, control: ControlClient) -> Vendor:
    """The vendor, before any customer has let it in."""
    return Vendor(endpoints, control)


class TestCustomer:
    """What the owner of a project does."""

    def test_lets_the_vendor_in_by_a_template(self, control: ControlClient, vendor: Vendor) -> None:
        """Then the vendor may do what the role says, and only where its condition holds."""
        condition = Condition(title="ours", expression=f'resource.name.startsWith("{LOCATION}")')

        outputs = control.project(PROJECT).apply_template(vendor.template(condition=condition))
        kms = vendor.kms(outputs.emails["byoc-operate"])
        kms.create_key_ring(parent=LOCATION, key_ring_id="byoc", key_ring={})
        with pytest.raises(PermissionDenied):
            kms.create_key_ring(parent=f"projects/{PROJECT}/locations/us-east1", key_ring_id="byoc", key_ring={})

        assert outputs.roles == {OPERATE: f"projects/{PROJECT}/roles/{OPERATE}"}
        held = {entry.type for entry in control.inventory(PROJECT)}
        assert held == {"service-account", "role"}
        # What counts is the last check, and that was the one outside of the condition.
        needed = {entry.action: entry.allowed for entry in control.authorizations(PROJECT)}
        assert needed == {"iam.serviceAccounts.getAccessToken": True, "cloudkms.keyRings.create": False}

    def test_takes_a_permission_away_and_gives_it_back(self, control: ControlClient, vendor: Vendor) -> None:
        """One of one role; what was not there cannot be taken."""
        customer = control.project(PROJECT)
        kms = vendor.kms(customer.apply_template(vendor.template()).emails["byoc-operate"])

        customer.deny(OPERATE, "cloudkms.keyRings.create")
        with pytest.raises(PermissionDenied, match=r"cloudkms\.keyRings\.create"):
            kms.create_key_ring(parent=LOCATION, key_ring_id="byoc", key_ring={})
        with pytest.raises(ControlError, match="does not grant"):
            customer.deny(OPERATE, "cloudkms.keyRings.create")
        customer.allow(OPERATE, "cloudkms.keyRings.create")

        assert kms.create_key_ring(parent=LOCATION, key_ring_id="byoc", key_ring={}).name.endswith("/byoc")

    def test_applies_a_newer_template(self, control: ControlClient, vendor: Vendor) -> None:
        """What the new one does not have is gone; applied once more it changes nothing."""
        customer = control.project(PROJECT)
        emails = customer.apply_template(vendor.template()).emails
        customer.apply_template(vendor.template("cloudkms.keyRings.list"))
        kms = vendor.kms(emails["byoc-operate"])

        with pytest.raises(PermissionDenied):
            kms.create_key_ring(parent=LOCATION, key_ring_id="byoc", key_ring={})
        position = control.position()
        customer.apply_template(vendor.template("cloudkms.keyRings.list"))

        assert list(kms.list_key_rings(parent=LOCATION)) == []
        assert control.journal(after=position, account=PROJECT, changed=True) == []

    def test_leaves_nothing_when_it_deletes_the_template(self, control: ControlClient, vendor: Vendor) -> None:
        """The vendor is locked out, and may be let in again."""
        customer = control.project(PROJECT)
        email = customer.apply_template(vendor.template()).emails["byoc-operate"]

        customer.delete_template()
        with pytest.raises(Exception, match=r"iam\.serviceAccounts\.getAccessToken"):
            vendor.kms(email).list_key_rings(parent=LOCATION, retry=None)
        assert control.inventory(PROJECT) == []

        customer.apply_template(vendor.template())
        assert list(vendor.kms(email).list_key_rings(parent=LOCATION)) == []

    def test_makes_a_network_of_its_own(self, control: ControlClient, vendor: Vendor) -> None:
        """Which the vendor finds."""
        customer = control.project(PROJECT)
        email = customer.apply_template(vendor.template()).emails["byoc-operate"]

        made = customer.make_network(GcpOwnNetwork(region=REGION))

        found = vendor.networks(email).get(project=PROJECT, network="customer-network")
        assert found.self_link.endswith(made.network)
        assert [entry.rpartition("/")[2] for entry in found.subnetworks] == [made.subnetwork.rpartition("/")[2]]

    def test_has_quotas(self, control: ControlClient) -> None:
        """That the control API changes; one that does not exist is refused."""
        customer = control.project(PROJECT)

        customer.set_quota(Quota(metric="CPUS", limit=8, region=REGION))

        with pytest.raises(ControlError, match="no quota CPUS of the whole project"):
            customer.set_quota(Quota(metric="CPUS", limit=8))

    def test_has_a_project_with_a_valid_id(self, control: ControlClient, vendor: Vendor) -> None:
        """Other names are refused."""
        with pytest.raises(ControlError, match="6 to 30 lower-case letters"):
            control.project("ACME").apply_template(vendor.template())


class TestWorld:
    """One world with all clouds."""

    def test_serves_aws_beside_it(self, endpoints: Endpoints, control: ControlClient, vendor: Vendor) -> None:
        """Accounts and projects live beside each other, and faults may be for one of them."""
        control.inject(Fault(kind=FaultKind.REVOKE, account=PROJECT, operation="networks.get"))
        email = control.project(PROJECT).apply_template(vendor.template()).emails["byoc-operate"]
        credentials: dict[str, Any] = {"aws_access_key_id": "222222222222", "aws_secret_access_key": "unchecked"}

        ec2 = boto3.client("ec2", endpoint_url=endpoints.aws_url, region_name="eu-west-1", **credentials)
        ec2.create_vpc(CidrBlock="10.0.0.0/16")
        with pytest.raises(Forbidden):
            vendor.networks(email).get(project=PROJECT, network="byoc")

        assert [entry.type for entry in control.inventory("222222222222") if entry.type == "vpc"] == ["vpc"]
        (refused,) = control.journal(service="compute", account=PROJECT)
        assert (refused.status, refused.error) == (403, "IAM_PERMISSION_DENIED")

    def test_is_forgotten_by_a_reset(self, control: ControlClient, vendor: Vendor) -> None:
        """Projects, identities and the vendor."""
        control.project(PROJECT).apply_template(vendor.template())
        key = control.gcp_vendor().key["private_key"]

        control.reset()

        assert control.gcp_vendor().key["private_key"] != key
        assert control.authorizations(PROJECT) == []

    def test_is_not_there_unless_asked_for(self) -> None:
        """Who does not ask for Google Cloud has no such endpoints."""
        with running_simulators() as endpoints:
            control = ControlClient(endpoints.control_url)

            with pytest.raises(ControlError, match="404"):
                control.gcp_vendor()

        assert (endpoints.gcp_url, endpoints.gcp_grpc_address) == ("", "")
