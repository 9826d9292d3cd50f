"""When a problem stops being a passing one."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError

from activities.failures import failure, not_ready
from activities.kubernetes.settings import KubernetesSettings
from activities.patience import is_young
from domain.failure import FailureDetail


def still_waiting(settings: KubernetesSettings, message: str, problem: FailureDetail | None = None) -> ApplicationError:
    """Return the error for something that is not there yet.

    With a problem that outlasts the step's first `grace`, that is the problem's own failure: somebody has to act.
    """
    if problem is None:
        return not_ready(message, look_again_in=settings.poll_interval)
    if not is_young(settings.grace):
        return failure(problem)
    return not_ready(f"{message}; {problem.message}", look_again_in=settings.poll_interval)
