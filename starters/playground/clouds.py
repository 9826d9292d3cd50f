"""The clouds that a playground simulates: one entry for each, and nothing about a single one anywhere else here."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from domain.clouds import Cloud, Purpose
from domain.model import Model

Json = dict[str, Any]
"""A JSON object."""


class Addresses(Model):
    """Where the simulators serve, on loopback; what is not simulated is empty."""

    aws_url: str
    gcp_url: str = ""
    gcp_grpc_address: str = ""
    azure_url: str = ""
    acme_url: str = ""
    kubernetes_url: str
    kubernetes_ca_file: Path
    internet_proxy_url: str
    internet_ca_file: Path
    control_url: str


class SimulatedCloud(ABC):
    """What the playground has to know of one cloud."""

    cloud: Cloud
    title: str
    """What people call it."""
    stands_on: tuple[str, ...] = ()
    """Packages without which it is not simulated; an extra of `byoc` has them."""
    option: tuple[str, ...] = ()
    """What tells the simulators to serve it."""
    accounts: str
    """What the control API calls the accounts, in its paths."""
    region: str
    """The region of the examples."""
    example: str
    """File of `docs/examples` that orders a deployment in that account."""
    missing: str
    """The permission that the demo takes away, without which the network has no way out."""
    missing_call: str
    """The call that needs it, as faults name it."""

    @property
    def is_here(self) -> bool:
        """Whether what it stands on is installed."""
        return all(_is_installed(package) for package in self.stands_on)

    @abstractmethod
    def account_of(self, customer: str) -> str:
        """Return the id of the account that a customer of the examples has."""

    @abstractmethod
    def settings(self, addresses: Addresses, vendor: Json) -> dict[str, str]:
        """Return what all of `byoc` has in its environment; no credentials are among it."""

    @abstractmethod
    def credentials(self, vendor: Json, state: Path) -> dict[str, str]:
        """Return what the cloud's worker has in its environment beside that; `state` is for files."""

    @abstractmethod
    def places(self, addresses: Addresses) -> Mapping[str, str]:
        """Return where the cloud is reached; keyed by what answers there."""

    @abstractmethod
    def application(self, template: str) -> Json:
        """Return how the control API is asked to apply a template, which is given as JSON."""

    @abstractmethod
    def summary(self, template: str) -> str:
        """Return in words what a customer applies."""

    @abstractmethod
    def one_permission(self, name: str, purpose: Purpose, action: str, template: Callable[[], str]) -> Json:
        """Return how the control API is asked about one permission of one of our roles.

        Args:
            name: What we call the account.
            purpose: Which of our roles.
            action: In the cloud's own spelling.
            template: Makes the account's template as JSON, which takes seconds.
        """


