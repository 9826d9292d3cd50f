"""What the control plane asks of a customer's account, line by line, for the customer's security review."""

from __future__ import annotations

from domain.account import AccountAccess
from domain.clouds import Purpose
from domain.model import Model


class PermissionUse(Model):
    """A step that needs a permission."""

    activity: str
    """The activity's name, `create_network`: calls carry it in their User-Agent, which audit logs show."""
    step: str
    """The step in plain words, as operators see it."""
    lifecycles: tuple[str, ...]
    """In which lifecycles the step occurs, `provision`."""
    why: str


class PermissionLine(Model):
    """One action within one limit."""

    action: str
    """In the cloud's own spelling, `ec2:CreateVpc`."""
    purpose: Purpose
    resources: tuple[str, ...]
    """ARN patterns; `*` where the conditions alone limit the action."""
    conditions: tuple[str, ...]
    uses: tuple[PermissionUse, ...]

    @property
    def service(self) -> str:
        """The service to which the action belongs, `ec2`."""
        return self.action.partition(":")[0]


class PermissionTable(Model):
    """All of it."""

    access: AccountAccess
    regions: tuple[str, ...]
    principal: str
    """Who is let in."""
    protections: tuple[str, ...]
    """Sentences: what the customer is protected by."""
    lines: tuple[PermissionLine, ...]
    """Ordered by purpose, then by action."""
