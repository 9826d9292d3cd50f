"""Names of what the customer's template makes: the three roles that the control plane assumes, and the boundary."""

from __future__ import annotations

from domain.account import AccountAccess, access_to
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import PREFIX

PATH = "/byoc/"
"""IAM path of every role and policy of ours, the template's and the deployments' alike."""


def control_role_name(access: AccountAccess, purpose: Purpose) -> str:
    """Return the name of the role that the control plane assumes for `purpose`, `byoc-acme-operate`."""
    return f"{PREFIX}-{access.account}-{purpose}"


def control_role_arn(place: Site | AccountAccess, purpose: Purpose) -> str:
    """Return the ARN of the role that the control plane assumes for `purpose`."""
    access = access_to(place)
    return f"arn:aws:iam::{access.cloud_account_id}:role{PATH}{control_role_name(access, purpose)}"


def boundary_name(access: AccountAccess) -> str:
    """Return the name of the permissions boundary, `byoc-acme-boundary`."""
    return f"{PREFIX}-{access.account}-boundary"


def boundary_arn(place: Site | AccountAccess) -> str:
    """Return the ARN of the policy that bounds every role which the control plane makes in the account."""
    access = access_to(place)
    return f"arn:aws:iam::{access.cloud_account_id}:policy{PATH}{boundary_name(access)}"
