"""What Azure refuses, in the domain's words: `failures_named` makes an SDK error the failure that says what follows.

The error code decides, then the message, then the status: an operation that failed later says so with status 200.
Sources: the error codes of Resource Manager, of the services' references, and of Entra (AADSTS numbers).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from activities.failures import failure
from domain.failure import FailureClass, FailureDetail

_CODES: dict[FailureClass, frozenset[str]] = {
    FailureClass.AUTH: frozenset({
        "AuthenticationFailed", "ExpiredAuthenticationToken", "InvalidAuthenticationInfo", "InvalidAuthenticationToken",
        "InvalidAuthenticationTokenAudience", "InvalidAuthenticationTokenTenant", "SubscriptionNotFound",
        "Unauthorized", "invalid_client", "invalid_grant", "unauthorized_client",
    }),
    FailureClass.PERMISSION: frozenset({
        "AuthorizationFailed", "AuthorizationFailure", "AuthorizationPermissionMismatch", "Forbidden",
        "InsufficientAccountPermissions", "LinkedAuthorizationFailed",
    }),
    FailureClass.POLICY: frozenset({
        "AccountIsDisabled", "BlobImmutableDueToPolicy", "DenyAssignmentAuthorizationFailed", "DisallowedProvider",
        "MissingSubscriptionRegistration", "ReadOnlyDisabledSubscription", "RequestDisallowedByAzure",
        "RequestDisallowedByPolicy", "ScopeLocked", "SubscriptionNotRegistered",
    }),
    FailureClass.QUOTA: frozenset({
        "ErrCode_InsufficientVCPUQuota", "InsufficientVCPUQuota", "MaxStorageAccountsCountPerSubscriptionExceeded",
        "QuotaExceeded", "ResourceQuotaExceeded", "RoleAssignmentLimitExceeded", "RoleDefinitionLimitExceeded",
        "TooManyFederatedIdentityCredentials",
    }),
    FailureClass.CAPACITY: frozenset({
        "AKSCapacityError", "AKSCapacityHeavyUsage", "AllocationFailed", "OverconstrainedAllocationRequest",
        "OverconstrainedZonalAllocationRequest", "SkuNotAvailable", "ZonalAllocationFailed",
    }),
    FailureClass.THROTTLE: frozenset({
        "OperationThrottled", "ServerBusy", "SubscriptionRequestsThrottled", "Throttled", "TooManyRequests",
    }),
    FailureClass.CONFLICT: frozenset({
        "AnotherOperationInProgress", "CanceledAndSupersededDueToAnotherOperation", "Conflict", "EtagMismatch",
        "NotFound", "OperationNotAllowed", "ParentResourceNotFound", "PreconditionFailed",
        "ReferencedResourceNotProvisioned", "ResourceGroupBeingDeleted", "ResourceGroupDeletionBlocked",
        "ResourceGroupNotFound", "ResourceNotFound", "RoleAssignmentExists", "RoleDefinitionHasAssignments",
    }),
    FailureClass.TRANSIENT: frozenset({
        # A principal that was made a moment ago is not known everywhere yet.
        "GatewayTimeout", "InternalError", "InternalExecutionError", "InternalOperationError", "InternalServerError",
        "OperationTimedOut", "PrincipalNotFound", "RetryableError", "RetryableErrorDueToAnotherOperation",
        "ServerTimeout", "ServiceUnavailable", "temporarily_unavailable",
    }),
}  # fmt: skip

_CLASS_OF_CODE = {code: refused for refused, codes in _CODES.items() for code in codes}

_PATTERNS: tuple[tuple[FailureClass, re.Pattern[str]], ...] = (
    (FailureClass.QUOTA, re.compile(r"(Count|Quota)?Limit(Reached|Exceeded)$|QuotaExceeded$")),
    (FailureClass.CONFLICT, re.compile(r"InUse|CannotBeDeleted$|NotFound$|AlreadyExists$|^Conflict")),
    (FailureClass.CONFIG, re.compile(r"^Invalid|^BadRequest|^Netcfg|NotSupported$|^Missing|Required$")),
)
"""Families of codes, in the order in which they count."""

# In the order of precedence: a message may mention a quota while it refuses a permission.
_MESSAGES: tuple[tuple[FailureClass, re.Pattern[str]], ...] = (
    (FailureClass.POLICY, re.compile(r"disallowed by policy|ForbiddenByFirewall|is disabled", re.IGNORECASE)),
    (FailureClass.QUOTA, re.compile(r"exceeding approved|quota|limit .*(reached|exceeded)", re.IGNORECASE)),
    (FailureClass.CAPACITY, re.compile(r"sufficient capacity|allocation failed", re.IGNORECASE)),
)
_CODES_TO_LOOK_BEHIND = frozenset({"OperationNotAllowed", "BadRequest", "Conflict", "Forbidden"})
"""Codes that say little: their message may say more."""

_CLASS_OF_STATUS = {
    400: FailureClass.CONFIG,
    401: FailureClass.AUTH,
    403: FailureClass.PERMISSION,
    404: FailureClass.CONFLICT,
    408: FailureClass.TRANSIENT,
    409: FailureClass.CONFLICT,
    412: FailureClass.CONFLICT,
    429: FailureClass.THROTTLE,
}
_ACTION = re.compile(r"not have \w+ to perform action(?:\(s\))? '([^']+)'|Action: '([^']+)'")
_SCOPE = re.compile(r"(?:over scope|on the linked scope\(s\)) '([^']+)'|Resource: '([^']+)'")
_QUOTA = re.compile(r"approved (.+?) quota|quota '([^']+)'", re.IGNORECASE)
_ENTRA = re.compile(r"AADSTS(\d+)")
_ENTRA_PASSES = frozenset({"50196", "90033", "90072999"})
"""AADSTS numbers of failures that time cures."""

_LONGEST_RETRY_AFTER = timedelta(minutes=5)


class NotLetInError(Exception):
    """The subscription does not let us in: nobody there, no consent, or no role that was made for this account."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def failures_named(*, resource: str = "") -> Iterator[None]:
    """Let any error of the SDKs leave the block as the domain's failure, with the missing action or quota named.

    Failures that the block raises itself pass unchanged. `resource` says what the block is about, for messages of
    Azure that do not.
    """
    try:
        yield
    except HttpResponseError as error:
        raise failure(describe(error, resource=resource), retry_after=_retry_after(error)) from error
    except NotLetInError as error:
        message = f"The control plane cannot enter the subscription: {error}"
        raise failure(FailureDetail(failure=FailureClass.AUTH, message=message, code=error.code)) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        message = f"Azure did not answer: {error}"
        detail = FailureDetail(failure=FailureClass.TRANSIENT, message=message, code=type(error).__name__)
        raise failure(detail) from error
    except AzureError as error:
        detail = FailureDetail(failure=FailureClass.UNKNOWN, message=str(error), code=type(error).__name__)
        raise failure(detail) from error


