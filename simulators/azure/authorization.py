"""Microsoft.Authorization: role definitions, role assignments, locks, and the caller's own permissions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from simulators.azure.api import Reply, Request
from simulators.azure.cloud import Cloud
from simulators.azure.conditions import condition_of
from simulators.azure.ids import ResourceId, group_of, parsed
from simulators.azure.kinds import Kind
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, conflict, invalid
from simulators.azure.resource_manager import Route
from simulators.azure.roles import BUILT_IN, built_in_document

DEFINITION = "Microsoft.Authorization/roleDefinitions"
ASSIGNMENT = "Microsoft.Authorization/roleAssignments"
_PRINCIPAL = re.compile(r"(?:principalId eq |assignedTo\()'([^']+)'", re.IGNORECASE)
_ROLE_NAME = re.compile(r"roleName eq '([^']+)'", re.IGNORECASE)
_ROLE_TYPE = re.compile(r"type eq '([^']+)'", re.IGNORECASE)


@dataclass(frozen=True)
class RoleDefinition(Kind):
    """A role: its name is a GUID, its title is unique in the tenant."""

    type: str = DEFINITION
    regional: bool = False
    has_state: bool = False
    binds: bool = False
    changed: int = 201

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse a name that is no GUID, and a title that another role has."""
        properties = record.properties
        if not _is_guid(record.id.name):
            raise invalid(
                "InvalidRoleDefinitionId", f"The role definition ID '{record.id.name}' is not valid. It must be a GUID."
            )
        if record.id.name in BUILT_IN:
            raise Refusal(403, "RoleDefinitionUpdateNotAllowed", "A built-in role cannot be changed.")
        if not properties.get("assignableScopes"):
            raise invalid("RoleDefinitionScopesMissing", "At least one assignable scope is required.")
        for other in cloud.access.definitions():
            same = other["properties"]["roleName"] == properties["roleName"]
            if same and other["name"].lower() != record.id.name.lower():
                raise conflict(
                    "RoleDefinitionWithSameNameExists",
                    f"A custom role with the same name already exists in this directory: {properties['roleName']}.",
                )
        properties["type"] = "CustomRole"
        for permission in properties["permissions"]:
            for key in ("actions", "notActions", "dataActions", "notDataActions"):
                permission.setdefault(key, [])
        del request, before

    def finish(self, cloud: Cloud, record: Record) -> None:
        """Let the role be known to assignments."""
        cloud.access.define(record.id.name, record.document)

    def may_delete(self, cloud: Cloud, record: Record) -> None:
        """Refuse while the role is assigned."""
        for assignment in cloud.access.assignments():
            if assignment["properties"]["roleDefinitionId"].lower().endswith(record.id.name.lower()):
                raise invalid(
                    "RoleDefinitionHasAssignments",
                    "There are existing role assignments referencing role (code: RoleDefinitionHasAssignments).",
                )

    def removed(self, cloud: Cloud, record: Record) -> None:
        """Let the role grant nothing any more."""
        cloud.access.define(record.id.name, None)

    def default(self, _cloud: Cloud, resource: ResourceId) -> Json | None:
        """Return a built-in role."""
        subscription = resource.scope.split("/")[2] if resource.scope else ""
        return built_in_document(resource.name, subscription) if resource.name in BUILT_IN else None


