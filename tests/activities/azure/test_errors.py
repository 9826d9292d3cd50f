"""What Azure refuses, classed by what happens next."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.blob import StorageErrorCode
from temporalio.exceptions import ApplicationError

from activities.azure.errors import NotLetInError, classify, code_of, describe, failures_named, is_refusal
from domain.failure import FailureClass, FailureDetail

DENIED = (
    "The client 'c1' with object id 'o1' does not have authorization to perform action"
    " 'Microsoft.Network/virtualNetworks/write' over scope '/subscriptions/s1/resourceGroups/g1' or the scope is"
    " invalid."
)
LINKED = (
    "The client 'c1' with object id 'o1' has permission to perform action 'Microsoft.Network/natGateways/write' on"
    " scope '/g'; however, it does not have permission to perform action(s)"
    " 'Microsoft.Network/publicIPAddresses/join/action' on the linked scope(s) '/linked' (respectively) or the linked"
    " scope(s) are invalid."
)
CORES = (
    "Operation could not be completed as it results in exceeding approved standardDSv5Family Cores quota. Additional"
    " details - Deployment Model: Resource Manager, Location: westeurope, Current Limit: 10"
)
IN_A_VAULT = (
    "Caller is not authorized to perform action on resource. Action:"
    " 'Microsoft.KeyVault/vaults/certificates/read' Resource: '/subscriptions/s1/vaults/v1/certificates/c1'"
)


@dataclass
class Reply:
    """A refusal on the wire."""

    status_code: int
    code: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)
    reason: str = "No"

    def text(self) -> str:
        """Return the body."""
        return json.dumps({"error": {"code": self.code, "message": self.message}})


def refused(status: int, code: str, message: str = "", **headers: str) -> HttpResponseError:
    """Return the SDK's error of a refusal."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return HttpResponseError(response=Reply(status, code, message, named))


def failure_of(error: AzureError | NotLetInError) -> ApplicationError:
    """Return what an error is named as."""
    with pytest.raises(ApplicationError) as caught, failures_named(resource="it"):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (401, "ExpiredAuthenticationToken", "", FailureClass.AUTH),
        (404, "SubscriptionNotFound", "", FailureClass.AUTH),
        (403, "AuthorizationFailed", DENIED, FailureClass.PERMISSION),
        (403, "LinkedAuthorizationFailed", LINKED, FailureClass.PERMISSION),
        (403, "Forbidden", IN_A_VAULT, FailureClass.PERMISSION),
        (403, "Forbidden", "Client address is not authorized (ForbiddenByFirewall)", FailureClass.POLICY),
        (403, "RequestDisallowedByPolicy", "Resource was disallowed by policy.", FailureClass.POLICY),
        (409, "ScopeLocked", "", FailureClass.POLICY),
        (409, "MissingSubscriptionRegistration", "", FailureClass.POLICY),
        (409, "OperationNotAllowed", CORES, FailureClass.QUOTA),
        (400, "ErrCode_InsufficientVCPUQuota", "", FailureClass.QUOTA),
        (400, "PublicIPCountLimitReached", "", FailureClass.QUOTA),
        (409, "OperationNotAllowed", "Another operation is in progress.", FailureClass.CONFLICT),
        (200, "ZonalAllocationFailed", "", FailureClass.CAPACITY),
        (409, "SkuNotAvailable", "", FailureClass.CAPACITY),
        (429, "TooManyRequests", "", FailureClass.THROTTLE),
        (429, "RetryableErrorDueToAnotherOperation", "", FailureClass.TRANSIENT),
        (400, "InUseSubnetCannotBeDeleted", "", FailureClass.CONFLICT),
        (404, "ResourceNotFound", "", FailureClass.CONFLICT),
        (412, "PreconditionFailed", "", FailureClass.CONFLICT),
        (400, "PrincipalNotFound", "", FailureClass.TRANSIENT),
        (500, "SomethingElse", "", FailureClass.TRANSIENT),
        (400, "InvalidParameter", "", FailureClass.CONFIG),
        (400, "NetcfgInvalidSubnet", "", FailureClass.CONFIG),
        (200, "SomethingElse", "", FailureClass.UNKNOWN),
    ],
)
def test_a_refusal_is_classed_by_code_message_and_status(
    status: int, code: str, message: str, expected: FailureClass
) -> None:
    """A quota is no lack of permission, whatever the status; an operation that failed later has the status 200."""
    assert classify(code, message, status=status) is expected
    assert describe(refused(status, code, message)).failure is expected


@pytest.mark.parametrize(
    ("message", "action", "resource"),
    [
        (DENIED, "Microsoft.Network/virtualNetworks/write", "/subscriptions/s1/resourceGroups/g1"),
        (LINKED, "Microsoft.Network/publicIPAddresses/join/action", "/linked"),
        (IN_A_VAULT, "Microsoft.KeyVault/vaults/certificates/read", "/subscriptions/s1/vaults/v1/certificates/c1"),
    ],
)
def test_what_is_missing_is_named(message: str, action: str, resource: str) -> None:
    """The action and the resource are read off Azure's words."""
    detail = describe(refused(403, "AuthorizationFailed", message))

    assert (detail.action, detail.resource) == (action, resource)
    assert detail.message.startswith(f"The permission {action} is missing")


def test_an_exhausted_quota_is_named() -> None:
    """With what Azure calls it, or its code."""
    assert describe(refused(409, "OperationNotAllowed", CORES)).quota == "standardDSv5Family Cores"
    assert describe(refused(400, "PublicIPCountLimitReached")).quota == "PublicIPCountLimitReached"


def test_what_azure_asks_to_wait_is_waited() -> None:
    """As long as it says, but never longer than five minutes."""
    assert failure_of(refused(429, "TooManyRequests", Retry_After="17")).next_retry_delay == timedelta(seconds=17)
    assert failure_of(refused(429, "TooManyRequests", Retry_After="9999")).next_retry_delay == timedelta(minutes=5)
    assert failure_of(refused(429, "TooManyRequests", Retry_After="soon")).next_retry_delay is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ServiceRequestError("no route"), FailureClass.TRANSIENT),
        (ServiceResponseError("connection closed"), FailureClass.TRANSIENT),
        (NotLetInError("nobody there", "SubscriptionNotFound"), FailureClass.AUTH),
        (AzureError("what?"), FailureClass.UNKNOWN),
    ],
)
def test_what_never_came_back_is_named_too(error: AzureError | NotLetInError, expected: FailureClass) -> None:
    """Lost connections, a subscription that lets nobody in, and what the SDK says of itself."""
    detail: FailureDetail = failure_of(error).details[0]

    assert detail.failure is expected


@pytest.mark.parametrize(
    ("number", "code", "expected"),
    [
        ("700016", "AADSTS700016", FailureClass.AUTH),
        ("7000215", "AADSTS7000215", FailureClass.AUTH),
        ("90033", "temporarily_unavailable", FailureClass.TRANSIENT),
    ],
)
def test_entra_is_understood_by_its_numbers(number: str, code: str, expected: FailureClass) -> None:
    """A refused token is a refusal of us, and an outage of Entra's is none."""
    error = ClientAuthenticationError(message=f"Authentication failed: AADSTS{number}: …")

    assert code_of(error) == code
    assert describe(error).failure is expected
    assert is_refusal(error) == (expected is FailureClass.AUTH)


def test_codes_of_blob_storage_are_understood() -> None:
    """Its SDK has them in an enumeration."""
    error = HttpResponseError(message="no")
    error.error_code = StorageErrorCode.INSUFFICIENT_ACCOUNT_PERMISSIONS

    assert describe(error).failure is FailureClass.PERMISSION
