"""Logs: structlog with the workflow's or activity's identity in every line, and silent while a workflow is replayed."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger
from temporalio import activity, workflow


def identify(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add who speaks; drop the line if a workflow is only replaying what it already said."""
    if workflow.in_workflow():
        if workflow.unsafe.is_replaying_history_events():
            raise structlog.DropEvent
        info = workflow.info()
        event.update(workflow_id=info.workflow_id, run_id=info.run_id, workflow_type=info.workflow_type)
    elif activity.in_activity():
        running = activity.info()
        event.update(workflow_id=running.workflow_id, activity_type=running.activity_type, attempt=running.attempt)
    return event


def configure(*, level: str = "info", as_json: bool = True) -> None:
    """Set up structlog and the standard library's logging (which SDKs use) for this process, on standard error."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[identify, *shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[*shared, _plain(renderer)]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def _plain(renderer: Any) -> Any:  # noqa: ANN401 - structlog's own processor type is Any
    def render(logger: WrappedLogger, name: str, event: EventDict) -> Any:  # noqa: ANN401
        return renderer(logger, name, structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, name, event))

    return render
