"""`iam:SimulatePrincipalPolicy`: would this principal be allowed?

ministack's own answer knows neither paths, nor boundaries, nor context entries, nor more than one resource.
Source: the API reference of SimulatePrincipalPolicy and of EvaluationResult.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region

from simulators.aws import emulator

_DECISIONS = {"Allow": "allowed", "Deny": "explicitDeny", "ImplicitDeny": "implicitDeny"}

Parameters = Mapping[str, list[str]]
Policies = list[list[Any]]


def install() -> None:
    """Let this module answer SimulatePrincipalPolicy."""
    emulator.handle_iam_action("SimulatePrincipalPolicy", _simulate)


def _simulate(parameters: Parameters) -> emulator.RawReply:
    source = _one(parameters, "PolicySourceArn")
    found = emulator.policies_of(source) if source.startswith("arn:aws:iam:") else None
    if found is None:
        return emulator.iam_error(404, "NoSuchEntity", f"The principal {source} does not exist.")
    policies, boundary = found
    context = dict(_context(parameters))
    results = "".join(
        _result(source, action, resource, context=context, policies=policies, boundary=boundary)
        for action in _many(parameters, "ActionNames")
        for resource in _many(parameters, "ResourceArns") or ["*"]
    )
    return emulator.iam_reply(
        "SimulatePrincipalPolicy",
        f"<EvaluationResults>{results}</EvaluationResults><IsTruncated>false</IsTruncated>",
    )


def _result(
    source: str, action: str, resource: str, *, context: dict[str, Any], policies: Policies, boundary: Policies | None
) -> str:
    """Return one EvaluationResult as XML; the decision is that of the policies within the boundary."""
    asked = iam_evaluator.EvalContext(
        principal_arn=source,
        principal_type="AssumedRole" if ":role/" in source else "User",
        principal_account=get_account_id(),
        action=action,
        resource_arn=resource,
        region=str(context.get("aws:requestedregion") or get_region()),
        service_context={"aws:tagkeys": None, **context},
    )
    limits = [] if boundary is None else [boundary]
    decision = _DECISIONS[iam_evaluator.evaluate(asked, policies, *limits).decision]
    missing = "".join(f"<member>{escape(key)}</member>" for key in sorted(_missing(policies, context)))
    within = ""
    if boundary is not None:
        allowed = str(iam_evaluator.evaluate(asked, boundary).decision == "Allow").lower()
        within = (
            "<PermissionsBoundaryDecisionDetail>"
            f"<AllowedByPermissionsBoundary>{allowed}</AllowedByPermissionsBoundary>"
            "</PermissionsBoundaryDecisionDetail>"
        )
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName><EvalDecision>{decision}</EvalDecision>"
        f"<MatchedStatements/><MissingContextValues>{missing}</MissingContextValues>{within}</member>"
    )


def _missing(policies: Policies, context: Mapping[str, Any]) -> set[str]:
    """Return the condition keys that the policies ask for and the simulation was not given."""
    return {
        key
        for statements in policies
        for statement in statements
        for block in statement.conditions.values()
        for key in block
        if key.lower() not in context
    }


def _context(parameters: Parameters) -> Iterator[tuple[str, Any]]:
    """Yield the given condition keys, in lower case, with one value or a list of them."""
    position = 1
    while name := _one(parameters, f"ContextEntries.member.{position}.ContextKeyName"):
        prefix = f"ContextEntries.member.{position}"
        values = _many(parameters, f"{prefix}.ContextKeyValues")
        is_list = _one(parameters, f"{prefix}.ContextKeyType").endswith("List")
        yield name.lower(), values if is_list else next(iter(values), None)
        position += 1


def _one(parameters: Parameters, name: str) -> str:
    value = parameters.get(name) or ""
    return value if isinstance(value, str) else value[0]


def _many(parameters: Parameters, name: str) -> list[str]:
    values: list[str] = []
    while value := _one(parameters, f"{name}.member.{len(values) + 1}"):
        values.append(value)
    return values
