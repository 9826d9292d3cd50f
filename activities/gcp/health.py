"""What GKE says is wrong with a cluster or node pool, in the domain's words."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from activities.failures import failure
from activities.gcp.errors import described
from domain.failure import FailureClass, FailureDetail


class Described(Protocol):
    """A cluster or a node pool: `container_v1.Cluster`, `container_v1.NodePool`."""

    conditions: Iterable[object]
    status: Enum
    status_message: str
    self_link: str


_CLASSES = {
    "CLOUD_KMS_KEY_DESTROYED": FailureClass.POLICY,
    "NODE_SERVICE_ACCOUNT_MISSING_PERMISSIONS": FailureClass.PERMISSION,
}
"""Classes of GKE's own condition codes that `errors` does not know."""

_SAYS_NOTHING = frozenset({"", "UNKNOWN", "SET_BY_OPERATOR"})
"""Codes whose message alone tells what is the matter."""


def health_failure(thing: Described, what: str) -> Exception:
    """Return the failure for the conditions that GKE reports of something which it could not make or keep.

    The first condition that has a class decides; its message often quotes the error of the service behind GKE.
    """
    details = [_detail(condition.code.name, condition.message, what) for condition in thing.conditions]  # type: ignore[attr-defined] # the SDK has no types
    if thing.status_message:
        details.append(_detail("", thing.status_message, what))
    known = [detail for detail in details if detail.failure is not FailureClass.UNKNOWN]
    unexplained = FailureDetail(
        failure=FailureClass.UNKNOWN, message=f"GKE could not make {what} and gives no reason", resource=what
    )
    return failure(next(iter([*known, *details]), unexplained))


def _detail(code: str, message: str, what: str) -> FailureDetail:
    told = described("" if code in _SAYS_NOTHING else code, message, resource=what)
    return told.model_copy(
        update={
            "failure": _CLASSES.get(code, told.failure),
            "message": f"GKE could not make {what}: {message}" + (f" ({code})" if code else ""),
            "code": code,
            "resource": what,
        }
    )
