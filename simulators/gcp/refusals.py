"""What a Google API refuses a call with, as JSON and as gRPC carry it.

Sources: google.rpc.Code with its HTTP mapping, google.rpc.ErrorInfo, and the legacy `errors` list of the APIs that are
older than these (compute, storage, DNS).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

CODES: Mapping[str, tuple[int, int]] = {
    "CANCELLED": (1, 499),
    "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "OUT_OF_RANGE": (11, 400),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "UNAUTHENTICATED": (16, 401),
}
"""gRPC number and HTTP status, keyed by name."""

_LEGACY_REASONS: Mapping[str, str] = {
    "INVALID_ARGUMENT": "invalid",
    "NOT_FOUND": "notFound",
    "ALREADY_EXISTS": "alreadyExists",
    "PERMISSION_DENIED": "forbidden",
    "RESOURCE_EXHAUSTED": "rateLimitExceeded",
    "FAILED_PRECONDITION": "failedPrecondition",
    "ABORTED": "conflict",
    "INTERNAL": "internalError",
    "UNAVAILABLE": "backendError",
    "UNAUTHENTICATED": "authError",
    "UNIMPLEMENTED": "notImplemented",
}
_WITHOUT_STATUS = frozenset({"storage", "dns"})
"""Services whose error bodies have the legacy list alone."""


class Refusal(Exception):  # noqa: N818 - it is not our error but the cloud's answer
    """A call that the cloud does not fulfil."""

    def __init__(
        self,
        status: str,
        message: str,
        *,
        reason: str = "",
        domain: str = "googleapis.com",
        metadata: Mapping[str, str] | None = None,
        http: int = 0,
        legacy: str = "",
        legacy_domain: str = "global",
        details: tuple[Json, ...] = (),
    ) -> None:
        """`status` is a key of `CODES`; `reason`, `domain` and `metadata` make the ErrorInfo, if there is a reason."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason
        self.http = http or CODES[status][1]
        self.legacy = legacy or _LEGACY_REASONS.get(status, "backendError")
        self._legacy_domain = legacy_domain
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": domain,
            "metadata": dict(metadata or {}),
        }
        self.details: tuple[Json, ...] = ((info,) if reason else ()) + details

    @property
    def code(self) -> int:
        """The gRPC status code."""
        return CODES[self.status][0]

    @property
    def name(self) -> str:
        """How the journal names the error: the reason if there is one, else the status."""
        return self.reason or self.status

    def body(self, service: str) -> Json:
        """Return the body of an HTTP reply of `service`."""
        error: Json = {
            "code": self.http,
            "message": self.message,
            "errors": [{"message": self.message, "domain": self._legacy_domain, "reason": self.legacy}],
        }
        if service not in _WITHOUT_STATUS:
            error["status"] = self.status
            if self.details:
                error["details"] = list(self.details)
        return {"error": error}


def not_found(message: str, *, reason: str = "", domain: str = "googleapis.com", legacy: str = "") -> Refusal:
    """There is no such thing."""
    return Refusal("NOT_FOUND", message, reason=reason, domain=domain, legacy=legacy)


def invalid(message: str, *, reason: str = "", domain: str = "googleapis.com", legacy: str = "") -> Refusal:
    """An argument is wrong."""
    return Refusal("INVALID_ARGUMENT", message, reason=reason, domain=domain, legacy=legacy)


def exists(message: str, *, reason: str = "", domain: str = "googleapis.com", legacy: str = "") -> Refusal:
    """There is such a thing already."""
    return Refusal("ALREADY_EXISTS", message, reason=reason, domain=domain, legacy=legacy)


def failed_precondition(message: str, *, reason: str = "", domain: str = "googleapis.com", legacy: str = "") -> Refusal:
    """The state of the world does not allow it now."""
    return Refusal("FAILED_PRECONDITION", message, reason=reason, domain=domain, legacy=legacy)
