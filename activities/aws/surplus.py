"""What do our roles have in the account that the template does not give them? Their policies are read and compared.

A permission is surplus if no statement of the template covers it: its action, its resource, or a condition that the
template sets is wider than agreed. Narrower is never surplus, so a customer may tighten what they like.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

from botocore.exceptions import ClientError

from activities.aws.connection import AwsClient
from activities.aws.errors import classify, code_of
from activities.aws.existence import if_exists
from activities.aws.identity import PATH, boundary_arn, control_role_arn, control_role_name
from activities.aws.policy import Condition, Statement, boundary_statements, denials, statements
from activities.needs import Need
from domain.account import AccountAccess, SurplusPermission
from domain.clouds import Purpose
from domain.failure import FailureClass

LOOKING = (
    "iam:GetRole",
    "iam:ListAttachedRolePolicies",
    "iam:ListRolePolicies",
    "iam:GetRolePolicy",
    "iam:GetPolicy",
    "iam:GetPolicyVersion",
)
"""What reading the policies of our own roles calls."""

WHOLE_POLICY = "*"
"""Stands for whatever a policy grants that we may not read."""

_TRUST = "trust policy"
_ANYBODY_MAY = frozenset({"sts:getcalleridentity"})
"""Actions that need no permission."""

_ENTERING = frozenset({"sts:AssumeRole", "sts:TagSession"})

Document = Mapping[str, Any]
Found = TypeVar("Found")


@dataclass(frozen=True)
class _Allowance:
    """One Allow or Deny of a policy that somebody wrote, in the form in which the template's statements are."""

    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: frozenset[Condition]


def surplus_permissions(
    iam: AwsClient, access: AccountAccess, regions: Sequence[str], needs: Iterable[Need], principal: str
) -> tuple[SurplusPermission, ...]:
    """Return what the three roles, their trust and the permissions boundary allow beyond the template, each once.

    `principal` is whom the roles are to trust (empty: their trust is not looked at). What we may not read is left out,
    but for a policy that the template does not attach: that is surplus as a whole. A role that does not exist has
    nothing.

    Raises:
        ClientError: AWS could not answer.
    """
    needs = tuple(needs)
    found: dict[SurplusPermission, None] = {}
    for purpose in Purpose:
        wanted = [*denials(access), *statements(needs, access, regions, purpose)]
        found |= dict.fromkeys(_surplus_of_role(iam, access, purpose, wanted))
        if principal:
            found |= dict.fromkeys(_surplus_of_trust(iam, access, purpose, principal))
    found |= dict.fromkeys(_surplus_of_boundary(iam, access, regions))
    return tuple(found)


def _surplus_of_role(
    iam: AwsClient, access: AccountAccess, purpose: Purpose, wanted: Sequence[Statement]
) -> Iterator[SurplusPermission]:
    role = control_role_name(access, purpose)
    policies = _policies(iam, role)
    if policies is None:
        return
    present: list[_Allowance] = []
    complete = True
    for name, document in policies.items():
        if document is not None:
            allowances = tuple(_read(document))
            present += allowances
            yield from _beyond(allowances, wanted, purpose, name)
        elif f":policy{PATH}{role}-" in name:
            # One of the template's own: what it grants cannot be told, and that reading it is missing is told.
            complete = False
        else:
            because = "the template does not attach this policy, and we may not read it"
            yield SurplusPermission(purpose=purpose, action=WHOLE_POLICY, granted_by=name, because=because)
    if complete:
        yield from _lifted_denials(present, wanted, purpose, role)


