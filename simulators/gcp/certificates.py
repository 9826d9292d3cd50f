"""Certificate Manager: DNS authorizations, managed certificates, and the maps by which load balancers present them.

A certificate with a DNS authorization is issued before any load balancer exists, as soon as the record that proves the
domain is in the public DNS; that of Compute Engine's own `sslCertificates` would need the load balancer first. A GKE
Gateway presents the certificates of a map.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from simulators.faults import FaultKind
from simulators.gcp.api import Check, Method, Request, Rpc, RpcService, needs, page_of, stamp
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.creation import require_labels
from simulators.gcp.compute.filters import filtered
from simulators.gcp.dns import DnsService
from simulators.gcp.operations import LongRunning
from simulators.gcp.refusals import Json, exists, failed_precondition, invalid, not_found

_INTERFACE = "google.cloud.certificatemanager.v1.CertificateManager"
_PACKAGE = "google.cloud.certificatemanager.v1"
_ID = re.compile(r"[a-z]([-a-z0-9_]{0,62})")
_KINDS: Mapping[str, tuple[str, str, str]] = {
    "Certificate": ("certificates", "certificateId", "certs"),
    "DnsAuthorization": ("dnsAuthorizations", "dnsAuthorizationId", "dnsauthorizations"),
    "CertificateMap": ("certificateMaps", "certificateMapId", "certmaps"),
    "CertificateMapEntry": ("certificateMapEntries", "certificateMapEntryId", "certmapentries"),
}
"""Collection, the field that has a new resource's id, and the name in permissions, keyed by message."""
_LOOK_INTERVAL = 20.0
"""Simulated seconds between two looks for the record that proves a domain."""
_LIFETIME = timedelta(days=90)
_RECORD_DOMAIN = "authorize.certificatemanager.goog."


