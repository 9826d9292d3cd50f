"""What a customer orders: the specification of one deployment."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network
from typing import Annotated

from pydantic import Field, StringConstraints

from domain.maintenance import Exclusion, MaintenanceWindow
from domain.model import DnsLabel, Model, OrderedModel
from domain.shape import Component, Scale, ShapeName


class ExistingNetwork(OrderedModel):
    """A network of the customer's own. We verify it and never change it."""

    network_id: str
    """AWS: the id of the VPC. GCP: the network's name. Azure: the resource id of the virtual network."""
    private_subnet_ids: tuple[str, ...]
    """One for each zone, at least two. GCP and Azure: exactly one, which spans the region."""
    public_subnet_ids: tuple[str, ...] = ()
    """Where the load balancer stands; none for an endpoint that only the network itself reaches. Azure: exactly one,
    in which the API server of the cluster stands."""
    pod_range: str = ""
    """GCP: the name of the subnetwork's secondary range for pods."""
    service_range: str = ""
    """GCP: the name of the subnetwork's secondary range for services."""


class NetworkSpec(OrderedModel):
    """The network: one that we make from `cidr`, or the customer's own."""

    cidr: IPv4Network = IPv4Network("10.64.0.0/16")
    """Private range (RFC 1918) of the network that we make, /16 to /20."""
    existing: ExistingNetwork | None = None
    """The customer's own network, in place of one that we make."""


class ApiAccess(StrEnum):
    """How the control plane reaches the Kubernetes API of the cluster."""

    ALLOWLIST = "allowlist"


class Workers(StrEnum):
    """Where the vendor's workers that act for a deployment have to run."""

    ANYWHERE = "anywhere"
    IN_REGION = "in-region"
    """In the deployment's own region: what they are told and what they see does not leave it on its way to them."""


class Endpoint(OrderedModel):
    """Where clients reach the server."""

    domain: Annotated[str, StringConstraints(max_length=200)]
    """A DNS name that the customer delegates to the zone that we make, `acme-prod.db.acme.example`."""


class AuthWebhook(OrderedModel):
    """The customer's own decision on who may log in; always asked, never bypassed."""

    url: str
    """An https URL with a host name and without credentials."""
    timeout_seconds: Annotated[int, Field(ge=1, le=30)] = 5
    """How long the server waits for an answer before it refuses the login."""


class FinalBackup(StrEnum):
    """What happens with the data when the deployment is retired."""

    KEEP = "keep"
    """One last backup, kept in the customer's account under the retention lock."""
    NONE = "none"
    """Everything is deleted."""


class DeploymentSpec(OrderedModel):
    """One deployment as ordered; validated at the door against the catalogue and the account."""

    account: DnsLabel
    """Name of the connected account in which the deployment will live."""
    region: str
    """Region of the account's cloud; all data stays in it."""
    shape: ShapeName = ShapeName.V1_SMALL
    high_availability: bool = False
    """Run every component more than once, over three zones; offered with v1-medium and v1-large."""
    release: str
    """Version of the server release. The door fills in the newest one if the file names none."""
    kubernetes: str
    """Kubernetes minor version, `1.35`. The door fills in the cloud's default if the file names none."""
    network: NetworkSpec = NetworkSpec()
    api_access: ApiAccess = ApiAccess.ALLOWLIST
    workers: Workers = Workers.ANYWHERE
    """Where the vendor's workers that act for this deployment have to run."""
    endpoint: Endpoint
    auth_webhook: AuthWebhook | None = None
    """Without one, the server accepts HTTP API keys only."""
    scaling: dict[Component, Scale] = Field(default_factory=dict)
    """Keyed by component; replaces the shape's default limits of store, API and subscription server."""
    windows: tuple[MaintenanceWindow, ...] = ()
    """When we may disturb the deployment; read as a union. Without any: Sundays from 02:00 UTC, four hours."""
    exclusions: tuple[Exclusion, ...] = ()
    """Dates on which nothing, or nothing of some kind, is done by itself; at most 3 of at most 30 days."""


class Site(Model):
    """Where a deployment lives and who owns it: what every activity needs to know, and all that a deletion needs."""

    deployment: DnsLabel
    customer: DnsLabel
    account: DnsLabel
    cloud: str
    cloud_account_id: str
    external_id: str
    region: str
    generation: int = 1
    """Counts the times that this name was ordered; part of every idempotency token."""
    operation: str = ""
    """Id of the operation on whose behalf a step runs; it goes into the User-Agent of every call."""
    workers_in: str = ""
    """Region in which the workers that act for the deployment have to run; empty for anywhere."""
