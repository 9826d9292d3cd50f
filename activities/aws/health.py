"""What EKS says is wrong with something that it could not make, in the domain's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from activities.aws.errors import classify
from activities.failures import failure
from domain.failure import FailureClass, FailureDetail


def health_failure(issues: Sequence[Mapping[str, Any]], what: str, *, deed: str = "make") -> Exception:
    """Return the failure for the health issues that EKS reports of a resource which it could not make.

    The first issue that has a class decides; its message often quotes the error of the service behind EKS. `deed` is
    what EKS could not do.
    """
    details = [
        FailureDetail(
            failure=_class_of(issue),
            message=f"EKS could not {deed} {what}: {issue.get('message', '')} ({issue['code']})",
            code=issue["code"],
            resource=what,
            quota=issue["code"] if _class_of(issue) is FailureClass.QUOTA else "",
        )
        for issue in issues
    ]
    known = [detail for detail in details if detail.failure is not FailureClass.UNKNOWN]
    unexplained = FailureDetail(
        failure=FailureClass.UNKNOWN, message=f"EKS could not {deed} {what} and gives no reason", resource=what
    )
    return failure(next(iter([*known, *details]), unexplained))


_CODES_IN_MESSAGES = (
    "UnauthorizedOperation", "VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "InstanceLimitExceeded",
    "InsufficientInstanceCapacity", "UnfulfillableCapacity", "OptInRequired", "PendingVerification",
)  # fmt: skip
"""Codes of EC2 that say more than EKS's own code around them, in the order of precedence."""

_ISSUE_CLASSES = {
    "IamLimitExceeded": FailureClass.QUOTA,
    "InstanceLimitExceeded": FailureClass.QUOTA,
    "LimitExceeded": FailureClass.QUOTA,
    "EniLimitReached": FailureClass.QUOTA,
    "InsufficientFreeAddresses": FailureClass.CONFIG,
    "IpNotAvailable": FailureClass.CONFIG,
    "PodEvictionFailure": FailureClass.CONFIG,
    "ClusterUnreachable": FailureClass.TRANSIENT,
    "KmsKeyDisabled": FailureClass.POLICY,
    "KmsGrantRevoked": FailureClass.POLICY,
}
"""EKS's own issue codes that are no error codes of an API."""


def _class_of(issue: Mapping[str, Any]) -> FailureClass:
    message = str(issue.get("message", ""))
    for code in _CODES_IN_MESSAGES:
        if code in message:
            return classify(code, message)
    return _ISSUE_CLASSES.get(issue["code"]) or classify(issue["code"], message)
