"""What AKS says is wrong with a cluster or node pool, in the domain's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from temporalio.exceptions import ApplicationError

from activities.azure.aks import state_of
from activities.azure.errors import described
from activities.failures import failure
from domain.failure import FailureClass, FailureDetail


def health_failure(thing: Mapping[str, Any], what: str) -> ApplicationError:
    """Return the failure for the error that AKS reports of something which it could not make or change.

    Errors hold others, of the service that refused in the end; the first one that has a class decides.
    """
    reported = (thing["properties"].get("status") or {}).get("provisioningError")
    details = [_detail(error, what) for error in _errors(reported)]
    known = [detail for detail in details if detail.failure is not FailureClass.UNKNOWN]
    unexplained = FailureDetail(
        failure=FailureClass.UNKNOWN,
        message=f"AKS reports {what} as {state_of(thing)} and gives no reason",
        resource=what,
    )
    return failure(next(iter([*known, *details]), unexplained))


def _errors(error: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield an error and those in it, the outermost first."""
    if error:
        yield error
        for inner in error.get("details") or ():
            yield from _errors(inner)


def _detail(error: Mapping[str, Any], what: str) -> FailureDetail:
    code, message = str(error.get("code") or ""), str(error.get("message") or "")
    told = described(code, message, resource=what)
    explained = f"AKS could not make {what}: {message}" + (f" ({code})" if code else "")
    return told.model_copy(update={"message": explained, "code": code, "resource": what})
