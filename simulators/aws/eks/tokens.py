"""Idempotency tokens: a repeated call gets the answer of the first, one that differs is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from simulators.aws.context import report_no_effect
from simulators.aws.eks.records import Document, invalid
from simulators.aws.scope import Scope

_NOT_COMPARED = "clientRequestToken"


class RequestTokens:
    """Remembers which token asked for what. A token is forgotten once what it made is gone."""

    def __init__(self) -> None:
        self._answers: dict[tuple[Scope, str, str], tuple[str, Document]] = {}

    def once(
        self, scope: Scope, operation: str, parameters: Mapping[str, Any], perform: Callable[[], Document]
    ) -> Document:
        """Return what `perform` returns, or what it returned for the first call with this token.

        The answer holds the live descriptions of resources, so that a repeated call sees their present state.
        """
        token = parameters.get("clientRequestToken")
        if not token:
            return perform()
        key = (scope, operation, str(token))
        asked = json.dumps({name: value for name, value in parameters.items() if name != _NOT_COMPARED}, sort_keys=True)
        if key in self._answers:
            first_asked, answer = self._answers[key]
            if first_asked != asked:
                raise invalid(f"The client request token {token} was used before, with different parameters.")
            report_no_effect()
            return answer
        answer = perform()
        self._answers[key] = (asked, answer)
        return answer

    def forget(self, description: Document) -> None:
        """Forget the tokens whose answer is about this resource, which is gone."""
        self._answers = {
            key: (asked, answer)
            for key, (asked, answer) in self._answers.items()
            if all(value is not description for value in answer.values())
        }

    def clear(self) -> None:
        """Forget every token."""
        self._answers.clear()
