"""The IAM API: service accounts and custom roles."""

from __future__ import annotations

from collections.abc import Iterator

from simulators.gcp.api import Check, Checks, Method, Request, Rpc, RpcService, needs, page_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.iam.policy_methods import PolicyMethods
from simulators.gcp.iam.roles import PREDEFINED
from simulators.gcp.refusals import Json, invalid

_INTERFACE = "google.iam.admin.v1.IAM"
_PACKAGE = "google.iam.admin.v1"
_EMPTY = "google.protobuf.Empty"
_TYPE = "iam.googleapis.com/ServiceAccount"


class IamService(RpcService):
    """Fulfils `google.iam.admin.v1.IAM`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def rpcs(self) -> Iterator[Rpc]:
        """Return the methods."""
        account, role = f"{_PACKAGE}.ServiceAccount", f"{_PACKAGE}.Role"
        for name, deed, response, mutating, checks in (
            ("CreateServiceAccount", self._create_account, account, True, needs("iam.serviceAccounts.create")),
            ("GetServiceAccount", self._get_account, account, False, self._needs("iam.serviceAccounts.get")),
            (
                "ListServiceAccounts",
                self._list_accounts,
                f"{_PACKAGE}.ListServiceAccountsResponse",
                False,
                needs("iam.serviceAccounts.list"),
            ),
            ("PatchServiceAccount", self._patch_account, account, True, self._needs_of_patch),
            ("DeleteServiceAccount", self._delete_account, _EMPTY, True, self._needs("iam.serviceAccounts.delete")),
            ("EnableServiceAccount", self._enable_account, _EMPTY, True, self._needs("iam.serviceAccounts.enable")),
            ("DisableServiceAccount", self._disable_account, _EMPTY, True, self._needs("iam.serviceAccounts.disable")),
            ("CreateRole", self._create_role, role, True, needs("iam.roles.create", "parent")),
            ("GetRole", self._get_role, role, False, _needs_of_role),
            ("ListRoles", self._list_roles, f"{_PACKAGE}.ListRolesResponse", False, needs("iam.roles.list", "parent")),
            ("UpdateRole", self._update_role, role, True, needs("iam.roles.update")),
            ("DeleteRole", self._delete_role, role, True, needs("iam.roles.delete")),
            ("UndeleteRole", self._undelete_role, role, True, needs("iam.roles.undelete")),
        ):
            method = Method("iam", name, deed, mutating, checks)
            yield Rpc(_INTERFACE, name, f"{_PACKAGE}.{name}Request", response, method)
        policies = PolicyMethods(self._cloud, "iam", _policy_kind, resource_of=self._resource)
        yield from policies.rpcs(_INTERFACE)

    def _resource(self, name: str) -> str:
        """Return the full name of a service account that may be called `projects/-/serviceAccounts/…`."""
        account = self._cloud.identities.find(name.rpartition("/")[2])
        return str(account["name"]) if account is not None else name

    def _needs(self, permission: str) -> Checks:
        def checks(request: Request, /) -> Iterator[Check]:
            yield Check(permission, self._resource(request.parameters.get("name", "")), _TYPE)

        return checks

    def _needs_of_patch(self, request: Request, /) -> Iterator[Check]:
        name = (request.parameters.get("serviceAccount") or {}).get("name", "")
        yield Check("iam.serviceAccounts.update", self._resource(name), _TYPE)

    def _create_account(self, request: Request) -> Json:
        described = request.parameters.get("serviceAccount") or {}
        return self._cloud.identities.add_account(request.project, request.parameters.get("accountId", ""), described)

    def _get_account(self, request: Request) -> Json:
        return self._cloud.identities.account(request.parameters["name"])

    def _list_accounts(self, request: Request) -> Json:
        return page_of(self._cloud.identities.accounts(request.project), "accounts", request.parameters)

    def _patch_account(self, request: Request) -> Json:
        wanted = request.parameters.get("serviceAccount") or {}
        account = self._cloud.identities.account(wanted.get("name", ""))
        fields = [field for field in request.parameters.get("updateMask", "").split(",") if field]
        if set(fields) - {"displayName", "description"}:
            raise invalid(f"Only display_name and description can be patched, not {', '.join(fields)}.")
        changes = {field: wanted.get(field, "") for field in fields}
        request.had_effect = any(account[field] != value for field, value in changes.items())
        account.update(changes)
        return account

    def _delete_account(self, request: Request) -> Json:
        account = self._cloud.identities.account(request.parameters["name"])
        email = account["email"]
        self._cloud.identities.remove_account(email)
        self._cloud.policies.remove(account["name"])
        self._cloud.policies.members_renamed(
            f"serviceAccount:{email}", f"deleted:serviceAccount:{email}?uid={account['uniqueId']}"
        )
        return {}

    def _enable_account(self, request: Request) -> Json:
        account = self._cloud.identities.account(request.parameters["name"])
        request.had_effect = account.pop("disabled", False)
        return {}

    def _disable_account(self, request: Request) -> Json:
        account = self._cloud.identities.account(request.parameters["name"])
        request.had_effect = not account.get("disabled", False)
        account["disabled"] = True
        return {}

    def _create_role(self, request: Request) -> Json:
        given = request.parameters
        return self._cloud.roles.create(request.project, given.get("roleId", ""), given.get("role") or {})

    def _get_role(self, request: Request) -> Json:
        return self._cloud.roles.get(request.parameters["name"])

    def _list_roles(self, request: Request) -> Json:
        parent = request.parameters.get("parent", "")
        roles = (
            self._cloud.roles.of(request.project) if parent else [self._cloud.roles.get(name) for name in PREDEFINED]
        )
        if not request.parameters.get("showDeleted"):
            roles = [role for role in roles if not role.get("deleted")]
        if request.parameters.get("view") != "FULL":
            roles = [{key: role[key] for key in role if key != "includedPermissions"} for role in roles]
        return page_of(roles, "roles", request.parameters)

    def _update_role(self, request: Request) -> Json:
        given = request.parameters
        role, request.had_effect = self._cloud.roles.update(
            given["name"], given.get("role") or {}, given.get("updateMask", "")
        )
        return role

    def _delete_role(self, request: Request) -> Json:
        return self._cloud.roles.delete(request.parameters["name"])

    def _undelete_role(self, request: Request) -> Json:
        return self._cloud.roles.undelete(request.parameters["name"])

    def forget(self) -> None:
        """Forget nothing: the cloud keeps the identities."""


def _policy_kind(_name: str) -> tuple[str, str]:
    return "iam.serviceAccounts", _TYPE


def _needs_of_role(request: Request, /) -> Iterator[Check]:
    """Anybody may read what Google predefines."""
    name = request.parameters.get("name", "")
    if name not in PREDEFINED:
        yield Check("iam.roles.get", name)
