"""The resource group of a cluster's nodes: what AKS makes there without being called."""

from __future__ import annotations

from simulators.azure.cloud import Cloud
from simulators.azure.ids import ResourceId, group_scope, subscription_of
from simulators.azure.records import Group, Record
from simulators.azure.refusals import Json
from simulators.azure.resources import Resources


class NodeGroup:
    """The node resource group of one cluster."""

    def __init__(self, cloud: Cloud, resources: Resources, cluster: Record) -> None:
        self._cloud = cloud
        self._resources = resources
        self._cluster = cluster

    @property
    def name(self) -> str:
        """The group's name."""
        return str(self._cluster.properties["nodeResourceGroup"])

    @property
    def scope(self) -> str:
        """The group's id."""
        return group_scope(subscription_of(self._cluster.id.text), self.name)

    def make(self) -> None:
        """Let the group exist, as the cluster's own."""
        document = {
            "id": self.scope,
            "name": self.name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self._cluster.location,
            "tags": dict(self._cluster.document.get("tags") or {}),
            "managedBy": self._cluster.id.text,
            "properties": {"provisioningState": "Succeeded"},
        }
        self._cloud.records.groups.setdefault(self.scope.lower(), Group(self.scope, document))

    def get(self, kind: str, *names: str) -> Record | None:
        """Return something in the group, or None."""
        return self._cloud.records.get(self.id_of(kind, *names).key)

    def put(self, kind: str, *names: str, document: Json) -> Record:
        """Make something in the group, or bring it in line; it is done at once."""
        resource = self.id_of(kind, *names)
        found = self._resources.kind_of(resource)
        assert found is not None, kind
        whole: Json = {
            "id": resource.text,
            "name": resource.name,
            "type": kind,
            "location": self._cluster.location,
            "tags": dict(self._cluster.document.get("tags") or {}),
            **document,
        }
        found.require_usable(self._cloud, Record(resource, found, whole))
        record = self._cloud.records.get(resource.key)
        if record is None:
            record = self._cloud.records.add(Record(resource, found, whole))
        else:
            record.document = whole
        found.finish(self._cloud, record)
        record.settle()
        return record

    def remove(self, record: Record) -> None:
        """Take something away, whoever uses it."""
        self._resources.remove(record)

    def retag(self) -> None:
        """Give the group and what is in it the cluster's tags, beside the tags of its own."""
        tags = dict(self._cluster.document.get("tags") or {})
        group = self._cloud.records.groups.get(self.scope.lower())
        if group is not None:
            group.document["tags"] = tags
        for record in self._cloud.records.below(self.scope):
            if record.kind.regional:
                record.document["tags"] = {**(record.document.get("tags") or {}), **tags}

    def delete(self) -> None:
        """Let the group be gone with everything in it."""
        for record in self._cloud.records.below(self.scope):
            if not record.kind.is_child and self._cloud.records.get(record.id.key) is not None:
                self.remove(record)
        self._cloud.records.groups.pop(self.scope.lower(), None)

    def id_of(self, kind: str, *names: str) -> ResourceId:
        """Return the id of something in the group: `kind` is the whole type, with a name for each part of it."""
        namespace, *types = kind.split("/")
        parts = [part for pair in zip(types, names, strict=True) for part in pair]
        return ResourceId(self.scope, namespace, tuple(parts))
