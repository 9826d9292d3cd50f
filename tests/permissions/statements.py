"""The template's statements, one by one, and a customer who takes one away and gives it back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from activities.aws.cloud import AwsCloud
from activities.aws.identity import control_role_name
from activities.aws.policy import with_dependents
from activities.aws.settings import AwsSettings
from activities.aws.template import template
from domain.account import AccountAccess
from domain.clouds import Cloud, Purpose
from tests.durability.installation import REGION

PRINCIPAL = "arn:aws:iam::111111111111:user/control-plane"
NEEDS = with_dependents(AwsCloud(AwsSettings(principal=PRINCIPAL)).needs())

_SOME_ACCOUNT = AccountAccess(
    account="some-aws", customer="acme", cloud=Cloud.AWS, cloud_account_id="222222222222", external_id="3b5b4a3e"
)

Document = Mapping[str, Any]
"""A policy."""


@dataclass(frozen=True)
class StatementOf:
    """One statement that allows something, by its place among those of its role; the same in every account."""

    purpose: Purpose
    number: int
    actions: tuple[str, ...]

    def __str__(self) -> str:
        """Read as `operate-12 iam:PassRole`."""
        more = f" and {len(self.actions) - 1} more" if len(self.actions) > 1 else ""
        return f"{self.purpose}-{self.number} {self.actions[0]}{more}"

    @property
    def needed_by(self) -> frozenset[tuple[str, str]]:
        """(activity, action) of everything that the statement is there for."""
        return frozenset(
            (need.activity, need.action)
            for need in NEEDS
            if need.purpose is self.purpose and need.action in self.actions
        )


def statements() -> list[StatementOf]:
    """Return every statement of the generated template that allows something to one of the three roles."""
    document = template(_SOME_ACCOUNT, (REGION,), PRINCIPAL, AwsCloud(AwsSettings(principal=PRINCIPAL)).needs())
    found = []
    for purpose in Purpose:
        allowed = [
            statement
            for name, resource in document["Resources"].items()
            if name.startswith(f"{purpose.title()}Policy")
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]
            if statement["Effect"] == "Allow"
        ]
        found += [StatementOf(purpose, number, tuple(each["Action"])) for number, each in enumerate(allowed)]
    return found


class Editor:
    """The customer's administrator, who edits the policies that the template made."""

    def __init__(self, iam: Any, account: AccountAccess) -> None:
        self._iam = iam
        self._account = account
        self._originals: dict[str, Document] = {}
        """Each policy that was looked at, as the template made it, keyed by ARN."""
        self._taken: set[StatementOf] = set()

    def take_away(self, statement: StatementOf) -> None:
        """Apply the policy that holds the statement without it, and without those that are away already."""
        self._taken.add(statement)
        self._apply(self._find(statement)[0])

    def give_back(self, statement: StatementOf) -> None:
        """Apply the policy with the statement."""
        self._taken.discard(statement)
        self._apply(self._find(statement)[0])

    def _apply(self, arn: str) -> None:
        original = self._originals[arn]
        gone = {position for found, position in map(self._find, self._taken) if found == arn}
        kept = [each for number, each in enumerate(original["Statement"]) if number not in gone]
        text = json.dumps({**original, "Statement": kept})
        # A policy has at most five versions, of which the template's is one.
        for version in self._iam.list_policy_versions(PolicyArn=arn)["Versions"]:
            if not version["IsDefaultVersion"]:
                self._iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
        self._iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)

    def _find(self, statement: StatementOf) -> tuple[str, int]:
        """Return the policy's ARN, and the statement's position in it as the template made it."""
        number = -1
        for arn in self._policies(statement.purpose):
            for position, each in enumerate(self._original(arn)["Statement"]):
                number += each["Effect"] == "Allow"
                if number == statement.number and each["Effect"] == "Allow":
                    assert tuple(each["Action"]) == statement.actions
                    return arn, position
        raise AssertionError(f"the account's template has no statement {statement}")

    def _original(self, arn: str) -> Document:
        if arn not in self._originals:
            version = self._iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            found = self._iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
            self._originals[arn] = found
        return self._originals[arn]

    def _policies(self, purpose: Purpose) -> Sequence[str]:
        role = control_role_name(self._account, purpose)
        attached = self._iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        return sorted(policy["PolicyArn"] for policy in attached)
