"""Why a step did not succeed, classed by what happens next (lifecycles.md, section 6).

Failure
├── transient, throttle, conflict, not ready      Temporal tries again by itself
├── auth, permission, policy, quota               the customer must act; the operation waits
├── held                                          the customer must release the account; the operation parks
├── capacity                                      the cloud must act; the operation waits
├── config                                        our mistake or the order's: an operator decides
└── unknown                                       three tries, then an operator decides
"""

from __future__ import annotations

from enum import StrEnum

from domain.model import Model


class FailureClass(StrEnum):
    """What happens next."""

    NOT_READY = "NotReadyYet"
    TRANSIENT = "Transient"
    THROTTLE = "Throttled"
    CONFLICT = "Conflict"
    AUTH = "AuthenticationRefused"
    PERMISSION = "PermissionMissing"
    POLICY = "PolicyForbids"
    QUOTA = "QuotaExceeded"
    CAPACITY = "CapacityMissing"
    CONFIG = "ConfigurationWrong"
    NOT_OURS = "NotOurs"
    HELD = "AccountHeld"
    """No activity raises it: the account tells its deployments."""
    UNKNOWN = "Unknown"


class Party(StrEnum):
    """Who can end a wait."""

    CUSTOMER = "customer"
    VENDOR = "vendor"
    CLOUD = "cloud"
    OPERATOR = "operator"


class FailureDetail(Model):
    """The structured part of a failure; it travels in the error's details."""

    failure: FailureClass
    message: str
    """One sentence for the person who must act: what is missing, where."""
    code: str = ""
    """The cloud's own error code."""
    action: str = ""
    """The permission that is missing, in the cloud's spelling (`ec2:CreateVpc`)."""
    resource: str = ""
    quota: str = ""
    """Name or code of the exhausted quota."""


RETRIED_BY_TEMPORAL = frozenset(
    {FailureClass.NOT_READY, FailureClass.TRANSIENT, FailureClass.THROTTLE, FailureClass.CONFLICT}
)


def party_for(failure: FailureClass) -> Party:
    """Return who has to act on a failure that trying again does not cure."""
    match failure:
        case FailureClass.AUTH | FailureClass.PERMISSION | FailureClass.POLICY | FailureClass.QUOTA | FailureClass.HELD:
            return Party.CUSTOMER
        case FailureClass.CAPACITY:
            return Party.CLOUD
        case _:
            return Party.OPERATOR
