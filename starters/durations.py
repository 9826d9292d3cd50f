"""How long steps took, read from the histories of operations that ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter

from domain.clouds import Cloud
from domain.durations import without_version
from domain.state import OperationOrder
from workflows.steps import name_of

ENDED_OPERATIONS = "WorkflowType IN ('Provision', 'Reconfigure', 'Retire', 'Upgrade') AND ExecutionStatus = 'Completed'"
"""In Temporal's list filter."""
_CONVERGING = "Provision"
"""The workflow type that may also find everything as it should be, which says nothing of how long making it takes."""


@dataclass
class Took:
    """One operation."""

    cloud: Cloud
    seconds: dict[str, float] = field(default_factory=dict)
    """From the instant at which a step's activity was asked for until it had ended, keyed by step. What an operation
    waited for somebody lies between two askings and is not in it."""


async def took_of(history: WorkflowHistory, converter: DataConverter) -> Took | None:
    """Return how long the steps of one operation took; None if it tells nothing, because it converged."""
    started, *_ = history.events
    attributes = started.workflow_execution_started_event_attributes
    (order,) = await converter.decode(attributes.input.payloads, [OperationOrder])
    if attributes.workflow_type.name == _CONVERGING and not order.first:
        return None
    took, asked = Took(Cloud(order.site.cloud)), {}
    for event in history.events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            (summary,) = await converter.decode([event.user_metadata.summary], [str])
            activity = event.activity_task_scheduled_event_attributes.activity_type.name
            name = without_version(name_of(activity, summary))
            asked[event.event_id] = (name, event.event_time.ToDatetime())
        elif event.HasField("activity_task_completed_event_attributes"):
            name, since = asked[event.activity_task_completed_event_attributes.scheduled_event_id]
            took.seconds[name] = (event.event_time.ToDatetime() - since).total_seconds()
    return took
