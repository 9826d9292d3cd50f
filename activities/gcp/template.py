"""What a customer makes in their project to let the control plane in, derived from what the activities declare.

Three service accounts, which the control plane may impersonate, each with custom roles that hold the permissions of its
purpose and nothing else. The customer can take them away one by one. One document says it all; a script for `gcloud`, a
Terraform file and the document itself as JSON are forms of it.
"""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from activities.gcp.identity import control_account_id, control_role_id
from activities.gcp.roles import NODE_ROLE
from activities.needs import Need
from domain.account import AccountAccess
from domain.clouds import Purpose

APIS: Mapping[str, str] = {
    "certificatemanager": "certificatemanager",
    "cloudkms": "cloudkms",
    "compute": "compute",
    "container": "container",
    "dns": "dns",
    "iam": "iam",
    "logging": "logging",
    "monitoring": "monitoring",
    "resourcemanager": "cloudresourcemanager",
    "storage": "storage",
}
"""Which API a permission belongs to, keyed by how the permission begins."""
_ALSO = ("iamcredentials",)
"""APIs that are called beside those of permissions: for tokens."""

SET_PROJECT_POLICY = "resourcemanager.projects.setIamPolicy"
GRANTED_ROLES = (NODE_ROLE,)
"""The only roles that we grant in the project, and only to service accounts of nodes."""
TOKEN_CREATOR = "roles/iam.serviceAccountTokenCreator"  # noqa: S105 - the name of a role

_TITLES = {
    Purpose.OBSERVE: "byoc: look at the deployments and change nothing",
    Purpose.OPERATE: "byoc: make and change the deployments",
    Purpose.DELETE: "byoc: take deployments away",
}
_IN_BUCKETS = ("storage.googleapis.com/Bucket", "storage.googleapis.com/Object")
_IN_KEY_RINGS = (
    "cloudkms.googleapis.com/KeyRing",
    "cloudkms.googleapis.com/CryptoKey",
    "cloudkms.googleapis.com/CryptoKeyVersion",
)


_LOG_BUCKET = "logging.googleapis.com/LogBucket"
ON_LOG_BUCKETS = frozenset(f"logging.buckets.{verb}" for verb in ("delete", "get", "undelete", "update"))
"""What names one log bucket. These permissions have a role of their own: a condition may not be of many terms."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Condition(_Part):
    """When a role counts."""

    title: str
    expression: str


class LentAccount(_Part):
    """A service account that the control plane may impersonate."""

    account_id: str = Field(alias="accountId")
    display_name: str = Field(alias="displayName")
    impersonators: tuple[str, ...]


class CustomRole(_Part):
    """A role that holds exactly these permissions."""

    role_id: str = Field(alias="roleId")
    title: str
    permissions: tuple[str, ...] = Field(alias="includedPermissions")


class Binding(_Part):
    """Who has which role in the project."""

    role: str
    accounts: tuple[str, ...] = Field(alias="accountIds")
    condition: Condition


class Template(_Part):
    """All of it."""

    services: tuple[str, ...]
    accounts: tuple[LentAccount, ...] = Field(alias="serviceAccounts")
    roles: tuple[CustomRole, ...]
    bindings: tuple[Binding, ...]


def template(access: AccountAccess, regions: Sequence[str], principal: str, needs: Iterable[Need]) -> Template:
    """Return what the customer makes; nothing is left to fill in."""
    wanted: defaultdict[Purpose, set[str]] = defaultdict(set)
    for need in needs:
        wanted[need.purpose].add(need.action)
    purposes = [purpose for purpose in Purpose if wanted[purpose]]
    names = {action.partition(".")[0] for actions in wanted.values() for action in actions}
    apis = sorted({APIS[name] for name in names} | set(_ALSO))
    roles, bindings = [], []
    for purpose in purposes:
        account = control_account_id(access, purpose)
        for part, actions, condition in _parts(wanted[purpose], access, regions):
            role = control_role_id(access, purpose, part)
            roles.append(CustomRole(role_id=role, title=_TITLES[purpose], permissions=tuple(sorted(actions))))
            bindings.append(Binding(role=role, accounts=(account,), condition=condition))
    return Template(
        services=tuple(f"{api}.googleapis.com" for api in apis),
        accounts=tuple(
            LentAccount(
                account_id=control_account_id(access, purpose),
                display_name=_TITLES[purpose],
                impersonators=(f"serviceAccount:{principal}",),
            )
            for purpose in purposes
        ),
        roles=tuple(roles),
        bindings=tuple(bindings),
    )


def _parts(
    actions: set[str], access: AccountAccess, regions: Sequence[str]
) -> Iterable[tuple[str, set[str], Condition]]:
    """Yield the roles of one purpose: the name's last part, the permissions, and when they count."""
    yield "", actions - {SET_PROJECT_POLICY} - ON_LOG_BUCKETS, only_ours(access, regions)
    if on_log_buckets := actions & ON_LOG_BUCKETS:
        yield "logs", on_log_buckets, only_our_logs(access, regions)
    if SET_PROJECT_POLICY in actions:
        yield "grants", {SET_PROJECT_POLICY}, only_known_roles()


