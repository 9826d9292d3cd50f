"""Does the account still grant what the template asked for? IAM itself is asked, statement by statement."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from botocore.exceptions import ClientError

from activities.aws.connection import AwsClient, AwsConnections
from activities.aws.errors import classify, code_of
from activities.aws.identity import control_role_arn
from activities.aws.policy import Condition, Scope, Statement, statements, with_dependents
from activities.calling import Place
from activities.needs import Need
from domain.account import AccountAccess, MissingPermission
from domain.clouds import Purpose
from domain.failure import FailureClass

SIMULATE = "iam:SimulatePrincipalPolicy"
"""The one action that has to be granted for all others to be verified."""

_ACTIONS_OF_A_CALL = 50
_SAMPLE = "sample"
"""Stands for the open end of a pattern: what is permitted for `byoc-*` is permitted for `byoc-sample`."""


def missing_permissions(
    iam: AwsClient,
    access: AccountAccess,
    regions: Sequence[str],
    needs: Iterable[Need],
    *,
    withheld: Collection[Purpose] = (),
) -> tuple[MissingPermission, ...]:
    """Return what the three roles lack of the permissions that the template grants for `needs`, each once.

    If the verification itself is not permitted, that is what is missing. Of a role that is `withheld` nothing is.

    Raises:
        ClientError: AWS could not answer.
    """
    missing: dict[MissingPermission, None] = {}
    needs = tuple(needs)
    for purpose in (each for each in Purpose if each not in withheld):
        role = control_role_arn(access, purpose)
        try:
            for statement in statements(needs, access, regions, purpose):
                missing |= dict.fromkeys(_refused(iam, role, statement, regions, purpose))
        except ClientError as error:
            if classify(code_of(error)) is not FailureClass.PERMISSION:
                raise
            missing[MissingPermission(action=SIMULATE, purpose=Purpose.OBSERVE, resource=role)] = None
    return tuple(missing)


def withheld_roles(connections: AwsConnections, place: Place) -> tuple[Purpose, ...]:
    """Return the roles beside the observing one that refuse us now, whatever is cached.

    Raises:
        ClientError: AWS could not answer.
    """
    withheld = []
    for purpose in Purpose:
        try:
            if purpose is not Purpose.OBSERVE:
                connections.try_to_assume(place, purpose)
        except ClientError as error:
            if classify(code_of(error)) is not FailureClass.PERMISSION:
                raise
            withheld.append(purpose)
    return tuple(withheld)


def checked_actions(needs: Iterable[Need], withheld: Collection[Purpose]) -> int:
    """Return how many actions, each for its purpose, a verification asks about."""
    return len({(need.action, need.purpose) for need in with_dependents(needs) if need.purpose not in withheld})


def _refused(
    iam: AwsClient, role: str, statement: Statement, regions: Sequence[str], purpose: Purpose
) -> Iterator[MissingPermission]:
    """Yield the actions of `statement` that IAM would refuse to `role` in any of the regions."""
    by_region = any(condition.key == "aws:RequestedRegion" for condition in statement.scope.conditions)
    for region in regions if by_region else regions[:1]:
        for actions in _batches(statement.actions):
            pages = iam.get_paginator("simulate_principal_policy").paginate(
                PolicySourceArn=role,
                ActionNames=actions,
                ResourceArns=[_sample_resource(statement.scope, region)],
                ContextEntries=[_context_entry(condition, region) for condition in statement.scope.conditions],
            )
            for result in (result for page in pages for result in page["EvaluationResults"]):
                if result["EvalDecision"] != "allowed":
                    yield MissingPermission(
                        action=result["EvalActionName"], purpose=purpose, resource=", ".join(statement.scope.resources)
                    )


def _batches(actions: Sequence[str]) -> Iterator[list[str]]:
    remaining = iter(actions)
    while batch := list(islice(remaining, _ACTIONS_OF_A_CALL)):
        yield batch


def _sample_resource(scope: Scope, region: str) -> str:
    """Return a resource that the scope covers; its first pattern stands for all, because not every action knows all."""
    pattern = scope.resources[0]
    if pattern == "*":
        return pattern
    *head, resource = pattern.split(":", 5)
    return ":".join([*(region if part == "*" else part for part in head), resource.replace("*", _SAMPLE)])


def _context_entry(condition: Condition, region: str) -> dict[str, object]:
    """Return the context in which the condition holds."""
    value = region if condition.key == "aws:RequestedRegion" else condition.values[0].replace("*", _SAMPLE)
    return {
        "ContextKeyName": condition.key,
        "ContextKeyType": "boolean" if condition.operator == "Bool" else "string",
        "ContextKeyValues": [value],
    }
