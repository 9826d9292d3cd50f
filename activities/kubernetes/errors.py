"""From what a Kubernetes API answers to what happens next (lifecycles.md, section 6)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import urllib3.exceptions
from kubernetes.client.exceptions import ApiException

from activities.failures import failure
from activities.kubernetes.objects import Object
from domain.failure import FailureClass, FailureDetail

_BY_REASON = {
    "Unauthorized": FailureClass.AUTH,
    "Conflict": FailureClass.CONFLICT,
    "AlreadyExists": FailureClass.CONFLICT,
    "NotFound": FailureClass.CONFLICT,
    "Gone": FailureClass.CONFLICT,
    "Expired": FailureClass.CONFLICT,
    "TooManyRequests": FailureClass.THROTTLE,
    "Invalid": FailureClass.CONFIG,
    "BadRequest": FailureClass.CONFIG,
    "MethodNotAllowed": FailureClass.CONFIG,
    "NotAcceptable": FailureClass.CONFIG,
    "UnsupportedMediaType": FailureClass.CONFIG,
    "RequestEntityTooLarge": FailureClass.CONFIG,
    "ServerTimeout": FailureClass.TRANSIENT,
    "Timeout": FailureClass.TRANSIENT,
    "InternalError": FailureClass.TRANSIENT,
    "ServiceUnavailable": FailureClass.TRANSIENT,
}
"""Keyed by the `reason` of the API's Status; `Forbidden` needs its message. What is not found although we just made
it, or vanished between two looks, is there (or known to be gone) at the next look: a conflict."""

_BY_STATUS = {
    400: FailureClass.CONFIG,
    401: FailureClass.AUTH,
    403: FailureClass.PERMISSION,
    404: FailureClass.CONFLICT,
    409: FailureClass.CONFLICT,
    410: FailureClass.CONFLICT,
    422: FailureClass.CONFIG,
    429: FailureClass.THROTTLE,
}
"""For answers without a Status, which come from a proxy on the way and not from the API server."""

_QUOTA = re.compile(r"exceeded quota: (?P<name>[^,\s]+)")
_DENIED = re.compile(r"cannot (?P<verb>\w+) resource \"(?P<resource>[^\"]+)\"(?: in API group \"(?P<group>[^\"]*)\")?")
_POLICY_WORDS = ("violates PodSecurity", "denied the request", "denied request")
"""Pod security admission, admission webhooks, validating admission policies."""


@contextmanager
def failures_named(what: str) -> Iterator[None]:
    """Turn every error of the Kubernetes client inside into an `ApplicationError` that says what is missing.

    `what` is what the calls are about, `Deployment byoc-server/api`; each message begins with it.
    """
    try:
        yield
    except ApiException as error:
        raise failure(detail_of(error, what), retry_after=_retry_after(error)) from error
    except urllib3.exceptions.HTTPError as error:
        raise failure(_unreachable(what, str(error))) from error


def detail_of(error: ApiException, what: str) -> FailureDetail:
    """Return the class of an API error, with the permission, quota or field that it names."""
    if not error.status:
        return _tls_failure(what, str(error.reason))
    status = _status(error)
    reason = str(status.get("reason") or "")
    message = str(status.get("message") or error.reason or f"HTTP {error.status}")
    if reason == "Forbidden" or (not reason and error.status == 403):
        return _forbidden(what, message, status)
    found = _BY_REASON.get(reason) or _BY_STATUS.get(error.status)
    if found is None:
        found = FailureClass.TRANSIENT if error.status >= 500 else FailureClass.UNKNOWN
    if found is FailureClass.CONFIG and _is_policy(message):
        found = FailureClass.POLICY
    return FailureDetail(
        failure=found, message=f"{what}: {message}", code=reason or str(error.status), resource=_fields(status) or what
    )


def _forbidden(what: str, message: str, status: Object) -> FailureDetail:
    causes = {cause.get("reason") for cause in (status.get("details") or {}).get("causes") or ()}
    if "NamespaceTerminating" in causes:
        return FailureDetail(
            failure=FailureClass.CONFLICT, message=f"{what}: {message}", code="NamespaceTerminating", resource=what
        )
    if quota := _QUOTA.search(message):
        return FailureDetail(
            failure=FailureClass.QUOTA,
            message=f"{what}: {message}",
            code="Forbidden",
            resource=what,
            quota=quota["name"],
        )
    if _is_policy(message):
        return FailureDetail(failure=FailureClass.POLICY, message=f"{what}: {message}", code="Forbidden", resource=what)
    return FailureDetail(
        failure=FailureClass.PERMISSION,
        message=f"{what}: {message}",
        code="Forbidden",
        action=_denied_action(message),
        resource=what,
    )


def _denied_action(message: str) -> str:
    """Return `create deployments.apps` from the words in which the API server denies it, else nothing."""
    denied = _DENIED.search(message)
    if denied is None:
        return ""
    group = f".{denied['group']}" if denied["group"] else ""
    return f"{denied['verb']} {denied['resource']}{group}"


def _is_policy(message: str) -> bool:
    return any(words in message for words in _POLICY_WORDS)


def _fields(status: Object) -> str:
    """Return the fields that the API server objects to, `spec.replicas`, joined by commas."""
    causes = (status.get("details") or {}).get("causes") or ()
    return ", ".join(cause["field"] for cause in causes if cause.get("field"))


def _status(error: ApiException) -> Object:
    """Return the Status object in the body of an API error, or an empty one."""
    try:
        body: Any = json.loads(error.body or "{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) and body.get("kind") == "Status" else {}


def conflicts_of(error: ApiException) -> tuple[str, ...]:
    """Return the field conflicts of a refused server-side apply, or nothing if it was refused for another reason."""
    causes = (_status(error).get("details") or {}).get("causes") or ()
    return tuple(
        f"{cause.get('field', '')}: {cause.get('message', '')}"
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
    )


def _retry_after(error: ApiException) -> timedelta | None:
    value = (error.headers or {}).get("Retry-After", "")
    return timedelta(seconds=int(value)) if value.isdigit() else None


def _tls_failure(what: str, reason: str) -> FailureDetail:
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        message = f"{what}: the endpoint's certificate is not signed by the cluster's authority"
        return FailureDetail(failure=FailureClass.CONFIG, message=message, code="CertificateUnknown", resource=what)
    return _unreachable(what, reason)


def _unreachable(what: str, reason: str) -> FailureDetail:
    return FailureDetail(
        failure=FailureClass.TRANSIENT, message=f"{what}: no answer ({reason})", code="Unreachable", resource=what
    )
