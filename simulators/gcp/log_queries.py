"""The filters of sinks and exclusions, in the Logging query language: comparisons with AND, OR, NOT and parentheses.

Of comparisons there are `=`, `!=` and `:` (contains). OR binds closer than AND, as Google's does. Functions, regular
expressions and words without a field are not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from simulators.gcp.refusals import Json, Refusal, invalid

_TOKEN = re.compile(r"""\s*(?:(?P<sign>[()]|!=|=~|!~|[=:])|(?P<text>"(?:[^"\\]|\\.)*"|[^\s()=:!"]+))""")
_JOINS = ("AND", "OR")
_Test = Callable[[Json], bool]


def entry_passes(query: str) -> _Test:
    """Return the test that a query is, to be asked about log entries as JSON; refuse what is no query."""
    return _Parser(query).parsed()


class _Parser:
    """Reads one query from the left to the right."""

    def __init__(self, query: str) -> None:
        self._query = query
        self._tokens: list[str] = []
        position, end = 0, len(query.rstrip())
        while position < end:
            found = _TOKEN.match(query, position)
            if found is None:
                raise self._refusal()
            self._tokens.append(found["sign"] or found["text"])
            position = found.end()

    def parsed(self) -> _Test:
        """Return the test; a query without words lets everything pass."""
        if not self._tokens:
            return lambda _entry: True
        test = self._all_of()
        if self._tokens:
            raise self._refusal()
        return test

    def _all_of(self) -> _Test:
        tests = [self._any_of()]
        while self._tokens and self._tokens[0] != ")":
            if self._tokens[0] == "AND":
                self._next()
            tests.append(self._any_of())
        return lambda entry: all(test(entry) for test in tests)

    def _any_of(self) -> _Test:
        tests = [self._one()]
        while self._tokens and self._tokens[0] == "OR":
            self._next()
            tests.append(self._one())
        return lambda entry: any(test(entry) for test in tests)

    def _one(self) -> _Test:
        token = self._next()
        if token == "NOT":  # noqa: S105 - a word of the language
            inner = self._one()
            return lambda entry: not inner(entry)
        if token == "(":  # noqa: S105 - a sign of the language
            test = self._all_of()
            if self._next() != ")":
                raise self._refusal()
            return test
        return self._comparison(token)

    def _comparison(self, field: str) -> _Test:
        operator, value = self._next(), self._next()
        if field in (*_JOINS, ")") or operator not in ("=", "!=", ":") or value in (*_JOINS, "(", ")"):
            raise self._refusal()
        wanted = _unquoted(value)

        def test(entry: Json) -> bool:
            found = _value(entry, field)
            if operator == ":":
                return found is not None and (wanted == "*" or wanted.lower() in str(found).lower())
            return (found is not None and str(found) == wanted) == (operator == "=")

        return test

    def _next(self) -> str:
        if not self._tokens:
            raise self._refusal()
        return self._tokens.pop(0)

    def _refusal(self) -> Refusal:
        return invalid(f"Unparseable filter: syntax error in {self._query!r}")


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _value(document: Any, path: str) -> Any:  # noqa: ANN401 - any JSON value
    for step in path.split("."):
        if not isinstance(document, dict) or step not in document:
            return None
        document = document[step]
    return document
