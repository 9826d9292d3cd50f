"""What Compute Engine keeps: resources, and how they refer to each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from simulators.gcp.compute.collections import Collection
from simulators.gcp.refusals import Json, Refusal, not_found

ROOT = "https://www.googleapis.com/compute/v1/"
REFERENCES = frozenset(
    {
        "network",
        "subnetwork",
        "target",
        "backendService",
        "defaultService",
        "urlMap",
        "sslPolicy",
        "group",
        "natIps",
        "healthChecks",
        "source",
        "sourceSnapshot",
    }
)
"""Fields that refer to other resources, anywhere in a document."""
_LOOSE = frozenset(
    {"selfLink", "region", "zone", "sourceDisk", "type", "machineType", "instances", "users", "targetLink"}
)
"""Fields whose links hold nothing fast."""


@dataclass
class Record:
    """One resource."""

    collection: Collection
    name: str
    """Full: `projects/p/global/networks/n`."""
    document: Json
    ready: bool = False
    """Whether others may refer to it."""
    automatic: bool = False
    """Whether it came with another resource, and goes with it."""
    links: list[str] = field(default_factory=list)
    """Names of what it holds fast beyond what its document says."""


class Records:
    """Every resource of every project, keyed by its full name."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def add(self, record: Record) -> None:
        """Keep a resource."""
        self._records[record.name] = record

    def find(self, name: str) -> Record | None:
        """Return the resource of that full name, or None."""
        return self._records.get(name)

    def get(self, name: str) -> Record:
        """Return the resource; refuse as Compute Engine does if there is none."""
        record = self._records.get(name)
        if record is None:
            raise not_found(f"The resource '{name}' was not found")
        return record

    def remove(self, name: str) -> None:
        """Forget a resource; an unknown one is ignored."""
        self._records.pop(name, None)

    def of(self, project: str, path: str = "", place: str = "") -> list[Record]:
        """Return the resources of a project, of one collection, of one place (`regions/r`), ordered by name."""
        prefix = f"projects/{project}/{place}/" if place else f"projects/{project}/"
        return [
            record
            for name, record in sorted(self._records.items())
            if name.startswith(prefix) and path in ("", record.collection.path)
        ]

    def users_of(self, name: str) -> list[Record]:
        """Return the resources that keep this one from being deleted."""
        link = ROOT + name
        project = name.split("/")[1]
        return [
            record
            for record in self.of(project)
            if record.name != name
            and not record.automatic
            and (name in record.links or link in set(_links(record.document)) or self._has_address(record, name))
        ]

    def _has_address(self, record: Record, name: str) -> bool:
        """Return whether a forwarding rule serves at the reserved address of that name."""
        address = self._records.get(name)
        return (
            address is not None
            and address.collection.path == "addresses"
            and record.collection.path == "forwardingRules"
            and record.document.get("IPAddress") == address.document.get("address")
        )

    def resolve(self, project: str, reference: str) -> Record:
        """Return what a URL, or a part of one, refers to; refuse what does not exist or is not ready."""
        record = self.get(full_name(project, reference))
        if not record.ready:
            message = f"The resource '{record.name}' is not ready"
            raise Refusal("INVALID_ARGUMENT", message, legacy="resourceNotReady")
        return record

    def canonical(self, project: str, document: Any, key: str = "") -> Any:  # noqa: ANN401 - any JSON value
        """Return a document whose references are full URLs of things that exist."""
        if isinstance(document, dict):
            return {
                name: self.canonical(project, value, "subnetwork" if key == "subnetworks" and name == "name" else name)
                for name, value in document.items()
            }
        if isinstance(document, list):
            return [self.canonical(project, value, key) for value in document]
        if isinstance(document, str) and document and key in REFERENCES:
            return ROOT + self.resolve(project, document).name
        return document

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()


def full_name(project: str, reference: str) -> str:
    """Return the full name behind a URL or a part of one (`global/networks/n`)."""
    _, mark, rest = reference.rpartition("/compute/v1/")
    text = rest if mark else reference
    text = text.strip("/")
    return text if text.startswith("projects/") else f"projects/{project}/{text}"


def _links(document: Any, key: str = "") -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if key in _LOOSE:
        return
    if isinstance(document, dict):
        for name, value in document.items():
            yield from _links(value, name)
    elif isinstance(document, list):
        for value in document:
            yield from _links(value, key)
    elif isinstance(document, str) and document.startswith(ROOT):
        yield document
