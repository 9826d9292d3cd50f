"""What Compute Engine makes of the document of an insert: checks, defaults, and what comes with it."""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Protocol

from simulators.gcp.api import region_of
from simulators.gcp.compute.collections import BY_PLACE, Collection
from simulators.gcp.compute.offerings import REGIONS, multi_region_of
from simulators.gcp.compute.records import ROOT, Record, Records
from simulators.gcp.iam.roles import etag_of
from simulators.gcp.refusals import Json, invalid

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[a-z][-_a-z0-9]{0,62}")
_LABEL_VALUE = re.compile(r"[-_a-z0-9]{0,63}")
_LEAST_DISK_GB = 10


class Keys(Protocol):
    """The keys with which disks and snapshots are encrypted."""

    def require_usable(self, key: str, service: str, project: str) -> None:
        """Refuse a key that does not exist, is disabled, or may not be used by the service's agent in the project."""


class Creation:
    """Prepares new resources."""

    def __init__(self, records: Records, keys: Keys) -> None:
        self._records = records
        self._keys = keys
        self._next_address = 10
        self._special: Mapping[str, Callable[[str, Json], None]] = {
            "networks": self._network,
            "subnetworks": self._subnetwork,
            "addresses": self._address,
            "disks": self._disk,
            "firewalls": self._firewall,
            "forwardingRules": self._forwarding_rule,
        }

    def document_of(self, name: str, collection: Collection, body: Json, now: str) -> Json:
        """Return the document of a new resource; refuse what is wrong with the request."""
        _, project, _, inside, *_ = name.split("/")
        zones = REGIONS.get(region_of(inside), ())
        if collection.scope != "global" and inside not in (*zones, *REGIONS):
            kind = collection.scope.removesuffix("s")
            raise invalid(f"Invalid value for field '{kind}': '{inside}'. Unknown {kind}.")
        for field in collection.required:
            if not body.get(field):
                raise invalid(
                    f"Invalid value for field 'resource.{field}': ''. Required field is missing.", legacy="required"
                )
        if not _NAME.fullmatch(body["name"]):
            raise invalid(
                f"Invalid value for field 'resource.name': '{body['name']}'. Must be a match of regex"
                " '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'"
            )
        require_labels(body.get("labels") or {})
        document: Json = {
            "kind": f"compute#{collection.kind[0].lower()}{collection.kind[1:]}",
            "id": str(secrets.randbelow(10**18) + 10**18),
            "creationTimestamp": now,
            **self._records.canonical(project, body),
            "selfLink": ROOT + name,
        }
        place = "/".join(name.split("/")[:4])
        if collection.scope != "global":
            document[collection.scope[:-1]] = ROOT + place
        if collection.labelled:
            document["labelFingerprint"] = etag_of(document.get("labels") or {})
        if "patch" in collection.verbs:
            document["fingerprint"] = etag_of(document)
        if special := self._special.get(collection.path):
            special(name, document)
        return document

    def companions_of(self, record: Record, now: str) -> list[Record]:
        """Return what comes with a new resource by itself: the routes of networks and subnetworks."""
        project = record.name.split("/")[1]
        document = record.document
        match record.collection.path:
            case "networks":
                gateway = f"{ROOT}projects/{project}/global/gateways/default-internet-gateway"
                route = {"destRange": "0.0.0.0/0", "priority": 1000, "nextHopGateway": gateway}
                network = record.name
            case "subnetworks":
                route = {"destRange": document["ipCidrRange"], "priority": 0, "nextHopNetwork": document["network"]}
                network = document["network"].removeprefix(ROOT)
            case _:
                return []
        name = f"default-route-{secrets.token_hex(8)}"
        full = f"projects/{project}/global/routes/{name}"
        route |= {
            "kind": "compute#route",
            "id": str(secrets.randbelow(10**18) + 10**18),
            "creationTimestamp": now,
            "name": name,
            "network": ROOT + network,
            "selfLink": ROOT + full,
        }
        return [Record(BY_PLACE["routes", "global"], full, route, automatic=True, ready=True, links=[record.name])]

    def external_address(self) -> str:
        """Return an address that nobody has."""
        self._next_address += 1
        return str(ipaddress.ip_address("34.90.0.0") + self._next_address)

    def _network(self, _name: str, document: Json) -> None:
        if document.get("autoCreateSubnetworks", True):
            raise invalid(
                "Invalid value for field 'resource.autoCreateSubnetworks': 'true'. Networks in auto mode are not"
                " simulated."
            )
        document.setdefault("routingConfig", {"routingMode": "REGIONAL"})
        document.setdefault("mtu", 1460)

    def _subnetwork(self, name: str, document: Json) -> None:
        project = name.split("/")[1]
        ranges = [document["ipCidrRange"]] + [entry["ipCidrRange"] for entry in document.get("secondaryIpRanges") or ()]
        networks = [_network_of(text) for text in ranges]
        for index, first in enumerate(networks):
            if any(first.overlaps(second) for second in networks[index + 1 :]):
                raise invalid(f"Invalid IPCidrRange: {first} conflicts with another range of the request.")
        for other in self._records.of(project, "subnetworks"):
            if other.document["network"] == document["network"]:
                self._require_apart(networks, other)
        document["gatewayAddress"] = str(networks[0].network_address + 1)
        document.setdefault("purpose", "PRIVATE")
        document.setdefault("privateIpGoogleAccess", False)
        document.setdefault("stackType", "IPV4_ONLY")

    @staticmethod
    def _require_apart(networks: list[ipaddress.IPv4Network], other: Record) -> None:
        taken = [other.document["ipCidrRange"]]
        taken += [entry["ipCidrRange"] for entry in other.document.get("secondaryIpRanges") or ()]
        for network in networks:
            if any(network.overlaps(_network_of(text)) for text in taken):
                region = other.name.split("/")[3]
                raise invalid(
                    f"Invalid IPCidrRange: {network} conflicts with existing subnetwork"
                    f" '{other.document['name']}' in region '{region}'."
                )

    def _address(self, name: str, document: Json) -> None:
        document.setdefault("addressType", "EXTERNAL")
        document.setdefault("networkTier", "PREMIUM")
        document.setdefault("ipVersion", "IPV4")
        if document["addressType"] == "EXTERNAL":
            document["address"] = self.external_address()
        elif "address" not in document:
            raise invalid(
                f"Invalid value for field 'resource.address': '' of {name}. Internal addresses must be chosen."
            )

    def _disk(self, name: str, document: Json) -> None:
        project, zone = name.split("/")[1], name.split("/")[3]
        kind = str(document.get("type") or "pd-standard").rpartition("/")[2]
        document["type"] = f"{ROOT}projects/{project}/zones/{zone}/diskTypes/{kind}"
        source = document.get("sourceSnapshot")
        least = self._records.get(source.removeprefix(ROOT)).document["diskSizeGb"] if source else _LEAST_DISK_GB
        document["sizeGb"] = str(document.get("sizeGb") or max(int(least), _LEAST_DISK_GB))
        if int(document["sizeGb"]) < int(least):
            raise invalid(f"Requested disk size cannot be smaller than the snapshot size ({least} GB)")
        document.update(status="READY", physicalBlockSizeBytes="4096")
        self.encrypt(document, "diskEncryptionKey", project)

    def encrypt(self, document: Json, field: str, project: str) -> None:
        """Let the key version of `document` be known, after proving that Compute Engine may use the key."""
        key = (document.get(field) or {}).get("kmsKeyName", "")
        if key:
            self._keys.require_usable(key, "compute", project)
            version = key if "/cryptoKeyVersions/" in key else f"{key}/cryptoKeyVersions/1"
            document[field] = {**document[field], "kmsKeyName": version}

    def snapshot_of(self, disk: Record, name: str, body: Json, now: str) -> Json:
        """Return the document of a snapshot of a disk."""
        project, zone = disk.name.split("/")[1], disk.name.split("/")[3]
        document = self.document_of(name, BY_PLACE["snapshots", "global"], body, now)
        document |= {
            "sourceDisk": disk.document["selfLink"],
            "sourceDiskId": disk.document["id"],
            "diskSizeGb": disk.document["sizeGb"],
            "storageBytes": "1073741824",
            "storageBytesStatus": "UP_TO_DATE",
            "storageLocations": body.get("storageLocations") or [multi_region_of(region_of(zone))],
            "status": "CREATING",
        }
        if "snapshotEncryptionKey" not in document and "diskEncryptionKey" in disk.document:
            # A snapshot has its disk's key unless another one is named.
            document["snapshotEncryptionKey"] = disk.document["diskEncryptionKey"]
        self.encrypt(document, "snapshotEncryptionKey", project)
        return document

    @staticmethod
    def _firewall(_name: str, document: Json) -> None:
        document.setdefault("direction", "INGRESS")
        document.setdefault("priority", 1000)
        document.setdefault("disabled", False)
        if not (document.get("allowed") or document.get("denied")):
            raise invalid("Invalid value for field 'resource': ''. At least one of allowed and denied must be given.")

    def _forwarding_rule(self, name: str, document: Json) -> None:
        project = name.split("/")[1]
        document.setdefault("loadBalancingScheme", "EXTERNAL")
        wanted = str(document.get("IPAddress") or "")
        if "/" in wanted:
            wanted = self._records.resolve(project, wanted).document["address"]
        document["IPAddress"] = wanted or self.external_address()


def require_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that Google does not accept."""
    for key, value in labels.items():
        if not _LABEL.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise invalid(
                f"Invalid value for field 'labels': '{key}={value}'. Only lower-case letters, digits, - and _."
            )


def _network_of(text: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        message = f"Invalid value for field 'resource.ipCidrRange': '{text}'. Must be a CIDR address range."
        raise invalid(message) from error
