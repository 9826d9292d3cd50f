"""What the store keeps: documents in collections, as durable as the volumes that hold them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from simulators.kubernetes import kinds
from simulators.kubernetes.applications.components import Component, pods_of
from simulators.kubernetes.applications.schema import Schema
from simulators.kubernetes.controllers.pods import claim_names
from simulators.kubernetes.objects import Object, is_ready

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

Document: TypeAlias = dict[str, Any]
Collections: TypeAlias = dict[str, dict[str, Document]]
"""Documents keyed by collection, then by id."""


class Documents:
    """The documents of every store in one cluster; each namespace has at most one store.

    Every ready replica holds all documents on its volumes. They are lost once none of the volumes that ever held them
    is left in the cluster: a pod or a claim may go, a retained volume keeps them.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._collections: dict[str, Collections] = {}
        self._holders: dict[str, set[str]] = {}
        """Handles of the volumes that hold the documents, by namespace; its uid for a store without volumes."""
        self._schemas: dict[str, Schema] = {}
        """By namespace; as durable as the documents."""

    def put(self, namespace: str, collection: str, document_id: str, document: Document) -> None:
        """Keep a document, in place of an earlier one of the same id."""
        self._living(namespace).setdefault(collection, {})[document_id] = document

    def get(self, namespace: str, collection: str, document_id: str) -> Document | None:
        """Return a document, or None."""
        return self._living(namespace).get(collection, {}).get(document_id)

    def count(self, namespace: str) -> int:
        """Return how many documents the namespace's store holds."""
        return sum(map(len, self._living(namespace).values()))

    def dump(self, namespace: str) -> bytes:
        """Return all documents as JSON lines, in the order of collection and id."""
        lines = [
            json.dumps({"collection": collection, "id": document_id, "document": document}, sort_keys=True)
            for collection, documents in sorted(self._living(namespace).items())
            for document_id, document in sorted(documents.items())
        ]
        return "".join(line + "\n" for line in lines).encode()

    def load(self, namespace: str, lines: bytes) -> int:
        """Keep what `dump` has written and return the number of documents; raises ValueError for anything else."""
        records = [json.loads(line) for line in lines.splitlines()]
        fields = {"collection", "id", "document"}
        if not all(isinstance(record, dict) and record.keys() >= fields for record in records):
            raise ValueError("a record lacks collection, id or document")
        for record in records:
            self.put(namespace, record["collection"], record["id"], record["document"])
        return len(records)

    def schema(self, namespace: str) -> Schema | None:
        """Return the schema of the documents, or None before any store that says its epoch has started."""
        self._living(namespace)
        return self._schemas.get(namespace)

    def set_schema(self, namespace: str, schema: Schema) -> None:
        """Keep the schema beside the documents."""
        self._living(namespace)
        self._schemas[namespace] = schema

    def _living(self, namespace: str) -> Collections:
        """Return the documents of a namespace, after forgetting those whose last volume is gone."""
        existing = self._existing(namespace)
        holders = self._holders.get(namespace, set()) & existing
        if not holders:
            self._collections[namespace] = {}
            self._schemas.pop(namespace, None)
        mounted = self._mounted(namespace)
        itself = {self._uid(namespace)}
        self._holders[namespace] = (holders - itself) | mounted if mounted else holders or itself
        return self._collections[namespace]

    def _existing(self, namespace: str) -> set[str]:
        volumes = self._cluster.store.list(kinds.PERSISTENT_VOLUMES)
        return {_handle(volume) for volume in volumes} | {self._uid(namespace)}

    def _mounted(self, namespace: str) -> set[str]:
        """Return the handles of the volumes that ready replicas of the store use."""
        store = self._cluster.store
        handles: set[str] = set()
        for pod in pods_of(self._cluster, namespace, Component.STORE):
            for name in claim_names(pod) if is_ready(pod) else ():
                claim = store.get(kinds.PERSISTENT_VOLUME_CLAIMS, namespace, name) or {"spec": {}}
                volume = store.get(kinds.PERSISTENT_VOLUMES, None, claim["spec"].get("volumeName") or "")
                handles |= {_handle(volume)} if volume else set()
        return handles

    def _uid(self, namespace: str) -> str:
        home = self._cluster.store.get(kinds.NAMESPACES, None, namespace)
        return str(home["metadata"]["uid"]) if home else ""


_OF_CLUSTERS: WeakKeyDictionary[Cluster, Documents] = WeakKeyDictionary()


def documents(cluster: Cluster) -> Documents:
    """Return the documents of a cluster; they go with it."""
    if cluster not in _OF_CLUSTERS:
        _OF_CLUSTERS[cluster] = Documents(cluster)
    return _OF_CLUSTERS[cluster]


def _handle(volume: Object) -> str:
    return str((volume["spec"].get("csi") or {}).get("volumeHandle") or volume["metadata"]["uid"])
