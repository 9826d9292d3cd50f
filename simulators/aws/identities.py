"""Roles as services see them: whether one may be assumed on somebody's behalf, and what it allows."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ministack.core import iam_evaluator
from ministack.services import iam, tagging

from simulators.aws import authorization, scope
from simulators.aws.refusals import Refusal

Record = dict[str, Any]

_service_linked_roles: set[tuple[str, str]] = set()
"""(account, service) of each role that a service has made for itself. Nobody sees them: they stay in the account."""


def role_of(arn: str) -> Record | None:
    """Return the record of the role with exactly this ARN (its path included), or None."""
    parts = arn.split(":")
    if len(parts) != 6 or not parts[5].startswith("role/"):
        return None
    record: Record | None = iam._roles.get_scoped(parts[4], None, parts[5].rpartition("/")[2])
    return record if record is not None and record["Arn"] == arn else None


def service_may_assume(
    role: Record, service: str, *, source_arn: str = "", actions: tuple[str, ...] = ("sts:AssumeRole",)
) -> bool:
    """Return whether the role's trust policy lets `service` do all `actions` on behalf of `source_arn`."""
    here = scope.current()
    document = role.get("AssumeRolePolicyDocument")
    statements = (json.loads(document) if isinstance(document, str) else document or {}).get("Statement", ())
    statements = [statements] if isinstance(statements, dict) else statements
    # A service that acts for nobody in particular (EC2 for an instance) sends no source.
    source = {"aws:sourceaccount": here.account, "aws:sourcearn": source_arn} if source_arn else {}

    def decided(action: str, effect: str) -> bool:
        context = iam_evaluator.EvalContext(
            principal_arn=service, principal_type="Service", principal_account=here.account, action=action,
            resource_arn=role["Arn"], region=here.region, service_context=source,
        )  # fmt: skip
        return any(
            statement.get("Effect") == effect
            and iam_evaluator._action_matches(action, _listed(statement, "Action"), _listed(statement, "NotAction"))
            and iam_evaluator._service_principal_matches(statement.get("Principal"), service)
            and iam_evaluator._conditions_met(statement.get("Condition") or {}, context)
            for statement in statements
        )

    return all(decided(action, "Allow") and not decided(action, "Deny") for action in actions)


def _listed(statement: Mapping[str, Any], key: str) -> list[str]:
    value = statement.get(key) or []
    return [value] if isinstance(value, str) else list(value)


def role_allows(
    role: Record, action: str, resource: str, context: Mapping[str, Any] | None = None, *, session: str = "session"
) -> bool:
    """Return whether policies, boundary and the resource's own policy let a session of the role do `action`.

    `context` holds condition keys beyond the global ones; the tags of `resource` are known.
    """
    here = scope.current()
    name, account = role["RoleName"], role["Arn"].split(":")[4]
    evaluation = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:sts::{account}:assumed-role/{name}/{session}", principal_type="AssumedRole",
        principal_account=account, action=action, resource_arn=resource, region=here.region,
        secure_transport=True, service_context=_condition_keys(resource, context),
    )  # fmt: skip
    policies = iam_evaluator._gather_role_policies(name, account)
    limits = iam_evaluator._permissions_boundary(iam._roles, name, account)
    result = iam_evaluator.evaluate(evaluation, policies, *limits)
    service = action.partition(":")[0]
    if own_policy := iam_evaluator._resource_policy(service, resource):
        result = iam_evaluator.combine_resource_policy(
            result, evaluation, *own_policy, required=service in iam_evaluator._POLICY_REQUIRED, limits=limits
        )
    return bool(result.decision == "Allow")


def caller_allows(action: str, resource: str, context: Mapping[str, Any] | None = None) -> bool:
    """Return whether the caller of the current request may do `action`, which a service does on the caller's behalf.

    `context` holds condition keys beyond the global ones; the tags of `resource` are known.
    """
    request = authorization.current_request.get()
    if request is None:
        return True
    here = scope.current()
    principal = iam_evaluator.resolve_principal(request.access_key, here.account)
    if isinstance(principal, iam_evaluator.AuthError):
        return False
    if principal.policies is None:
        return True
    evaluation = iam_evaluator.EvalContext(
        principal_arn=principal.arn, principal_type=principal.type, principal_account=principal.account, action=action,
        resource_arn=resource, region=here.region, service_context=_condition_keys(resource, context),
        principal_keys=principal.keys,
    )  # fmt: skip
    allowed = bool(iam_evaluator.evaluate(evaluation, principal.policies, *principal.limits).decision == "Allow")
    if authorizer := authorization.current_authorizer.get():
        authorizer.note(request, action, allowed=allowed)
    return allowed


def require_caller(action: str, resource: str, context: Mapping[str, Any] | None = None) -> None:
    """Refuse the current request if its caller may not do `action`, which a service does on the caller's behalf."""
    if not caller_allows(action, resource, context):
        request = authorization.current_request.get()
        principal = request.principal if request is not None else ""
        message = authorization.denial_message(principal, action, resource, service="")
        raise Refusal("AccessDeniedException", message, 403)


def require_service_linked_role(service: str) -> None:
    """Let `service` have its own role in the account; the first caller that makes one necessary must be allowed to."""
    account = scope.current().account
    if (account, service) not in _service_linked_roles:
        arn = f"arn:aws:iam::{account}:role/aws-service-role/{service}/AWSServiceRole"
        require_caller("iam:CreateServiceLinkedRole", arn, {"iam:AWSServiceName": service})
        _service_linked_roles.add((account, service))


def forget() -> None:
    """Forget the roles that services have made for themselves."""
    _service_linked_roles.clear()


def _condition_keys(resource: str, context: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the tags of `resource` and the given keys, spelled as the evaluator looks them up."""
    keys = {f"aws:resourcetag/{key}".lower(): value for key, value in (tagging.resource_tags(resource) or {}).items()}
    return {**keys, **{key.lower(): value for key, value in (context or {}).items()}}


def has_managed_policy(role: Record, name: str) -> bool:
    """Return whether an AWS-managed policy of that name is attached to the role."""
    return any(arn.rpartition("/")[2] == name for arn in role.get("AttachedPolicies", ()))