def only_ours(access: AccountAccess, regions: Sequence[str]) -> Condition:
    """Return the condition that keeps us out of buckets and keys that are not of a deployment.

    Other kinds of resources have no names that conditions could see, or none when they are made (IAM, "Resource
    types that accept conditions").
    """
    rings = " || ".join(
        f'resource.name.startsWith("projects/{access.cloud_account_id}/locations/{region}/keyRings/byoc-")'
        for region in sorted(regions)
    )
    buckets = 'resource.name.startsWith("projects/_/buckets/byoc-")'
    expression = f"(!({_is_one_of(_IN_BUCKETS)}) || {buckets}) && (!({_is_one_of(_IN_KEY_RINGS)}) || {rings})"
    return Condition(title="byoc: of storage and keys only what is byoc's", expression=expression)


def only_our_logs(access: AccountAccess, regions: Sequence[str]) -> Condition:
    """Return the condition that keeps us out of log buckets that are not of a deployment."""
    ours = " || ".join(
        f'resource.name.startsWith("projects/{access.cloud_account_id}/locations/{region}/buckets/byoc-")'
        for region in sorted(regions)
    )
    expression = f"!({_is_one_of([_LOG_BUCKET])}) || {ours}"
    return Condition(title="byoc: of log buckets only what is byoc's", expression=expression)


def only_known_roles() -> Condition:
    """Return the condition that keeps us from granting anything else than what nodes need."""
    roles = ", ".join(f"'{role}'" for role in GRANTED_ROLES)
    expression = f"api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([{roles}])"
    return Condition(title="byoc: grants only what nodes need", expression=expression)


def _is_one_of(types: Sequence[str]) -> str:
    return " || ".join(f'resource.type == "{name}"' for name in types)


def protections(access: AccountAccess, regions: Sequence[str], principal: str) -> tuple[str, ...]:
    """Return in sentences what protects the customer, for their security review."""
    return (
        f"Only {principal} may impersonate the three service accounts; no key of them exists.",
        "Their names hold a digest that is unique to this account of yours: nobody else can lead us into the project.",
        f"In Cloud Storage and Cloud KMS they reach what is named byoc-… alone, keys in {', '.join(sorted(regions))}.",
        "Of log buckets they change and delete only those that are named byoc-…, in the same regions.",
        f"In the project's policy they may grant {', '.join(GRANTED_ROLES)} and no other role.",
        f"Delete a service account of project {access.cloud_account_id}, and what it is for ends at once.",
    )


def as_json(document: Template) -> str:
    """Return the document itself."""
    return json.dumps(document.model_dump(by_alias=True, mode="json"), indent=2) + "\n"


