"""Label and field selectors, as strings in queries and as objects in specifications."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from simulators.kubernetes.errors import bad_request
from simulators.kubernetes.objects import Object

Labels = Mapping[str, str]
Requirement = Callable[[Labels], bool]

_LABEL_KEY = r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?"
_IN_SET = re.compile(rf"(?P<key>{_LABEL_KEY})\s+(?P<operator>in|notin)\s*\((?P<values>[^)]*)\)")
_EQUALITY = re.compile(rf"(?P<key>{_LABEL_KEY})\s*(?P<operator>==|!=|=)\s*(?P<value>[-A-Za-z0-9_.]*)")
_EXISTS = re.compile(rf"(?P<absent>!?)\s*(?P<key>{_LABEL_KEY})")


def matches(selector: str, labels: Labels) -> bool:
    """Return whether `labels` satisfy a selector string such as `app=store,tier in (a,b),!canary` (empty: always)."""
    return all(requirement(labels) for requirement in _parsed(selector))


@lru_cache(maxsize=1024)
def _parsed(selector: str) -> tuple[Requirement, ...]:
    terms = [term.strip() for term in re.split(r",(?![^(]*\))", selector)]
    return tuple(_requirement(term) for term in terms if term)


def _requirement(term: str) -> Requirement:
    if found := _IN_SET.fullmatch(term):
        values = [value.strip() for value in found["values"].split(",")]
        return _expression(found["key"], "In" if found["operator"] == "in" else "NotIn", values)
    if found := _EQUALITY.fullmatch(term):
        return _expression(found["key"], "NotIn" if found["operator"] == "!=" else "In", [found["value"]])
    if found := _EXISTS.fullmatch(term):
        return _expression(found["key"], "DoesNotExist" if found["absent"] else "Exists", [])
    raise bad_request(f"unable to parse requirement: {term!r}")


def _expression(key: str, operator: str, values: list[str]) -> Requirement:
    match operator:
        case "In":
            return lambda labels: key in labels and labels[key] in values
        case "NotIn":
            return lambda labels: key not in labels or labels[key] not in values
        case "Exists":
            return lambda labels: key in labels
        case "DoesNotExist":
            return lambda labels: key not in labels
    raise bad_request(f"{operator!r} is not a valid label selector operator")


def matches_label_selector(selector: Object | None, labels: Labels) -> bool:
    """Return whether `labels` satisfy a LabelSelector object; None matches nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(
        _expression(entry["key"], entry["operator"], entry.get("values") or [])(labels)
        for entry in selector.get("matchExpressions") or ()
    )


def matches_fields(selector: str, obj: Object) -> bool:
    """Return whether an object satisfies a field selector such as `status.phase=Running,spec.nodeName!=`."""
    for term in filter(None, selector.split(",")):
        found = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", term)
        if found is None:
            raise bad_request(f"invalid field selector: {term!r}")
        path, operator, wanted = found.groups()
        if (_field(obj, path) == wanted) == (operator == "!="):
            return False
    return True


def _field(obj: Object, path: str) -> str:
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
