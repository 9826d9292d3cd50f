"""Names of what the customer's script makes: the service accounts that the control plane impersonates, their roles.

Google has no external id. In its place, a digest of it is part of the accounts' names: a customer who names somebody
else's project cannot lead us into it, for the accounts there have other names.
"""

from __future__ import annotations

import hashlib

from domain.account import AccountAccess, access_to
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import PREFIX

_DIGEST = 10
"""Characters; a service account's id has 30 at the most."""


def control_account_id(access: AccountAccess, purpose: Purpose) -> str:
    """Return the id of the service account that the control plane impersonates, `byoc-operate-3f2a09c1de`."""
    return f"{PREFIX}-{purpose}-{_digest(access)}"


def control_account(place: Site | AccountAccess, purpose: Purpose) -> str:
    """Return the e-mail address of the service account that the control plane impersonates for `purpose`."""
    access = access_to(place)
    return f"{control_account_id(access, purpose)}@{access.cloud_account_id}.iam.gserviceaccount.com"


def control_role_id(access: AccountAccess, purpose: Purpose, part: str = "") -> str:
    """Return the id of a custom role of that account, `byoc_operate_3f2a09c1de`; several have `part` at the end."""
    return f"{PREFIX}_{purpose}_{_digest(access)}{f'_{part}' if part else ''}"


def _digest(access: AccountAccess) -> str:
    return hashlib.sha256(f"{access.external_id}/{access.account}".encode()).hexdigest()[:_DIGEST]