def describe(error: HttpResponseError, *, resource: str = "") -> FailureDetail:
    """Return what `error` means: its class, the action, resource or quota, and a sentence for who must act."""
    return described(code_of(error), _message_of(error), status=error.status_code or 0, resource=resource)


def described(code: str, message: str, *, status: int = 0, resource: str = "") -> FailureDetail:
    """Return what a code with a message means: of a refused call, or of an operation that failed later."""
    refused = classify(code, message, status=status)
    about_action = refused in (FailureClass.PERMISSION, FailureClass.POLICY)
    action = _first(_ACTION, message) if about_action else ""
    return FailureDetail(
        failure=refused,
        message=_sentence(refused, action, code, message),
        code=code,
        action=action,
        resource=(_first(_SCOPE, message) if about_action else "") or resource,
        quota=(_first(_QUOTA, message) or code) if refused is FailureClass.QUOTA else "",
    )


def classify(code: str, message: str = "", *, status: int = 0) -> FailureClass:
    """Return the class of an error code, the message and then the status deciding where the code says too little."""
    if code.startswith("AADSTS"):
        return FailureClass.AUTH
    if code not in _CLASS_OF_CODE or code in _CODES_TO_LOOK_BEHIND:
        told = next((refused for refused, pattern in _MESSAGES if pattern.search(message)), None)
        if told is not None:
            return told
    known = _CLASS_OF_CODE.get(code)
    if known is None:
        known = next((refused for refused, pattern in _PATTERNS if pattern.search(code)), None)
    if known is not None:
        return known
    return _CLASS_OF_STATUS.get(status) or (FailureClass.TRANSIENT if status >= 500 else FailureClass.UNKNOWN)


def code_of(error: HttpResponseError) -> str:
    """Return Azure's own error code: of Resource Manager, a vault, a storage account or Entra; else the status."""
    if isinstance(error, ClientAuthenticationError) and (entra := _ENTRA.search(str(error.message))):
        return "temporarily_unavailable" if entra[1] in _ENTRA_PASSES else f"AADSTS{entra[1]}"
    told = getattr(error.error, "code", None) or getattr(error, "error_code", None)
    if told is None and error.response is not None:
        # Not every call of the blob service's client reads the code itself.
        told = error.response.headers.get("x-ms-error-code")
    # Blob Storage's codes are members of an enumeration.
    return str(getattr(told, "value", told) or error.status_code or type(error).__name__)


def is_refusal(error: HttpResponseError) -> bool:
    """Return whether Azure refuses us as such, as opposed to not answering: a token, or the first look around."""
    refused = classify(code_of(error), status=error.status_code or 0)
    return refused in (FailureClass.AUTH, FailureClass.PERMISSION)


def _message_of(error: HttpResponseError) -> str:
    if error.error is not None and error.error.message:
        inner = (error.error.innererror or {}).get("code", "")
        return f"{error.error.message} ({inner})" if inner else str(error.error.message)
    return str(error.message).partition("\n")[0]


def _retry_after(error: HttpResponseError) -> timedelta | None:
    """Return how long Azure asks to wait, at most five minutes."""
    asked = error.response.headers.get("Retry-After", "") if error.response is not None else ""
    return min(timedelta(seconds=int(asked)), _LONGEST_RETRY_AFTER) if asked.isdecimal() else None


def _first(pattern: re.Pattern[str], message: str) -> str:
    found = pattern.search(message)
    return next((group for group in found.groups() if group), "") if found else ""


def _sentence(refused: FailureClass, action: str, code: str, message: str) -> str:
    match refused:
        case FailureClass.PERMISSION:
            return f"The permission {action or '(not named)'} is missing: {message}"
        case FailureClass.POLICY:
            return f"The customer's subscription forbids it ({code}): {message}"
        case FailureClass.QUOTA:
            return f"A quota of the subscription is exceeded ({code}): {message}"
        case FailureClass.CAPACITY:
            return f"Azure has no capacity ({code}): {message}"
        case _:
            return f"Azure answers {code}: {message}"
