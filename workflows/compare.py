"""Comparing one step with what exists, for a plan."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.contracts import Comparison, ComparisonQuestion

from workflows import step_runner


@workflow.defn
class Compare:
    """Say what one step would change, and change nothing.

    1. Compare with what exists

    It is short: it ends with its answer, or after a few minutes without one. Nobody is waited for.
    """

    @workflow.run
    async def run(self, question: ComparisonQuestion) -> Comparison:
        """Compare."""
        return await step_runner.compare(question)
