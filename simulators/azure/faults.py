"""The refusal that each injected fault answers with."""

from __future__ import annotations

from collections.abc import Mapping

from simulators.azure.api import Request
from simulators.azure.refusals import Refusal
from simulators.faults import Fault, FaultKind

_RETRY_AFTER = {"Retry-After": "1"}
_DATA = ("blob", "vault")
LATE_QUOTA = ("containerservice",)
"""Services whose missing quota can show in what the call starts: ask for it with a code that begins with `ErrCode_`."""

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
        "InsufficientVCPUQuota",
        (
            "Preflight validation check for resource(s) failed. Insufficient vcpu quota requested 12, remaining 4 for"
            " family standardDSv5Family."
        ),
    ),
    "storage": (
        409,
        "MaxStorageAccountsCountPerSubscriptionExceeded",
        "Subscription already contains 250 storage accounts and the maximum allowed is 250.",
    ),
}
"""Status, code and message, keyed by service."""


def fault_refusal(fault: Fault, request: Request) -> Refusal | None:
    """Return what `fault` answers the call with at once, or None where it is of another nature."""
    match fault.kind:
        case FaultKind.THROTTLE:
            return _throttled(fault, request)
        case FaultKind.QUOTA if not is_late(fault, request):
            status, code, message = _QUOTAS.get(
                request.service, (409, "QuotaExceeded", f"The quota for {request.operation} is exceeded.")
            )
            return Refusal(status, fault.code or code, fault.message or message)
        case FaultKind.ERROR:
            return Refusal(
                503 if request.service in _DATA else 500,
                fault.code or ("ServerBusy" if request.service == "blob" else "InternalServerError"),
                fault.message or "The server encountered an internal error. Please retry the request.",
            )
        case FaultKind.CAPACITY if not (request.mutating and request.service in ("compute", "containerservice")):
            message = f"The requested resource is not available in location '{request.region}'."
            return Refusal(409, fault.code or "SkuNotAvailable", fault.message or message)
    return None


def is_late(fault: Fault, request: Request) -> bool:
    """Return whether a missing quota shows only in what the call starts."""
    return fault.code.startswith("ErrCode_") and request.service in LATE_QUOTA and request.mutating


def late_error(fault: Fault, service: str) -> Refusal:
    """Return the error with which something that a call started ends."""
    match fault.kind:
        case FaultKind.CAPACITY:
            return Refusal(
                409,
                fault.code or "ZonalAllocationFailed",
                fault.message
                or "Allocation failed. We do not have sufficient capacity for the requested VM size in this zone.",
            )
        case FaultKind.QUOTA:
            return Refusal(400, fault.code, fault.message or _QUOTAS[service][2])
    return Refusal(
        500, fault.code or "InternalExecutionError", fault.message or "An internal execution error occurred."
    )


def _throttled(fault: Fault, request: Request) -> Refusal:
    match request.service:
        case "blob":
            return Refusal(
                503, fault.code or "ServerBusy", fault.message or "The server is busy.", headers=_RETRY_AFTER
            )
        case "vault":
            message = "Request was not processed because too many requests were received."
            return Refusal(429, fault.code or "Throttled", fault.message or message, headers=_RETRY_AFTER)
    message = f"Number of requests for subscription '{request.subscription}' exceeded the limit. Please try again."
    return Refusal(429, fault.code or "TooManyRequests", fault.message or message, headers=_RETRY_AFTER)
