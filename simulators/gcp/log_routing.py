"""Cloud Logging's configuration: log buckets, the sinks that lead entries to them, and exclusions from `_Default`.

Every project has the buckets `_Required` and `_Default`, which are `global`, and the sinks of these names. A bucket
that is deleted stays for seven days, and its name is taken so long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from simulators.gcp.api import Check, Checks, Method, Place, Request, Rpc, RpcService, needs, page_of, place_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.creation import Keys
from simulators.gcp.log_queries import entry_passes
from simulators.gcp.refusals import Json, Refusal, exists, failed_precondition, invalid, not_found

_INTERFACE = "google.logging.v2.ConfigServiceV2"
_PACKAGE = "google.logging.v2"
_EMPTY = "google.protobuf.Empty"
_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}")
_DESTINATION = re.compile(r"logging\.googleapis\.com/(projects/[^/]+/locations/[^/]+/buckets/[^/]+)")
_AUDITED = 'logName:"cloudaudit.googleapis.com%2Factivity" OR logName:"cloudaudit.googleapis.com%2Fsystem_event"'
_BUILT_IN = ("_Default", "_Required")
_MOST_EXCLUSIONS = 10
_RESTORABLE = timedelta(days=7)
_RETENTION = 30
"""Days, where none are ordered."""


@dataclass
class _Logs:
    """What one project has, keyed by full name."""

    buckets: dict[str, Json] = field(default_factory=dict)
    sinks: dict[str, Json] = field(default_factory=dict)
    exclusions: dict[str, Json] = field(default_factory=dict)
    """Those of the `_Default` sink."""


class LoggingService(RpcService):
    """Fulfils buckets, sinks and exclusions of `google.logging.v2.ConfigServiceV2`."""

    def __init__(self, cloud: Cloud, keys: Keys) -> None:
        self._cloud = cloud
        self._keys = keys
        self._projects: dict[str, _Logs] = {}

    def rpcs(self) -> Iterator[Rpc]:
        """Return the methods."""
        for name, deed, response, mutating, checks in (
            ("GetCmekSettings", self._get_settings, "CmekSettings", False, needs("logging.cmekSettings.get")),
            ("CreateBucket", self._create_bucket, "LogBucket", True, needs("logging.buckets.create", "parent")),
            ("GetBucket", self._get, "LogBucket", False, _of_bucket("get")),
            ("ListBuckets", self._list, "ListBucketsResponse", False, needs("logging.buckets.list", "parent")),
            ("UpdateBucket", self._update_bucket, "LogBucket", True, _of_bucket("update")),
            ("DeleteBucket", self._delete_bucket, _EMPTY, True, _of_bucket("delete")),
            ("UndeleteBucket", self._undelete_bucket, _EMPTY, True, _of_bucket("undelete")),
            ("CreateSink", self._create, "LogSink", True, needs("logging.sinks.create", "parent")),
            ("GetSink", self._get, "LogSink", False, _of_sink("get")),
            ("ListSinks", self._list, "ListSinksResponse", False, needs("logging.sinks.list", "parent")),
            ("UpdateSink", self._update, "LogSink", True, _of_sink("update")),
            ("DeleteSink", self._delete, _EMPTY, True, _of_sink("delete")),
            ("CreateExclusion", self._create, "LogExclusion", True, needs("logging.exclusions.create", "parent")),
            ("GetExclusion", self._get, "LogExclusion", False, needs("logging.exclusions.get")),
            ("ListExclusions", self._list, "ListExclusionsResponse", False, needs("logging.exclusions.list", "parent")),
            ("UpdateExclusion", self._update, "LogExclusion", True, needs("logging.exclusions.update")),
            ("DeleteExclusion", self._delete, _EMPTY, True, needs("logging.exclusions.delete")),
        ):
            method = Method("logging", name, deed, mutating, checks, _place)
            full = response if response == _EMPTY else f"{_PACKAGE}.{response}"
            yield Rpc(_INTERFACE, name, f"{_PACKAGE}.{name}Request", full, method)

    def of(self, project: str) -> list[Json]:
        """Return what somebody made in a project, by full name; of buckets those that nobody has deleted."""
        logs = self._logs(project)
        buckets = {name: each for name, each in logs.buckets.items() if each["lifecycleState"] == "ACTIVE"}
        return [
            {**document, "name": name}
            for name, document in (*buckets.items(), *logs.sinks.items(), *logs.exclusions.items())
            if not name.endswith(_BUILT_IN)
        ]

    def kept_in(self, project: str, entry: Json) -> list[str]:
        """Return the full names of the log buckets in which an entry of a project would be kept."""
        logs = self._logs(project)
        return sorted(
            {
                sink["destination"].partition("/")[2]
                for name, sink in logs.sinks.items()
                if not sink.get("disabled") and entry_passes(sink.get("filter", ""))(entry)
                if not (name.endswith("/_Default") and _is_excluded(entry, logs.exclusions.values()))
                if not _is_excluded(entry, sink.get("exclusions") or ())
            }
        )

    def _logs(self, project: str) -> _Logs:
        if project not in self._projects:
            logs, name = _Logs(), f"projects/{project}"
            for built_in, days, query in (("_Required", 400, _AUDITED), ("_Default", 30, f"NOT ({_AUDITED})")):
                bucket = f"{name}/locations/global/buckets/{built_in}"
                logs.buckets[bucket] = {"name": bucket, "retentionDays": days, "lifecycleState": "ACTIVE"}
                destination = f"logging.googleapis.com/{bucket}"
                logs.sinks[f"{name}/sinks/{built_in}"] = {"name": built_in, "destination": destination, "filter": query}
            self._projects[project] = logs
        return self._projects[project]

    def _things(self, request: Request) -> dict[str, Json]:
        """Return what a call is about: sinks or exclusions of a project, or its buckets."""
        logs, name = self._logs(request.project), request.method.name
        return logs.sinks if "Sink" in name else logs.exclusions if "Exclusion" in name else logs.buckets

    def _get(self, request: Request) -> Json:
        name = _name(request.parameters)
        found = self._things(request).get(name)
        if found is None:
            raise not_found(f"{name} does not exist")
        return found

    def _list(self, request: Request) -> Json:
        collection = request.method.name.removeprefix("List").lower()
        parent = re.escape(request.parameters["parent"]).replace("locations/\\-", "locations/[^/]+")
        pattern = re.compile(f"{parent}/{collection}/[^/]+")
        found = [document for name, document in sorted(self._things(request).items()) if pattern.fullmatch(name)]
        return page_of(found, collection, request.parameters)

    def _get_settings(self, request: Request) -> Json:
        """Say as whom Cloud Logging uses keys in the project; who wants to let it has to ask first."""
        agent = self._cloud.identities.asked_for_agent("logging", request.project)
        return {"name": request.parameters["name"], "serviceAccountId": agent.partition(":")[2]}

    def _require_usable(self, key: str, bucket: str, project: str) -> None:
        place = bucket.split("/")[3]
        if place == "global" or f"/locations/{place}/" not in key:
            raise invalid(f"The key {key} is not in the region of the log bucket, {place}.")
        try:
            self._keys.require_usable(key, "logging", project)
        except Refusal as refusal:
            agent = self._cloud.identities.agent_of("logging", project).partition(":")[2]
            message = f"service account `{agent}` must have both encrypt and decrypt access to the CMEK key `{key}`"
            raise invalid(message) from refusal

    def _create_bucket(self, request: Request) -> Json:
        given = request.parameters
        name = f"{given['parent']}/buckets/{given.get('bucketId', '')}"
        buckets = self._logs(request.project).buckets
        if not _ID.fullmatch(given.get("bucketId", "")):
            raise invalid(f"The bucket id {given.get('bucketId')!r} must match {_ID.pattern}.")
        if name in buckets:
            raise exists(f"Log bucket {name} already exists")
        wanted, now = given.get("bucket") or {}, self._cloud.now()
        if key := (wanted.get("cmekSettings") or {}).get("kmsKeyName"):
            self._require_usable(key, name, request.project)
        buckets[name] = {
            "retentionDays": _RETENTION,
            **{key: wanted[key] for key in ("cmekSettings", "description", "locked", "retentionDays") if key in wanted},
            "name": name,
            "lifecycleState": "ACTIVE",
            "createTime": now,
            "updateTime": now,
        }
        return buckets[name]

    def _update_bucket(self, request: Request) -> Json:
        bucket = self._get(request)
        if bucket["lifecycleState"] != "ACTIVE":
            raise failed_precondition(f"{bucket['name']} is {bucket['lifecycleState']}; it cannot be changed.")
        fields = _mask(request, {"description", "retentionDays", "locked"})
        if bucket.get("locked") and {"retentionDays", "locked"} & set(fields):
            raise failed_precondition(f"{bucket['name']} is locked.")
        self._change(request, bucket, request.parameters.get("bucket") or {}, fields)
        return bucket

    def _delete_bucket(self, request: Request) -> Json:
        bucket = self._get(request)
        name = bucket["name"]
        if name.endswith(_BUILT_IN):
            raise invalid(f"{name} cannot be deleted.")
        if bucket["lifecycleState"] != "ACTIVE":
            raise failed_precondition(f"{name} is {bucket['lifecycleState']} already.")
        at = self._cloud.now()
        bucket |= {"lifecycleState": "DELETE_REQUESTED", "updateTime": at}
        buckets = self._logs(request.project).buckets

        def purge() -> None:
            if bucket["lifecycleState"] == "DELETE_REQUESTED" and bucket["updateTime"] == at:
                buckets.pop(name, None)

        # At infinite speed everything is due at once; a week's delay is not among what such a world hurries.
        if self._cloud.clock.speed != float("inf"):
            self._cloud.work.start(_RESTORABLE.total_seconds(), purge)
        return {}

    def _undelete_bucket(self, request: Request) -> Json:
        bucket = self._get(request)
        if bucket["lifecycleState"] != "DELETE_REQUESTED":
            raise failed_precondition(f"{bucket['name']} is not deleted.")
        bucket |= {"lifecycleState": "ACTIVE", "updateTime": self._cloud.now()}
        return {}

    def _create(self, request: Request) -> Json:
        """Make a sink or an exclusion."""
        kind = request.method.name.removeprefix("Create").lower()
        wanted, things = dict(request.parameters.get(kind) or {}), self._things(request)
        if not _ID.fullmatch(wanted.get("name", "")):
            raise invalid(f"The name {wanted.get('name')!r} must match {_ID.pattern}.")
        name = f"{request.parameters['parent']}/{kind}s/{wanted['name']}"
        if name in things:
            raise exists(f"{kind.title()} {name} already exists")
        if kind == "exclusion" and len(things) >= _MOST_EXCLUSIONS:
            raise Refusal("RESOURCE_EXHAUSTED", f"A project has at most {_MOST_EXCLUSIONS} exclusions.")
        _check(kind, wanted)
        now = self._cloud.now()
        things[name] = {**wanted, "createTime": now, "updateTime": now}
        return things[name]

    def _update(self, request: Request) -> Json:
        found = self._get(request)
        kind = request.method.name.removeprefix("Update").lower()
        changeable = {"description", "disabled", "filter"} | (
            {"destination", "exclusions"} if kind == "sink" else set()
        )
        wanted = request.parameters.get(kind) or {}
        if kind == "sink" and (found["name"] == "_Required" or wanted.get("name") != found["name"]):
            raise invalid(f"The sink {found['name']} cannot be changed so.")
        fields = _mask(request, changeable)
        _check(kind, {**found, **{key: wanted.get(key, "") for key in fields}})
        self._change(request, found, wanted, fields)
        return found

    def _delete(self, request: Request) -> Json:
        found = self._get(request)
        if found["name"] in _BUILT_IN:
            raise invalid(f"{found['name']} cannot be deleted.")
        del self._things(request)[_name(request.parameters)]
        return {}

    def _change(self, request: Request, document: Json, wanted: Json, fields: list[str]) -> None:
        before = dict(document)
        for key in fields:
            if key in wanted:
                document[key] = wanted[key]
            else:
                document.pop(key, None)
        request.had_effect = document != before
        if request.had_effect:
            document["updateTime"] = self._cloud.now()

    def forget(self) -> None:
        """Forget every project."""
        self._projects.clear()


def _is_excluded(entry: Json, exclusions: Iterable[Json]) -> bool:
    return any(not each.get("disabled") and entry_passes(each["filter"])(entry) for each in exclusions)


def _check(kind: str, document: Json) -> None:
    """Refuse a sink or exclusion that Google would refuse."""
    entry_passes(document.get("filter", ""))
    if kind == "exclusion" and not document.get("filter"):
        raise invalid("An exclusion must have a filter.")
    if kind == "sink" and not _DESTINATION.fullmatch(document.get("destination", "")):
        raise invalid(f"Unsupported destination {document.get('destination')!r}: only log buckets are simulated.")


def _mask(request: Request, changeable: set[str]) -> list[str]:
    fields = [part for part in request.parameters.get("updateMask", "").split(",") if part]
    if not fields or not set(fields) <= changeable:
        raise invalid(f"The fields {', '.join(fields) or '(none)'} cannot be updated.")
    return fields


def _name(parameters: Json) -> str:
    return str(parameters.get("sinkName") or parameters.get("name") or "")


def _place(parameters: Json) -> Place:
    return place_of(_name(parameters) or str(parameters.get("parent", "")))


def _of_bucket(verb: str) -> Checks:
    return needs(f"logging.buckets.{verb}", type_="logging.googleapis.com/LogBucket")


def _of_sink(verb: str) -> Checks:
    def checks(request: Request, /) -> Iterator[Check]:
        yield Check(f"logging.sinks.{verb}", _name(request.parameters))

    return checks
