"""What is declared and what is called, compared over every lifecycle: neither more nor less than the other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from activities.aws.actions import action_of
from activities.aws.policy import DEPENDENT_ACTIONS, with_dependents
from activities.needs import Need
from domain.clouds import Purpose
from simulators.control_client import ControlClient
from tests.durability.installation import Installation
from tests.permissions.lifecycles import everything
from workers.aws import aws_cloud

_STEP = re.compile(r"step/(\S+)")
_ROLE = re.compile(rf":assumed-role/byoc-\S+-({'|'.join(Purpose)})/")
_ANYBODY_MAY = re.compile(r"^(sts|kubernetes):")
"""Calls that no policy of ours permits: of the token service, about oneself, and of clusters, by their own rules."""


@dataclass(frozen=True, order=True)
class Use:
    """One action that an activity needed, in a role."""

    activity: str
    purpose: Purpose
    action: str

    def __str__(self) -> str:
        """Read as `create_network needs ec2:CreateVpc of the role for operate`."""
        return f"{self.activity} needs {self.action} of the role for {self.purpose}"


@dataclass(frozen=True)
class Record:
    """What happened in the accounts, as the cloud saw it, and what was declared."""

    called: frozenset[Use]
    """The action that each call is named after."""
    authorized: frozenset[Use]
    """Every action that was checked for a call; also those beside the one that it is named after."""
    needs: tuple[Need, ...]

    @property
    def declared(self) -> frozenset[Use]:
        """What the activities declare."""
        return _as_uses(self.needs)

    @property
    def granted(self) -> frozenset[Use]:
        """What the template grants for the activities: what they declare, and what AWS demands beside it."""
        return _as_uses(with_dependents(self.needs))


@pytest.fixture(scope="session")
async def record(installation: Installation) -> Record:
    """Everything that was called and authorized while every lifecycle was lived through."""
    await everything(installation)
    return Record(
        called=frozenset(_called(installation.control)),
        authorized=frozenset(_authorized(installation.control)),
        needs=aws_cloud(installation.settings).needs(),
    )


def test_nothing_is_called_that_is_not_declared(record: Record) -> None:
    """Each call of each activity is among those for which the customer was asked, in the role that was named."""
    undeclared = (record.called | record.authorized) - record.granted

    assert [str(use) for use in sorted(undeclared)] == []


def test_nothing_is_declared_that_is_never_called(record: Record) -> None:
    """No activity asks for more than it uses in some lifecycle."""
    unused = record.declared - record.called - record.authorized

    assert [str(use) for use in sorted(unused)] == []


def test_what_aws_demands_beside_a_call_is_what_it_checked(record: Record) -> None:
    """The actions that come with a declared one were all checked with it, and are not granted for nothing.

    By one activity at least: what makes a service's own role is checked where that is the first of its kind.
    """
    beside = {(use.purpose, use.action) for use in record.granted - record.declared}
    checked = {(use.purpose, use.action) for use in record.authorized}

    assert sorted(beside - checked) == []
    assert set(DEPENDENT_ACTIONS) <= {need.action for need in record.needs}


def _as_uses(needs: Iterable[Need]) -> frozenset[Use]:
    return frozenset(Use(need.activity, need.purpose, need.action) for need in needs)


def _called(control: ControlClient) -> Iterable[Use]:
    for call in control.journal(agent="byoc/"):
        yield from _use(call.agent, call.principal, action_of(call.service, call.operation))


def _authorized(control: ControlClient) -> Iterable[Use]:
    for entry in control.authorizations():
        yield from _use(entry.agent, entry.principal, entry.action)


def _use(agent: str, principal: str, action: str) -> Iterable[Use]:
    step, role = _STEP.search(agent), _ROLE.search(principal)
    if step is not None and role is not None and not _ANYBODY_MAY.match(action):
        yield Use(step[1], Purpose(role[1]), action)
