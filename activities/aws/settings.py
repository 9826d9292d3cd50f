"""How the AWS activities of one worker are set up."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, SecretStr


class AwsSettings(BaseModel):
    """Settings of the AWS activities. In production only `principal` and `egress_cidrs` need to be set."""

    model_config = ConfigDict(frozen=True)

    principal: str
    """ARN of the role (or user) that the control plane runs as, in the vendor's account: customers' roles trust it."""
    egress_cidrs: tuple[str, ...] = ()
    """Addresses from which the control plane calls out: all that may reach the public endpoint of a Kubernetes API."""
    default_region: str = "us-east-1"
    """Where calls that belong to no deployment's region go: the first look at an account, and the global services."""
    poll_interval: timedelta = timedelta(seconds=15)
    """When to look again at something that the cloud is still making or taking away."""
    consistency_wait: timedelta = timedelta(seconds=10)
    """How long an activity waits inside for what it just made to be found: EC2 and IAM are eventually consistent,
    usually for a few seconds."""
    delegation_grace: timedelta = timedelta(minutes=10)
    """How long after its start the certificate's step still takes a domain that does not lead to our zone for a
    delegation that is on its way. ACM itself looks every few minutes."""
    connect_timeout: timedelta = timedelta(seconds=5)
    read_timeout: timedelta = timedelta(seconds=30)
    session_duration: timedelta = timedelta(hours=1)
    """Life of the credentials of an assumed role; an hour is the most that AWS allows between two roles."""
    endpoint_url: str | None = None
    """Where all AWS services are reached. Unset in production; the local playground sets it to loopback."""
    access_key_id: str | None = None
    """The vendor's own key, for the local playground. Unset in production: the SDK's own chain finds the identity of
    the machine or pod that the worker runs on."""
    secret_access_key: SecretStr | None = None
