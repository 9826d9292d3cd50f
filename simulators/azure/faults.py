"""The refusal that each injected fault answers with."""

from __future__ import annotations

from collections.abc import Mapping

from simulators.azure.api import Request
from simulators.azure.refusals import Refusal
from simulators.faults import Fault, FaultKind

_RETRY_AFTER = {"Retry-After": "1"}
_QUOTAS: Mapping[str, tuple[int, str, str]] = {
    "network": (
        400,
        "PublicIPCountLimitReached",
        "Cannot create more than 20 public IP addresses for this subscription in this region.",
    ),
    "compute": (
        409,
        "OperationNotAllowed",
        (
            "Operation could not be completed as it results in exceeding approved Total Regional Cores quota."
            " Additional details - Current Limit: 10, Current Usage: 8, Additional Required: 4."
        ),
    ),
    "containerservice": (
        400,
        "ErrCode_InsufficientVCPUQuota",
        "Insufficient vcpu quota requested 6, remaining 2 for family standardDSv5Family for region westeurope.",
    ),
}
"""Status, code and message, keyed by service."""
_LATE_CAPACITY = frozenset({"compute", "containerservice"})
"""Services where a lack of machines shows only in what a call starts."""


def fault_refusal(fault: Fault, request: Request) -> Refusal | None:
    """Return what `fault` answers the call with at once, or None where it is of another nature."""
    match fault.kind:
        case FaultKind.THROTTLE:
            return _throttled(fault, request)
        case FaultKind.QUOTA:
            status, code, message = _QUOTAS.get(
                request.service, (409, "QuotaExceeded", f"The quota for {request.operation} is exceeded.")
            )
            return Refusal(status, fault.code or code, fault.message or message)
        case FaultKind.ERROR:
            code = "InternalError" if request.service == "blob" else "InternalServerError"
            return Refusal(
                500,
                fault.code or code,
                fault.message or "The server encountered an internal error. Please retry the request.",
            )
        case FaultKind.CAPACITY if not (request.mutating and request.service in _LATE_CAPACITY):
            message = f"The requested resource is not available in location '{request.region}'."
            return Refusal(409, fault.code or "SkuNotAvailable", fault.message or message)
    return None


def late_error(fault: Fault) -> Refusal:
    """Return the error with which something that a call started ends."""
    if fault.kind is FaultKind.CAPACITY:
        message = "Allocation failed. We do not have sufficient capacity for the requested VM size in this zone."
        return Refusal(409, fault.code or "ZonalAllocationFailed", fault.message or message)
    return Refusal(
        500, fault.code or "InternalExecutionError", fault.message or "An internal execution error occurred."
    )


def _throttled(fault: Fault, request: Request) -> Refusal:
    if request.service == "blob":
        return Refusal(503, fault.code or "ServerBusy", fault.message or "The server is busy.", headers=_RETRY_AFTER)
    message = f"Number of requests for subscription '{request.subscription}' exceeded the limit. Please try again."
    return Refusal(429, fault.code or "TooManyRequests", fault.message or message, headers=_RETRY_AFTER)
