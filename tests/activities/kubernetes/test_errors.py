"""From the API's refusals to what happens next: the Kubernetes column of the table of errors."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import urllib3.exceptions
from kubernetes.client.exceptions import ApiException
from temporalio.exceptions import ApplicationError

from activities.kubernetes.errors import conflicts_of, detail_of, failures_named
from domain.failure import FailureClass

WHAT = "Deployment byoc-server/api"


def refusal(status: int, reason: str, message: str = "", **details: Any) -> ApiException:
    """Return the error of the official client for a Status that the API server answers with."""
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "details": details}
    error = ApiException(status=status, reason=reason)
    error.body = json.dumps({**body, "code": status})
    error.headers = {}
    return error


DENIED = 'deployments.apps "api" is forbidden: User "byoc" cannot patch resource "deployments" in API group "apps"'


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refusal(401, "Unauthorized", "Unauthorized"), FailureClass.AUTH),
        (refusal(403, "Forbidden", DENIED), FailureClass.PERMISSION),
        (refusal(403, "Forbidden", "exceeded quota: compute, requested: cpu=1"), FailureClass.QUOTA),
        (refusal(403, "Forbidden", 'violates PodSecurity "restricted:latest"'), FailureClass.POLICY),
        (refusal(403, "Forbidden", "x", causes=[{"reason": "NamespaceTerminating"}]), FailureClass.CONFLICT),
        (refusal(400, "BadRequest", 'admission webhook "policy.acme" denied the request'), FailureClass.POLICY),
        (refusal(400, "BadRequest", "unknown field"), FailureClass.CONFIG),
        (refusal(422, "Invalid", "spec.replicas: must not be negative"), FailureClass.CONFIG),
        (refusal(404, "NotFound", 'namespaces "byoc-server" not found'), FailureClass.CONFLICT),
        (refusal(409, "Conflict", "the object has been modified"), FailureClass.CONFLICT),
        (refusal(409, "AlreadyExists"), FailureClass.CONFLICT),
        (refusal(410, "Expired"), FailureClass.CONFLICT),
        (refusal(429, "TooManyRequests"), FailureClass.THROTTLE),
        (refusal(500, "InternalError"), FailureClass.TRANSIENT),
        (refusal(500, "ServerTimeout"), FailureClass.TRANSIENT),
        (refusal(504, "Timeout"), FailureClass.TRANSIENT),
        (refusal(503, "ServiceUnavailable"), FailureClass.TRANSIENT),
        (refusal(418, "Teapot"), FailureClass.UNKNOWN),
        (ApiException(status=502, reason="Bad Gateway"), FailureClass.TRANSIENT),
        (ApiException(status=403, reason="Forbidden"), FailureClass.PERMISSION),
    ],
    ids=lambda value: f"{value.status}-{value.reason}" if isinstance(value, ApiException) else str(value),
)
def test_each_refusal_has_its_class(error: ApiException, expected: FailureClass) -> None:
    """The structured reason decides, then the message; the message begins with what the call was about."""
    detail = detail_of(error, WHAT)

    assert detail.failure is expected
    assert detail.message.startswith(f"{WHAT}: ")


def test_what_is_missing_is_named() -> None:
    """Permission, quota and field are in fields of their own."""
    causes = [{"field": "spec.replicas"}, {"field": "spec.selector"}]

    assert detail_of(refusal(403, "Forbidden", DENIED), WHAT).action == "patch deployments.apps"
    assert detail_of(refusal(403, "Forbidden", "exceeded quota: compute, used"), WHAT).quota == "compute"
    assert detail_of(refusal(422, "Invalid", causes=causes), WHAT).resource == "spec.replicas, spec.selector"


def test_the_servers_own_delay_is_kept() -> None:
    """Retry-After of a throttled call becomes the delay of the next attempt."""
    error = refusal(429, "TooManyRequests")
    error.headers = {"Retry-After": "7"}

    with pytest.raises(ApplicationError) as raised, failures_named(WHAT):
        raise error

    assert raised.value.next_retry_delay == timedelta(seconds=7)
    assert not raised.value.non_retryable


def test_silence_is_a_passing_fault() -> None:
    """No answer at all: tried again."""
    with pytest.raises(ApplicationError) as raised, failures_named(WHAT):
        raise urllib3.exceptions.ProtocolError("connection broken")

    assert raised.value.type == FailureClass.TRANSIENT


def test_only_conflicts_of_fields_count_as_such() -> None:
    """A resource version that has moved on is no reason to take fields from anybody."""
    causes = [{"reason": "FieldManagerConflict", "field": ".data.color", "message": 'conflict with "somebody"'}]

    assert conflicts_of(refusal(409, "Conflict", causes=causes)) == ('.data.color: conflict with "somebody"',)
    assert conflicts_of(refusal(409, "Conflict", "the object has been modified")) == ()
