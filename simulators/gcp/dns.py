"""Cloud DNS: managed zones and their record sets."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from simulators.gcp.api import Check, HttpService, Method, Place, Request, page_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.refusals import Json, Refusal, exists, invalid, not_found

_ROOT = "/dns/v1/projects/(?P<project>[^/]+)/managedZones"
_ZONE = f"{_ROOT}/(?P<zone>[^/]+)"
_ZONE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_READING = frozenset({"get", "list"})
_BORN_WITH = frozenset({"NS", "SOA"})
_TYPE = "dns.googleapis.com/ManagedZone"


@dataclass
class Zone:
    """One managed zone."""

    project: str
    document: Json
    records: dict[tuple[str, str], Json] = field(default_factory=dict)
    """Keyed by name and type."""
    changes: list[Json] = field(default_factory=list)

    @property
    def is_public(self) -> bool:
        """Whether the world can see it."""
        return str(self.document.get("visibility", "public")) == "public"


class DnsService(HttpService):
    """Fulfils `dns.googleapis.com` (v1)."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._zones: dict[tuple[str, str], Zone] = {}
        self._routes = tuple(self._make_routes())

    def _make_routes(self) -> Iterator[tuple[str, re.Pattern[str], Method]]:
        record = f"{_ZONE}/rrsets/(?P<name>[^/]+)/(?P<type>[^/]+)"
        for http_method, path, name, deed in (
            ("POST", _ROOT, "managedZones.create", self._create_zone),
            ("GET", _ROOT, "managedZones.list", self._list_zones),
            ("GET", _ZONE, "managedZones.get", self._get_zone),
            ("PATCH", _ZONE, "managedZones.patch", self._patch_zone),
            ("DELETE", _ZONE, "managedZones.delete", self._delete_zone),
            ("GET", f"{_ZONE}/rrsets", "resourceRecordSets.list", self._list_records),
            ("POST", f"{_ZONE}/rrsets", "resourceRecordSets.create", self._create_record),
            ("GET", record, "resourceRecordSets.get", self._get_record),
            ("PATCH", record, "resourceRecordSets.patch", self._patch_record),
            ("DELETE", record, "resourceRecordSets.delete", self._delete_record),
            ("POST", f"{_ZONE}/changes", "changes.create", self._change),
            ("GET", f"{_ZONE}/changes", "changes.list", self._list_changes),
            ("GET", f"{_ZONE}/changes/(?P<change>[^/]+)", "changes.get", self._get_change),
        ):
            mutating = name.rpartition(".")[2] not in _READING
            yield http_method, re.compile(path), Method("dns", name, deed, mutating, self._checks, place=_place)

    def route(self, http_method: str, path: str) -> tuple[Method, Json] | None:
        """Return the method behind a path."""
        for known_method, pattern, method in self._routes:
            if known_method == http_method and (found := pattern.fullmatch(path)):
                return method, found.groupdict()
        return None

    def _checks(self, request: Request, /) -> Iterator[Check]:
        kind, _, verb = request.method.name.partition(".")
        verb = {"patch": "update"}.get(verb, verb)
        zone = request.parameters.get("zone") or request.body.get("name", "")
        resource = f"projects/{request.project}/managedZones/{zone}" if zone else f"projects/{request.project}"
        yield Check(f"dns.{kind}.{verb}", resource, _TYPE)
        if request.method.name == "changes.create":
            # A change of record sets needs what the single changes need.
            for part, permission in (("additions", "create"), ("deletions", "delete")):
                if request.body.get(part):
                    yield Check(f"dns.resourceRecordSets.{permission}", resource, _TYPE)

    def zones(self) -> list[Zone]:
        """Return every zone of every project."""
        return list(self._zones.values())

    def public_records(self, name: str) -> Iterator[Json]:
        """Yield the record sets of exactly this name, or of the wildcard above it, in every public zone."""
        wanted = name.lower().rstrip(".") + "."
        wildcard = "*." + wanted.partition(".")[2]
        for zone in self._zones.values():
            if zone.is_public:
                yield from (entry for (found, _), entry in zone.records.items() if found in (wanted, wildcard))

    def _zone(self, request: Request) -> Zone:
        wanted = request.parameters["zone"]
        zone = self._zones.get((request.project, wanted)) or next(
            (
                entry
                for entry in self._zones.values()
                if entry.project == request.project and entry.document["id"] == wanted
            ),
            None,
        )
        if zone is None:
            raise not_found(f"The 'parameters.managedZone' resource named '{wanted}' does not exist.")
        return zone

    def _create_zone(self, request: Request) -> Json:
        wanted = request.body
        name, domain = str(wanted.get("name", "")), str(wanted.get("dnsName", "")).lower()
        if not _ZONE_NAME.fullmatch(name):
            raise invalid(f"Invalid value for 'entity.managedZone.name': '{name}'")
        if not domain.endswith("."):
            raise invalid(f"Invalid value for 'entity.managedZone.dnsName': '{domain}'")
        if (request.project, name) in self._zones:
            raise exists(f"The resource 'entity.managedZone' named '{name}' already exists")
        letter = "abcde"[sum(name.encode()) % 5]
        servers = [f"ns-cloud-{letter}{number}.googledomains.com." for number in range(1, 5)]
        document = {
            "kind": "dns#managedZone",
            "id": str(secrets.randbelow(10**18) + 10**18),
            "creationTime": self._cloud.now(),
            "visibility": "public",
            **wanted,
            "dnsName": domain,
            "nameServers": servers,
        }
        zone = Zone(request.project, document)
        authority = f"{servers[0]} cloud-dns-hostmaster.google.com. 1 21600 3600 259200 300"
        for type_, ttl, values in (("NS", 21600, servers), ("SOA", 21600, [authority])):
            zone.records[domain, type_] = _record(domain, type_, ttl, values)
        self._zones[request.project, name] = zone
        return document

    def _list_zones(self, request: Request) -> Json:
        domain = request.parameters.get("dnsName")
        found = [
            zone.document
            for (project, _), zone in sorted(self._zones.items())
            if project == request.project and domain in (None, zone.document["dnsName"])
        ]
        return {"kind": "dns#managedZonesListResponse", **page_of(found, "managedZones", request.parameters)}

    def _get_zone(self, request: Request) -> Json:
        return self._zone(request).document

    def _patch_zone(self, request: Request) -> Json:
        zone = self._zone(request)
        changes = {key: value for key, value in request.body.items() if key in ("description", "labels")}
        request.had_effect = any(zone.document.get(key) != value for key, value in changes.items())
        zone.document.update(changes)
        return {"kind": "dns#operation", "id": secrets.token_hex(8), "status": "done", "type": "update"}

    def _delete_zone(self, request: Request) -> Json:
        zone = self._zone(request)
        name = zone.document["name"]
        if any(type_ not in _BORN_WITH for _, type_ in zone.records):
            message = f"The resource named '{name}' cannot be deleted because it is not empty"
            raise Refusal("INVALID_ARGUMENT", message, legacy="containerNotEmpty")
        del self._zones[request.project, name]
        return {}

    def _list_records(self, request: Request) -> Json:
        given = request.parameters
        found = [
            entry
            for (name, type_), entry in sorted(self._zone(request).records.items())
            if given.get("name") in (None, name) and given.get("type") in (None, type_)
        ]
        return {"kind": "dns#resourceRecordSetsListResponse", **page_of(found, "rrsets", given)}

    def _create_record(self, request: Request) -> Json:
        zone, wanted = self._zone(request), request.body
        self._add(zone, wanted)
        return zone.records[_key(wanted)]

    def _get_record(self, request: Request) -> Json:
        return self._existing(self._zone(request), request.parameters["name"], request.parameters["type"])

    def _patch_record(self, request: Request) -> Json:
        record = self._existing(self._zone(request), request.parameters["name"], request.parameters["type"])
        changes = {key: value for key, value in request.body.items() if key in ("ttl", "rrdatas")}
        request.had_effect = any(record.get(key) != value for key, value in changes.items())
        record.update(changes)
        return record

    def _delete_record(self, request: Request) -> Json:
        zone = self._zone(request)
        record = self._existing(zone, request.parameters["name"], request.parameters["type"])
        self._remove(zone, record)
        return {}

    @staticmethod
    def _existing(zone: Zone, name: str, type_: str) -> Json:
        found = zone.records.get((name.lower(), type_))
        if found is None:
            raise not_found(f"The 'parameters.name' resource named '{name} ({type_})' does not exist.")
        return found

    @staticmethod
    def _add(zone: Zone, wanted: Json) -> None:
        name, type_ = _key(wanted)
        domain = str(zone.document["dnsName"])
        if name != domain and not name.endswith(f".{domain}"):
            raise invalid(f"Invalid value for 'entity.change.additions[0].name': '{name}' is not in '{domain}'")
        if (name, type_) in zone.records:
            raise exists(f"The resource 'entity.change.additions[0]' named '{name} ({type_})' already exists")
        if not wanted.get("rrdatas"):
            raise invalid(f"Invalid value for 'entity.change.additions[0].rrdata' of '{name} ({type_})': there is none")
        zone.records[name, type_] = _record(name, type_, int(wanted.get("ttl", 300)), list(wanted["rrdatas"]))

    @staticmethod
    def _remove(zone: Zone, wanted: Json) -> None:
        name, type_ = _key(wanted)
        if type_ in _BORN_WITH and name == zone.document["dnsName"]:
            raise invalid(f"The resource record set '{name} ({type_})' is required and cannot be deleted.")
        del zone.records[name, type_]

    def _change(self, request: Request) -> Json:
        """Delete and add record sets, all of them or none."""
        zone = self._zone(request)
        before = dict(zone.records)
        try:
            for wanted in request.body.get("deletions") or ():
                found = zone.records.get(_key(wanted))
                if found is None or sorted(found["rrdatas"]) != sorted(wanted.get("rrdatas") or ()):
                    name, type_ = _key(wanted)
                    raise not_found(
                        f"The 'entity.change.deletions[0]' resource named '{name} ({type_})' does not exist."
                    )
                self._remove(zone, wanted)
            for wanted in request.body.get("additions") or ():
                self._add(zone, wanted)
        except Refusal:
            zone.records = before
            raise
        change = {
            "kind": "dns#change",
            "id": str(len(zone.changes) + 1),
            "startTime": self._cloud.now(),
            "status": "done",
            **{part: request.body[part] for part in ("additions", "deletions") if request.body.get(part)},
        }
        zone.changes.append(change)
        return change

    def _list_changes(self, request: Request) -> Json:
        changes = self._zone(request).changes
        return {"kind": "dns#changesListResponse", **page_of(changes, "changes", request.parameters)}

    def _get_change(self, request: Request) -> Json:
        wanted = request.parameters["change"]
        for change in self._zone(request).changes:
            if change["id"] == wanted:
                return change
        raise not_found(f"The 'parameters.changeId' resource named '{wanted}' does not exist.")

    def forget(self) -> None:
        """Forget every zone."""
        self._zones.clear()


def _record(name: str, type_: str, ttl: int, values: list[str]) -> Json:
    return {"kind": "dns#resourceRecordSet", "name": name, "type": type_, "ttl": ttl, "rrdatas": values}


def _key(record: Json) -> tuple[str, str]:
    return str(record.get("name", "")).lower(), str(record.get("type", ""))


def _place(parameters: Json) -> Place:
    body = parameters.get("body") or {}
    name = "/".join(filter(None, (parameters.get("zone"), parameters.get("name") or body.get("name"))))
    return Place(parameters["project"], "", name)