class SimulatedAws(SimulatedCloud):
    """AWS."""

    cloud, title = Cloud.AWS, "AWS"
    accounts, region = "aws/accounts", "eu-central-1"
    example = "deployment-small.yaml"
    missing, missing_call = "ec2:CreateNatGateway", "CreateNatGateway"

    def account_of(self, customer: str) -> str:
        """Return 12 digits, always the same ones."""
        return {"acme": "222222222222", "globex": "333333333333"}.get(customer, "444444444444")

    def settings(self, addresses: Addresses, vendor: Json) -> dict[str, str]:
        """Return address and principal."""
        return {"BYOC_AWS_ENDPOINT_URL": addresses.aws_url, "BYOC_AWS_PRINCIPAL": vendor["principal"]}

    def credentials(self, vendor: Json, state: Path) -> dict[str, str]:  # noqa: ARG002 - a key needs no file
        """Return the access key, and nothing that leads to the user's own."""
        return {
            "AWS_ACCESS_KEY_ID": vendor["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": vendor["secret_access_key"],
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def places(self, addresses: Addresses) -> Mapping[str, str]:
        """Return one address for all services."""
        return {"Simulated AWS": addresses.aws_url}

    def application(self, template: str) -> Json:
        """Return the template as CloudFormation takes it."""
        return {"template": template}

    def summary(self, template: str) -> str:
        """Count the roles."""
        roles = template.count('"AWS::IAM::Role"')
        return f"our CloudFormation template: {roles} roles"

    def one_permission(self, name: str, purpose: Purpose, action: str, template: Callable[[], str]) -> Json:  # noqa: ARG002 - the name says it
        """Return the role by the name that the template gives it."""
        return {"role": f"byoc-{name}-{purpose}", "action": action}


class SimulatedGcp(SimulatedCloud):
    """Google Cloud."""

    cloud, title = Cloud.GCP, "Google Cloud"
    stands_on = ("google-cloud-compute", "cel-python")
    option = ("--gcp",)
    accounts, region = "gcp/projects", "europe-west4"
    example = "deployment-gcp.yaml"
    missing, missing_call = "compute.routers.create", "routers.insert"

    def account_of(self, customer: str) -> str:
        """Return a project's id."""
        return f"{customer}-data-4711"

    def settings(self, addresses: Addresses, vendor: Json) -> dict[str, str]:
        """Return addresses and principal."""
        return {
            "BYOC_GCP_ENDPOINT_URL": addresses.gcp_url,
            "BYOC_GCP_GRPC_ADDRESS": addresses.gcp_grpc_address,
            "BYOC_GCP_PRINCIPAL": vendor["principal"],
        }

    def credentials(self, vendor: Json, state: Path) -> dict[str, str]:
        """Write the service account's key into a file that nobody else reads, and return where it is."""
        return {"BYOC_GCP_CREDENTIALS_FILE": _secret_file(state / "gcp-vendor.json", json.dumps(vendor["key"]))}

    def places(self, addresses: Addresses) -> Mapping[str, str]:
        """Return the address of each of its two ways to be spoken to."""
        return {"Simulated GCP": addresses.gcp_url, "… by gRPC": addresses.gcp_grpc_address}

    def application(self, template: str) -> Json:
        """Return the document itself."""
        document: Json = json.loads(template)
        return document

    def summary(self, template: str) -> str:
        """Count service accounts and their roles."""
        document = json.loads(template)
        return f"our template: {len(document['serviceAccounts'])} service accounts, {len(document['roles'])} roles"

    def one_permission(self, name: str, purpose: Purpose, action: str, template: Callable[[], str]) -> Json:  # noqa: ARG002 - its digest is not in our name
        """Return the role of the template that holds the permission, else the purpose's first."""
        roles = [each for each in json.loads(template())["roles"] if each["roleId"].startswith(f"byoc_{purpose}_")]
        holding = (each for each in roles if action in each["includedPermissions"])
        return {"role": next(holding, roles[0])["roleId"], "permission": action}


class SimulatedAzure(SimulatedCloud):
    """Azure."""

    cloud, title = Cloud.AZURE, "Azure"
    stands_on = ("azure-mgmt-network", "acme")
    option = ("--azure",)
    accounts, region = "azure/subscriptions", "westeurope"
    example = "deployment-azure.yaml"
    missing, missing_call = "Microsoft.Network/natGateways/write", "natGateways/write"

    def account_of(self, customer: str) -> str:
        """Return a subscription's id, always the same one."""
        known = {"acme": "8d7a1c9e-3f5b-4a6d-9c2e-1b0f4e7d6a58", "initech": "3c5e9b21-7d4f-4f0a-8e6b-52a9d1c7f034"}
        return known.get(customer, "6b2d8f47-1a9c-4c35-b7e0-94f3a5d2c816")

    def settings(self, addresses: Addresses, vendor: Json) -> dict[str, str]:
        """Return the address, the applications' public ids, and the authority that signs certificates."""
        ids = (f"{purpose}={given['client_id']}" for purpose, given in vendor["applications"].items())
        return {
            "BYOC_AZURE_ENDPOINT_URL": addresses.azure_url,
            "BYOC_AZURE_APPLICATIONS": ",".join(ids),
            "BYOC_AZURE_ACME_DIRECTORY_URL": addresses.acme_url,
            "BYOC_AZURE_ACME_CA_FILE": str(addresses.internet_ca_file),
        }

    def credentials(self, vendor: Json, state: Path) -> dict[str, str]:
        """Write the applications' secrets, and a fresh key for the authority, into files that nobody else reads."""
        key = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return {
            "BYOC_AZURE_CREDENTIALS_FILE": _secret_file(state / "azure-vendor.json", json.dumps(vendor)),
            "BYOC_AZURE_ACME_ACCOUNT_KEY_FILE": _secret_file(state / "acme-account.pem", key.decode()),
        }

    def places(self, addresses: Addresses) -> Mapping[str, str]:
        """Return the address of all hosts, and that of the certificates' authority."""
        return {"Simulated Azure": addresses.azure_url, "… certificates": addresses.acme_url}

    def application(self, template: str) -> Json:
        """Return the document itself."""
        document: Json = json.loads(template)
        return document

    def summary(self, template: str) -> str:
        """Count roles and applications."""
        document = json.loads(template)
        applications = {each["clientId"] for each in document["assignments"]}
        return f"our template: {len(document['roles'])} roles for {len(applications)} applications of ours"

    def one_permission(self, name: str, purpose: Purpose, action: str, template: Callable[[], str]) -> Json:
        """Return the role of the template that holds the permission, else the purpose's first."""
        roles = [r for r in json.loads(template())["roles"] if r["name"].startswith(f"byoc-{name}-{purpose}-")]
        holding = (each for each in roles if action in (*each["actions"], *each["dataActions"]))
        return {"role": next(holding, roles[0])["name"], "action": action}


CLOUDS: Mapping[Cloud, SimulatedCloud] = {
    each.cloud: each for each in (SimulatedAws(), SimulatedGcp(), SimulatedAzure())
}
"""Keyed by cloud. A further one is one more name here."""


def clouds_here() -> tuple[SimulatedCloud, ...]:
    """Return the clouds that can be simulated with what is installed."""
    return tuple(each for each in CLOUDS.values() if each.is_here)


def _secret_file(path: Path, text: str) -> str:
    """Write `text` into a file that nobody else reads, and return where it is."""
    file = path.resolve()
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
    return str(file)


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
