"""Conditions of bindings, in the Common Expression Language.

The attributes and functions are those of the IAM Conditions reference: `resource.name`, `resource.type`,
`resource.service`, `request.time`, `extract`, and `api.getAttribute(…).hasOnly(…)`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import celpy
from celpy import celtypes

from simulators.gcp.api import Check
from simulators.gcp.refusals import invalid

_environment = celpy.Environment()
CelValue = Any
"""A value of `celtypes`, which has no types here."""


class Condition:
    """One expression."""

    def __init__(self, expression: str) -> None:
        """Raise Refusal INVALID_ARGUMENT if it is no expression."""
        try:
            tree = _environment.compile(expression)
        except celpy.CELParseError as error:
            raise invalid(f"Condition expression {expression!r} compilation failed: {error}") from error
        self._program = _environment.program(tree, functions=_FUNCTIONS)
        self._of_time = "request" in expression
        self._known: dict[tuple[str, str, str, str], bool] = {}
        """What was evaluated before, of an expression that does not ask what time it is."""

    def holds(self, check: Check, now: datetime) -> bool:
        """Return whether the binding counts for `check`; an expression that cannot be evaluated does not hold."""
        if self._of_time:
            return self._evaluated(check, now)
        asked = (check.permission, check.resource, check.type, repr(check.attributes))
        if asked not in self._known:
            self._known[asked] = self._evaluated(check, now)
        return self._known[asked]

    def _evaluated(self, check: Check, now: datetime) -> bool:
        service = check.type.partition("/")[0] or _service_of(check.permission)
        resource = {"name": check.resource, "type": check.type, "service": service}
        activation = {
            "resource": celpy.json_to_cel(resource),
            "api": celpy.json_to_cel(dict(check.attributes)),
            "request": celtypes.MapType({celtypes.StringType("time"): celtypes.TimestampType(now)}),
        }
        try:
            return bool(self._program.evaluate(activation))
        except celpy.CELEvalError:
            return False


@functools.cache
def condition_of(expression: str) -> Condition:
    """Return the condition; equal expressions are compiled once."""
    return Condition(expression)


def _service_of(permission: str) -> str:
    service = permission.partition(".")[0]
    return f"{'cloudresourcemanager' if service == 'resourcemanager' else service}.googleapis.com"


def _extract(text: CelValue, template: CelValue) -> CelValue:
    """Return the part of `text` that `{…}` stands for in the template, empty if it does not match."""
    before, _, rest = str(template).partition("{")
    _, _, after = rest.partition("}")
    found = re.search(re.escape(before) + "(.*?)" + (re.escape(after) if after else "$"), str(text))
    return celtypes.StringType(found[1] if found else "")


def _get_attribute(attributes: CelValue, name: CelValue, default: CelValue) -> CelValue:
    return attributes.get(name, default)


def _has_only(values: Iterable[CelValue], allowed: Iterable[CelValue]) -> CelValue:
    return celtypes.BoolType(set(values) <= set(allowed))


_FUNCTIONS = {"extract": _extract, "getAttribute": _get_attribute, "hasOnly": _has_only}
