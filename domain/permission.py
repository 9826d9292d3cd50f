"""What the control plane asks of a customer's account, line by line, for the customer's security review."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from domain.account import AccountAccess
from domain.clouds import Cloud, Purpose
from domain.model import Model


class TemplateForm(StrEnum):
    """How what is asked of a customer's account is written down."""

    JSON = "json"
    YAML = "yaml"
    GCLOUD = "gcloud"
    """A shell script for Google Cloud's own command line."""
    TERRAFORM = "terraform"
    BICEP = "bicep"
    """Azure's own language."""
    TABLE = "table"
    """Markdown, which the customer's security review reads."""
    TABLE_JSON = "table-json"
    """The same for programs, a `PermissionTable`."""


_TABLES = (TemplateForm.TABLE, TemplateForm.TABLE_JSON)

FORMS: Mapping[Cloud, tuple[TemplateForm, ...]] = {
    Cloud.AWS: (TemplateForm.JSON, TemplateForm.YAML, *_TABLES),
    Cloud.GCP: (TemplateForm.GCLOUD, TemplateForm.TERRAFORM, TemplateForm.JSON, *_TABLES),
    Cloud.AZURE: (TemplateForm.BICEP, TemplateForm.JSON, *_TABLES),
}
"""The forms that each cloud has, the one that is usually applied first."""


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
    """Patterns of names (ARNs on AWS); `*` where the conditions alone limit the action."""
    conditions: tuple[str, ...]
    uses: tuple[PermissionUse, ...]

    @property
    def service(self) -> str:
        """The service to which the action belongs: `ec2` of `ec2:CreateVpc`, `compute` of `compute.networks.create`."""
        separator = next((each for each in ":/." if each in self.action), ":")
        return self.action.partition(separator)[0]


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
