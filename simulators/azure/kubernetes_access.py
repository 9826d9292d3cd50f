"""Who a token of Entra is in a cluster of AKS, and what Azure RBAC lets it do there."""

from __future__ import annotations

from simulators.azure.api import Check
from simulators.azure.cloud import Cloud
from simulators.azure.container.calls import ENTRA_APPLICATION
from simulators.azure.container.fleet import CLUSTER
from simulators.azure.container.validation import at
from simulators.azure.ids import subscription_of
from simulators.azure.records import Record
from simulators.azure.refusals import Refusal
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.provider import ADMINISTRATORS, User

_VERBS = {"get": "read", "list": "read", "watch": "read", "create": "write", "update": "write", "patch": "write"}
_DELETING = ("delete", "deletecollection")


def user_of(cloud: Cloud, cluster: Record, token: str) -> User | None:
    """Return whom a token stands for, or None for one that Entra did not give for clusters in their tenant."""
    subscription = subscription_of(cluster.id.text)
    try:
        principal = cloud.identities.principal_of(token, ENTRA_APPLICATION)
    except Refusal:
        return None
    tenant = cloud.identities.subscriptions[subscription].tenant
    if principal is None or principal.tenant != tenant or not at(cluster.properties, "aadProfile.managed"):
        return None
    if principal.kind == "User":
        return User(principal.name, (ADMINISTRATORS,))
    if not at(cluster.properties, "aadProfile.enableAzureRBAC"):
        return User(principal.object_id, ())

    def may(verb: str, kind: Kind, _subresource: str) -> bool:
        check = Check(data_action(verb, kind), cluster.id.text, data=True)
        return cloud.access.require(principal, check, subscription, "")

    return User(principal.object_id, (), may)


def data_action(verb: str, kind: Kind) -> str:
    """Return the data action that stands for a verb: `…/managedClusters/apps/deployments/write`.

    All custom resources share one ("Use Microsoft Entra ID authorization for the Kubernetes API"). A subresource needs
    what its object needs; the one exception, `exec`, is not served.
    """
    group = f"{kind.group}/" if kind.group else ""
    part = kind.plural
    if kind.custom:
        group, part = "", "customresources"
    last = "delete" if verb in _DELETING else _VERBS.get(verb, f"{verb}/action")
    return f"{CLUSTER}/{group}{part}/{last}"
