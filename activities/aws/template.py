"""The CloudFormation template that a customer applies once, to let the control plane into their account.

It makes three roles, which the customer can grant and take away one by one, and the permissions boundary of every role
that the control plane makes later. Nothing is left to fill in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from activities.aws.identity import PATH, boundary_arn, boundary_name, control_role_name
from activities.aws.policy import (
    Scopes,
    Statement,
    boundary_statements,
    denials,
    statements,
    with_dependents,
)
from activities.needs import Need, Permission, by_action
from domain.account import AccountAccess
from domain.clouds import Purpose
from domain.naming import OWNER_VALUE, PREFIX, TAG_CUSTOMER, TAG_OWNER

LARGEST_POLICY = 6144
"""Characters of a managed policy without white space (IAM quotas)."""
MOST_POLICIES_OF_A_ROLE = 10
"""Managed policies that can be attached to a role (IAM quotas, default)."""

Document = dict[str, Any]

_DESCRIPTIONS = {
    Purpose.OBSERVE: "Look at the deployments and at what the account permits; change nothing.",
    Purpose.OPERATE: "Make and change the deployments.",
    Purpose.DELETE: "Take deployments away.",
}


NEVER = (
    "s3:GetObject",
    "kms:Decrypt",
    "iam:CreateUser",
    "iam:CreateAccessKey",
    "iam:CreatePolicy",
    "iam:CreatePolicyVersion",
    "ec2:RunInstances without a launch template",
    "secretsmanager:GetSecretValue",
    "sts:AssumeRole",
)
"""What a reviewer looks for first, and does not find."""


def template(access: AccountAccess, regions: Sequence[str], principal: str, needs: Iterable[Need]) -> Document:
    """Return the template for one account: `principal` is the vendor's ARN, `needs` what the activities declare.

    Raises:
        ValueError: a role would need more policies than IAM attaches.
    """
    needs = tuple(needs)
    resources: Document = {"Boundary": _boundary(access, regions)}
    outputs: Document = {}
    for purpose in Purpose:
        policies = _policies(access, regions, needs, purpose)
        resources |= policies
        role = f"{purpose.title()}Role"
        resources[role] = _role(access, principal, purpose, tuple(policies))
        outputs[f"{role}Arn"] = {"Description": _DESCRIPTIONS[purpose], "Value": {"Fn::GetAtt": [role, "Arn"]}}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": (
            f"Lets {principal} run deployments in this account ({access.cloud_account_id})."
            " Delete this stack to revoke all of it."
        ),
        "Resources": resources,
        "Outputs": outputs,
    }


def as_json(document: Document) -> str:
    """Return the template as JSON text, on one line: CloudFormation limits what is passed directly to 51,200 bytes."""
    return json.dumps(document, separators=(",", ":")) + "\n"


def as_yaml(document: Document) -> str:
    """Return the template as YAML text for people to read, which CloudFormation takes as well."""
    text: str = yaml.dump(document, Dumper=_WithoutAnchors, sort_keys=False, width=120)
    return text


def permissions(needs: Iterable[Need], access: AccountAccess, regions: Sequence[str]) -> tuple[Permission, ...]:
    """Return every permission of the template, one for each action and scope, with the steps that use it."""
    complete = with_dependents(needs)
    scopes = {
        purpose: Scopes(access, regions, {need.action for need in complete if need.purpose is purpose}, purpose)
        for purpose in Purpose
    }
    return tuple(
        Permission(action, purpose, scope.resources, tuple(map(str, scope.conditions)), users)
        for purpose, action, users in by_action(complete)
        for scope in scopes[purpose].of(action)
    )


def protections(access: AccountAccess, regions: Sequence[str], principal: str) -> tuple[str, ...]:
    """Return in sentences what the template protects the customer by, and where AWS lets it protect by less."""
    whose = f"the tag {TAG_OWNER}={OWNER_VALUE} or a tag of our clusters, or a name that begins with {PREFIX}-"
    return (
        f"Only {principal} can enter, through three roles, and only with the external id {access.external_id}.",
        "The roles are for observing, operating and deleting. Each can be taken away by itself, and given back.",
        f"Only in {', '.join(sorted(regions))}: every permission of a regional service names the regions.",
        f"Only what is ours: what is changed or deleted has {whose}.",
        "What exists cannot be made ours by a tag, but for keys and certificates, which AWS lets nobody limit so.",
        "Route 53 knows no condition on tags: there the steps look for the tag themselves before they touch a zone.",
        f"Every role that we make stands under the permissions boundary {boundary_arn(access)}.",
        "The three roles can change neither it nor themselves, and make no role without it.",
        f"None of the three roles can do any of these: {', '.join(NEVER)}.",
    )


def _boundary(access: AccountAccess, regions: Sequence[str]) -> Document:
    document = _document(boundary_statements(access, regions))
    if _size(document) > LARGEST_POLICY:
        raise ValueError(f"the permissions boundary is larger than a policy may be ({LARGEST_POLICY} characters)")
    return _managed_policy(
        boundary_name(access), "The most that any role of a deployment can ever do, whoever made it.", document
    )


def _policies(access: AccountAccess, regions: Sequence[str], needs: Sequence[Need], purpose: Purpose) -> Document:
    """Return the policies of one role, keyed by their logical ids in the template."""
    documents = pack([*denials(access), *statements(needs, access, regions, purpose)])
    if len(documents) > MOST_POLICIES_OF_A_ROLE:
        raise ValueError(f"{purpose} needs {len(documents)} policies; IAM attaches {MOST_POLICIES_OF_A_ROLE} to a role")
    return {
        f"{purpose.title()}Policy{number}": _managed_policy(
            f"{control_role_name(access, purpose)}-{number}", _DESCRIPTIONS[purpose], document
        )
        for number, document in enumerate(documents, start=1)
    }


def pack(needed: Iterable[Statement]) -> list[Document]:
    """Return policy documents that hold `needed` in order, each as full as IAM's limit on its size allows."""
    documents: list[list[Statement]] = [[]]
    for statement in (part for whole in needed for part in _small_enough(whole)):
        if documents[-1] and _size(_document([*documents[-1], statement])) > LARGEST_POLICY:
            documents.append([])
        documents[-1].append(statement)
    return [_document(contents) for contents in documents]