def _beyond(
    allowances: Iterable[_Allowance], wanted: Iterable[Statement], purpose: Purpose, granted_by: str
) -> Iterator[SurplusPermission]:
    """Yield each action of the policy that `wanted` does not cover, with the resources on which it does not."""
    allowed = [statement for statement in wanted if statement.effect == "Allow"]
    for allowance in allowances:
        if allowance.effect != "Allow":
            continue
        for action in allowance.actions:
            if action.lower() in _ANYBODY_MAY:
                continue
            about = [each for each in allowed if any(_covers(pattern, action) for pattern in each.actions)]
            beyond = [
                resource
                for resource in allowance.resources
                if not any(
                    _all_met(each, allowance) and any(_covers(pattern, resource) for pattern in each.scope.resources)
                    for each in about
                )
            ]
            if beyond:
                yield SurplusPermission(
                    purpose=purpose,
                    action=action,
                    resource=", ".join(beyond),
                    granted_by=granted_by,
                    because=_why(about, allowance, beyond),
                )


def _why(about: Sequence[Statement], allowance: _Allowance, beyond: Sequence[str]) -> str:
    """Return what is wider than in the template: the action, the resource, or a condition, which is named."""
    if not about:
        return "no step declares it"
    same = [
        each
        for each in about
        if all(any(_covers(pattern, resource) for pattern in each.scope.resources) for resource in beyond)
    ]
    if not same:
        return "the template limits it to other resources"
    closest = min(same, key=lambda each: len(_unmet(each, allowance)))
    return f"the template's condition is gone: {', '.join(str(each) for each in _unmet(closest, allowance))}"


def _lifted_denials(
    present: Iterable[_Allowance], wanted: Iterable[Statement], purpose: Purpose, role: str
) -> Iterator[SurplusPermission]:
    """Yield what the template denies, whatever else allows it, and the role's policies deny no more."""
    denied = [allowance for allowance in present if allowance.effect == "Deny"]
    for statement in wanted:
        if statement.effect != "Deny":
            continue
        lifted = [
            action
            for action in statement.actions
            if not any(
                any(_covers(pattern, action) for pattern in each.actions)
                and all(
                    any(_covers(pattern, resource) for pattern in each.resources)
                    for resource in statement.scope.resources
                )
                and each.conditions <= frozenset(statement.scope.conditions)
                for each in denied
            )
        ]
        if lifted:
            yield SurplusPermission(
                purpose=purpose,
                action=", ".join(lifted),
                resource=", ".join(statement.scope.resources),
                granted_by=role,
                because="the template denies it, and the denial is gone",
            )


def _surplus_of_trust(
    iam: AwsClient, access: AccountAccess, purpose: Purpose, principal: str
) -> Iterator[SurplusPermission]:
    """Yield whom the role lets in beside us, or lets in without our external id."""
    role = _unless_refused(lambda: if_exists(iam.get_role, RoleName=control_role_name(access, purpose)))
    if role is None:
        return
    ours = Condition("StringEquals", "sts:ExternalId", (access.external_id,))
    for raw in _listed(_document(role["Role"]["AssumeRolePolicyDocument"]).get("Statement")):
        if raw.get("Effect") != "Allow":
            continue
        named = raw.get("Principal", raw.get("NotPrincipal"))
        because = ""
        if raw.get("Principal") not in ({"AWS": principal}, {"AWS": [principal]}):
            because = f"it trusts {json.dumps(named)}, not {principal} alone"
        elif ours not in _conditions(raw):
            because = f"the template's condition is gone: {ours}"
        for action in _listed(raw.get("Action")) if because else ():
            yield SurplusPermission(
                purpose=purpose,
                action=action,
                resource=control_role_arn(access, purpose),
                granted_by=_TRUST,
                because=because,
            )
        for action in () if because else set(_listed(raw.get("Action"))) - _ENTERING:
            yield SurplusPermission(
                purpose=purpose,
                action=action,
                resource=control_role_arn(access, purpose),
                granted_by=_TRUST,
                because="the template does not let us do this",
            )


def _surplus_of_boundary(iam: AwsClient, access: AccountAccess, regions: Sequence[str]) -> Iterator[SurplusPermission]:
    """Yield what the boundary of the roles that we make allows beyond the template's."""
    document = _managed(iam, boundary_arn(access))
    if document is not None:
        wanted = boundary_statements(access, regions)
        yield from _beyond(_read(document), wanted, Purpose.OPERATE, boundary_arn(access))


