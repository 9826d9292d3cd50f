"""Reading maintenance windows: an activity, because machines differ in their time zone data and histories must not."""

from __future__ import annotations

from itertools import islice
from zoneinfo import ZoneInfoNotFoundError

from temporalio import activity

from activities.contracts import WindowAnswer, WindowContract, WindowQuestion
from activities.failures import refused
from domain.failure import FailureClass
from domain.recurrence import RuleInvalid
from domain.windows import openings


class Windows(WindowContract):
    """Computes from the policy alone; it needs nothing that could fail in passing."""

    @activity.defn(no_thread_cancel_exception=True)
    def find_openings(self, question: WindowQuestion) -> WindowAnswer:
        """Return when the work may start, by the time zone data of this worker.

        Raises CONFIG for a zone that this worker does not know, and for a rule that windows may not have.
        """
        found = openings(
            question.policy,
            question.work,
            now=question.now,
            need=question.need,
            not_before=question.not_before,
            spread_by=question.spread_by,
        )
        try:
            return WindowAnswer(openings=tuple(islice(found, question.count)))
        except (RuleInvalid, ZoneInfoNotFoundError) as fault:
            message = f"the maintenance windows cannot be computed: {fault}"
            raise refused(FailureClass.CONFIG, message, resource="spec.windows") from fault
