"""The `filter` of list calls: terms such as `labels.byoc=managed` or `(name eq "a.*")`, all of which must hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from simulators.gcp.refusals import Json, invalid

_TERM = re.compile(
    r"""\s*(?P<negated>NOT\s+|-)?\(?\s*(?P<field>[A-Za-z_][\w.\-]*)\s*(?P<operator>!=|=|:|\seq\s|\sne\s)\s*"""
    r"""(?P<value>"[^"]*"|'[^']*'|[^\s()]+)\s*\)?\s*(?:AND\s+)?"""
)


def filtered(documents: Iterable[Json], text: str) -> list[Json]:
    """Return the resources that pass a filter; a filter that cannot be read is refused, whatever there is."""
    matches({}, text)
    return [document for document in documents if matches(document, text)]


def matches(document: Json, text: str) -> bool:
    """Return whether a resource passes a filter; refuse what is no filter, or one with OR."""
    position = 0
    result = True
    while position < len(text.rstrip()):
        term = _TERM.match(text, position)
        if term is None:
            raise invalid(f"Invalid value for field 'filter': '{text}'. Invalid list filter expression.")
        result = result and _holds(document, term)
        position = term.end()
    return result


def _holds(document: Json, term: re.Match[str]) -> bool:
    wanted = term["value"].strip("\"'")
    found = _value(document, term["field"])
    match term["operator"].strip():
        case "=" | "!=":
            same = found is not None and _text(found) == wanted
        case ":":
            same = found is not None and (wanted == "*" or wanted.lower() in _text(found).lower())
        case _:
            same = found is not None and re.fullmatch(wanted, _text(found)) is not None
    negative = term["operator"].strip() in ("!=", "ne")
    return (same != negative) != bool(term["negated"])


def _value(document: Any, path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Follow a path of dots; a label's key may contain none, as Google's labels do."""
    for step in path.split("."):
        if not isinstance(document, dict) or step not in document:
            return None
        document = document[step]
    return document


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return str(value).lower() if isinstance(value, bool) else str(value)
