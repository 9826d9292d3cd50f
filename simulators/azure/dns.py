"""Microsoft.Network/dnsZones: public zones with their record sets, and the names that the world finds in them."""

from __future__ import annotations

import copy
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from simulators.azure.api import Reply, Request
from simulators.azure.cloud import Cloud
from simulators.azure.ids import ResourceId
from simulators.azure.kinds import Kind
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, invalid
from simulators.azure.resource_manager import Route
from simulators.azure.resources import Resources

ZONE = "Microsoft.Network/dnsZones"
APEX = "@"
"""What records of the zone's own name are called."""
_FIELDS = {
    "A": "ARecords",
    "AAAA": "AAAARecords",
    "CAA": "caaRecords",
    "CNAME": "CNAMERecord",
    "MX": "MXRecords",
    "NS": "NSRecords",
    "PTR": "PTRRecords",
    "SOA": "SOARecord",
    "SRV": "SRVRecords",
    "TXT": "TXTRecords",
}
"""Where a record set of each type has its values."""
_BORN_WITH = frozenset({"NS", "SOA"})
_NAME = re.compile(r"(?:[a-z0-9_](?:[-a-z0-9_]{0,61}[a-z0-9_])?\.)+[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.IGNORECASE)
_MOST_RECORD_SETS = 10000
_LONGEST_CHAIN = 8
_DAYS = 86400


@dataclass(frozen=True)
class RecordSet(Kind):
    """All records of one name and type."""

    type: str = f"{ZONE}/A"
    regional: bool = False
    tag: str = "etag"

    @property
    def record_type(self) -> str:
        """`A`, `TXT` and so on."""
        return self.type.rpartition("/")[2]

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse a set without records, and a name that is an alias and something else."""
        del before
        properties = record.properties
        zone = _zone_of(record.id)
        # The API's own clients write some names of fields in small letters.
        for key in [key for key in properties if key.lower() == _FIELDS[self.record_type].lower()]:
            properties[_FIELDS[self.record_type]] = properties.pop(key)
        if not properties.get(_FIELDS[self.record_type]) and not properties.get("targetResource"):
            text = f"The record set '{record.id.name}' of type '{self.record_type}' has no records."
            raise invalid("BadRequest", text)
        if "TTL" not in properties:
            properties["TTL"] = properties.pop("ttl", 3600)
        siblings = [
            entry
            for entry in cloud.records.below(zone.text)
            if entry.id.name.lower() == record.id.name.lower() and entry.id.key != record.id.key
        ]
        if siblings and "CNAME" in (self.record_type, *(_type_of(entry) for entry in siblings)):
            text = f"The record could not be created because a record set of another type exists at '{record.id.name}'."
            raise invalid("BadRequest", f"{text} A CNAME record cannot coexist with records of other types.")
        properties["fqdn"] = f"{full_name(record)}."
        del request

    def may_delete(self, cloud: Cloud, record: Record) -> None:
        """Refuse to delete what every zone has."""
        del cloud
        if self.record_type in _BORN_WITH and record.id.name == APEX:
            message = f"The record set of type '{self.record_type}' at the zone apex cannot be deleted."
            raise invalid("BadRequest", message)


@dataclass(frozen=True)
class Zone(Kind):
    """A zone; it has its name servers from the beginning, and goes with all of its records."""

    type: str = ZONE
    tag: str = "etag"
    has_state: bool = False

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse what is no name of a domain; give a new zone its name servers."""
        del cloud, request
        if not _NAME.fullmatch(record.id.name):
            raise invalid("BadRequest", f"The domain name '{record.id.name}' is invalid.")
        if record.location != "global":
            raise invalid("LocationNotAvailableForResourceType", "The location of a DNS zone has to be 'global'.")
        wanted = record.properties
        kept = (before or {}).get("properties", {})
        number = zlib.crc32(record.id.key.encode()) % 9 + 1
        endings = ("com", "net", "org", "info")
        record.document["properties"] = {
            "zoneType": wanted.get("zoneType") or kept.get("zoneType") or "Public",
            "maxNumberOfRecordSets": _MOST_RECORD_SETS,
            "nameServers": kept.get("nameServers")
            or [f"ns{place}-0{number}.azure-dns.{ending}." for place, ending in enumerate(endings, 1)],
        }

    def finish(self, cloud: Cloud, record: Record) -> None:
        """Make the records that every zone has."""
        servers: list[str] = record.properties["nameServers"]
        authority = {
            "host": servers[0],
            "email": "azuredns-hostmaster.microsoft.com",
            "serialNumber": 1,
            "refreshTime": 3600,
            "retryTime": 300,
            "expireTime": 2419200,
            "minimumTTL": 300,
        }
        born: dict[str, Json] = {
            "NS": {"TTL": 2 * _DAYS, "NSRecords": [{"nsdname": server} for server in servers]},
            "SOA": {"TTL": 3600, "SOARecord": authority},
        }
        for name, properties in born.items():
            resource = ResourceId(record.id.scope, record.id.namespace, (*record.id.parts, name, APEX))
            if cloud.records.get(resource.key) is None:
                document = {"id": resource.text, "name": APEX, "type": f"{ZONE}/{name}"}
                properties |= {"fqdn": f"{record.id.name}.", "provisioningState": "Succeeded"}
                kind = next(kind for kind in RECORD_SETS if kind.record_type == name)
                cloud.records.add(Record(resource, kind, {**document, "properties": properties}))

    def shown(self, cloud: Cloud, record: Record) -> Json:
        """Return the zone with the number of its record sets."""
        document = copy.deepcopy(record.document)
        document["properties"]["numberOfRecordSets"] = len(cloud.records.below(record.id.text))
        return document


RECORD_SETS: tuple[RecordSet, ...] = tuple(RecordSet(f"{ZONE}/{name}") for name in _FIELDS)
KINDS: tuple[Kind, ...] = (Zone(), *RECORD_SETS)


class RecordLists:
    """The lists of all record sets of a zone, whatever their type."""

    def __init__(self, cloud: Cloud, resources: Resources) -> None:
        self._cloud = cloud
        self._resources = resources

    def routes(self) -> Iterator[Route]:
        """Yield what is served."""
        group = r"/subscriptions/[^/]+/resourcegroups/[^/]+"
        zone = rf"(?P<zone>{group}/providers/Microsoft\.Network/dnsZones/[^/]+)"
        for name in ("recordsets", "all"):
            action = f"{ZONE}/{name}/read"
            yield Route("GET", rf"{zone}/{name}", "network", f"dnsZones/{name}/read", self._list, action, "{zone}")

    def _list(self, request: Request, found: re.Match[str]) -> Reply:
        del request
        zone = self._cloud.records.get(found["zone"])
        if zone is None:
            name = found["zone"].rpartition("/")[2]
            raise Refusal(404, "ParentResourceNotFound", f"The parent resource '{name}' could not be found.")
        records = self._cloud.records.below(zone.id.text)
        return Reply({"value": [self._resources.shown(record).body for record in records]})


class PublicRecords:
    """What the world finds in the zones of every subscription: those that are public, as if all were delegated."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def address_of(self, hostname: str) -> str | None:
        """Return the IPv4 address to which a name leads, or None; of several zones of one name the newest counts."""
        name = hostname.lower().rstrip(".")
        for _ in range(_LONGEST_CHAIN):
            if addresses := list(self._found(name, "A")):
                return str(addresses[-1]["ARecords"][0]["ipv4Address"])
            aliases = list(self._found(name, "CNAME"))
            if not aliases:
                return None
            name = str(aliases[-1]["CNAMERecord"]["cname"]).lower().rstrip(".")
        return None

    def texts_of(self, hostname: str) -> list[str]:
        """Return the TXT records of a name, in whatever zone."""
        found = self._found(hostname.lower().rstrip("."), "TXT")
        return ["".join(entry["value"]) for properties in found for entry in properties["TXTRecords"]]

    def _found(self, name: str, record_type: str) -> Iterator[Json]:
        """Yield the record sets of exactly this name, or of the wildcard above it, oldest first."""
        wanted = (name, f"*.{name.partition('.')[2]}")
        for record in self._cloud.records.of_type(f"{ZONE}/{record_type}"):
            zone = self._cloud.records.get(_zone_of(record.id).key)
            if zone is not None and zone.properties["zoneType"] == "Public" and full_name(record).lower() in wanted:
                yield record.properties


def full_name(record: Record) -> str:
    """Return the name of a record set in the world, without a dot at its end."""
    zone = _zone_of(record.id).name
    return zone if record.id.name == APEX else f"{record.id.name}.{zone}"


def _zone_of(record_set: ResourceId) -> ResourceId:
    zone = record_set.parent
    assert zone is not None
    return zone


def _type_of(record: Record) -> str:
    return record.kind.type.rpartition("/")[2]
