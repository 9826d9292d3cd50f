"""What Google refuses, in the domain's words: `failures_named` makes an SDK error the failure that says what follows.

The reason decides (of `google.rpc.ErrorInfo`, or of the legacy list of the APIs that are older than it), then the
status, then the message. Sources: the error models of AIP-193, Compute Engine, GKE, Cloud Storage, IAM and KMS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import requests
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError

from activities.failures import failure
from domain.failure import FailureClass, FailureDetail

_REASONS: dict[FailureClass, frozenset[str]] = {
    FailureClass.AUTH: frozenset({
        "ACCESS_TOKEN_EXPIRED", "ACCOUNT_STATE_INVALID", "CREDENTIALS_MISSING", "authError", "invalid_grant",
    }),
    FailureClass.PERMISSION: frozenset({
        "GKE_SERVICE_ACCOUNT_DELETED", "IAM_PERMISSION_DENIED", "forbidden", "required",
    }),
    FailureClass.POLICY: frozenset({
        "BILLING_DISABLED", "CLOUD_KMS_KEY_ERROR", "CONSUMER_INVALID", "CONSUMER_SUSPENDED",
        "RESOURCE_USAGE_RESTRICTION_VIOLATED", "SECURITY_POLICY_VIOLATED", "SERVICE_DISABLED",
        "USER_PROJECT_DENIED", "accessNotConfigured", "conditionNotMet",
    }),
    FailureClass.QUOTA: frozenset({
        "GCE_QUOTA_EXCEEDED", "LIMIT_EXCEEDED", "QUOTA_EXCEEDED", "limitExceeded", "quotaExceeded",
    }),
    FailureClass.CAPACITY: frozenset({
        "GCE_STOCKOUT", "ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
        "resourcePoolExhausted", "stockout",
    }),
    FailureClass.THROTTLE: frozenset({
        "RATE_LIMIT_EXCEEDED", "rateLimitExceeded", "userRateLimitExceeded",
    }),
    FailureClass.CONFLICT: frozenset({
        "ALREADY_EXISTS", "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", "RESOURCE_NOT_FOUND", "alreadyExists",
        "conflict", "notFound", "resourceInUseByAnotherResource",
    }),
    # What was begun, by an earlier attempt or by somebody else, is not there yet.
    FailureClass.NOT_READY: frozenset({"RESOURCE_NOT_READY", "resourceNotReady"}),
}  # fmt: skip

_CLASS_OF_REASON = {reason: refused for refused, reasons in _REASONS.items() for reason in reasons}

_CLASS_OF_STATUS = {
    "UNAUTHENTICATED": FailureClass.AUTH,
    "PERMISSION_DENIED": FailureClass.PERMISSION,
    "RESOURCE_EXHAUSTED": FailureClass.QUOTA,
    "NOT_FOUND": FailureClass.CONFLICT,
    "ALREADY_EXISTS": FailureClass.CONFLICT,
    "ABORTED": FailureClass.CONFLICT,
    "FAILED_PRECONDITION": FailureClass.CONFLICT,
    "UNAVAILABLE": FailureClass.TRANSIENT,
    "INTERNAL": FailureClass.TRANSIENT,
    "DEADLINE_EXCEEDED": FailureClass.TRANSIENT,
    "INVALID_ARGUMENT": FailureClass.CONFIG,
    "OUT_OF_RANGE": FailureClass.CONFIG,
}
_STATUS_OF_HTTP = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# In the order of precedence: a message may mention a quota while it refuses a permission.
_MESSAGES: tuple[tuple[FailureClass, re.Pattern[str]], ...] = (
    (FailureClass.POLICY, re.compile(r"organization policy|constraints/[a-z]", re.IGNORECASE)),
    (FailureClass.THROTTLE, re.compile(r"requests per (minute|second|100 seconds)|rate limit", re.IGNORECASE)),
    (FailureClass.QUOTA, re.compile(r"quota '?\w*'? ?exceeded|insufficient (regional )?quota", re.IGNORECASE)),
    (FailureClass.CAPACITY, re.compile(r"stockout|does not have enough resources", re.IGNORECASE)),
)
_PERMISSION = re.compile(r"'([a-z]\w*\.\w+\.\w+)'|\"([a-z]\w*\.\w+\.\w+)\" permission|have ([a-z]\w*\.\w+\.\w+) access")
_QUOTA = re.compile(r"Quota '([^']+)' exceeded|resource \"([A-Z_]+)\"|quota metric '([^']+)'")

_ABOUT_AN_ACTION = frozenset({FailureClass.PERMISSION, FailureClass.POLICY})


@contextmanager
def failures_named(*, resource: str = "") -> Iterator[None]:
    """Let any error of the SDKs leave the block as the domain's failure, with the missing permission or quota named.

    Failures that the block raises itself pass unchanged. `resource` says what the block is about, for messages of
    Google that do not.
    """
    try:
        yield
    except GoogleAPICallError as error:
        raise failure(describe(error, resource=resource), retry_after=_retry_after(error)) from error
    except RefreshError as error:
        raise failure(_describe_refusal(error)) from error
    except DefaultCredentialsError as error:
        message = f"The control plane has no Google credentials of its own: {error}"
        raise failure(FailureDetail(failure=FailureClass.AUTH, message=message, code=type(error).__name__)) from error
    except (TransportError, requests.RequestException) as error:
        message = f"Google did not answer: {error}"
        detail = FailureDetail(failure=FailureClass.TRANSIENT, message=message, code=type(error).__name__)
        raise failure(detail) from error
    except GoogleAuthError as error:
        detail = FailureDetail(failure=FailureClass.AUTH, message=str(error), code=type(error).__name__)
        raise failure(detail) from error


def describe(error: GoogleAPICallError, *, resource: str = "") -> FailureDetail:
    """Return what `error` means: its class, the permission, resource or quota, and a sentence for who must act."""
    reason, status, message = reason_of(error), _status_of(error), _message_of(error)
    metadata = error.metadata or {}
    return described(reason or status, message, status=status, metadata=metadata, resource=resource)


def described(
    code: str,
    message: str,
    *,
    status: str = "",
    metadata: Mapping[str, str] | None = None,
    resource: str = "",
) -> FailureDetail:
    """Return what a code with a message means: of a refused call, of an operation that failed, of a condition."""
    metadata = metadata or {}
    refused = classify(code, message, status=status)
    action = (metadata.get("permission") or _first(_PERMISSION, message)) if refused in _ABOUT_AN_ACTION else ""
    quota = metadata.get("quota_limit") or metadata.get("quota_metric") or _first(_QUOTA, message) or code
    named = metadata.get("resource") or resource
    return FailureDetail(
        failure=refused,
        message=_sentence(refused, action, code, message),
        code=code,
        action=action,
        resource=named,
        quota=quota if refused is FailureClass.QUOTA else "",
    )


def classify(code: str, message: str = "", *, status: str = "") -> FailureClass:
    """Return the class of a reason or status, `status` deciding where the reason is not known."""
    known = _CLASS_OF_REASON.get(code) or _CLASS_OF_STATUS.get(code) or _CLASS_OF_STATUS.get(status)
    told = _class_of_message(message)
    # Permissions, preconditions and exhausted resources are refused with one status, whatever lacks; the words differ.
    if code not in _CLASS_OF_REASON and told is not None and known is not FailureClass.AUTH:
        return told
    if known is FailureClass.PERMISSION and told is FailureClass.POLICY:
        return FailureClass.POLICY
    return known or told or FailureClass.UNKNOWN


def reason_of(error: GoogleAPICallError) -> str:
    """Return the reason that an error gives beside its status, of either generation of APIs; empty if it gives none."""
    if error.reason:
        return str(error.reason)
    return next((str(each["reason"]) for each in _legacy(error) if each.get("reason")), "")


def refusal_in_words(error: RefreshError) -> str:
    """Return why a service account could not be impersonated, in Google's words."""
    reply = _reply_of(error)
    found = reply.get("error", {}) if isinstance(reply.get("error"), dict) else {}
    status, message = found.get("status", ""), found.get("message", "")
    return f"{status}: {message}" if message else str(error)


