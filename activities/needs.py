"""What each activity asks of the customer: the API actions that it calls, declared where they are called.

The declarations are the one source of the permission template, of the account's daily verification and of the plan's
list of needs. Tests compare them with the calls that the SDKs really make.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from domain.clouds import Purpose

_ATTRIBUTE = "__byoc_needs__"

AnyActivity = Callable[..., Any]
Decorated = TypeVar("Decorated", bound=AnyActivity)


@dataclass(frozen=True, order=True)
class Need:
    """One action that one activity calls."""

    action: str
    """In the cloud's own spelling of permissions, `ec2:CreateVpc`."""
    purpose: Purpose
    """Whose role the activity calls it with."""
    activity: str
    """The activity's name, which is also the step's."""
    why: str
    """For the customer: what the activity does with it."""


@dataclass(frozen=True)
class Permission:
    """One permission that a template grants: a line of the table for the customer's security review."""

    action: str
    purpose: Purpose
    resources: tuple[str, ...]
    """Patterns of names, or ids, in the cloud's own spelling; of what is yet to be made, as it will be named."""
    conditions: tuple[str, ...]
    """In words."""
    needs: tuple[Need, ...]
    """Who needs it, one for each activity and reason."""


def needs(*actions: str, purpose: Purpose, why: str = "") -> Callable[[Decorated], Decorated]:
    """Declare that the activity calls `actions` with the role of `purpose`.

    An activity that uses several roles, or has several reasons, is decorated several times. Without `why` the first
    sentence of the activity's docstring (or of the contract's, which it inherits) is the reason.
    """

    def declare(activity: Decorated) -> Decorated:
        declared_so_far: tuple[tuple[tuple[str, ...], Purpose, str], ...] = getattr(activity, _ATTRIBUTE, ())
        # Decorators apply from the bottom up; the declarations keep the order in which they are read.
        setattr(activity, _ATTRIBUTE, ((actions, purpose, why), *declared_so_far))
        return activity

    return declare


def declared(activities: Iterable[AnyActivity]) -> tuple[Need, ...]:
    """Return every need of `activities` (bound methods), each once, ordered by action."""
    return tuple(sorted({need for activity in activities for need in _needs_of(activity)}))


def by_action(needs: Iterable[Need]) -> Iterator[tuple[Purpose, str, tuple[Need, ...]]]:
    """Yield each purpose's actions in the order of their names, with the needs for the action."""
    needs = tuple(needs)
    for purpose in Purpose:
        of_purpose = [need for need in needs if need.purpose is purpose]
        for action in sorted({need.action for need in of_purpose}):
            yield purpose, action, tuple(need for need in of_purpose if need.action == action)


def actions_checked(needs: Iterable[Need], withheld: Collection[Purpose]) -> int:
    """Return how many actions, each for its purpose, a verification is about that leaves out what is withheld."""
    return len({(need.action, need.purpose) for need in needs if need.purpose not in withheld})


def _needs_of(activity: AnyActivity) -> Iterable[Need]:
    for actions, purpose, why in getattr(activity, _ATTRIBUTE, ()):
        reason = why or _purpose_in_words(activity)
        yield from (Need(action, purpose, activity.__name__, reason) for action in actions)


def _purpose_in_words(activity: AnyActivity) -> str:
    documentation = inspect.getdoc(activity) or inspect.getdoc(_inherited(activity)) or ""
    return documentation.partition("\n")[0].rstrip(".")


def _inherited(activity: AnyActivity) -> AnyActivity | None:
    """Return the contract's method of this name: `inspect.getdoc` does not look there for a bound method."""
    for base in type(getattr(activity, "__self__", None)).__mro__[1:]:
        if method := base.__dict__.get(activity.__name__):
            found: AnyActivity = method
            return found
    return None
