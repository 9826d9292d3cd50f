"""The EKS endpoint: from an authorized HTTP request to the operation, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore import xform_name
from botocore.loaders import create_loader

from simulators.aws import authorization, scope
from simulators.aws.durations import Durations
from simulators.aws.eks.access import Access
from simulators.aws.eks.add_ons import AddOns
from simulators.aws.eks.clusters import ControlPlanes
from simulators.aws.eks.node_groups import NodeGroups
from simulators.aws.eks.pod_identity import PodIdentities
from simulators.aws.eks.records import Document
from simulators.aws.eks.surroundings import Surroundings
from simulators.aws.eks.updates import Updates
from simulators.aws.quotas import Quotas
from simulators.aws.refusals import Refusal
from simulators.aws.scope import Scope
from simulators.aws.work import Work
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World

Operation = Callable[[Scope, Document], Document]

_LISTS_IN_QUERY = ("tagKeys", "clusterVersions", "include", "types", "publishers", "owners")
_PAGED = {
    "list_clusters": "clusters",
    "list_nodegroups": "nodegroups",
    "list_addons": "addons",
    "list_updates": "updateIds",
    "list_access_entries": "accessEntries",
    "list_access_policies": "accessPolicies",
    "list_associated_access_policies": "associatedAccessPolicies",
    "list_pod_identity_associations": "associations",
    "list_insights": "insights",
    "describe_addon_versions": "addons",
    "describe_cluster_versions": "clusterVersions",
}
"""The member that is cut into pages, keyed by operation."""
_PAGE_SIZE = 100


class EksService:
    """All of EKS, in every account and region."""

    def __init__(
        self, world: World, work: Work, quotas: Quotas, kubernetes: KubernetesSimulator, durations: Durations
    ) -> None:
        has = Surroundings(work, world.clock, quotas, durations, kubernetes)
        self._has = has
        self.clusters = has.clusters
        updates = Updates(has)
        self.access = Access(has)
        self.pod_identities = PodIdentities(has)
        self.control_planes = ControlPlanes(has, updates, self.access)
        self.node_groups = NodeGroups(has, updates, self.access)
        add_ons = AddOns(has, updates, self.pod_identities)
        self._operations = _operations_of(
            self.control_planes, updates, self.access, self.pod_identities, self.node_groups, add_ons
        )

    async def handle(
        self, _method: str, _path: str, _headers: Mapping[str, str], _body: bytes, query: Mapping[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer one request that has been authorized; the front has understood it."""
        self._has.work.settle()
        request = authorization.current_request.get()
        operation = self._operations.get(xform_name(request.operation)) if request is not None else None
        if request is None or operation is None:
            return Refusal("InvalidRequestException", "The simulator does not offer this operation").reply("rest-json")
        try:
            lists = {name: query[name] for name in _LISTS_IN_QUERY if isinstance(query.get(name), list)}
            answer = self._perform(xform_name(request.operation), operation, {**request.parameters, **lists})
        except Refusal as refusal:
            return refusal.reply("rest-json")
        return 200, {"Content-Type": "application/json"}, json.dumps(_without_nones(answer)).encode()

    def _perform(self, name: str, operation: Operation, parameters: Document) -> Document:
        here = scope.current()
        answer = self._has.tokens.once(here, name, parameters, lambda: operation(here, parameters))
        return _page(answer, _PAGED[name], parameters) if name in _PAGED else answer

    def forget(self) -> None:
        """Forget everything."""
        self.control_planes.forget()


def _operations_of(*groups: object) -> dict[str, Operation]:
    """Return the methods of `groups` that are operations of EKS, keyed by the SDK's method name."""
    model = create_loader().load_service_model("eks", "service-2")
    offered = {xform_name(name) for name in model["operations"]}
    return {name: getattr(group, name) for group in groups for name in dir(group) if name in offered}


def _page(answer: Document, member: str, parameters: Document) -> Document:
    """Cut `member` down to the page that `nextToken` and `maxResults` ask for."""
    start = int(parameters.get("nextToken") or 0)
    size = int(parameters.get("maxResults") or _PAGE_SIZE)
    page = {**answer, member: answer[member][start : start + size]}
    if start + size < len(answer[member]):
        page["nextToken"] = str(start + size)
    return page


def _without_nones(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nones(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_nones(item) for item in value]
    return value