class CertificateManager(RpcService):
    """Fulfils `google.cloud.certificatemanager.v1.CertificateManager`, without trust and issuance configurations."""

    def __init__(self, cloud: Cloud, dns: DnsService, operations: LongRunning) -> None:
        self._cloud = cloud
        self._dns = dns
        self._operations = operations
        self._resources: dict[str, Json] = {}
        self._making: set[str] = set()
        """Names of what is being made: it is not there yet, but its name is taken."""
        self._waiting: list[Json] = []
        """Certificates to look at with the next call, where time does not bring the next look."""

    def rpcs(self) -> Iterator[Rpc]:
        """Return the methods."""
        operation = "google.longrunning.Operation"
        for kind, (collection, _, permission) in _KINDS.items():
            plural = collection[0].upper() + collection[1:]
            field = kind[0].lower() + kind[1:]
            for verb, deed, response, mutating in (
                ("Create", self._create, operation, True),
                ("Get", self._get, f"{_PACKAGE}.{kind}", False),
                ("List", self._list, f"{_PACKAGE}.List{plural}Response", False),
                ("Update", self._update, operation, True),
                ("Delete", self._delete, operation, True),
            ):
                name = f"{verb}{plural if verb == 'List' else kind}"
                checks = {
                    "Create": self._needs_to_create(kind),
                    "List": needs(f"certificatemanager.{permission}.list", "parent"),
                    "Update": _needs_to_update(field, permission),
                }.get(verb) or needs(f"certificatemanager.{permission}.{verb.lower()}")
                method = Method("certificatemanager", name, deed, mutating, checks)
                yield Rpc(_INTERFACE, name, f"{_PACKAGE}.{name}Request", response, method)

    def _needs_to_create(self, kind: str) -> Callable[[Request], Iterator[Check]]:
        _, _, permission = _KINDS[kind]

        def checks(request: Request, /) -> Iterator[Check]:
            yield Check(f"certificatemanager.{permission}.create", str(request.parameters.get("parent", "")))
            managed = (request.parameters.get("certificate") or {}).get("managed") or {}
            for authorization in managed.get("dnsAuthorizations") or ():
                yield Check("certificatemanager.dnsauthorizations.use", authorization)
            for certificate in (request.parameters.get("certificateMapEntry") or {}).get("certificates") or ():
                yield Check("certificatemanager.certs.use", certificate)

        return checks

    def of(self, project: str) -> list[Json]:
        """Return everything that a project has."""
        prefix = f"projects/{project}/"
        return [document for name, document in sorted(self._resources.items()) if name.startswith(prefix)]

    def covers(self, project: str, hostname: str) -> bool:
        """Return whether an issued certificate of a map of the project covers a hostname."""
        wanted = {hostname, f"*.{hostname.partition('.')[2]}"}
        for entry in self.of(project):
            for name in entry.get("certificates") or ():
                managed = (self._resources.get(name) or {}).get("managed") or {}
                if managed.get("state") == "ACTIVE" and wanted & set(managed.get("domains") or ()):
                    return True
        return False

    def _existing(self, name: str) -> Json:
        found = self._resources.get(name)
        if found is None:
            raise not_found(f"Resource '{name}' was not found")
        return found

    def _create(self, request: Request) -> Json:
        kind = request.method.name.removeprefix("Create")
        collection, id_field, _ = _KINDS[kind]
        given = request.parameters
        wanted = dict(given.get(kind[0].lower() + kind[1:]) or {})
        name = f"{given['parent']}/{collection}/{given.get(id_field, '')}"
        if not _ID.fullmatch(str(given.get(id_field, ""))):
            raise invalid(f"The id {given.get(id_field)!r} must match {_ID.pattern}.")
        if name in self._resources or name in self._making:
            raise exists(f"Resource '{name}' already exists")
        require_labels(wanted.get("labels") or {})
        now = self._cloud.now()
        document: Json = {**wanted, "name": name, "createTime": now, "updateTime": now}
        {
            "Certificate": self._certificate,
            "DnsAuthorization": _authorization,
            "CertificateMapEntry": self._entry,
        }.get(kind, _nothing)(document)
        self._making.add(name)
        given_up = kind == "Certificate" and request.fault is not None and request.fault.kind is FaultKind.CRASH

        def made() -> Json:
            self._making.discard(name)
            self._resources[name] = document
            if given_up:
                _give_up(document)
            elif kind == "Certificate":
                self._prove(document)
            return {"@type": f"type.googleapis.com/{_PACKAGE}.{kind}", **document}

        return self._operations.start(
            # The order of a certificate succeeds; it is the certificate that fails.
            replace(request, fault=None) if given_up else request,
            _location(name),
            self._cloud.durations.certificate_parts,
            made,
            fail=lambda: self._making.discard(name),
        )

    def _certificate(self, document: Json) -> None:
        managed = document.get("managed")
        if not managed or not managed.get("domains"):
            raise invalid("Only managed certificates with domains are simulated.")
        for name in managed.get("dnsAuthorizations") or ():
            self._existing(name)
        document["managed"] = {**managed, "state": "PROVISIONING"}
        document["sanDnsnames"] = list(managed["domains"])

    def _entry(self, document: Json) -> None:
        self._existing(document["name"].partition("/certificateMapEntries/")[0])
        for certificate in document.get("certificates") or ():
            self._existing(certificate)
        document["state"] = "ACTIVE"

    def _prove(self, certificate: Json) -> None:
        """Issue the certificate some time after every domain is proven, and look again and again until then."""
        if self._resources.get(certificate["name"]) is not certificate:
            return
        managed = certificate["managed"]
        proofs = [self._resources.get(name) for name in managed.get("dnsAuthorizations") or ()]
        proven = {proof["domain"] for proof in proofs if proof is not None and self._is_proven(proof)}
        unproven = [domain for domain in managed["domains"] if domain.removeprefix("*.") not in proven]
        managed["authorizationAttemptInfo"] = [
            {
                "domain": domain,
                "state": "FAILED" if domain in unproven else "AUTHORIZED",
                **({"failureReason": "CONFIG"} if domain in unproven else {}),
            }
            for domain in managed["domains"]
        ]
        if not unproven:
            self._cloud.work.start(self._cloud.durations.certificate, lambda: self._issue(certificate))
        elif self._cloud.clock.speed == float("inf"):
            self._waiting.append(certificate)
        else:
            self._cloud.work.start(_LOOK_INTERVAL, lambda: self._prove(certificate))

    def look_again(self) -> None:
        """Look for the records of certificates that wait for them."""
        waiting, self._waiting = self._waiting, []
        for certificate in waiting:
            self._prove(certificate)

    def _is_proven(self, authorization: Json) -> bool:
        record = authorization["dnsResourceRecord"]
        return any(
            entry["type"] == record["type"] and record["data"] in entry["rrdatas"]
            for entry in self._dns.public_records(record["name"])
        )

    def _issue(self, certificate: Json) -> None:
        certificate["managed"]["state"] = "ACTIVE"
        certificate["expireTime"] = stamp(self._cloud.clock.now() + _LIFETIME)

    def _get(self, request: Request) -> Json:
        self.look_again()
        self._cloud.work.settle()
        return self._existing(request.parameters["name"])

    def _list(self, request: Request) -> Json:
        plural = request.method.name.removeprefix("List")
        collection = plural[0].lower() + plural[1:]
        pattern = re.compile(re.escape(f"{request.parameters['parent']}/{collection}/") + "[^/]+")
        found = [document for name, document in sorted(self._resources.items()) if pattern.fullmatch(name)]
        wanted = request.parameters.get("filter", "")
        return page_of(filtered(found, wanted), collection, request.parameters)

    def _update(self, request: Request) -> Json:
        kind = request.method.name.removeprefix("Update")
        wanted = request.parameters.get(kind[0].lower() + kind[1:]) or {}
        document = self._existing(wanted.get("name", ""))
        fields = {field for field in request.parameters.get("updateMask", "").split(",") if field}
        allowed = {"labels", "description"} | ({"certificates"} if kind == "CertificateMapEntry" else set())
        if not fields <= allowed:
            raise invalid(f"The fields {', '.join(sorted(fields - allowed))} cannot be updated.")
        require_labels(wanted.get("labels") or {})
        changes = {field: wanted.get(field) for field in fields}
        request.had_effect = any(document.get(field) != value for field, value in changes.items())

        def changed() -> Json:
            for field, value in changes.items():
                if value is None:
                    document.pop(field, None)
                else:
                    document[field] = value
            document["updateTime"] = self._cloud.now()
            return {"@type": f"type.googleapis.com/{_PACKAGE}.{kind}", **document}

        parent = _location(document["name"])
        return self._operations.start(request, parent, self._cloud.durations.certificate_parts, changed)

    def _delete(self, request: Request) -> Json:
        name = request.parameters["name"]
        self._existing(name)
        users = [entry["name"] for entry in self._resources.values() if name in _references(entry)]
        users += [other for other in self._resources if other.startswith(f"{name}/")]
        if users:
            raise failed_precondition(f"can't delete resource '{name}' because it is referenced by: {users[0]}")

        def gone() -> Json:
            self._resources.pop(name, None)
            return {"@type": "type.googleapis.com/google.protobuf.Empty"}

        return self._operations.start(request, _location(name), self._cloud.durations.certificate_parts, gone)

    def forget(self) -> None:
        """Forget everything."""
        self._resources.clear()
        self._making.clear()
        self._waiting.clear()


