"""A Temporal server that lets time pass at once, with our search attributes; and workers for it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from tests.conftest import executable
from workers.liveness import SignsOfLife
from workflows.temporal import search_attributes
from workflows.temporal.plugin import plugin


@contextlib.asynccontextmanager
async def skipping_server() -> AsyncIterator[WorkflowEnvironment]:
    """Run one."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=executable("temporal-test-server"), plugins=[plugin()]
    ) as environment:
        names = [key.name for key in search_attributes.ALL]
        await environment.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=environment.client.namespace,
                search_attributes=dict.fromkeys(names, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
            )
        )
        yield environment


def acting(client: Client, queue: str, activities: Sequence[Callable[..., Any]]) -> Worker:
    """Return a worker of activities."""
    return Worker(
        client,
        task_queue=queue,
        activities=activities,
        activity_executor=ThreadPoolExecutor(8),
        max_concurrent_activities=8,
        interceptors=[SignsOfLife()],
    )
