"""Who has to agree before an operation runs: by its risk class, the vendor, the customer, both, or nobody."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from domain.model import OrderedModel
from domain.operation import OperationKind


class Side(StrEnum):
    """On whose behalf somebody approves."""

    VENDOR = "vendor"
    CUSTOMER = "customer"


class RiskClass(StrEnum):
    """How much an operation can break."""

    ROUTINE = "routine"
    """What happens every week and is undone by doing it again: API keys, converging to the known specification."""
    SIGNIFICANT = "significant"
    """It makes or changes what costs money or serves clients: a first provisioning, a changed specification."""
    DESTRUCTIVE = "destructive"
    """It deletes what nobody can bring back."""


class ApprovalPolicy(OrderedModel):
    """Which sides approve an operation of each risk class. Nobody has to, unless customer and vendor agreed on it."""

    routine: tuple[Side, ...] = ()
    significant: tuple[Side, ...] = ()
    destructive: tuple[Side, ...] = ()
    expires_after: Annotated[timedelta, Field(ge=timedelta(minutes=1), le=timedelta(days=30))] = timedelta(hours=72)
    """How long an approval is good for; an operation that has not started by then asks again."""

    def sides(self, risk: RiskClass) -> tuple[Side, ...]:
        """Return the sides that approve an operation of this class."""
        match risk:
            case RiskClass.ROUTINE:
                return self.routine
            case RiskClass.SIGNIFICANT:
                return self.significant
            case RiskClass.DESTRUCTIVE:
                return self.destructive


def risk_of(kind: OperationKind, *, changes_specification: bool) -> RiskClass:
    """Return an operation's risk class.

    Args:
        kind: What the operation does.
        changes_specification: True for a first provisioning and for one to a changed specification.
    """
    match kind:
        case OperationKind.RETIRE:
            return RiskClass.DESTRUCTIVE
        case OperationKind.PROVISION if changes_specification:
            return RiskClass.SIGNIFICANT
        case _:
            return RiskClass.ROUTINE