def _policies(iam: AwsClient, role: str) -> dict[str, Document | None] | None:
    """Return the documents of a role's policies, keyed by ARN or, where inline, by name; None for an unreadable one.

    None in place of all of them, if there is no such role or we may not list them.
    """
    names = _unless_refused(lambda: _pages(iam, "list_role_policies", "PolicyNames", role))
    attached = _unless_refused(lambda: _pages(iam, "list_attached_role_policies", "AttachedPolicies", role))
    if names is None and attached is None:
        return None
    found: dict[str, Document | None] = {}
    for name in names or ():
        reply = _unless_refused(partial(iam.get_role_policy, RoleName=role, PolicyName=name))
        found[f"inline policy {name}"] = _document(reply["PolicyDocument"]) if reply else None
    for policy in attached or ():
        found[policy["PolicyArn"]] = _managed(iam, policy["PolicyArn"])
    return found


def _pages(iam: AwsClient, operation: str, member: str, role: str) -> list[Any]:
    return [entry for page in iam.get_paginator(operation).paginate(RoleName=role) for entry in page[member]]


def _managed(iam: AwsClient, arn: str) -> Document | None:
    """Return the document of a managed policy as it is in force; None if there is none, or we may not read it."""

    def read() -> Document:
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        return _document(iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"])

    return _unless_refused(read)


def _unless_refused(look: Callable[[], Found]) -> Found | None:
    """Return what `look` finds; None if there is nothing there, or the customer lets us not look."""
    try:
        return look()
    except ClientError as error:
        if code_of(error) == "NoSuchEntity" or classify(code_of(error)) is FailureClass.PERMISSION:
            return None
        raise


def _document(given: str | Document) -> Document:
    """Return a policy as IAM hands it out: the SDK decodes some, and leaves others as they travel."""
    document: Document = json.loads(unquote(given)) if isinstance(given, str) else given
    return document


def _read(document: Document) -> Iterator[_Allowance]:
    for raw in _listed(document.get("Statement")):
        actions = _listed(raw.get("Action")) or [f"everything but {each}" for each in _listed(raw.get("NotAction"))]
        resources = _listed(raw.get("Resource")) or [
            f"everything but {each}" for each in _listed(raw.get("NotResource"))
        ]
        yield _Allowance(raw.get("Effect", ""), tuple(actions), tuple(resources), _conditions(raw))


def _conditions(raw: Mapping[str, Any]) -> frozenset[Condition]:
    return frozenset(
        Condition(operator, key, tuple(str(value) for value in _listed(values)))
        for operator, block in (raw.get("Condition") or {}).items()
        for key, values in block.items()
    )


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - IAM's JSON: one thing, or a list of them
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _covers(pattern: str, asked: str) -> bool:
    """Return whether everything that `asked` matches, itself perhaps a pattern, is matched by `pattern`."""
    return fnmatchcase(asked.lower(), pattern.lower().replace("[", "[[]"))


def _all_met(statement: Statement, allowance: _Allowance) -> bool:
    return not _unmet(statement, allowance)


def _unmet(statement: Statement, allowance: _Allowance) -> list[Condition]:
    """Return the template's conditions that the policy does not set, or sets to further values."""
    return [
        wanted
        for wanted in statement.scope.conditions
        if not any(
            given.key.lower() == wanted.key.lower()
            and given.operator in (wanted.operator, _EXACTLY.get(wanted.operator))
            and given.values
            and all(any(_covers_value(wanted, value, each) for each in wanted.values) for value in given.values)
            for given in allowance.conditions
        )
    ]


_EXACTLY = {"StringLike": "StringEquals", "ArnLike": "ArnEquals"}
"""Keyed by an operator that compares patterns: the stricter one, which a customer may have set instead."""


def _covers_value(wanted: Condition, value: str, agreed: str) -> bool:
    return fnmatchcase(value, agreed.replace("[", "[[]")) if wanted.operator in _EXACTLY else value == agreed
