"""Disruption budgets that would hold up the upgrade of a node pool.

GKE drains a node by eviction and honours budgets for an hour; then it ends what is left. So that no pod is ever ended
against its budget, we look into the cluster ourselves, before and while GKE replaces machines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.error import HTTPError

from activities.failures import failure
from activities.gcp.errors import described
from activities.kubernetes.looking import listed
from activities.kubernetes.objects import DISRUPTION_BUDGET, NODE, POD, Kind, Object
from domain.deployment import Site
from domain.facts import Cluster
from domain.failure import FailureClass, FailureDetail

_POOL_OF_GKE = "cloud.google.com/gke-nodepool"
_GOOGLES = re.compile(r"kube-system|gke-managed-.+|gmp-.+")
"""Namespaces in which GKE runs pods of its own, with budgets that are its own affair."""
_STATUS = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
NEEDED = ("container.nodes.list", "container.podDisruptionBudgets.list", "container.pods.list")
"""IAM's permissions for looking."""


@dataclass(frozen=True)
class Hindrance:
    """A pod that may not be evicted now."""

    pod: str
    """`namespace/name`."""
    budget: str
    node: str
    for_good: bool
    """Whether all pods of the budget are well and it allows no eviction all the same: time will not change that."""

    def __str__(self) -> str:
        """Say it for an operator."""
        return f"the budget {self.budget} lets nobody evict the pod {self.pod} from {self.node}"


class ClusterLook:
    """Reads from the API of one cluster; nothing here could change anything."""

    def __init__(self, site: Site, cluster: Cluster, token: str, *, timeout: float) -> None:
        """`timeout` is in seconds, of one request."""
        self._site = site
        self._cluster = cluster
        self._token = token
        self._timeout = timeout

    def hindrances(self, pool: str, version: str) -> list[Hindrance]:
        """Return the pods on machines of the pool that are not yet at the version and may not be evicted now.

        Raises:
            ApplicationError: the API refuses, or does not answer (TRANSIENT).
        """
        budgets = [each for each in self._list(DISRUPTION_BUDGET) if _allows_nothing(each)]
        if not budgets:
            return []
        nodes = self._list(NODE, selector=f"{_POOL_OF_GKE}={pool}")
        old = {
            each["metadata"]["name"] for each in nodes if each["status"]["nodeInfo"]["kubeletVersion"] != f"v{version}"
        }
        return sorted(
            (found for budget in budgets for found in self._hindered(budget, old)), key=lambda found: found.pod
        )

    def _hindered(self, budget: Object, nodes: set[str]) -> Iterator[Hindrance]:
        namespace, name = budget["metadata"]["namespace"], budget["metadata"]["name"]
        selector = _selector(budget["spec"].get("selector") or {})
        for pod in self._list(POD, namespace=namespace, selector=selector):
            node = pod["spec"].get("nodeName", "")
            if node in nodes and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                full = f"{namespace}/{pod['metadata']['name']}"
                yield Hindrance(full, f"{namespace}/{name}", node, _is_for_good(budget))

    def _list(self, kind: Kind, *, namespace: str = "", selector: str = "") -> list[Object]:
        site, cluster = self._site, self._cluster
        try:
            return listed(
                site, cluster, self._token, kind, namespace=namespace, selector=selector, timeout=self._timeout
            )
        except HTTPError as error:
            status = _STATUS.get(error.code, "UNAVAILABLE")
            answer = error.read().decode(errors="replace")
            raise failure(described(status, answer, resource=cluster.name)) from error
        except OSError as error:
            message = f"The API of {cluster.name} did not answer: {error}"
            detail = FailureDetail(failure=FailureClass.TRANSIENT, message=message, resource=cluster.name)
            raise failure(detail) from error


def _allows_nothing(budget: Object) -> bool:
    status = budget.get("status") or {}
    googles = _GOOGLES.fullmatch(budget["metadata"]["namespace"]) is not None
    return bool(status.get("expectedPods")) and not status.get("disruptionsAllowed") and not googles


def _is_for_good(budget: Object) -> bool:
    status = budget["status"]
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        # It was changed, and what it allows now has not been counted yet.
        return False
    # An eviction that was just allowed is not yet counted by the pods, but listed.
    return status.get("currentHealthy", 0) >= status["expectedPods"] and not status.get("disruptedPods")


def _selector(selector: Object) -> str:
    """Return a label selector of an object as the API takes it in a query."""
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for each in selector.get("matchExpressions") or ():
        key, values = each["key"], ",".join(each.get("values") or ())
        terms.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[each["operator"]]
        )
    return ",".join(terms)