def as_gcloud(document: Template, access: AccountAccess) -> str:
    """Return a shell script that makes everything, or brings it in line; to be read before it is run."""
    project = access.cloud_account_id
    lines = [
        "#!/usr/bin/env bash",
        f"# Lets byoc into the project {project}. Run it again to bring everything in line.",
        "set -euo pipefail",
        f"project={shlex.quote(project)}",
        "",
        f'gcloud services enable {" ".join(document.services)} --project "$project"',
    ]
    for account in document.accounts:
        email = f"{account.account_id}@{project}.iam.gserviceaccount.com"
        title = shlex.quote(account.display_name)
        lines += [
            "",
            f'gcloud iam service-accounts describe {email} --project "$project" >/dev/null 2>&1 ||',
            f'  gcloud iam service-accounts create {account.account_id} --project "$project" --display-name {title}',
            *(
                f'gcloud iam service-accounts add-iam-policy-binding {email} --project "$project"'
                f" --member {shlex.quote(member)} --role {TOKEN_CREATOR} --condition None >/dev/null"
                for member in account.impersonators
            ),
        ]
    for role in document.roles:
        given = f"--title {shlex.quote(role.title)} --stage GA --permissions {','.join(role.permissions)}"
        lines += [
            "",
            f'if gcloud iam roles describe {role.role_id} --project "$project" >/dev/null 2>&1; then',
            f'  gcloud iam roles update {role.role_id} --project "$project" --quiet {given} >/dev/null',
            "else",
            f'  gcloud iam roles create {role.role_id} --project "$project" --quiet {given} >/dev/null',
            "fi",
        ]
    for binding in document.bindings:
        for account_id in binding.accounts:
            member = f"serviceAccount:{account_id}@{project}.iam.gserviceaccount.com"
            condition = f"^#^title={binding.condition.title}#expression={binding.condition.expression}"
            granted = f"projects/{project}/roles/{binding.role} --condition {shlex.quote(condition)}"
            bind = f'gcloud projects add-iam-policy-binding "$project" --member {member} --role {granted} >/dev/null'
            lines += ["", bind]
    return "\n".join(lines) + "\n"


def as_terraform(document: Template, access: AccountAccess) -> str:
    """Return the same in Terraform's language, for `hashicorp/google`."""
    project = json.dumps(access.cloud_account_id)
    blocks = [
        _block(
            "google_project_service",
            api.partition(".")[0],
            {"project": project, "service": json.dumps(api), "disable_on_destroy": "false"},
        )
        for api in document.services
    ]
    for account in document.accounts:
        name = account.account_id.rpartition("-")[0].replace("-", "_")
        blocks.append(
            _block(
                "google_service_account",
                name,
                {
                    "project": project,
                    "account_id": json.dumps(account.account_id),
                    "display_name": json.dumps(account.display_name),
                },
            )
        )
        blocks.append(
            _block(
                "google_service_account_iam_binding",
                name,
                {
                    "service_account_id": f"google_service_account.{name}.name",
                    "role": json.dumps(TOKEN_CREATOR),
                    "members": json.dumps(list(account.impersonators)),
                },
            )
        )
    members = {
        account.account_id: account.account_id.rpartition("-")[0].replace("-", "_") for account in document.accounts
    }
    for role, binding in zip(document.roles, document.bindings, strict=True):
        blocks.append(
            _block(
                "google_project_iam_custom_role",
                role.role_id,
                {
                    "project": project,
                    "role_id": json.dumps(role.role_id),
                    "title": json.dumps(role.title),
                    "permissions": json.dumps(list(role.permissions), indent=4).replace("\n", "\n  "),
                },
            )
        )
        (account_id,) = binding.accounts
        condition = {
            "title": json.dumps(binding.condition.title),
            "expression": json.dumps(binding.condition.expression),
        }
        blocks.append(
            _block(
                "google_project_iam_member",
                role.role_id,
                {
                    "project": project,
                    "role": f"google_project_iam_custom_role.{role.role_id}.name",
                    "member": f"google_service_account.{members[account_id]}.member",
                },
                condition,
            )
        )
    return "\n".join(blocks)


def _block(kind: str, name: str, values: Mapping[str, str], condition: Mapping[str, str] | None = None) -> str:
    width = max(map(len, values))
    lines = [f'resource "{kind}" "{name}" {{', *(f"  {key.ljust(width)} = {value}" for key, value in values.items())]
    if condition:
        inner = max(map(len, condition))
        lines += ["  condition {", *(f"    {key.ljust(inner)} = {value}" for key, value in condition.items()), "  }"]
    return "\n".join([*lines, "}", ""])
