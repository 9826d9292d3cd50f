"""How the Azure activities of one worker are set up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from domain.clouds import Purpose


class Application(BaseModel):
    """One of the vendor's multi-tenant applications, with its secret."""

    model_config = ConfigDict(frozen=True)

    client_id: str
    client_secret: str


class Credentials(BaseModel):
    """What the credentials file holds, as JSON."""

    model_config = ConfigDict(frozen=True)

    tenant: str = ""
    """The vendor's own tenant, where the applications are registered."""
    applications: Mapping[Purpose, Application]


class AzureSettings(BaseModel):
    """Settings of the Azure activities. In production the first three need to be set, and the ACME account's key."""

    model_config = ConfigDict(frozen=True)

    applications: Mapping[Purpose, str]
    """Client ids of the vendor's multi-tenant applications: customers consent to them and give them roles."""
    credentials_file: str = ""
    """A file with the applications' secrets, see `Credentials`. It is read anew for each subscription, so that secrets
    can be exchanged without a restart."""
    egress_cidrs: tuple[str, ...] = ()
    """Addresses from which the control plane calls out: all that may reach the public endpoint of a Kubernetes API."""
    poll_interval: timedelta = timedelta(seconds=15)
    """When to look again at something that the cloud is still making or taking away."""
    consistency_wait: timedelta = timedelta(seconds=10)
    """How long an activity waits inside for an operation that usually takes seconds."""
    delegation_grace: timedelta = timedelta(minutes=10)
    """How long after its start the certificate's step still takes a domain that does not lead to our zone for a
    delegation that is on its way."""
    validation_pause: timedelta = timedelta(minutes=4)
    """After how long the certificates' authority is asked again to prove a domain: it counts failures, five an hour."""
    issuance_wait: timedelta = timedelta(seconds=60)
    """How long an activity waits inside for that authority, which takes seconds."""
    timeout: timedelta = timedelta(seconds=30)
    """Of one call."""
    endpoint_url: str | None = None
    """Where every host of Azure is reached. Unset in production; the local playground sets it to loopback."""
    acme_directory_url: str = "https://acme-v02.api.letsencrypt.org/directory"
    """The authority that signs the endpoints' certificates."""
    acme_account_key_file: str = ""
    """PEM file of the private key that is the vendor's account at that authority."""
    acme_ca_file: str | None = None
    """PEM file of whoever signs the authority's own certificate. Unset in production: those that the system trusts."""
