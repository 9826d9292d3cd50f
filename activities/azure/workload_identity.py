"""Which of the cluster's pods act as which managed identities.

A pod's service account names the identity's client id in an annotation (`activities.kubernetes.manifests.azure`); the
identity in turn trusts the tokens that the cluster's issuer gives to that one service account of that one namespace
("Microsoft Entra Workload ID").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure.mgmt.msi import ManagedServiceIdentityClient
from temporalio import activity

from activities.azure.errors import failures_named
from activities.azure.groups import group_name
from activities.azure.part import AzurePart
from activities.azure.roles import IDENTITY, RoleName
from activities.contracts import ClusterContract, WorkloadIdentityRequest
from activities.kubernetes.manifests.azure import ENDPOINT_ACCOUNT
from activities.kubernetes.manifests.identity import RESTORE_ACCOUNT, RESTORE_NAMESPACE, SERVER_NAMESPACE
from activities.needs import needs
from domain.clouds import Purpose
from domain.naming import resource_name
from domain.shape import Component

CREDENTIAL = f"{IDENTITY}/federatedIdentityCredentials"
AUDIENCE = "api://AzureADTokenExchange"

WORKLOADS: Mapping[RoleName, tuple[str, str]] = {
    RoleName.STORE: (SERVER_NAMESPACE, str(Component.STORE)),
    RoleName.RESTORE: (RESTORE_NAMESPACE, RESTORE_ACCOUNT),
    RoleName.ENDPOINT: (SERVER_NAMESPACE, ENDPOINT_ACCOUNT),
}
"""Namespace and name of the service account that acts as each identity, keyed by what the identity is for."""


class AzureWorkloadIdentity(AzurePart, ClusterContract):
    """Lets the cluster's pods into the subscription."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        f"{CREDENTIAL}/read", f"{CREDENTIAL}/write", f"{CREDENTIAL}/delete",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_workload_identity(self, request: WorkloadIdentityRequest) -> None:
        """Exactly the service accounts of `WORKLOADS` act as the identities of store, restore and endpoint.

        What these may do is decided where they do it: at the backups, at the certificate. Disks are made by the
        cluster's own identity, so the storage driver needs none.
        """
        with failures_named():
            identities = self._connections.client(ManagedServiceIdentityClient, request.site, Purpose.OPERATE)
            for role, (namespace, account) in WORKLOADS.items():
                name = resource_name(request.site, role)
                self._let_act(identities, request, name, f"{namespace}-{account}", _trust(request, namespace, account))

    @staticmethod
    def _let_act(
        identities: ManagedServiceIdentityClient,
        request: WorkloadIdentityRequest,
        identity: str,
        credential: str,
        wanted: Mapping[str, Any],
    ) -> None:
        """Let one credential of an identity be as wanted, and no other exist."""
        credentials, group = identities.federated_identity_credentials, group_name(request.site)
        present = {each.name: each for each in credentials.list(group, identity)}
        found = present.pop(credential, None)
        if found is None or (found.issuer, found.subject, list(found.audiences or ())) != tuple(wanted.values()):
            credentials.create_or_update(group, identity, credential, {"properties": dict(wanted)})
        for stranger in present:
            credentials.delete(group, identity, stranger)


def _trust(request: WorkloadIdentityRequest, namespace: str, account: str) -> dict[str, Any]:
    return {
        "issuer": request.cluster.oidc_issuer,
        "subject": f"system:serviceaccount:{namespace}:{account}",
        "audiences": [AUDIENCE],
    }
