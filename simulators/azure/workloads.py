"""Workload identity: as whom the pods of a service account call Azure."""

from __future__ import annotations

from simulators.azure.cloud import Cloud
from simulators.azure.container.fleet import id_of
from simulators.azure.container.validation import at
from simulators.azure.entra import Entra
from simulators.azure.identities import Principal
from simulators.azure.ids import subscription_of
from simulators.azure.records import Record
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.pods import is_finished
from simulators.kubernetes.objects import labels_of
from simulators.kubernetes.provider import HinderedError
from simulators.kubernetes.simulator import KubernetesSimulator

CLIENT = "azure.workload.identity/client-id"
USE = "azure.workload.identity/use"
AUDIENCE = "api://AzureADTokenExchange"


class Workloads:
    """The service accounts of all clusters, and the identities that trust them."""

    def __init__(self, cloud: Cloud, entra: Entra, kubernetes: KubernetesSimulator) -> None:
        self._cloud = cloud
        self._entra = entra
        self._kubernetes = kubernetes

    def of_pods(self, cluster: Record, namespace: str, account: str) -> Principal:
        """Return as whom the pods of a service account act.

        Raises:
            HinderedError: The pods get no token, because cluster, account or pods lack what makes AKS give them one.
            Refusal: Entra does not take the token.
        """
        running = self._kubernetes.cluster(id_of(cluster))
        pods = running.store.list(kinds.PODS, namespace) if running is not None else []
        own = [pod for pod in pods if (pod["spec"].get("serviceAccountName") or "default") == account]
        if not any(labels_of(pod).get(USE) == "true" for pod in own if not is_finished(pod)):
            message = f"WorkloadIdentityCredential: no token file is specified; pods need the label {USE}: 'true'"
            raise HinderedError(message)
        return self.of_account(cluster, namespace, account)

    def of_account(self, cluster: Record, namespace: str, account: str) -> Principal:
        """Return as whom somebody acts who has a token of a service account.

        Raises:
            HinderedError: The cluster gives no such tokens, or the account names no identity.
            Refusal: Entra does not take the token.
        """
        issuer = at(cluster.properties, "oidcIssuerProfile.issuerURL")
        if not issuer or not at(cluster.properties, "securityProfile.workloadIdentity.enabled"):
            raise HinderedError(f"workload identity is not enabled in the cluster {cluster.id.name}")
        running = self._kubernetes.cluster(id_of(cluster))
        found = running.store.get(kinds.SERVICE_ACCOUNTS, namespace, account) if running is not None else None
        if found is None:
            raise HinderedError(f"service account {account} does not exist in namespace {namespace}")
        client = (found["metadata"].get("annotations") or {}).get(CLIENT)
        if not client:
            message = f"service account {account} does not include the annotation {CLIENT} of workload identity"
            raise HinderedError(message)
        tenant = self._cloud.identities.subscriptions[subscription_of(cluster.id.text)].tenant
        principal = self._cloud.identities.by_client(tenant, client)
        if principal is None:
            message = f"AADSTS700016: Application with identifier '{client}' was not found in the directory '{tenant}'."
            raise HinderedError(message)
        subject = f"system:serviceaccount:{namespace}:{account}"
        self._entra.require_trusted(principal, issuer, subject, [AUDIENCE])
        return principal
