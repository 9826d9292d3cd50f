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
        self._originals: dict[str, str] = {}
        """The text of each edited policy as the template made it, keyed by ARN."""

    def take_away(self, statement: StatementOf) -> None:
        """Apply the policy that holds the statement without it."""
        arn, document, position = self._find(statement)
        kept = [each for number, each in enumerate(document["Statement"]) if number != position]
        self._originals[arn] = json.dumps(document)
        text = json.dumps({**document, "Statement": kept})
        self._iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)

    def give_back(self, statement: StatementOf) -> None:
        """Apply the policy as the template made it."""
        (arn,) = (each for each in self._originals if each in self._policies(statement.purpose))
        self._iam.create_policy_version(PolicyArn=arn, PolicyDocument=self._originals.pop(arn), SetAsDefault=True)

    def _find(self, statement: StatementOf) -> tuple[str, Mapping[str, Any], int]:
        """Return the policy's ARN, its document, and the statement's position in it."""
        number = -1
        for arn in self._policies(statement.purpose):
            document = self._iam.get_policy_version(PolicyArn=arn, VersionId=self._version(arn))["PolicyVersion"][
                "Document"
            ]
            for position, each in enumerate(document["Statement"]):
                number += each["Effect"] == "Allow"
                if number == statement.number and each["Effect"] == "Allow":
                    assert tuple(each["Action"]) == statement.actions
                    return arn, document, position
        raise AssertionError(f"the account's template has no statement {statement}")

    def _policies(self, purpose: Purpose) -> Sequence[str]:
        role = control_role_name(self._account, purpose)
        attached = self._iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        return sorted(policy["PolicyArn"] for policy in attached)

    def _version(self, arn: str) -> str:
        return str(self._iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"])
