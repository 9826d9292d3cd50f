"""Which pods keep a machine from being emptied, and by which disruption budget.

This module needs no Kubernetes SDK, so that clouds can import it: they know that a drain failed, and not why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from activities.kubernetes.credentials import ClusterCredentials
from activities.kubernetes.looking import listed
from activities.kubernetes.objects import DISRUPTION_BUDGET, NODE, POD, Object
from domain.deployment import Site
from domain.facts import Cluster

_TIMEOUT = 20.0
"""Seconds for one look at the cluster."""
_FINISHED = frozenset({"Succeeded", "Failed"})


def unevictable(credentials: ClusterCredentials, site: Site, cluster: Cluster, selector: str) -> tuple[str, ...]:
    """Return, in words, each pod that may not be evicted now, with the budget that forbids it.

    Looked at are the pods on the nodes whose labels `selector` selects.

    Empty if the cluster does not answer: this explains a failure, and is none.
    """
    token = credentials.token(site, cluster)
    try:
        budgets = listed(site, cluster, token, DISRUPTION_BUDGET, timeout=_TIMEOUT)
        nodes = listed(site, cluster, token, NODE, selector=selector, timeout=_TIMEOUT)
        pods = listed(site, cluster, token, POD, timeout=_TIMEOUT)
    except OSError:
        return ()
    names = {node["metadata"]["name"] for node in nodes}
    there = (pod for pod in pods if pod["spec"].get("nodeName") in names and not _stays(pod))
    return tuple(word for pod in there for word in _obstacles(pod, budgets))


def _stays(pod: Object) -> bool:
    """Return whether nobody evicts the pod: it has ended, or belongs to the node itself."""
    daemon = any(owner.get("kind") == "DaemonSet" for owner in pod["metadata"].get("ownerReferences") or ())
    return daemon or (pod.get("status") or {}).get("phase") in _FINISHED


def _obstacles(pod: Object, budgets: Sequence[Object]) -> Iterator[str]:
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    covering = [
        budget
        for budget in budgets
        if budget["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and _selects(budget["spec"].get("selector") or {}, pod["metadata"].get("labels") or {})
    ]
    names = " and ".join(budget["metadata"]["name"] for budget in covering)
    if len(covering) > 1:
        yield f"pod {name} has more than one disruption budget ({names}), which forbids its eviction"
    elif covering and (covering[0].get("status") or {}).get("disruptionsAllowed", 0) < 1:
        yield f"pod {name} may not be evicted: its disruption budget {names} allows no disruption"


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    """Return whether a label selector selects these labels; an empty one selects everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_matches(expression, labels) for expression in selector.get("matchExpressions") or ())


def _matches(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None
