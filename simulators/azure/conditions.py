"""Conditions of role assignments: the part of Azure's language that limits what may be granted to whom.

condition  := conjunction ("OR" | "||") …         conjunction := term ("AND" | "&&") …
term       := "!" term | "(" condition ")" | ActionMatches{'…'} | attribute operator value
attribute  := @Request[type:name] | @Resource[type:name]
operator   := [ForAnyOfAnyValues: | ForAnyOfAllValues: | ForAllOfAnyValues: | ForAllOfAllValues:] comparison
value      := {a, b, …} | 'text' | a
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable

from simulators.azure.api import Check
from simulators.azure.refusals import invalid

_TOKEN = re.compile(
    r"\s*(?:(?P<mark>\(|\)|!|\|\||&&)|(?P<match>(?:Sub)?(?:Action|Operation)Matches\s*\{\s*'[^']*'\s*\})"
    r"|@(?P<attribute>(?:Request|Resource)\[[^\]]+\])|(?P<list>\{[^}]*\})|(?P<text>'[^']*')|(?P<word>[\w:./*-]+))"
)
_Test = Callable[[Check], bool]

_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "GuidEquals": lambda left, right: left.lower() == right.lower(),
    "GuidNotEquals": lambda left, right: left.lower() != right.lower(),
    "StringEquals": lambda left, right: left == right,
    "StringEqualsIgnoreCase": lambda left, right: left.lower() == right.lower(),
    "StringNotEquals": lambda left, right: left != right,
    "StringNotEqualsIgnoreCase": lambda left, right: left.lower() != right.lower(),
    "StringLike": fnmatch.fnmatchcase,
    "StringStartsWith": lambda left, right: left.startswith(right),
}


@functools.cache
def condition_of(text: str) -> _Test:
    """Return the test that a condition is, or refuse one that cannot be understood."""
    parser = _Parser(text)
    test = parser.condition()
    if parser.tokens:
        raise _malformed(text)
    return test


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            found = _TOKEN.match(stripped, position)
            if found is None or found.lastgroup is None:
                raise _malformed(text)
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()

    def condition(self) -> _Test:
        """Read terms that are joined by OR."""
        tests = [self._conjunction()]
        while self._taken("OR", "||"):
            tests.append(self._conjunction())
        return lambda check: any(test(check) for test in tests)

    def _conjunction(self) -> _Test:
        tests = [self._term()]
        while self._taken("AND", "&&"):
            tests.append(self._term())
        return lambda check: all(test(check) for test in tests)

    def _term(self) -> _Test:
        kind, value = self._next()
        if kind == "mark" and value == "!":
            denied = self._term()
            return lambda check: not denied(check)
        if kind == "mark" and value == "(":
            inner = self.condition()
            if not self._taken(")"):
                raise _malformed(self.text)
            return inner
        if kind == "match":
            pattern = value.partition("'")[2].rpartition("'")[0].lower()
            return lambda check: fnmatch.fnmatchcase(check.action.lower(), pattern)
        if kind == "attribute":
            return self._comparison(value)
        raise _malformed(self.text)

    def _comparison(self, attribute: str) -> _Test:
        kind, operator = self._next()
        quantifier, _, comparison = operator.rpartition(":")
        compare = _COMPARISONS.get(comparison)
        if kind != "word" or compare is None:
            raise _malformed(self.text)
        among_all = quantifier.endswith("AllValues")
        kind, value = self._next()
        given = [part.strip().strip("'") for part in (value[1:-1].split(",") if kind == "list" else (value,))]
        key = attribute.rstrip("]").replace("[", ":", 1)

        def test(check: Check) -> bool:
            actual = check.attributes.get(key)
            if actual is None:
                return False
            outcomes = [compare(actual, wanted) for wanted in given]
            return all(outcomes) if among_all else any(outcomes)

        return test

    def _taken(self, *words: str) -> bool:
        if self.tokens and self.tokens[0][1].upper() in words:
            self.tokens.pop(0)
            return True
        return False

    def _next(self) -> tuple[str, str]:
        if not self.tokens:
            raise _malformed(self.text)
        return self.tokens.pop(0)


def _malformed(text: str) -> Exception:
    return invalid("RoleAssignmentConditionNotSupported", f"The condition is not supported: {text}")
