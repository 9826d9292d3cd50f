"""The Compute Engine API."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

from simulators.gcp.api import Answer, Check, HttpService, Method, Place, Request, page_of, region_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute import offerings
from simulators.gcp.compute.changes import Changes
from simulators.gcp.compute.collections import BY_PLACE, Collection
from simulators.gcp.compute.creation import Creation, Keys
from simulators.gcp.compute.filters import filtered
from simulators.gcp.compute.operations import Operations
from simulators.gcp.compute.quotas import Quotas
from simulators.gcp.compute.records import ROOT, Record, Records, full_name
from simulators.gcp.refusals import Json, not_found

_PROJECT = "/compute/v1/projects/(?P<project>[^/]+)"
_RESOURCE = re.compile(
    _PROJECT + r"/(?P<place>global|(?:regions|zones)/[^/]+)/(?P<path>\w+)(?:/(?P<name>[^/]+))?(?:/(?P<verb>\w+))?"
)
_AGGREGATED = re.compile(_PROJECT + r"/aggregated/(?P<path>\w+)")
_OFFERING = re.compile(_PROJECT + r"(?:/(?P<kind>regions|zones)(?:/(?P<name>[^/]+))?)?")
_VERBS = {"GET": "get", "DELETE": "delete", "PATCH": "patch", "PUT": "update"}
_READING = frozenset({"get", "list", "aggregatedList", "getRouterStatus", "wait"})


class ComputeService(HttpService):
    """Fulfils the Compute Engine API (v1) over HTTP."""

    def __init__(self, cloud: Cloud, keys: Keys) -> None:
        self._cloud = cloud
        self.records = Records()
        self.quotas = Quotas(self.records)
        self.creation = Creation(self.records, keys)
        self._operations = Operations(cloud)
        self._changes = Changes(cloud, self.records, self.creation, self.quotas, self._operations)
        self._methods: dict[tuple[str, str], Method] = {}

    def route(self, http_method: str, path: str) -> tuple[Method, Json] | None:
        """Return the method behind a path."""
        if found := _OFFERING.fullmatch(path):
            return self._offering(found.groupdict())
        if found := _AGGREGATED.fullmatch(path):
            return self._aggregated(found.groupdict())
        found = _RESOURCE.fullmatch(path)
        if found is None:
            return None
        parameters: Json = {key: value for key, value in found.groupdict().items() if value is not None}
        scope = parameters["place"].partition("/")[0]
        match parameters["path"]:
            case "operations":
                return self._operation(http_method, scope, parameters)
            case "machineTypes" if scope == "zones":
                verb = "get" if "name" in parameters else "list"
                return self._method("machineTypes", verb, self._machine_types, "compute.machineTypes"), parameters
        collection = BY_PLACE.get((parameters["path"], scope))
        verb = _verb_of(http_method, parameters, collection)
        return (self._of_collection(collection, verb), parameters) if collection is not None and verb else None

    def _of_collection(self, collection: Collection, verb: str) -> Method:
        deeds: dict[str, Callable[[Request], Json]] = {
            "get": self._get,
            "list": self._list,
            "insert": self._changes.insert,
            "delete": self._changes.delete,
            "setLabels": self._changes.set_labels,
            "createSnapshot": self._changes.create_snapshot,
            "getRouterStatus": self._router_status,
        }
        key = (collection.name, verb)
        if key not in self._methods:
            deed = deeds.get(verb, self._changes.change)
            name = f"{collection.name}.{verb}"
            self._methods[key] = Method("compute", name, deed, verb not in _READING, self._checks, place=_place)
        return self._methods[key]

    def _method(self, name: str, verb: str, deed: Callable[[Request], Answer | Any], permissions: str) -> Method:
        def checks(request: Request, /) -> Iterator[Check]:
            yield Check(f"{permissions}.{'list' if verb != 'get' else 'get'}", f"projects/{request.project}")

        key = (name, verb)
        if key not in self._methods:
            mutating = verb == "delete"
            self._methods[key] = Method("compute", f"{name}.{verb}", deed, mutating, checks, place=_place)
        return self._methods[key]

    def _checks(self, request: Request, /) -> Iterator[Check]:
        """Yield what a call on a collection needs: on the resource, and on what an insert makes use of."""
        parameters, body = request.parameters, request.body
        collection = BY_PLACE[parameters["path"], parameters["place"].partition("/")[0]]
        verb = request.method.name.partition(".")[2]
        prefix = f"compute.{collection.name}"
        name = parameters.get("name") or str(body.get("name", ""))
        resource = f"projects/{request.project}/{parameters['place']}/{collection.path}/{name}"
        match verb:
            case "insert":
                yield Check(f"{prefix}.create", resource, collection.type)
                if body.get("labels"):
                    yield Check(f"{prefix}.setLabels", resource, collection.type)
                yield from self._checks_of_use(collection, request)
            case "list":
                yield Check(f"{prefix}.list", f"projects/{request.project}")
            case "createSnapshot":
                yield Check("compute.disks.createSnapshot", resource, collection.type)
                snapshot = f"projects/{request.project}/global/snapshots/{body.get('name', '')}"
                yield Check("compute.snapshots.create", snapshot, "compute.googleapis.com/Snapshot")
                if body.get("labels"):
                    yield Check("compute.snapshots.setLabels", snapshot, "compute.googleapis.com/Snapshot")
            case "get" | "getRouterStatus":
                yield Check(f"{prefix}.get", resource, collection.type)
            case "delete" | "setLabels" | "expandIpCidrRange" | "setPrivateIpGoogleAccess" | "resize":
                yield Check(f"{prefix}.{verb}", resource, collection.type)
                if verb == "delete":
                    yield from self._checks_of_use(collection, request, name=resource)
            case _:
                yield Check(f"{prefix}.update", resource, collection.type)
                yield from self._checks_of_use(collection, request, name=resource)

    def _checks_of_use(self, collection: Collection, request: Request, *, name: str = "") -> Iterator[Check]:
        record = self.records.find(name)
        document = record.document if record is not None else request.body
        for field, permission in collection.uses.items():
            if reference := document.get(field):
                kind = f"compute.googleapis.com/{field[0].upper()}{field[1:]}"
                yield Check(permission, full_name(request.project, reference), kind)
        for nat in request.body.get("nats") or ():
            for address in nat.get("natIps") or ():
                used = full_name(request.project, address)
                yield Check("compute.addresses.use", used, "compute.googleapis.com/Address")

    def _get(self, request: Request) -> Json:
        return self._seen(self.records.get(_name_of(request)))

    def _seen(self, record: Record) -> Json:
        """Return a resource as it is described: with what follows from other resources."""
        document = copy.deepcopy(record.document)
        project = record.name.split("/")[1]
        match record.collection.path:
            case "networks":
                subnetworks = [
                    other.document["selfLink"]
                    for other in self.records.of(project, "subnetworks")
                    if other.document["network"] == document["selfLink"]
                ]
                document |= {"subnetworks": subnetworks} if subnetworks else {}
            case "addresses":
                users = [user.document["selfLink"] for user in self.records.users_of(record.name)]
                document["status"] = "IN_USE" if users else "RESERVED"
                document |= {"users": users} if users else {}
            case "disks":
                users = [user.document["selfLink"] for user in self.records.users_of(record.name)]
                document |= {"users": users} if users else {}
        return document

    def _list(self, request: Request) -> Json:
        parameters = request.parameters
        found = self._matching(self.records.of(request.project, parameters["path"], parameters["place"]), parameters)
        return {"kind": f"compute#{parameters['path']}List", **page_of(found, "items", parameters)}

    def _matching(self, records: list[Record], parameters: Json) -> list[Json]:
        return filtered(map(self._seen, records), parameters.get("filter", ""))

    def _aggregated(self, parameters: Json) -> tuple[Method, Json] | None:
        path = parameters["path"]
        known = any(entry == path for entry, _ in BY_PLACE)
        if path == "machineTypes" or not known:
            return None
        return self._method(path, "aggregatedList", self._aggregated_list, f"compute.{path}"), parameters

    def _aggregated_list(self, request: Request) -> Json:
        path = request.parameters["path"]
        items: dict[str, Json] = {}
        records = self.records.of(request.project, path)
        for document in filtered(map(self._seen, records), request.parameters.get("filter", "")):
            _, _, scope, *rest = full_name(request.project, document["selfLink"]).split("/")
            place = scope if scope == "global" else f"{scope}/{rest[0]}"
            items.setdefault(place, {path: []})[path].append(document)
        return {"kind": f"compute#{path}AggregatedList", "items": items}

    def _router_status(self, request: Request) -> Json:
        router = self.records.get(_name_of(request)).document
        nats = [
            {"name": nat["name"], "userAllocatedNatIps": self._addresses_of(nat), "minExtraNatIpsNeeded": 0}
            for nat in router.get("nats") or ()
        ]
        return {"kind": "compute#routerStatusResponse", "result": {"network": router["network"], "natStatus": nats}}

    def _addresses_of(self, nat: Json) -> list[str]:
        found = [self.records.find(link.removeprefix(ROOT)) for link in nat.get("natIps") or ()]
        return [record.document["address"] for record in found if record is not None]

    def _operation(self, http_method: str, scope: str, parameters: Json) -> tuple[Method, Json] | None:
        kind = f"{'region' if scope == 'regions' else scope.removesuffix('s')}Operations"
        if http_method == "POST" and parameters.get("verb") == "wait":
            return self._method(kind, "wait", self._wait, f"compute.{kind}"), parameters
        if http_method != "GET" or "verb" in parameters:
            return None
        if "name" in parameters:
            return self._method(kind, "get", self._get_operation, f"compute.{kind}"), parameters
        return self._method(kind, "list", self._list_operations, f"compute.{kind}"), parameters

    def _get_operation(self, request: Request) -> Json:
        return self._operations.get(_name_of(request))

    async def _wait(self, request: Request) -> Json:
        return await self._operations.wait(_name_of(request))

    def _list_operations(self, request: Request) -> Json:
        place = f"projects/{request.project}/{request.parameters['place']}"
        found = filtered(self._operations.of(place), request.parameters.get("filter", ""))
        return {"kind": "compute#operationList", **page_of(found, "items", request.parameters)}

    def _offering(self, parameters: Json) -> tuple[Method, Json]:
        kind = parameters["kind"] or "projects"
        verb = "list" if parameters["kind"] and not parameters["name"] else "get"
        deed = {"regions": self._regions, "zones": self._zones, "projects": self._project}[kind]
        return self._method(kind, verb, deed, f"compute.{kind}"), parameters

    def _project(self, request: Request) -> Json:
        return {
            "kind": "compute#project",
            "name": request.project,
            "selfLink": f"{ROOT}projects/{request.project}",
            "quotas": self.quotas.listed(request.project),
        }

    def _regions(self, request: Request) -> Json:
        name = request.parameters.get("name")
        if name is None:
            regions = [self._region(request.project, region) for region in offerings.REGIONS]
            found = filtered(regions, request.parameters.get("filter", ""))
            return {"kind": "compute#regionList", **page_of(found, "items", request.parameters)}
        if name not in offerings.REGIONS:
            raise not_found(f"The resource 'projects/{request.project}/regions/{name}' was not found")
        return self._region(request.project, name)

    def _region(self, project: str, region: str) -> Json:
        return {
            "kind": "compute#region",
            "name": region,
            "status": "UP",
            "zones": [f"{ROOT}projects/{project}/zones/{zone}" for zone in offerings.REGIONS[region]],
            "quotas": self.quotas.listed(project, region),
            "selfLink": f"{ROOT}projects/{project}/regions/{region}",
        }

    def _zones(self, request: Request) -> Json:
        zones = [zone for region in offerings.REGIONS.values() for zone in region]
        described = [
            {
                "kind": "compute#zone",
                "name": zone,
                "status": "UP",
                "region": f"{ROOT}projects/{request.project}/regions/{region_of(zone)}",
                "selfLink": f"{ROOT}projects/{request.project}/zones/{zone}",
            }
            for zone in zones
        ]
        return _one_or_all(request, described, "zone", f"projects/{request.project}/zones")

    def _machine_types(self, request: Request) -> Json:
        place = f"projects/{request.project}/{request.parameters['place']}"
        zone = request.parameters["place"].partition("/")[2]
        if zone not in [known for zones in offerings.REGIONS.values() for known in zones]:
            raise not_found(f"The resource '{place}' was not found")
        described = [
            {
                "kind": "compute#machineType",
                "name": found.name,
                "guestCpus": found.cpu,
                "memoryMb": found.memory_mib,
                "zone": zone,
                "selfLink": f"{ROOT}{place}/machineTypes/{found.name}",
            }
            for found in offerings.machine_types()
        ]
        return _one_or_all(request, described, "machineType", f"{place}/machineTypes")

    def put(self, name: str, document: Json, *, links: tuple[str, ...] = ()) -> Record:
        """Keep a resource that one of Google's controllers has made; it is ready at once."""
        *_, path, short_name = name.split("/")
        collection = BY_PLACE[path, name.split("/")[2]]
        made = self.creation.document_of(name, collection, {"name": short_name, **document}, self._cloud.now())
        record = Record(collection, name, made, ready=True, links=list(links))
        self.records.add(record)
        return record

    def presenting(self, certificate: str) -> list[str]:
        """Return the names of the target proxies that present a certificate of Certificate Manager."""
        project = certificate.split("/")[1]
        return [
            record.name
            for record in self.records.of(project, "targetHttpsProxies")
            for link in record.document.get("sslCertificates") or ()
            if link.endswith(f"/{certificate}")
        ]

    def forget(self) -> None:
        """Forget every resource, operation and limit."""
        self.records.clear()
        self.quotas.forget()
        self._operations.forget()


