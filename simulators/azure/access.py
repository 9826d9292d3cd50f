"""Role assignments, and what they allow: inherited from every scope above, and effective after a while."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

from simulators.azure.api import Check
from simulators.azure.conditions import condition_of
from simulators.azure.identities import Principal
from simulators.azure.refusals import Json, Refusal
from simulators.azure.roles import BUILT_IN, allows, built_in_document
from simulators.clock import Clock


@dataclass(frozen=True)
class Permission:
    """An action that some principal needed in the course of its calls."""

    account: str
    """The subscription."""
    principal: str
    action: str
    agent: str = ""
    """The User-Agent of the call that needed it, which names the step."""


@dataclass
class _Versioned:
    """A document, with what it was until a change has effect."""

    document: Json | None
    former: Json | None = None
    effective: float = 0.0
    """Simulated time."""


class Access:
    """Every role definition of customers and every assignment, keyed by lower-case ids."""

    def __init__(self, clock: Clock, lag: float) -> None:
        """`lag` is in simulated seconds: how long a change has no effect yet."""
        self._clock = clock
        self._lag = lag
        self._definitions: dict[str, _Versioned] = {}
        self._assignments: dict[str, _Versioned] = {}
        self._checked: dict[Permission, bool] = {}

    def define(self, guid: str, document: Json | None) -> None:
        """Let a custom role be as `document` says, or no longer be; it has effect later."""
        self._change(self._definitions, guid.lower(), document)

    def assign(self, key: str, document: Json | None) -> None:
        """Let an assignment be as `document` says, or no longer be; it has effect later."""
        self._change(self._assignments, key, document)

    def settle_now(self) -> None:
        """Let everything have effect at once."""
        for memory in (self._definitions, self._assignments):
            for entry in memory.values():
                entry.effective = 0.0

    def definition(self, guid: str, subscription: str) -> Json | None:
        """Return a role by its GUID, custom or built in, as it is read."""
        if guid in BUILT_IN:
            return built_in_document(guid, subscription)
        found = self._definitions.get(guid.lower())
        return found.document if found is not None else None

    def definitions(self) -> list[Json]:
        """Return the custom roles."""
        return [entry.document for entry in self._definitions.values() if entry.document is not None]

    def assignments(self) -> list[Json]:
        """Return the assignments, as they are read."""
        return [entry.document for entry in self._assignments.values() if entry.document is not None]

    def allows(self, principal: Principal, check: Check) -> bool:
        """Return whether the assignments above (and at) the check's scope allow it."""
        if principal.kind == "User":
            return True
        scope = check.scope.lower()
        return any(
            _covers(properties["scope"].lower(), scope)
            and allows(self._permissions(properties["roleDefinitionId"]), check.action, data=check.data)
            and (not properties.get("condition") or condition_of(properties["condition"])(check))
            for properties in self._of(principal)
        )

    def permissions(self, principal: Principal, scope: str) -> list[Json]:
        """Return the permissions that somebody has at a scope, one entry for each of a role's."""
        if principal.kind == "User":
            return [{"actions": ["*"], "notActions": [], "dataActions": [], "notDataActions": []}]
        return [
            permission
            for properties in self._of(principal)
            if _covers(properties["scope"].lower(), scope.lower())
            for permission in self._permissions(properties["roleDefinitionId"])
        ]

    def require(self, principal: Principal, check: Check, subscription: str, agent: str) -> bool:
        """Return whether the call may go on, and remember the permission that it needed."""
        allowed = self.allows(principal, check)
        if principal.kind != "User":
            self._checked[Permission(subscription, principal.name, check.action, agent)] = allowed
        return allowed

    def checked(self) -> list[tuple[Permission, bool]]:
        """Return each permission that was ever needed, with whether it was allowed when it was last checked."""
        return list(self._checked.items())

    def forget(self) -> None:
        """Forget every role and assignment, and what was checked."""
        for memory in (self._definitions, self._assignments, self._checked):
            memory.clear()

    def _change(self, memory: dict[str, _Versioned], key: str, document: Json | None) -> None:
        before = memory.get(key)
        former = self._in_effect(before) if before is not None else None
        memory[key] = _Versioned(copy.deepcopy(document), former, self._clock.time() + self._lag)

    def _in_effect(self, entry: _Versioned) -> Json | None:
        late = self._clock.time() < entry.effective and not math.isinf(self._clock.speed)
        return entry.former if late else entry.document

    def _of(self, principal: Principal) -> Iterator[Json]:
        for entry in self._assignments.values():
            document = self._in_effect(entry)
            if document is not None and document["properties"]["principalId"] == principal.object_id:
                yield document["properties"]

    def _permissions(self, role: str) -> list[Json]:
        guid = role.rpartition("/")[2].lower()
        if guid in BUILT_IN:
            permissions: list[Json] = built_in_document(guid, "")["properties"]["permissions"]
            return permissions
        found = self._definitions.get(guid)
        document = self._in_effect(found) if found is not None else None
        return document["properties"]["permissions"] if document is not None else []


def denied(principal: Principal, check: Check) -> Refusal:
    """Return Resource Manager's refusal of a caller who lacks an action."""
    return Refusal(
        403,
        "AuthorizationFailed",
        f"The client '{principal.client_id}' with object id '{principal.object_id}' does not have authorization to"
        f" perform action '{check.action}' over scope '{check.scope}' or the scope is invalid. If access was recently"
        " granted, please refresh your credentials.",
    )


def _covers(granted: str, scope: str) -> bool:
    return granted == "/" or scope == granted.rstrip("/") or scope.startswith(granted.rstrip("/") + "/")
