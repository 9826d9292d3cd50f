"""How the Google Cloud activities of one worker are set up."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict


class GcpSettings(BaseModel):
    """Settings of the Google Cloud activities. In production only `principal` and `egress_cidrs` need to be set."""

    model_config = ConfigDict(frozen=True)

    principal: str
    """E-mail address of the service account that the control plane runs as: customers let it impersonate theirs."""
    egress_cidrs: tuple[str, ...] = ()
    """Addresses from which the control plane calls out: all that may reach the public endpoint of a Kubernetes API."""
    poll_interval: timedelta = timedelta(seconds=15)
    """When to look again at something that the cloud is still making or taking away."""
    consistency_wait: timedelta = timedelta(seconds=10)
    """How long an activity waits inside for an operation that usually takes seconds."""
    delegation_grace: timedelta = timedelta(minutes=10)
    """How long after its start the certificate's step still takes a domain that does not lead to our zone for a
    delegation that is on its way."""
    timeout: timedelta = timedelta(seconds=30)
    """Of one call."""
    token_lifetime: timedelta = timedelta(hours=1)
    """Of an impersonated service account's token; an hour is the most that Google allows by default."""
    endpoint_url: str | None = None
    """Where the APIs over HTTP are reached. Unset in production; the local playground sets it to loopback."""
    grpc_address: str | None = None
    """Host and port where the APIs over gRPC are reached, without TLS. Unset in production."""
    credentials_file: str | None = None
    """The key of the control plane's service account, for the local playground. Unset in production: Google's library
    finds the identity of the machine or pod that the worker runs on."""