def _one_or_all(request: Request, described: list[Json], kind: str, parent: str) -> Json:
    name = request.parameters.get("name")
    if name is None:
        found = filtered(described, request.parameters.get("filter", ""))
        return {"kind": f"compute#{kind}List", **page_of(found, "items", request.parameters)}
    for entry in described:
        if entry["name"] == name:
            return entry
    raise not_found(f"The resource '{parent}/{name}' was not found")


def _verb_of(http_method: str, parameters: Json, collection: Collection | None) -> str:
    """Return the verb of a call on a collection, empty if it has none of that kind."""
    if collection is None:
        return ""
    extra = parameters.get("verb")
    if extra is not None:
        known = (*collection.verbs, *(("setLabels",) if collection.labelled else ()))
        return extra if extra in known and http_method in ("GET", "POST") else ""
    if "name" not in parameters:
        return {"GET": "list", "POST": "insert"}.get(http_method, "")
    verb = _VERBS.get(http_method, "")
    return verb if verb in ("get", "delete", *collection.verbs) else ""


def _name_of(request: Request) -> str:
    given = request.parameters
    return f"projects/{request.project}/{given['place']}/{given['path']}/{given['name']}"


def _place(parameters: Json) -> Place:
    place = str(parameters.get("place", ""))
    scope, _, inside = place.partition("/")
    body = parameters.get("body") or {}
    name = parameters.get("name") or body.get("name") or ""
    region = region_of(inside) if scope in ("regions", "zones") else ""
    return Place(parameters["project"], region, str(name))
