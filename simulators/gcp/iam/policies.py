"""Policies of projects and of single resources, and what they allow."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simulators.clock import Clock
from simulators.gcp.api import Check
from simulators.gcp.iam.conditions import condition_of
from simulators.gcp.iam.roles import Roles, etag_of
from simulators.gcp.refusals import Json, Refusal, invalid

VERSION_WITH_CONDITIONS = 3


@dataclass(frozen=True)
class Permission:
    """A permission that some principal needed in the course of its calls."""

    account: str
    """The project."""
    principal: str
    action: str
    agent: str = ""
    """The User-Agent of the call that needed it, which names the step."""


class Policies:
    """Every policy, keyed by the name of its resource (`projects/p`, `projects/_/buckets/b`, …)."""

    def __init__(self, clock: Clock, roles: Roles, lag: float) -> None:
        """`lag` is in simulated seconds: how long a changed policy keeps its former effect."""
        self._clock = clock
        self._roles = roles
        self._lag = lag
        self._policies: dict[str, Json] = {}
        self._former: dict[str, tuple[float, Json]] = {}
        self._checked: dict[Permission, bool] = {}

    def get(self, resource: str, version: int = VERSION_WITH_CONDITIONS) -> Json:
        """Return the policy as it is read; a resource without one has an empty policy.

        Who asks for a version without conditions sees the limited roles under names that cannot be written back.
        """
        policy = copy.deepcopy(self._policies.get(resource, {"version": 1, "etag": etag_of({})}))
        if version < VERSION_WITH_CONDITIONS:
            policy["version"] = 1
            for binding in policy.get("bindings") or ():
                if condition := binding.pop("condition", None):
                    mark = hashlib.sha256(condition["expression"].encode()).hexdigest()[:20]
                    binding["role"] += f"_withcond_{mark}"
        return policy

    def set(self, resource: str, policy: Mapping[str, Any]) -> tuple[Json, bool]:
        """Replace a policy; return it, and whether it differs from before. The caller has checked the members."""
        current = self.get(resource)
        if policy.get("etag") and policy["etag"] != current["etag"]:
            raise Refusal(
                "ABORTED",
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential"
                " backoff. The request's ETag does not match the current policy's ETag.",
            )
        bindings = [binding for binding in copy.deepcopy(list(policy.get("bindings") or ())) if binding.get("members")]
        self._validate(bindings, int(policy.get("version") or 0))
        version = VERSION_WITH_CONDITIONS if any("condition" in binding for binding in bindings) else 1
        changed = _grants(bindings) != _grants(current.get("bindings") or ())
        if changed:
            self._remember(resource)
            kept: Json = {"version": version, "bindings": bindings}
            self._policies[resource] = {**kept, "etag": etag_of({**kept, "at": self._clock.time()})}
        return self.get(resource), changed

    def _validate(self, bindings: Iterable[Json], version: int) -> None:
        for binding in bindings:
            if not self._roles.exists(binding["role"]):
                raise invalid(f"Role {binding['role']} is not supported for this resource.")
            if condition := binding.get("condition"):
                if version < VERSION_WITH_CONDITIONS:
                    raise invalid("Specified policy with conditions but version is not 3.")
                condition_of(condition["expression"])

    def modified_roles(self, resource: str, policy: Mapping[str, Any]) -> list[str]:
        """Return the roles whose grants a new policy would change."""
        before, after = _grants(self.get(resource).get("bindings") or ()), _grants(policy.get("bindings") or ())
        return sorted({role for role, _, _ in before ^ after})

    def allows(self, principal: str, check: Check, *resources: str) -> bool:
        """Return whether the policies of `resources` (and of what the check's resource lies in) allow it."""
        holders = dict.fromkeys((*resources, *_ancestors(check.resource)))
        return any(
            self._roles.grants(binding["role"], check.permission)
            and _is_member(principal, binding["members"])
            and self._holds(binding, check)
            for holder in holders
            for binding in self._in_effect(holder).get("bindings") or ()
        )

    def require(self, principal: str, check: Check, project: str, agent: str) -> bool:
        """Return whether the call may go on, and remember the permission that it needed."""
        allowed = self.allows(principal, check, f"projects/{project}")
        if not principal.startswith("user:owner@"):
            self._checked[Permission(project, principal, check.permission, agent)] = allowed
        return allowed

    def checked(self) -> list[tuple[Permission, bool]]:
        """Return each permission that was ever needed, with whether it was allowed when it was last checked."""
        return list(self._checked.items())

    def members_renamed(self, member: str, name: str) -> None:
        """Let every policy call a member by another name, as when a service account is deleted."""
        for policy in self._policies.values():
            for binding in policy.get("bindings") or ():
                binding["members"] = [name if listed == member else listed for listed in binding["members"]]

    def remove(self, resource: str) -> None:
        """Forget the policy of a resource that is gone, and of what was in it."""
        for memory in (self._policies, self._former):
            for name in [name for name in memory if name == resource or name.startswith(f"{resource}/")]:
                del memory[name]

    def settle_now(self, resource: str) -> None:
        """Let the policy have effect at once."""
        self._former.pop(resource, None)

    def forget(self) -> None:
        """Forget every policy and what was checked."""
        for memory in (self._policies, self._former, self._checked):
            memory.clear()

    def _holds(self, binding: Json, check: Check) -> bool:
        condition = binding.get("condition")
        return condition is None or condition_of(condition["expression"]).holds(check, self._clock.now())

    def _remember(self, resource: str) -> None:
        self._former[resource] = (self._clock.time() + self._lag, self._in_effect(resource))

    def _in_effect(self, resource: str) -> Json:
        former = self._former.get(resource)
        if former is not None and self._clock.time() < former[0] and not math.isinf(self._clock.speed):
            return former[1]
        return self._policies.get(resource, {})


def _ancestors(resource: str) -> Iterator[str]:
    """Yield the resource and everything that it lies in."""
    while resource:
        yield resource
        resource = resource.rpartition("/")[0]


def _grants(bindings: Iterable[Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    return {
        (binding["role"], member, (binding.get("condition") or {}).get("expression", ""))
        for binding in bindings
        for member in binding.get("members", ())
    }


def _is_member(principal: str, members: Iterable[str]) -> bool:
    return any(member in (principal, "allUsers", "allAuthenticatedUsers") for member in members)
