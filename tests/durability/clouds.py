"""What differs from cloud to cloud in an installation of tests: one entry for each cloud."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from domain.clouds import Cloud, Purpose
from simulators.azure.documents import AzureTemplate
from simulators.control_client import ControlClient
from simulators.endpoints import Endpoints
from simulators.gcp.documents import GcpTemplate
from starters.playground import clouds as playground
from starters.playground.world import World

Document = dict[str, Any]
"""What a customer applies, as JSON."""

_LOOKS_ONLY = frozenset(
    {
        "check_permissions",
        "check_quotas",
        "choose_placement",
        "plan_addresses",
        "set_maintenance_policy",
        "delete_load_balancers_and_volumes",
        "find_leftovers",
    }
)


class SimulatedCloud(ABC):
    """One simulated cloud, as a worker and a customer need it."""

    cloud: Cloud
    region: str
    """Where deployments of tests run."""
    bucket: str
    """The type of a bucket in the inventory."""
    kept_with_backups: frozenset[str]
    """The kinds of leftovers that stay as long as a backup that is locked."""
    without_regions: frozenset[str]
    """Services of the journal that have no region, wherever they are called."""
    placeless: frozenset[tuple[str, str]]
    """(service, type), in the inventory, of what lies in no region: it describes, and holds no data."""
    at_rest: frozenset[str]
    """Types, in the inventory, of what data rest in."""
    named: frozenset[str]
    """Services, in the inventory, whose resources are told apart by their names."""
    looks_only: frozenset[str] = _LOOKS_ONLY
    """Steps that change nothing when all is well: they are interrupted at their first look instead of their deed."""
    idle: frozenset[str] = frozenset()
    """Steps that call nobody when all is well."""

    @abstractmethod
    def account_id(self, number: int) -> str:
        """Return the id of an account that no other number has."""

    def environment(self, endpoints: Endpoints, folder: Path) -> dict[str, str]:
        """Return what a worker has in its environment to act in this cloud, as in a playground.

        `folder` is for files with secrets.
        """
        played = playground.CLOUDS[self.cloud]
        addresses = playground.Addresses.model_validate(endpoints.model_dump())
        vendor = World(endpoints.control_url).vendor(played)
        return {**played.settings(addresses, vendor), **played.credentials(vendor, folder)}

    @abstractmethod
    def apply_template(self, control: ControlClient, account: str, document: Document) -> None:
        """Let the customer apply our template."""

    @abstractmethod
    def delete_template(self, control: ControlClient, account: str) -> None:
        """Let the customer take everything of the template away."""

    @abstractmethod
    def without(self, document: Document, purpose: Purpose) -> Document:
        """Return a template that lacks what one of our roles is."""


class SimulatedAws(SimulatedCloud):
    """AWS."""

    cloud, region = Cloud.AWS, "eu-west-1"
    bucket = "bucket"
    kept_with_backups = frozenset({"s3:bucket", "kms:key"})
    without_regions = frozenset({"iam", "route53"})
    placeless = frozenset({("iam", "policy"), ("iam", "role"), ("route53", "hosted-zone"), ("route53", "record")})
    at_rest = frozenset({"bucket", "cluster", "volume", "log-group"})
    named = frozenset({"cloudwatch", "eks", "iam", "logs", "s3"})

    def account_id(self, number: int) -> str:
        """Return 12 digits."""
        return f"{number % 10**12:012d}"

    def apply_template(self, control: ControlClient, account: str, document: Document) -> None:
        """Create or update the stack."""
        control.customer(account).apply_template(document)

    def delete_template(self, control: ControlClient, account: str) -> None:
        """Delete the stack."""
        control.customer(account).delete_template()

    def without(self, document: Document, purpose: Purpose) -> Document:
        """Leave out the role with its policies."""
        parts = {
            part: {name: value for name, value in document[part].items() if not name.startswith(purpose.title())}
            for part in ("Resources", "Outputs")
        }
        return document | parts


class SimulatedGcp(SimulatedCloud):
    """Google Cloud."""

    cloud, region = Cloud.GCP, "europe-west4"
    bucket = "bucket"
    kept_with_backups = frozenset({"storage:buckets", "kms:cryptoKeys"})
    without_regions = frozenset()
    placeless = frozenset(
        {
            ("compute", "firewall"),
            ("compute", "network"),
            ("dns", "managed-zone"),
            ("iam", "role"),
            ("iam", "service-account"),
            ("logging", "exclusion"),
            ("logging", "sink"),
            ("monitoring", "alert-policy"),
        }
    )
    at_rest = frozenset({"bucket", "cluster", "disk", "log-bucket"})
    named = frozenset({"compute", "container", "dns", "iam", "kms", "logging", "monitoring", "storage"})
    looks_only = _LOOKS_ONLY | {"create_private_endpoints", "grant_cluster_access", "install_add_on", "upgrade_add_on"}
    idle = frozenset({"delete_private_endpoints"})

    def account_id(self, number: int) -> str:
        """Return a project's id."""
        return f"acme-{number % 10**12:012d}"

    def apply_template(self, control: ControlClient, account: str, document: Document) -> None:
        """Make service accounts, roles and bindings."""
        control.project(account).apply_template(GcpTemplate.model_validate(document))

    def delete_template(self, control: ControlClient, account: str) -> None:
        """Delete them."""
        control.project(account).delete_template()

    def without(self, document: Document, purpose: Purpose) -> Document:
        """Leave out the service account with its roles."""
        kept = [each for each in document["serviceAccounts"] if f"-{purpose}-" not in each["accountId"]]
        ids = {each["accountId"] for each in kept}
        bindings = [each for each in document["bindings"] if ids.issuperset(each["accountIds"])]
        roles = {each["role"] for each in bindings}
        return document | {
            "serviceAccounts": kept,
            "bindings": bindings,
            "roles": [each for each in document["roles"] if each["roleId"] in roles],
        }


