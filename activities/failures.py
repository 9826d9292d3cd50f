"""Failures as activities raise them: an `ApplicationError` of the class's type, with what is missing in its details."""

from __future__ import annotations

from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from domain.failure import RETRIED_BY_TEMPORAL, FailureClass, FailureDetail


def failure(detail: FailureDetail, *, retry_after: timedelta | None = None) -> ApplicationError:
    """Return the error to raise for `detail`.

    Classes that time cures are left to Temporal's retry policy (or `retry_after`, where the cloud said when). All
    others are not retried by Temporal: the step that runs the activity waits and probes.
    """
    retried = detail.failure in RETRIED_BY_TEMPORAL
    quiet = detail.failure is FailureClass.NOT_READY
    return ApplicationError(
        detail.message,
        detail,
        type=detail.failure.value,
        non_retryable=not retried,
        next_retry_delay=retry_after,
        category=ApplicationErrorCategory.BENIGN if quiet else ApplicationErrorCategory.UNSPECIFIED,
    )


def not_ready(message: str, *, look_again_in: timedelta) -> ApplicationError:
    """Return the error that means "look again": quiet in logs and metrics, without effect on retry budgets."""
    return failure(FailureDetail(failure=FailureClass.NOT_READY, message=message), retry_after=look_again_in)


def refused(failure_class: FailureClass, message: str, *, resource: str = "", quota: str = "") -> ApplicationError:
    """Return the error of a check of our own (as opposed to a refusal by the cloud)."""
    return failure(FailureDetail(failure=failure_class, message=message, resource=resource, quota=quota))
