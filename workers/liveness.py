"""Signs of life: every activity heartbeats by itself, so that a dead worker is noticed within seconds."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor


class SignsOfLife(Interceptor):
    """Heartbeats for every running activity that has a heartbeat timeout, at a third of it."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's name
        """Wrap the activity."""
        return _Heartbeating(super().intercept_activity(next))


class _Heartbeating(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        timeout = activity.info().heartbeat_timeout
        if timeout is None:
            return await super().execute_activity(input)
        on_the_loop = inspect.iscoroutinefunction(input.fn)
        beating = asyncio.create_task(_beat(timeout.total_seconds() / 3, on_the_loop=on_the_loop))
        try:
            return await super().execute_activity(input)
        finally:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating


async def _beat(interval: float, *, on_the_loop: bool) -> None:
    while True:
        await asyncio.sleep(interval)
        if on_the_loop:
            activity.heartbeat()
        else:
            # An activity in a thread expects its heartbeats from a thread: on the loop they would wait for themselves.
            await asyncio.to_thread(activity.heartbeat)