def _references(document: Json) -> list[str]:
    managed = document.get("managed") or {}
    return [*(document.get("certificates") or ()), *(managed.get("dnsAuthorizations") or ())]


def _authorization(document: Json) -> None:
    domain = str(document.get("domain", ""))
    if not domain or domain.startswith("*"):
        raise invalid(f"Invalid domain {domain!r}: a domain without a wildcard is needed.")
    is_global = _location(document["name"]).endswith("/locations/global")
    kind = document.setdefault("type", "FIXED_RECORD" if is_global else "PER_PROJECT_RECORD")
    if kind == "FIXED_RECORD" and not is_global:
        raise invalid("A DNS authorization in a region must be of the type PER_PROJECT_RECORD.")
    # The record of a project has a name of its own, so that several projects and regions can prove one domain.
    label = "_acme-challenge" if kind == "FIXED_RECORD" else f"_acme-challenge_{secrets.token_hex(8)}"
    data = f"{secrets.token_hex(8)}.{secrets.randbelow(16)}.{_RECORD_DOMAIN}"
    document["dnsResourceRecord"] = {"name": f"{label}.{domain}.", "type": "CNAME", "data": data}


def _give_up(certificate: Json) -> None:
    """Let a certificate be one that is not tried again."""
    certificate["managed"] |= {
        "state": "FAILED",
        "provisioningIssue": {"reason": "AUTHORIZATION_ISSUE", "details": "Domains could not be authorized."},
    }


def _nothing(_document: Json) -> None:
    pass


def _needs_to_update(field: str, permission: str) -> Callable[[Request], Iterator[Check]]:
    def checks(request: Request, /) -> Iterator[Check]:
        name = str((request.parameters.get(field) or {}).get("name", ""))
        yield Check(f"certificatemanager.{permission}.update", name)

    return checks


def _location(name: str) -> str:
    return "/".join(name.split("/")[:4])
