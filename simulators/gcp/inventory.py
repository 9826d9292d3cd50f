"""What one project holds: everything that a deployment could have made there, for proofs that nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from simulators.gcp.api import region_of
from simulators.gcp.compute.records import full_name
from simulators.gcp.refusals import Json
from simulators.inventory import Resource

if TYPE_CHECKING:
    from simulators.gcp.simulator import GoogleCloud

_FACTS = ("network", "subnetwork", "zone", "IPAddress", "address", "storageLocations", "description", "sizeGb")


def inventory(google: GoogleCloud, project: str) -> Iterator[Resource]:
    """Yield every resource of a project, but not what comes with a project or with another resource by itself."""
    yield from _compute(google, project)
    yield from _clusters(google, project)
    yield from _keys(google, project)
    yield from _buckets(google, project)
    yield from _zones(google, project)
    yield from _identities(google, project)
    yield from _logs(google, project)
    for service, documents in (
        ("certificatemanager", google.certificates.of(project)),
        ("monitoring", google.monitoring.of(project)),
    ):
        for document in documents:
            yield _named(service, document)


def _compute(google: GoogleCloud, project: str) -> Iterator[Resource]:
    for record in google.compute.records.of(project):
        if record.automatic:
            continue
        document, path = record.document, record.collection
        place = record.name.split("/")[3] if path.scope != "global" else ""
        encrypted = "diskEncryptionKey" in document or "snapshotEncryptionKey" in document
        yield Resource(
            service="compute",
            type=_kebab(path.kind),
            id=record.name,
            name=document["name"],
            region=region_of(place),
            tags=document.get("labels") or {},
            encrypted=encrypted if path.path in ("disks", "snapshots") else None,
            state=document.get("status", ""),
            details={key: document[key] for key in _FACTS if key in document} | _tls(google, document, path.path),
        )


def _tls(google: GoogleCloud, document: Json, kind: str) -> Json:
    """Return the oldest version of TLS that what accepts connections speaks (empty for none), or nothing."""
    match kind:
        case "targetHttpsProxies":
            policy = google.compute.records.find(full_name("", document.get("sslPolicy", "")))
            return {"tls": [_oldest_tls(policy.document if policy else {})]}
        case "targetHttpProxies" | "targetPools":
            return {"tls": [""]}
        case _:
            return {}


def _oldest_tls(policy: Json) -> str:
    """Return `1.2` for `TLS_1_2`, which is the minimum of a policy; without one Google takes 1.0."""
    return str(policy.get("minTlsVersion", "TLS_1_0")).removeprefix("TLS_").replace("_", ".")


def _clusters(google: GoogleCloud, project: str) -> Iterator[Resource]:
    for cluster in google.containers.clusters.of(project):
        labels = cluster.document.get("resourceLabels") or {}
        yield Resource(
            service="container",
            type="cluster",
            id=cluster.name,
            name=cluster.short_name,
            region=region_of(cluster.location),
            tags=labels,
            encrypted=cluster.document["databaseEncryption"].get("state") == "ENCRYPTED",
            state=cluster.document["status"],
            details={"id": cluster.id, "version": cluster.document["currentMasterVersion"]},
        )
        for pool in cluster.pools.values():
            yield Resource(
                service="container",
                type="node-pool",
                id=f"{cluster.name}/nodePools/{pool.name}",
                name=pool.name,
                region=region_of(cluster.location),
                tags=labels,
                state=pool.document["status"],
                details={"nodes": len(pool.instances)},
            )


def _keys(google: GoogleCloud, project: str) -> Iterator[Resource]:
    """Yield the keys that still have a version which is not destroyed, or about to be."""
    for key in google.kms.keys_of(project):
        states = [version["state"] for version in google.kms.versions_of(key["name"])]
        living = [state for state in states if not state.startswith("DESTROY")]
        yield Resource(
            service="kms",
            type="crypto-key",
            id=key["name"],
            name=key["name"].rpartition("/")[2],
            region=key["name"].split("/")[3],
            tags=key.get("labels") or {},
            state=living[0] if living else "DESTROYED",
        )


def _buckets(google: GoogleCloud, project: str) -> Iterator[Resource]:
    for bucket in google.storage.buckets.of(project):
        yield Resource(
            service="storage",
            type="bucket",
            id=bucket.name,
            name=bucket.name,
            region=str(bucket.document["location"]).lower(),
            tags=bucket.document.get("labels") or {},
            encrypted="encryption" in bucket.document,
            details={"objects": len(bucket.objects), "retention": bucket.document.get("retentionPolicy") or {}},
        )


def _zones(google: GoogleCloud, project: str) -> Iterator[Resource]:
    for zone in google.dns.zones():
        if zone.project == project:
            yield Resource(
                service="dns",
                type="managed-zone",
                id=zone.document["id"],
                name=zone.document["name"],
                tags=zone.document.get("labels") or {},
                details={"records": sorted(f"{name} {type_}" for name, type_ in zone.records)},
            )


def _identities(google: GoogleCloud, project: str) -> Iterator[Resource]:
    for account in google.cloud.identities.accounts(project):
        yield Resource(
            service="iam", type="service-account", id=account["name"], name=account["email"].partition("@")[0]
        )
    for role in google.cloud.roles.of(project):
        if not role.get("deleted"):
            yield Resource(service="iam", type="role", id=role["name"], name=role["name"].rpartition("/")[2])


def _logs(google: GoogleCloud, project: str) -> Iterator[Resource]:
    """Yield what leads logs; of log buckets those that nobody has deleted, though they can still be had back."""
    for document in google.logging.of(project):
        is_bucket = "/buckets/" in document["name"]
        named = _named("logging", document)
        yield named.model_copy(
            update={"type": "log-bucket", "encrypted": "cmekSettings" in document} if is_bucket else {}
        )


def _named(service: str, document: Json) -> Resource:
    parts = document["name"].split("/")
    kind = parts[-2]
    singular = kind.removesuffix("ies") + "y" if kind.endswith("ies") else kind.removesuffix("s")
    labels = document.get("labels") or document.get("userLabels") or {}
    managed = document.get("managed") or {}
    return Resource(
        service=service,
        type=_kebab(singular),
        id=document["name"],
        name=document.get("displayName", parts[-1]),
        region=parts[3] if parts[2] == "locations" and parts[3] != "global" else "",
        tags=labels,
        state=managed.get("state", document.get("state", document.get("lifecycleState", ""))),
    )


def _kebab(camel: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in camel).lstrip("-")
