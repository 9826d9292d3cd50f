"""Settings of worker processes, `BYOC_*` in the environment. Endpoints are unset in production."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.clouds import Cloud, Purpose
from workflows.temporal.settings import PREFIX, BadSettings, complaints, lower

_LONGEST_IDENTIFIER = 100


class LogLevel(StrEnum):
    """From which importance on a line is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


def _names(value: object) -> object:
    """Read names that are separated by commas; a JSON array is understood too."""
    if not isinstance(value, str):
        return value
    with contextlib.suppress(json.JSONDecodeError):
        return json.loads(value)
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _pairs(value: object) -> object:
    """Read `name=value` pairs that are separated by commas; a JSON object is understood too."""
    if not isinstance(value, str):
        return value
    with contextlib.suppress(json.JSONDecodeError):
        return json.loads(value)
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    return {name.strip(): of_name.strip() for name, _, of_name in pairs}


def _one_for_each_purpose(value: Mapping[Purpose, str]) -> Mapping[Purpose, str]:
    """Return `value` if nothing is given at all, or something for each purpose."""
    missing = [purpose for purpose in Purpose if not value.get(purpose)]
    if value and missing:
        raise ValueError(f"it should name one for each of {', '.join(Purpose)}; {', '.join(missing)} lacks")
    return value


def _socket_address(value: str) -> str:
    """Return `value` if metrics can be served there: what the SDK takes is an IP address and a port."""
    host, _, port = value.rpartition(":")
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        host = ""
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("it should be an IP address and a port, such as 0.0.0.0:9464")
    return value


def _identifier(value: str) -> str:
    """Return `value` if Temporal takes it for a part of a version's name, of which it makes `name:build` and a key."""
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?", value) or len(value) > _LONGEST_IDENTIFIER:
        raise ValueError(
            f"it should be letters, digits, '-', '_' and '.', at most {_LONGEST_IDENTIFIER}, such as 1.4.0 or a commit"
        )
    return value


def _seconds(value: object) -> object:
    """Read a bare number as seconds; anything else is left to pydantic (`PT15S`, `00:00:15`)."""
    with contextlib.suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


Duration = Annotated[timedelta, BeforeValidator(_seconds), Field(ge=timedelta(0))]
"""A duration in seconds, or in ISO 8601."""


class WorkerSettings(BaseSettings):
    """What a worker is told from outside.

    Temporal's own address comes from Temporal's own profiles; `workflows.temporal.settings` says whether payloads are
    encrypted.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    temporal_profile: str | None = None
    log_level: Annotated[LogLevel, BeforeValidator(lower)] = LogLevel.INFO
    log_json: bool = True
    tracing: bool = False
    """Export spans by OTLP to the address in OpenTelemetry's own `OTEL_EXPORTER_OTLP_ENDPOINT`."""
    metrics_address: Annotated[str, AfterValidator(_socket_address)] | None = None
    """IP address and port at which Prometheus metrics are served."""

    worker_deployment: Annotated[str, AfterValidator(_identifier)] = "byoc"
    """Name under which Temporal keeps the builds of the lifecycles workers."""
    build_id: Annotated[str, AfterValidator(_identifier)] | None = None
    """Which build of the code a lifecycles worker runs. With one, operations end on the build that began them."""

    activity_slots: int = Field(default=40, ge=1, le=1000)
    """Activities that one worker runs at once; there are as many threads."""
    workflow_cache: int = Field(default=2000, ge=10)
    """Workflows kept in memory; at least the size of the fleet that is in motion."""
    activities_per_second: float | None = Field(default=None, gt=0)
    """Rate limit of a cloud's whole queue; every worker of that queue must name the same value."""
    graceful_shutdown: Duration = timedelta(seconds=60)
    sticky_timeout: Duration = timedelta(seconds=3)
    """How long a workflow task waits for the worker that has the workflow in memory."""

    poll_interval: Duration = timedelta(seconds=15)
    """How often something that takes minutes is looked at."""
    consistency_wait: Duration = timedelta(seconds=20)
    """How long a cloud may take until it shows what it has made."""
    grace: Duration = timedelta(minutes=5)
    """How long a crash loop or a pod without a node is still taken for a passing fault."""
    egress_cidrs: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = ("203.0.113.0/24",)
    """Addresses from which the control plane reaches public Kubernetes endpoints (an example: set your own), separated
    by commas."""

    durations_file: Path | None = None
    """How long steps take, as `byoc durations learn` has written it, instead of the catalogue's own table."""

    aws_endpoint_url: str | None = None
    aws_region: str = "us-east-1"
    """Region of the control plane's own calls (assuming roles)."""
    aws_principal: str = ""
    """ARN of the principal that the customers' roles trust; the worker runs as it."""

    gcp_principal: str = ""
    """E-mail address of the service account that customers let impersonate theirs; the worker runs as it."""
    gcp_credentials_file: Path | None = None
    """That account's key, where the machine or pod lends no identity."""
    gcp_endpoint_url: str | None = None
    gcp_grpc_address: str | None = None

    azure_applications: Annotated[
        Mapping[Purpose, str], NoDecode, BeforeValidator(_pairs), AfterValidator(_one_for_each_purpose)
    ] = Field(default_factory=dict)
    """Client ids of the vendor's applications in Entra, to which customers give their roles: `observe=…`, `operate=…`
    and `delete=…`, separated by commas, or a JSON object."""
    azure_credentials_file: Path | None = None
    """JSON file with those applications' secrets."""
    azure_endpoint_url: str | None = None
    azure_acme_directory_url: str | None = None
    """The authority that signs certificates of endpoints at Azure; without one it is Let's Encrypt."""
    azure_acme_account_key_file: Path | None = None
    """PEM file of the private key that is the vendor's account at that authority."""
    azure_acme_ca_file: Path | None = None
    """Certificate authorities of the authority's own address, instead of the well-known ones."""

    public_proxy: str | None = None
    """HTTP proxy through which public endpoints are reached."""
    public_ca_file: Path | None = None
    """Certificate authorities of public endpoints, instead of the well-known ones."""

    @property
    def clouds(self) -> tuple[Cloud, ...]:
        """The clouds for which these settings say as whom we act there."""
        return tuple(cloud for cloud, principal in PRINCIPALS.items() if getattr(self, principal))


PRINCIPALS: Mapping[Cloud, str] = {
    Cloud.AWS: "aws_principal",
    Cloud.GCP: "gcp_principal",
    Cloud.AZURE: "azure_applications",
}
"""The setting that says as whom we act; keyed by cloud."""


def variable(setting: str) -> str:
    """Return the name of a setting in the environment."""
    return f"{PREFIX}{setting}".upper()


def read_settings() -> WorkerSettings:
    """Return the settings that the environment holds.

    Raises:
        BadSettings: A value cannot be used.
    """
    try:
        return WorkerSettings()
    except ValidationError as error:
        raise BadSettings(complaints(error)) from error