def is_refusal(error: RefreshError) -> bool:
    """Return whether Google refused an impersonation, as opposed to not answering.

    An account that does not exist is refused as one that may not be impersonated.
    """
    reply = _reply_of(error)
    found = reply.get("error", {})
    return isinstance(found, dict) and found.get("status") in ("PERMISSION_DENIED", "NOT_FOUND")


def _describe_refusal(error: RefreshError) -> FailureDetail:
    if error.retryable:
        message = f"Google did not issue a token: {error}"
        return FailureDetail(failure=FailureClass.TRANSIENT, message=message, code="RefreshError")
    if is_refusal(error):
        message = f"The control plane cannot impersonate its service account in the project: {refusal_in_words(error)}"
        return FailureDetail(failure=FailureClass.AUTH, message=message, code="PERMISSION_DENIED")
    reply = _reply_of(error).get("error", {})
    if isinstance(reply, dict) and reply.get("status"):
        code = str(reply["status"])
        return described(code, str(reply.get("message", "")), status=code)
    message = f"Google did not issue a token: {error}"
    return FailureDetail(failure=FailureClass.AUTH, message=message, code="RefreshError")


def _reply_of(error: RefreshError) -> dict[str, Any]:
    """Return the body of the reply in which a token was refused, as far as it was JSON."""
    for part in error.args:
        try:
            reply = json.loads(part)
        except (TypeError, ValueError):
            continue
        if isinstance(reply, dict):
            return reply
    return {}


