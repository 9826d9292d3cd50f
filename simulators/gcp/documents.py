"""What the control API of the simulated Google Cloud is told and answers; nothing here needs Google's packages."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

VENDOR_PROJECT = "byoc-vendor"
VENDOR_ACCOUNT = f"control-plane@{VENDOR_PROJECT}.iam.gserviceaccount.com"


class GcpVendor(BaseModel):
    """The identity that the control plane runs with; the simulator made it up, it opens nothing else."""

    model_config = ConfigDict(frozen=True)

    project: str
    principal: str
    """Email of the service account that customers let impersonate theirs."""
    key: dict[str, Any]
    """The service account's key as a file holds it: `google.oauth2.service_account` reads it."""


class Condition(BaseModel):
    """When a binding counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    expression: str


class ServiceAccountGrant(BaseModel):
    """One service account of the template."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    account_id: str = Field(alias="accountId")
    display_name: str = Field(default="", alias="displayName")
    impersonators: tuple[str, ...] = ()
    """Members that may act as it: `serviceAccount:…`."""


class CustomRole(BaseModel):
    """One custom role of the template."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    role_id: str = Field(alias="roleId")
    title: str = ""
    permissions: tuple[str, ...] = Field(alias="includedPermissions")


class Binding(BaseModel):
    """One binding of the project's policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    role: str
    """The id of a role of the template, or a predefined role (`roles/…`)."""
    accounts: tuple[str, ...] = Field(alias="accountIds")
    """Ids of service accounts of the template."""
    condition: Condition | None = None


class GcpTemplate(BaseModel):
    """What a customer makes in its project to let us in."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    services: tuple[str, ...] = ()
    """APIs to enable: `compute.googleapis.com`."""
    accounts: tuple[ServiceAccountGrant, ...] = Field(default=(), alias="serviceAccounts")
    roles: tuple[CustomRole, ...] = ()
    bindings: tuple[Binding, ...] = ()


class GcpOutputs(BaseModel):
    """What a template has made."""

    model_config = ConfigDict(frozen=True)

    emails: dict[str, str]
    """Emails of the service accounts, keyed by their ids."""
    roles: dict[str, str]
    """Full names of the roles, keyed by their ids."""


class PermissionOfRole(BaseModel):
    """One permission of one custom role of the template."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    """The role's id."""
    permission: str


class Quota(BaseModel):
    """A limit that the customer has, unlike the usual one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    limit: float = Field(ge=0)
    region: str = ""
    """Empty for what counts in the whole project."""


class GcpOwnNetwork(BaseModel):
    """The layout of a network that a customer makes before we come."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str
    name: str = "customer-network"
    subnetwork: str = "customer-subnetwork"
    cidr: str = "10.80.0.0/20"
    pods_cidr: str = "10.96.0.0/14"
    services_cidr: str = "10.100.0.0/20"
    nat: bool = True


class GcpOwnNetworkFacts(BaseModel):
    """What the customer has made."""

    model_config = ConfigDict(frozen=True)

    network: str
    subnetwork: str
    pods_range: str = "pods"
    services_range: str = "services"