@dataclass(frozen=True)
class RoleAssignment(Kind):
    """A role that a principal has at a scope; nothing of it can be changed later but its condition."""

    type: str = ASSIGNMENT
    regional: bool = False
    has_state: bool = False
    binds: bool = False
    changed: int = 201

    def attributes(self, request: Request, record: Record | None) -> Mapping[str, str]:
        """Return what conditions on delegation ask about."""
        source, where = (request.body, "Request") if record is None else (record.document, "Resource")
        properties = source.get("properties") or {}
        prefix = f"{where}:{ASSIGNMENT}"
        return {
            f"{prefix}:RoleDefinitionId": str(properties.get("roleDefinitionId", "")).rpartition("/")[2],
            f"{prefix}:PrincipalId": str(properties.get("principalId", "")),
            f"{prefix}:PrincipalType": str(properties.get("principalType") or "ServicePrincipal"),
        }

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse what Azure refuses: unknown roles and principals, and a second assignment of the same."""
        properties = record.properties
        if not _is_guid(record.id.name):
            raise invalid(
                "InvalidRoleAssignmentId", f"The role assignment ID '{record.id.name}' is not valid. It must be a GUID."
            )
        role = str(properties.get("roleDefinitionId", ""))
        if cloud.access.definition(role.rpartition("/")[2], request.subscription) is None:
            raise invalid(
                "RoleDefinitionDoesNotExist", f"The specified role definition with ID '{role}' does not exist."
            )
        self._principal(cloud, properties)
        self._scope(cloud, record.id)
        if condition := properties.get("condition"):
            condition_of(condition)
            if properties.get("conditionVersion") != "2.0":
                raise invalid("RoleAssignmentConditionVersionNotSupported", "The condition's version has to be 2.0.")
        properties["scope"] = record.id.scope
        if before is not None and _identity(before["properties"]) != _identity(properties):
            message = "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."
            raise invalid("RoleAssignmentUpdateNotPermitted", message)
        for other in cloud.access.assignments():
            if other["id"].lower() != record.id.key and _identity(other["properties"]) == _identity(properties):
                message = (
                    f"The role assignment already exists. The ID of the existing role assignment is {other['name']}."
                )
                raise conflict("RoleAssignmentExists", message)

    def finish(self, cloud: Cloud, record: Record) -> None:
        """Let the assignment have effect, after a while."""
        cloud.access.assign(record.id.key, record.document)

    def removed(self, cloud: Cloud, record: Record) -> None:
        """Let the assignment have no effect, after a while."""
        cloud.access.assign(record.id.key, None)

    @staticmethod
    def _principal(cloud: Cloud, properties: Json) -> None:
        principal = cloud.identities.find(str(properties.get("principalId", "")))
        # Who names the type vouches for a principal that is too new to be found.
        if principal is None or not (properties.get("principalType") or cloud.identities.is_seen(principal.object_id)):
            raise invalid(
                "PrincipalNotFound",
                f"Principal {properties.get('principalId')} does not exist in the directory. Check that you have the"
                " correct principal ID. If you are creating this principal and then immediately assigning a role, this"
                " error might be related to a replication delay. In this case, set the role assignment principalType"
                " property to a value, such as ServicePrincipal, User, or Group.",
            )
        given = properties.setdefault("principalType", principal.kind)
        if given != principal.kind:
            message = f"The PrincipalId '{principal.object_id}' has type '{principal.kind}', which is different."
            raise invalid("UnmatchedPrincipalType", message)

    @staticmethod
    def _scope(cloud: Cloud, resource: ResourceId) -> None:
        target = parsed(resource.scope)
        if target is not None and target.is_resource and cloud.records.get(target.key) is None:
            message = f"The Resource '{target.type}/{target.names}' under resource group '{group_of(target.scope)}'"
            raise Refusal(404, "ResourceNotFound", f"{message} was not found.")


LOCK = Kind("Microsoft.Authorization/locks", regional=False, has_state=False, binds=False)


class AuthorizationLists:
    """The lists of Microsoft.Authorization, which know more than what customers have made."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self) -> Iterator[Route]:
        """Yield what is served."""
        prefix = r"(?P<scope>.*)/providers/Microsoft\.Authorization/"
        for name, deed in (
            ("roleDefinitions", self._definitions),
            ("roleAssignments", self._assignments),
            ("permissions", self._permissions),
        ):
            action = f"Microsoft.Authorization/{name}/read"
            yield Route("GET", f"{prefix}{name}", "authorization", f"{name}/read", deed, action, "{scope}")

    def _definitions(self, request: Request, match: re.Match[str]) -> Reply:
        wanted, scope = request.query.get("$filter", ""), match["scope"]
        found = [entry for entry in self._cloud.access.definitions() if _is_assignable(entry, scope)]
        found += [built_in_document(guid, request.subscription) for guid in BUILT_IN]
        if name := _ROLE_NAME.search(wanted):
            found = [entry for entry in found if entry["properties"]["roleName"] == name[1]]
        if kind := _ROLE_TYPE.search(wanted):
            found = [entry for entry in found if entry["properties"]["type"].lower() == kind[1].lower()]
        return Reply({"value": found})

    def _assignments(self, request: Request, match: re.Match[str]) -> Reply:
        wanted = request.query.get("$filter", "")
        scope = match["scope"].lower()
        found = [entry for entry in self._cloud.access.assignments() if _related(entry["properties"]["scope"], scope)]
        if "atscope()" in wanted.lower():
            found = [entry for entry in found if f"{scope}/".startswith(f"{entry['properties']['scope'].lower()}/")]
        if principal := _PRINCIPAL.search(wanted):
            found = [entry for entry in found if entry["properties"]["principalId"] == principal[1]]
        return Reply({"value": found})

    def _permissions(self, request: Request, match: re.Match[str]) -> Reply:
        assert request.principal is not None
        found = self._cloud.access.permissions(request.principal, match["scope"])
        return Reply({"value": found})


def _is_assignable(definition: Json, scope: str) -> bool:
    """Return whether a role can be assigned at a scope."""
    scopes = definition["properties"]["assignableScopes"]
    return any(f"{scope.lower()}/".startswith(f"{each.lower().rstrip('/')}/") for each in scopes)


def _related(assigned: str, scope: str) -> bool:
    """Return whether an assignment is at, above or below a scope."""
    at = assigned.lower()
    return f"{scope}/".startswith(f"{at}/") or f"{at}/".startswith(f"{scope}/")


def _identity(properties: Json) -> tuple[str, str, str]:
    role = str(properties["roleDefinitionId"]).rpartition("/")[2].lower()
    return role, str(properties["principalId"]), str(properties["scope"]).lower()


def _is_guid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
