"""What differs from cloud to cloud in an installation of tests: one entry for each cloud."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from domain.clouds import Cloud, Purpose
from simulators.azure.documents import AzureTemplate
from simulators.control_client import ControlClient
from simulators.endpoints import Endpoints
from simulators.gcp.documents import GcpTemplate

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
    }
)


class SimulatedCloud(ABC):
    """One simulated cloud, as a worker and a customer need it."""

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
    looks_only: frozenset[str] = _LOOKS_ONLY
    """Steps that change nothing when all is well: they are interrupted at their first look instead of their deed."""
    idle: frozenset[str] = frozenset()
    """Steps that call nobody when all is well."""

    @abstractmethod
    def account_id(self, number: int) -> str:
        """Return the id of an account that no other number has."""

    @abstractmethod
    def environment(self, endpoints: Endpoints, control: ControlClient, folder: Path) -> dict[str, str]:
        """Return what a worker has in its environment to act in this cloud; `folder` is for files."""

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

    region = "eu-west-1"
    bucket = "bucket"
    kept_with_backups = frozenset({"s3:bucket", "kms:key"})
    without_regions = frozenset({"iam", "route53"})
    placeless = frozenset({("iam", "policy"), ("iam", "role"), ("route53", "hosted-zone"), ("route53", "record")})
    at_rest = frozenset({"bucket", "cluster", "volume", "log-group"})

    def account_id(self, number: int) -> str:
        """Return 12 digits."""
        return f"{number % 10**12:012d}"

    def environment(self, endpoints: Endpoints, control: ControlClient, folder: Path) -> dict[str, str]:
        """Return the vendor's access key."""
        vendor = control.vendor()
        return {
            "BYOC_AWS_ENDPOINT_URL": endpoints.aws_url,
            "BYOC_AWS_PRINCIPAL": vendor.principal,
            "AWS_ACCESS_KEY_ID": vendor.access_key_id,
            "AWS_SECRET_ACCESS_KEY": vendor.secret_access_key,
        }

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

    region = "europe-west4"
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
    looks_only = _LOOKS_ONLY | {"create_private_endpoints", "grant_cluster_access", "install_add_on"}
    idle = frozenset({"delete_private_endpoints"})

    def account_id(self, number: int) -> str:
        """Return a project's id."""
        return f"acme-{number % 10**12:012d}"

    def environment(self, endpoints: Endpoints, control: ControlClient, folder: Path) -> dict[str, str]:
        """Return the vendor's service account, whose key goes into a file."""
        vendor = control.gcp_vendor()
        key = folder / "gcp-vendor.json"
        key.write_text(json.dumps(vendor.key), "utf-8")
        return {
            "BYOC_GCP_ENDPOINT_URL": endpoints.gcp_url,
            "BYOC_GCP_GRPC_ADDRESS": endpoints.gcp_grpc_address,
            "BYOC_GCP_PRINCIPAL": vendor.principal,
            "BYOC_GCP_CREDENTIALS_FILE": str(key),
        }

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

    region = "westeurope"
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
    looks_only = _LOOKS_ONLY | {"create_private_endpoints", "grant_cluster_access", "install_add_on"}
    idle = frozenset({"delete_private_endpoints"})

    def account_id(self, number: int) -> str:
        """Return a subscription's id."""
        return str(UUID(int=0xACE0 << 112 | number))

    def environment(self, endpoints: Endpoints, control: ControlClient, folder: Path) -> dict[str, str]:
        """Return the vendor's applications, and its account at the certificates' authority; secrets go into files."""
        vendor = control.azure_vendor()
        secrets, key = folder / "azure-vendor.json", folder / "acme-account.pem"
        secrets.write_text(vendor.model_dump_json(), "utf-8")
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        key.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(*form))
        return {
            "BYOC_AZURE_ENDPOINT_URL": endpoints.azure_url,
            "BYOC_AZURE_APPLICATIONS": ",".join(
                f"{purpose}={application.client_id}" for purpose, application in vendor.applications.items()
            ),
            "BYOC_AZURE_CREDENTIALS_FILE": str(secrets),
            "BYOC_AZURE_ACME_DIRECTORY_URL": endpoints.acme_url,
            "BYOC_AZURE_ACME_ACCOUNT_KEY_FILE": str(key),
            "BYOC_AZURE_ACME_CA_FILE": str(endpoints.internet_ca_file),
        }

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
    Cloud.AWS: SimulatedAws(),
    Cloud.GCP: SimulatedGcp(),
    Cloud.AZURE: SimulatedAzure(),
}
"""A further cloud is one more entry."""
