"""The refusal that each injected fault answers with."""

from __future__ import annotations

from simulators.faults import Fault, FaultKind
from simulators.gcp.api import Request
from simulators.gcp.refusals import Refusal


def fault_refusal(fault: Fault, request: Request) -> Refusal | None:
    """Return what `fault` answers `request` with at once, or None where the fault is of another nature.

    In Compute Engine an exhausted quota shows in the operation that a call starts, as missing capacity does.
    """
    match fault.kind:
        case FaultKind.THROTTLE:
            return _throttled(fault, request)
        case FaultKind.QUOTA if request.method.service != "compute" or not request.method.mutating:
            return _exhausted(fault, request)
        case FaultKind.ERROR:
            message = fault.message or "The service is currently unavailable."
            return Refusal(fault.code or "UNAVAILABLE", message, legacy="backendError")
        case FaultKind.CAPACITY if request.method.service not in ("compute", "container"):
            return Refusal("UNAVAILABLE", fault.message or "There is not enough capacity to fulfil the request.")
    return None


def _throttled(fault: Fault, request: Request) -> Refusal:
    service = request.method.service
    if service == "compute":
        return Refusal(
            "PERMISSION_DENIED",
            fault.message or "Rate Limit Exceeded",
            reason="RATE_LIMIT_EXCEEDED",
            metadata={"service": request.method.api, "consumer": f"projects/{request.project}"},
            legacy=fault.code or "rateLimitExceeded",
            legacy_domain="usageLimits",
        )
    kind = "Write" if request.method.mutating else "Read"
    return Refusal(
        "RESOURCE_EXHAUSTED",
        fault.message
        or f"Quota exceeded for quota metric '{kind} requests' and limit '{kind} requests per minute' of service"
        f" '{request.method.api}' for consumer 'project_number:{request.project}'.",
        reason=fault.code or "RATE_LIMIT_EXCEEDED",
        metadata={"service": request.method.api, "consumer": f"projects/{request.project}"},
        legacy="rateLimitExceeded",
        legacy_domain="usageLimits",
    )


def _exhausted(fault: Fault, request: Request) -> Refusal:
    if request.method.service == "container":
        message = (
            'Insufficient regional quota to satisfy request: resource "CPUS": request requires'
            " '12.0' and is short '4.0'. project has a quota of '24.0' with '8.0' available."
        )
        return Refusal("RESOURCE_EXHAUSTED", fault.message or message, reason=fault.code or "GCE_QUOTA_EXCEEDED")
    message = f"The quota that {request.method.name} draws on is exhausted for project {request.project}."
    return Refusal(
        "RESOURCE_EXHAUSTED",
        fault.message or message,
        reason=fault.code or "QUOTA_EXCEEDED",
        http=403 if request.method.service == "dns" else 0,
        legacy="quotaExceeded",
        legacy_domain="usageLimits",
    )
