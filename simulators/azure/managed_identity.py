"""Microsoft.ManagedIdentity: identities of workloads, and what they trust instead of a secret."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.azure.api import Request
from simulators.azure.cloud import Cloud
from simulators.azure.kinds import Kind
from simulators.azure.records import Record
from simulators.azure.refusals import Json, conflict, invalid

_MOST_CREDENTIALS = 20


@dataclass(frozen=True)
class UserAssignedIdentity(Kind):
    """An identity with a principal in the subscription's tenant."""

    type: str = "Microsoft.ManagedIdentity/userAssignedIdentities"
    has_state: bool = False

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Make the principal of a new identity."""
        if before is not None:
            record.document["properties"] = before["properties"]
            return
        tenant = cloud.identities.subscriptions[request.subscription].tenant
        principal = cloud.identities.add_identity(tenant, record.id.name)
        record.document["properties"] = {
            "tenantId": tenant,
            "principalId": principal.object_id,
            "clientId": principal.client_id,
        }

    def removed(self, cloud: Cloud, record: Record) -> None:
        """Delete the principal; its role assignments stay behind, as in Azure."""
        cloud.identities.remove(record.properties["principalId"])


@dataclass(frozen=True)
class FederatedIdentityCredential(Kind):
    """The issuer, subject and audience of tokens that stand for an identity."""

    type: str = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials"
    regional: bool = False
    has_state: bool = False

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse an incomplete credential, and one too many."""
        del request
        for key in ("issuer", "subject", "audiences"):
            if not record.properties.get(key):
                raise invalid("BadRequest", f"The field '{key}' of a federated identity credential is required.", key)
        parent = record.id.parent
        assert parent is not None
        siblings = [entry for entry in cloud.records.of_type(self.type, parent.text) if entry.id.key != record.id.key]
        if before is None and len(siblings) >= _MOST_CREDENTIALS:
            message = f"No more than {_MOST_CREDENTIALS} federated identity credentials are allowed per identity."
            raise invalid("TooManyFederatedIdentityCredentials", message)
        same = [(entry.properties["issuer"], entry.properties["subject"]) for entry in siblings]
        if (record.properties["issuer"], record.properties["subject"]) in same:
            raise conflict("Conflict", "Issuer and subject combination already exists for this managed identity.")
