"""Names, tags and idempotency tokens of everything that is made for a deployment. All derive from the site alone."""

from __future__ import annotations

import hashlib
from uuid import UUID, uuid5

from domain.deployment import Site

PREFIX = "byoc"
"""Every cloud resource of ours has a name that starts so; the customer's template scopes our permissions by it."""

TAG_DEPLOYMENT = "byoc:deployment"
TAG_CUSTOMER = "byoc:customer"
TAG_RESOURCE = "byoc:resource"
TAG_GENERATION = "byoc:generation"
TAG_SPEC_HASH = "byoc:spec-hash"
TAG_RETAINED_UNTIL = "byoc:retained-until"
TAG_OWNER = "byoc"
"""Its value is always `managed`: the one condition that the customer's template needs."""
OWNER_VALUE = "managed"

_TOKENS = UUID("5e0f7f5e-6a3b-4a58-9f0f-0b0c6b0c1d11")


def base_name(site: Site) -> str:
    """Return the name of the cluster and the start of every other name, `byoc-acme-prod`."""
    return f"{PREFIX}-{site.deployment}"


def resource_name(site: Site, resource: str) -> str:
    """Return the name of one resource, `byoc-acme-prod-nodes`; unique within account and region."""
    return f"{base_name(site)}-{resource}"


def global_name(site: Site, resource: str) -> str:
    """Return a name that is unique over all accounts (bucket names are global), at most 63 characters."""
    digest = hashlib.sha256(f"{site.cloud_account_id}/{site.region}/{site.deployment}".encode()).hexdigest()[:8]
    return f"{base_name(site)}-{resource}-{digest}"


def short_name(site: Site, resource: str, *, limit: int) -> str:
    """Return a name of at most `limit` lower-case letters and digits, for what the clouds name most tightly.

    A GCP service account has 30 characters, an Azure storage account or key vault 24. The name starts with our prefix
    and as much of resource and deployment as fits; a digest of 10 characters keeps two deployments apart.
    """
    identity = f"{site.cloud_account_id}/{site.region}/{site.deployment}/{resource}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    readable = f"{PREFIX}{resource}{site.deployment}".replace("-", "")
    return readable[: limit - len(digest)] + digest


def owner_tags(site: Site, resource: str, spec_hash: str = "") -> dict[str, str]:
    """Return the tags by which a resource is known as ours, keyed by tag name."""
    tags = {
        TAG_OWNER: OWNER_VALUE,
        TAG_DEPLOYMENT: site.deployment,
        TAG_CUSTOMER: site.customer,
        TAG_RESOURCE: resource,
        TAG_GENERATION: str(site.generation),
    }
    if spec_hash:
        tags[TAG_SPEC_HASH] = spec_hash
    return tags


def owner_labels(site: Site, resource: str) -> dict[str, str]:
    """Return the same where a key may hold no colon: each is spelled with a hyphen."""
    return {tag.replace(":", "-"): value for tag, value in owner_tags(site, resource).items()}


def token(site: Site, resource: str) -> str:
    """Return the idempotency token for making one resource: the same for every attempt, another for each generation."""
    return str(uuid5(_TOKENS, f"{site.cloud_account_id}/{site.region}/{site.deployment}/{resource}/{site.generation}"))
