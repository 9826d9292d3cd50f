"""What the control API of the simulated Azure is told and answers; nothing here needs Azure's packages."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

PURPOSES = ("observe", "operate", "delete")


class AzureApplication(BaseModel):
    """One app registration of the vendor, and its secret; the simulator made them up, they open nothing else."""

    model_config = ConfigDict(frozen=True)

    client_id: str
    client_secret: str


class AzureVendor(BaseModel):
    """The identities that the control plane runs with: multi-tenant applications, one for each purpose."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    applications: dict[str, AzureApplication]
    """Keyed by purpose: `observe`, `operate`, `delete`."""


class AzureRole(BaseModel):
    """One custom role of the template."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str
    """Unique in the tenant."""
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = Field(default=(), alias="notActions")
    data_actions: tuple[str, ...] = Field(default=(), alias="dataActions")
    not_data_actions: tuple[str, ...] = Field(default=(), alias="notDataActions")


class AzureAssignment(BaseModel):
    """One role assignment of the template."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    role: str
    """The name of a role of the template, or the GUID of a built-in role."""
    client_id: str = Field(alias="clientId")
    """The application that gets it; the template lets it into the tenant."""
    scope: str = ""
    """Below the subscription: `resourceGroups/byoc`; empty for the whole subscription."""
    condition: str = ""


class AzureTemplate(BaseModel):
    """What a customer makes in its subscription to let us in."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    providers: tuple[str, ...] = ()
    """Namespaces to register: `Microsoft.Network`."""
    roles: tuple[AzureRole, ...] = ()
    assignments: tuple[AzureAssignment, ...] = ()


class AzureOutputs(BaseModel):
    """What a template has made."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    roles: dict[str, str]
    """Ids of the role definitions, keyed by their names."""
    principals: dict[str, str]
    """Object ids of the applications' service principals, keyed by client id."""


class ActionOfRole(BaseModel):
    """One action of one custom role of the template."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    """The role's name."""
    action: str


class AzureQuota(BaseModel):
    """A limit that the customer has, unlike the usual one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str
    name: str
    """As usages call it: `cores`, `standardDSv5Family`."""
    limit: int = Field(ge=0)


class AzureOwnNetwork(BaseModel):
    """The layout of a network that a customer makes before we come."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str
    group: str = "customer-network"
    name: str = "customer-network"
    subnet: str = "customer-subnet"
    cidr: str = "10.80.0.0/20"
    nat: bool = True


class AzureOwnNetworkFacts(BaseModel):
    """What the customer has made: ids."""

    model_config = ConfigDict(frozen=True)

    network: str
    subnet: str
