"""The three methods on policies that every API with resource policies has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simulators.gcp.api import Check, Method, Request, Rpc, needs_nothing
from simulators.gcp.cloud import Cloud
from simulators.gcp.refusals import Json

_PACKAGE = "google.iam.v1"
MODIFIED_GRANTS = "iam.googleapis.com/modifiedGrantsByRole"
"""The attribute by which conditions limit the roles that may be granted."""


def _itself(name: str) -> str:
    return name


class PolicyMethods:
    """GetIamPolicy, SetIamPolicy and TestIamPermissions of one kind of resource."""

    def __init__(
        self,
        cloud: Cloud,
        service: str,
        kind_of: Callable[[str], tuple[str, str]],
        *,
        resource_of: Callable[[str], str] = _itself,
        must_exist: Callable[[str], object] = _itself,
    ) -> None:
        """Serve `service`.

        `kind_of` returns prefix of permissions (`cloudkms.cryptoKeys`) and type of a resource; `resource_of` its full
        name; `must_exist` refuses what there is not.
        """
        self._cloud = cloud
        self._service = service
        self._kind_of = kind_of
        self._resource_of = resource_of
        self._must_exist = must_exist

    def rpcs(self, interface: str) -> Iterator[Rpc]:
        """Return the methods as `interface` has them."""
        for name, deed, response, mutating, checks in (
            ("GetIamPolicy", self.get, "Policy", False, self._needs_to_get),
            ("SetIamPolicy", self.set, "Policy", True, self._needs_to_set),
            ("TestIamPermissions", self.test, "TestIamPermissionsResponse", False, needs_nothing),
        ):
            method = Method(self._service, name, deed, mutating, checks)
            yield Rpc(interface, name, f"{_PACKAGE}.{name}Request", f"{_PACKAGE}.{response}", method)

    def get(self, request: Request) -> Json:
        """Return the policy."""
        resource = self._resource(request)
        self._must_exist(resource)
        options = request.parameters.get("options") or {}
        return self._cloud.policies.get(resource, int(options.get("requestedPolicyVersion", 0)))

    def set(self, request: Request) -> Json:
        """Replace the policy."""
        resource, policy = self._resource(request), request.parameters.get("policy") or {}
        self._must_exist(resource)
        self._cloud.identities.require_members(
            member for binding in policy.get("bindings") or () for member in binding.get("members") or ()
        )
        kept, request.had_effect = self._cloud.policies.set(resource, policy)
        return kept

    def test(self, request: Request) -> Json:
        """Return which of the permissions the caller has."""
        resource = self._resource(request)
        _, type_ = self._kind_of(resource)
        asked = request.parameters.get("permissions") or []
        held = [
            permission
            for permission in asked
            if self._cloud.allows(request.principal, Check(permission, resource, type_), request.project)
        ]
        return {"permissions": held} if held else {}

    def _resource(self, request: Request) -> str:
        return self._resource_of(str(request.parameters.get("resource", "")))

    def _needs_to_get(self, request: Request, /) -> Iterator[Check]:
        resource = self._resource(request)
        permissions, type_ = self._kind_of(resource)
        yield Check(f"{permissions}.getIamPolicy", resource, type_)

    def _needs_to_set(self, request: Request, /) -> Iterator[Check]:
        resource, policy = self._resource(request), request.parameters.get("policy") or {}
        permissions, type_ = self._kind_of(resource)
        modified = {MODIFIED_GRANTS: self._cloud.policies.modified_roles(resource, policy)}
        yield Check(f"{permissions}.setIamPolicy", resource, type_, modified)
