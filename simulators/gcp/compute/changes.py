"""The calls that change what Compute Engine keeps."""

from __future__ import annotations

import copy

from simulators.gcp.api import Request
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.collections import BY_PLACE, Collection
from simulators.gcp.compute.creation import Creation, require_labels
from simulators.gcp.compute.operations import Operations, Problem, exhausted
from simulators.gcp.compute.quotas import Quotas
from simulators.gcp.compute.records import Record, Records
from simulators.gcp.iam.roles import etag_of
from simulators.gcp.refusals import Json, Refusal, exists, invalid

_FIXED = frozenset({"name", "network", "region", "zone", "selfLink", "id", "kind", "creationTimestamp"})
"""Fields that no patch changes."""


class Changes:
    """Inserts, changes and deletions, each of which starts an operation."""

    def __init__(
        self, cloud: Cloud, records: Records, creation: Creation, quotas: Quotas, operations: Operations
    ) -> None:
        self._cloud = cloud
        self._records = records
        self._creation = creation
        self._quotas = quotas
        self._operations = operations

    def insert(self, request: Request) -> Json:
        """Make a resource; others may refer to it once the operation is DONE."""
        if (repeated := self._operations.repeated(request)) is not None:
            return repeated
        collection, body = _collection(request), request.body
        name = _target(request, str(body.get("name", "")))
        if self._records.find(name) is not None:
            raise exists(f"The resource '{name}' already exists")
        document = self._creation.document_of(name, collection, body, self._cloud.now())
        return self._make(request, Record(collection, name, document))

    def create_snapshot(self, request: Request) -> Json:
        """Make a snapshot of a disk."""
        if (repeated := self._operations.repeated(request)) is not None:
            return repeated
        disk = self._records.get(_target(request, request.parameters["name"]))
        name = f"projects/{request.project}/global/snapshots/{request.body.get('name', '')}"
        if self._records.find(name) is not None:
            raise exists(f"The resource '{name}' already exists")
        document = self._creation.snapshot_of(disk, name, request.body, self._cloud.now())
        snapshot = Record(BY_PLACE["snapshots", "global"], name, document)
        return self._make(request, snapshot, kind="createSnapshot", target=disk.name)

    def _make(self, request: Request, record: Record, *, kind: str = "insert", target: str = "") -> Json:
        self._records.add(record)
        problem = self._problem(request, record)

        def finish() -> None:
            record.ready = True
            if record.document.get("status") == "CREATING":
                record.document["status"] = "READY"
            for companion in self._creation.companions_of(record, self._cloud.now()):
                self._records.add(companion)

        return self._operations.start(
            request,
            kind,
            target or record.name,
            self._seconds(record),
            finish=finish,
            fail=lambda: self._records.remove(record.name),
            problem=problem,
        )

    def _seconds(self, record: Record) -> float:
        return float(getattr(self._cloud.durations, record.collection.duration))

    def _problem(self, request: Request, record: Record) -> Problem | None:
        """Return the quota that a new resource, which counts already, exceeds."""
        region = request.region if record.collection.scope != "global" else ""
        metrics = [record.collection.quota] if record.collection.quota else []
        if record.collection.path == "disks":
            metrics += ["SSD_TOTAL_GB", "DISKS_TOTAL_GB"]
        for metric in metrics:
            where = "" if metric in ("ROUTERS", "SUBNETWORKS") else region
            if self._quotas.left(request.project, where, metric) < 0:
                limit = self._quotas.limit(request.project, where, metric)
                return exhausted(metric, limit=limit, region=where)
        return None

    def delete(self, request: Request) -> Json:
        """Delete a resource that nothing uses."""
        if (repeated := self._operations.repeated(request)) is not None:
            return repeated
        record = self._records.get(_target(request, request.parameters["name"]))
        if record.automatic:
            raise invalid(f"The local route cannot be deleted: '{record.name}'.")
        self._require_unused(record)

        def finish() -> None:
            self._records.remove(record.name)
            for other in self._records.of(request.project):
                if other.automatic and record.name in other.links:
                    self._records.remove(other.name)

        return self._operations.start(
            request, "delete", record.name, self._seconds(record), finish=finish, fail=lambda: None
        )

    def _require_unused(self, record: Record) -> None:
        users = self._records.users_of(record.name)
        if users:
            kind = record.collection.kind.lower()
            raise Refusal(
                "INVALID_ARGUMENT",
                f"The {kind} resource '{record.name}' is already being used by '{users[0].name}'",
                legacy="resourceInUseByAnotherResource",
            )

    def change(self, request: Request) -> Json:
        """Patch, update or resize a resource."""
        if (repeated := self._operations.repeated(request)) is not None:
            return repeated
        record = self._records.get(_target(request, request.parameters["name"]))
        verb = request.method.name.partition(".")[2]
        body = self._records.canonical(request.project, request.body)
        _require_fingerprint(record.document.get("fingerprint"), body.pop("fingerprint", None))
        wanted = _changed(record, verb, body)
        request.had_effect = wanted != record.document
        if "fingerprint" in wanted and request.had_effect:
            wanted["fingerprint"] = etag_of({**wanted, "at": self._cloud.clock.time()})
        nats = "nats" in body and request.had_effect
        seconds = self._cloud.durations.nat if nats else self._seconds(record)
        return self._begin(request, record, verb, wanted, seconds)

    def set_labels(self, request: Request) -> Json:
        """Give a resource exactly these labels."""
        if (repeated := self._operations.repeated(request)) is not None:
            return repeated
        record = self._records.get(_target(request, request.parameters["name"]))
        labels = dict(request.body.get("labels") or {})
        require_labels(labels)
        _require_fingerprint(record.document["labelFingerprint"], request.body.get("labelFingerprint", ""))
        request.had_effect = labels != (record.document.get("labels") or {})
        wanted = {**record.document, "labels": labels, "labelFingerprint": etag_of(labels)}
        return self._begin(request, record, "setLabels", wanted, self._cloud.durations.label)

    def _begin(self, request: Request, record: Record, verb: str, wanted: Json, seconds: float) -> Json:
        def finish() -> None:
            record.document.clear()
            record.document.update(wanted)

        return self._operations.start(request, verb, record.name, seconds, finish=finish, fail=lambda: None)


def _changed(record: Record, verb: str, body: Json) -> Json:
    document = copy.deepcopy(record.document)
    match verb:
        case "update":
            kept = {key: value for key, value in document.items() if key in _FIXED or key == "fingerprint"}
            return {**kept, **{key: value for key, value in body.items() if key not in _FIXED}}
        case "resize":
            if int(body.get("sizeGb") or 0) < int(document["sizeGb"]):
                raise invalid(
                    f"New disk size '{body.get('sizeGb')}' must be larger than existing '{document['sizeGb']}'."
                )
            return {**document, "sizeGb": str(body["sizeGb"])}
    fixed = {key for key in _FIXED & set(body) if body[key] != document.get(key)}
    if fixed:
        raise invalid(f"Invalid value for field 'resource.{min(fixed)}': it cannot be changed.")
    return {**document, **body}


def _require_fingerprint(current: str | None, given: str | None) -> None:
    if current is not None and given is not None and given != current:
        message = "Supplied fingerprint does not match current metadata fingerprint."
        raise Refusal("FAILED_PRECONDITION", message, http=412, legacy="conditionNotMet")


def _collection(request: Request) -> Collection:
    return BY_PLACE[request.parameters["path"], request.parameters["place"].partition("/")[0]]


def _target(request: Request, name: str) -> str:
    return f"projects/{request.project}/{request.parameters['place']}/{request.parameters['path']}/{name}"
