"""AKS for one deployment: names, looking, and its rule of one operation a cluster at a time.

Clusters and pools are handled as the JSON of Azure's API, keyed by its names: what is changed is written back as a
whole, with what the customer or AKS itself has added.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import yaml
from azure.core.exceptions import HttpResponseError, ResourceModifiedError
from azure.mgmt.containerservice import ContainerServiceClient

from activities.azure.errors import code_of
from activities.azure.existing import if_exists
from activities.azure.groups import group_name
from activities.azure.ids import resource_id
from activities.azure.ownership import require_ours
from domain.deployment import Site
from domain.facts import Cluster
from domain.naming import base_name

Document: TypeAlias = dict[str, Any]
"""A resource of Azure, or a part of one, as decoded JSON."""

CLUSTER = "Microsoft.ContainerService/managedClusters"
POOL = f"{CLUSTER}/agentPools"
SYSTEM_POOL = "system"
"""The pool of AKS's own pods, with which a cluster is made and goes."""
USER_CREDENTIALS = f"{CLUSTER}/listClusterUserCredential/action"
"""What asking for the address of a cluster's API calls; the answer holds no secret."""

_ENDS = frozenset({"Succeeded", "Failed", "Canceled"})
_BUSY = frozenset({"AnotherOperationInProgress", "EtagMismatch", "PreconditionFailed"})
_IN_PROGRESS = ("in progress", "in-progress")


def cluster_id(site: Site) -> str:
    """Return the resource id of the deployment's cluster."""
    return resource_id(site, CLUSTER, base_name(site))


def find_cluster(aks: ContainerServiceClient, site: Site) -> Document | None:
    """Return the deployment's cluster with its node pools, None if there is none.

    Raises:
        ApplicationError: NOT_OURS, if somebody else's cluster has its name.
    """
    found = if_exists(lambda: aks.managed_clusters.get(group_name(site), base_name(site)))
    if found is None:
        return None
    document: Document = found.as_dict()
    require_ours(document.get("tags"), site, f"AKS cluster {base_name(site)}")
    return document


def state_of(document: Mapping[str, Any]) -> str:
    """Return the provisioning state of a cluster or pool."""
    return str(document["properties"].get("provisioningState") or "Succeeded")


def is_settled(document: Mapping[str, Any]) -> bool:
    """Return whether AKS is not at work on a cluster or pool."""
    return state_of(document) in _ENDS


def pools_of_ours(cluster: Mapping[str, Any]) -> list[Document]:
    """Return the node pools of a cluster that are not the system's, as the cluster shows them: each with its name."""
    pools = cluster["properties"].get("agentPoolProfiles") or ()
    return [pool for pool in pools if pool["name"] != SYSTEM_POOL]


def as_facts(aks: ContainerServiceClient, site: Site, cluster: Mapping[str, Any]) -> Cluster:
    """Return the facts of a cluster that has been running; of its version the minor one, as it was ordered."""
    credentials = aks.managed_clusters.list_cluster_user_credentials(group_name(site), base_name(site))
    (kubeconfig,) = credentials.kubeconfigs
    (entry,) = yaml.safe_load(bytes(kubeconfig.value))["clusters"]
    properties, reached = cluster["properties"], entry["cluster"]
    authority = base64.b64decode(reached["certificate-authority-data"])
    return Cluster(
        name=base_name(site),
        endpoint=reached["server"],
        certificate_authority=base64.b64encode(authority).decode(),
        version=".".join(properties["currentKubernetesVersion"].split(".")[:2]),
        oidc_issuer=(properties.get("oidcIssuerProfile") or {}).get("issuerURL") or "",
    )


@contextmanager
def one_operation_at_a_time(look_again: Callable[[str], Exception]) -> Iterator[None]:
    """Let a call wait, as the error of `look_again`, that AKS refuses because another one changes the cluster."""
    try:
        yield
    except ResourceModifiedError as error:
        raise look_again("the cluster has changed meanwhile") from error
    except HttpResponseError as error:
        code, message = code_of(error), str(error.message)
        refused = code == "OperationNotAllowed" and any(words in message for words in _IN_PROGRESS)
        if code in _BUSY or refused:
            raise look_again("AKS is busy with another change of the cluster") from error
        raise
