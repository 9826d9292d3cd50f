"""What key ring and keys of a deployment are called: the names follow from the site alone."""

from __future__ import annotations

from domain.deployment import Site
from domain.naming import base_name


def ring_name(site: Site) -> str:
    """Return the full name of the deployment's key ring."""
    return f"projects/{site.cloud_account_id}/locations/{site.region}/keyRings/{base_name(site)}"


def key_name(site: Site) -> str:
    """Return the full name of the key of this generation."""
    return f"{ring_name(site)}/cryptoKeys/generation-{site.generation}"