def _small_enough(statement: Statement) -> Iterator[Statement]:
    """Yield the statement, in halves where it alone is larger than a policy may be."""
    if _size(_document([statement])) <= LARGEST_POLICY:
        yield statement
        return
    middle = len(statement.actions) // 2
    for actions in (statement.actions[:middle], statement.actions[middle:]):
        yield from _small_enough(replace(statement, actions=actions))


def _document(contents: Iterable[Statement]) -> Document:
    return {"Version": "2012-10-17", "Statement": [statement.document() for statement in contents]}


def _size(document: Document) -> int:
    """Return the size that IAM counts: characters without white space."""
    return len("".join(json.dumps(document).split()))


def _managed_policy(name: str, description: str, document: Document) -> Document:
    properties = {"ManagedPolicyName": name, "Path": PATH, "Description": description, "PolicyDocument": document}
    return {"Type": "AWS::IAM::ManagedPolicy", "Properties": properties}


def _role(access: AccountAccess, principal: str, purpose: Purpose, policies: Sequence[str]) -> Document:
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        # Only calls on behalf of this customer carry this id, so nobody can talk us into entering another's account.
        "Condition": {"StringEquals": {"sts:ExternalId": access.external_id}},
    }
    properties = {
        "RoleName": control_role_name(access, purpose),
        "Path": PATH,
        "Description": _DESCRIPTIONS[purpose],
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
        "ManagedPolicyArns": [{"Ref": policy} for policy in policies],
        "MaxSessionDuration": 3600,
        "Tags": _tags({TAG_OWNER: OWNER_VALUE, TAG_CUSTOMER: access.customer, f"{PREFIX}:purpose": purpose.value}),
    }
    return {"Type": "AWS::IAM::Role", "Properties": properties}


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]


class _WithoutAnchors(yaml.SafeDumper):
    """Writes repeated values out: CloudFormation does not read YAML's anchors."""

    def ignore_aliases(self, _data: object) -> bool:
        return True
