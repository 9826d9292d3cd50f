"""Unexpected exceptions: a defect of ours is an unknown failure, tried three times and then shown to an operator.

Left alone, Temporal would try it again in silence until the step's deadline, which is hours away.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from temporalio.exceptions import FailureError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.failures import failure
from domain.failure import FailureClass, FailureDetail

log = structlog.get_logger()


class UnknownFailures(Interceptor):
    """Turns every exception that is no failure of Temporal's into one of class UNKNOWN, and logs it."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap the activity."""
        return _Classing(super().intercept_activity(next))


class _Classing(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        try:
            return await super().execute_activity(input)
        except (FailureError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("activity met what it does not know")
            message = f"{type(error).__name__}: {error}"
            raise failure(FailureDetail(failure=FailureClass.UNKNOWN, message=message)) from error
