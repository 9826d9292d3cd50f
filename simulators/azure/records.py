"""Every resource that exists, keyed by its id in lower case."""

from __future__ import annotations

import copy
import secrets
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulators.azure.ids import ResourceId, references
from simulators.azure.refusals import Json

if TYPE_CHECKING:
    from simulators.azure.kinds import Kind


@dataclass
class Group:
    """One resource group."""

    id: str
    document: Json
    deleting: bool = False


@dataclass
class Record:
    """One resource."""

    id: ResourceId
    kind: Kind
    document: Json
    busy: str = ""
    """The state that it passes through while something changes it, such as `Updating`; empty at rest."""
    etag: str = field(default_factory=lambda: secrets.token_hex(8))
    """The entity tag, without quotes."""

    @property
    def properties(self) -> Json:
        """The properties of the document."""
        found: Json = self.document.setdefault("properties", {})
        return found

    @property
    def location(self) -> str:
        """The region, empty for what is global or a child."""
        return str(self.document.get("location", ""))

    def touched(self) -> None:
        """Give it another entity tag."""
        self.etag = secrets.token_hex(8)

    def enter(self, state: str) -> None:
        """Let its provisioning state be one that passes."""
        self.busy = state
        self.properties["provisioningState"] = state

    def settle(self, state: str = "Succeeded") -> None:
        """Let its provisioning state be one that stays."""
        self.busy = ""
        self.properties["provisioningState"] = state
        self.touched()


class Records:
    """Groups and resources of every subscription."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        """Keyed by lower-case ids."""
        self._records: dict[str, Record] = {}
        self._of_type: defaultdict[str, dict[str, Record]] = defaultdict(dict)
        """The same, apart by type in lower case."""

    def get(self, key: str) -> Record | None:
        """Return a resource by its id, in any case, or None."""
        return self._records.get(key.lower())

    def add(self, record: Record) -> Record:
        """Let a resource exist."""
        record.touched()
        self._records[record.id.key] = record
        self._of_type[record.kind.type.lower()][record.id.key] = record
        return record

    def remove(self, record: Record) -> None:
        """Let a resource and its children be gone."""
        for key in [key for key in self._records if key == record.id.key or key.startswith(f"{record.id.key}/")]:
            del self._of_type[self._records.pop(key).kind.type.lower()][key]

    def of_type(self, kind: str, below: str = "") -> list[Record]:
        """Return the resources of a type, below a scope."""
        prefix = f"{below.lower()}/"
        return [record for key, record in self._of_type[kind.lower()].items() if key.startswith(prefix)]

    def below(self, scope: str) -> list[Record]:
        """Return everything below a scope, children included."""
        prefix = f"{scope.lower()}/"
        return [record for key, record in self._records.items() if key.startswith(prefix)]

    def region_of(self, resource: ResourceId) -> str:
        """Return where a resource is, which for a child is where its parent is; empty for what is in no region."""
        holder: ResourceId | None = resource
        while holder is not None:
            record = self.get(holder.key)
            if record is not None and record.location:
                return record.location if record.location != "global" else ""
            holder = holder.parent
        return ""

    def users_of(self, record: Record) -> Iterator[Record]:
        """Yield what refers to a resource or to a child of it from outside."""
        key = record.id.key
        family = key.rpartition("/providers/")[2].split("/")
        own = key[: key.rfind("/providers/")] + "/providers/" + "/".join(family[:3])
        for other_key, other in self._records.items():
            if other_key == own or other_key.startswith(f"{own}/") or not other.kind.binds:
                continue
            if any(_is_or_lies_in(reference.lower(), key) for reference in references(other.document)):
                yield other

    def forget(self) -> None:
        """Forget everything."""
        self.groups.clear()
        self._records.clear()
        self._of_type.clear()


def merged(document: Json, change: Json) -> Json:
    """Return a document after a merge patch: objects are merged, `null` takes away, everything else replaces."""
    result = copy.deepcopy(document)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _is_or_lies_in(reference: str, key: str) -> bool:
    return reference == key or reference.startswith(f"{key}/")
