"""The ids of Resource Manager: which resource of which type, below which scope. They ignore case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ResourceId:
    """A resource, or with an odd number of parts a collection or an action of one."""

    scope: str
    """What it lies in or extends: a subscription, a group, or another resource; empty for what is the tenant's."""
    namespace: str
    """`Microsoft.Network`."""
    parts: tuple[str, ...]
    """Types and names in turn."""

    @property
    def text(self) -> str:
        """The id as it is written."""
        return "/".join((f"{self.scope}/providers/{self.namespace}", *self.parts))

    @property
    def key(self) -> str:
        """The id as it is compared."""
        return self.text.lower()

    @property
    def type(self) -> str:
        """`Microsoft.Network/virtualNetworks/subnets`, as the caller wrote it."""
        return "/".join((self.namespace, *self.parts[::2]))

    @property
    def name(self) -> str:
        """The last name; empty for a collection of the first level."""
        return self.parts[-1] if self.is_resource else ""

    @property
    def names(self) -> str:
        """All names, as Azure names children: `network/nodes`."""
        return "/".join(self.parts[1::2])

    @property
    def is_resource(self) -> bool:
        """Whether it names one resource."""
        return len(self.parts) % 2 == 0

    @property
    def parent(self) -> ResourceId | None:
        """The resource of the same namespace that this one lies in, or None."""
        shorter = self.parts[: -2 if self.is_resource else -1]
        return ResourceId(self.scope, self.namespace, shorter) if shorter else None


def parsed(path: str) -> ResourceId | None:
    """Read an id, or return None for a path without a namespace."""
    found = path.lower().rfind("/providers/")
    if found < 0:
        return None
    namespace, *parts = path[found + len("/providers/") :].strip("/").split("/")
    return ResourceId(path[:found], namespace, tuple(parts)) if parts else None


def subscription_of(path: str) -> str:
    """Return the subscription in an id, in lower case, or an empty text."""
    return _after("subscriptions", path)


def group_of(path: str) -> str:
    """Return the resource group in an id as it is written there, or an empty text."""
    return _after("resourcegroups", path, lower=False)


def group_scope(subscription: str, group: str) -> str:
    """Return the id of a resource group."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}"


def references(document: object) -> Iterator[str]:
    """Yield every id that a document mentions, as a value or (as identities are) as a key."""
    if isinstance(document, dict):
        for key, value in document.items():
            if str(key).lower().startswith("/subscriptions/"):
                yield str(key)
            yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)
    elif isinstance(document, str) and document.lower().startswith("/subscriptions/"):
        yield document


def _after(segment: str, path: str, *, lower: bool = True) -> str:
    parts = path.strip("/").split("/")
    for index, part in enumerate(parts[:-1]):
        if part.lower() == segment:
            return parts[index + 1].lower() if lower else parts[index + 1]
    return ""