class SimulatedAzure(SimulatedCloud):
    """Azure."""

    cloud, region = Cloud.AZURE, "westeurope"
    bucket = "storage-account"
    kept_with_backups = frozenset(
        {
            "storage:storageAccounts",
            "keyvault:vaults",
            "managedidentity:userAssignedIdentities",
            "resources:resourceGroups",
        }
    )
    without_regions = frozenset()
    placeless = frozenset(
        {
            ("authorization", "role-assignment"),
            ("authorization", "role-definition"),
            ("insights", "metric-alert"),
            ("network", "dns-zone"),
            ("network", "record-set"),
        }
    )
    at_rest = frozenset({"storage-account", "managed-cluster", "disk"})
    named = frozenset(
        {"compute", "containerservice", "insights", "keyvault", "managedidentity", "network", "resources", "storage"}
    )
    looks_only = _LOOKS_ONLY | {"create_private_endpoints", "grant_cluster_access", "install_add_on", "upgrade_add_on"}
    idle = frozenset({"delete_private_endpoints"})

    def account_id(self, number: int) -> str:
        """Return a subscription's id."""
        return str(UUID(int=0xACE0 << 112 | number))

    def apply_template(self, control: ControlClient, account: str, document: Document) -> None:
        """Make roles and assignments, and let the applications in."""
        control.subscription(account).apply_template(AzureTemplate.model_validate(document))

    def delete_template(self, control: ControlClient, account: str) -> None:
        """Delete them."""
        control.subscription(account).delete_template()

    def without(self, document: Document, purpose: Purpose) -> Document:
        """Leave out the role with its assignment."""
        kept = [each for each in document["roles"] if f"-{purpose}-" not in each["name"]]
        names = {each["name"] for each in kept}
        return document | {
            "roles": kept,
            "assignments": [each for each in document["assignments"] if each["role"] in names],
        }


CLOUDS: Mapping[Cloud, SimulatedCloud] = {
    each.cloud: each for each in (SimulatedAws(), SimulatedGcp(), SimulatedAzure())
}
"""Keyed by cloud. A further one is one more name here."""