def _legacy(error: GoogleAPICallError) -> Iterable[Mapping[str, Any]]:
    return [each for each in error.errors or () if isinstance(each, Mapping)]


def _status_of(error: GoogleAPICallError) -> str:
    grpc_code = getattr(error, "grpc_status_code", None)
    http_code = int(error.code or 0)
    name = str(grpc_code.name) if grpc_code is not None else ""
    # REST errors of a class that gRPC shares carry its code, too; what HTTP alone knows is read from the number.
    return name or _STATUS_OF_HTTP.get(http_code, "UNAVAILABLE" if http_code >= 500 else "")


def _message_of(error: GoogleAPICallError) -> str:
    # Errors over HTTP begin with the request: `POST https://…: the message`.
    return re.sub(r"^[A-Z]+ https?://\S+: ", "", str(error.message or error))


def _class_of_message(message: str) -> FailureClass | None:
    return next((refused for refused, pattern in _MESSAGES if pattern.search(message)), None)


def _retry_after(error: GoogleAPICallError) -> timedelta | None:
    """Return how long Google asks to wait (`google.rpc.RetryInfo`), at most five minutes."""
    for detail in error.details or ():
        delay = getattr(detail, "retry_delay", None)
        if delay is not None:
            return min(timedelta(seconds=delay.seconds, microseconds=delay.nanos // 1000), timedelta(minutes=5))
    return None


def _first(pattern: re.Pattern[str], message: str) -> str:
    found = pattern.search(message)
    return next((group for group in found.groups() if group), "") if found else ""


def _sentence(refused: FailureClass, action: str, code: str, message: str) -> str:
    match refused:
        case FailureClass.PERMISSION:
            return f"The permission {action or '(not named)'} is missing: {message}"
        case FailureClass.POLICY if action:
            return f"A policy of the customer's organization forbids {action}: {message}"
        case FailureClass.QUOTA:
            return f"A quota of the project is exceeded ({code}): {message}"
        case FailureClass.CAPACITY:
            return f"Google has no capacity ({code}): {message}"
        case _:
            return f"Google answers {code}: {message}"
