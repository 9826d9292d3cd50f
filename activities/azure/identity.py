"""Names of what the customer's template makes: the custom roles of the vendor's applications.

Azure has no external id. In its place, a digest of it is part of the roles' names: a customer who names somebody else's
subscription cannot lead us into it, for the roles there have other names, and without the right one nothing is done.
"""

from __future__ import annotations

import hashlib
from uuid import UUID, uuid5

from domain.account import AccountAccess, access_to
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import PREFIX

_DIGEST = 10
"""Characters."""
_NAMES = UUID("6f5a7a0e-31d8-4c5e-9d3b-5a3d7a0b7c11")


def control_role_name(place: Site | AccountAccess, purpose: Purpose, part: str = "") -> str:
    """Return the name of a custom role of `purpose`, `byoc-acme-prod-operate-3f2a09c1de`; unique in the tenant.

    A role whose assignment is limited by a condition has its `part` at the end.
    """
    access = access_to(place)
    return f"{PREFIX}-{access.account}-{purpose}-{_digest(access)}{f'-{part}' if part else ''}"


def guid(*parts: str) -> str:
    """Return the GUID that role definitions and assignments have in place of a name: always the same for `parts`."""
    return str(uuid5(_NAMES, "/".join(parts).lower()))


def _digest(access: AccountAccess) -> str:
    return hashlib.sha256(f"{access.external_id}/{access.account}".encode()).hexdigest()[:_DIGEST]
