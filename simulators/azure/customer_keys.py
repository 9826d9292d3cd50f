"""Keys of customers with which Azure's services encrypt: there, protected, and usable by the service's identity."""

from __future__ import annotations

from simulators.azure.api import Check
from simulators.azure.cloud import Cloud
from simulators.azure.records import Record
from simulators.azure.vaults import KEY, Vaults, is_protected

_USES = ("read", "wrap/action", "unwrap/action")


class CustomerKeys:
    """Looks keys up on behalf of services."""

    def __init__(self, cloud: Cloud, vaults: Vaults) -> None:
        self._cloud = cloud
        self._vaults = vaults

    def at(self, url: str) -> Record | None:
        """Return the key at a URL with or without a version, or None."""
        return self._vaults.key_at(url)

    def is_recoverable(self, key: Record) -> bool:
        """Return whether nobody can purge the key's vault before its time: services ask for that."""
        vault = self._cloud.records.get(key.id.parent.key if key.id.parent is not None else "")
        return vault is not None and is_protected(vault)

    def is_usable(self, key: Record, object_id: str) -> bool:
        """Return whether a principal may read the key, wrap with it and unwrap."""
        principal = self._cloud.identities.find(object_id)
        return principal is not None and all(
            self._cloud.access.allows(principal, Check(f"{KEY}/{use}", key.id.text, data=True)) for use in _USES
        )
