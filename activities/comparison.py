"""Comparing with what exists: an activity of the contract, run behind the barrier."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.barrier import WouldChange, changes_barred
from activities.contracts import Comparison, ComparisonContract, ComparisonQuestion
from activities.failures import refused
from domain.failure import FailureClass, FailureDetail, party_for
from domain.plan import PlannedChange

_TIME_CURES = frozenset({FailureClass.TRANSIENT, FailureClass.THROTTLE, FailureClass.CONFLICT})


class Comparisons(ComparisonContract):
    """Compares by the activities that a worker registers."""

    def __init__(self, activities: Sequence[Callable[..., Any]]) -> None:
        self._activities = {each.__name__: each for each in activities}

    @activity.defn(no_thread_cancel_exception=True)
    def compare(self, question: ComparisonQuestion) -> Comparison:
        """Run the step's own activity with every call barred that would change something, and say which was the first.

        Raises:
            ApplicationError: TRANSIENT, THROTTLE or CONFLICT, to be asked again; CONFIG if there is no such activity.
        """
        found = self._activities.get(question.activity)
        if found is None:
            raise refused(FailureClass.CONFIG, f"this worker has no activity {question.activity!r}")
        hints = get_type_hints(found)
        answers = TypeAdapter(hints.pop("return"))
        (asks,) = hints.values()
        argument = TypeAdapter(asks).validate_json(json.dumps(question.question))
        try:
            with changes_barred():
                answer = found(argument)
        except WouldChange as change:
            return _would(change.call, change.detail)
        except ApplicationError as error:
            if error.type in _TIME_CURES:
                raise
            return _would("", _instead_of_an_answer(error))
        return Comparison(answer=answers.dump_python(answer, mode="json"))


def _would(call: str, detail: str) -> Comparison:
    return Comparison(changes=(PlannedChange(call=call, detail=detail),))


def _instead_of_an_answer(error: ApplicationError) -> str:
    """Return what the step would do that neither comes to its end nor changes anything."""
    if error.type == FailureClass.NOT_READY:
        return f"would look again later: {error.message}"
    party = party_for(FailureDetail.model_validate(error.details[0]).failure) if error.details else "operator"
    return f"would wait for the {party}: {error.message}"
