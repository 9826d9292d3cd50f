"""By what a resource is known as ours: labels, or a description where Google Cloud has no labels.

A label's key has lower-case letters, digits, hyphens and underscores, so our tags are spelled with a hyphen here.
"""

from __future__ import annotations

from collections.abc import Mapping

from activities.failures import refused
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import OWNER_VALUE, TAG_DEPLOYMENT, TAG_OWNER, TAG_RESOURCE, owner_labels

LABEL_OWNER = TAG_OWNER.replace(":", "-")
LABEL_DEPLOYMENT = TAG_DEPLOYMENT.replace(":", "-")
LABEL_RESOURCE = TAG_RESOURCE.replace(":", "-")


def is_ours(labels: Mapping[str, str], site: Site) -> bool:
    """Return whether labels say that something was made for this deployment, in whatever generation."""
    return labels.get(LABEL_OWNER) == OWNER_VALUE and labels.get(LABEL_DEPLOYMENT) == site.deployment


def owner_description(site: Site, resource: str) -> str:
    """Return the same for what has a description and no labels: networks, routers, firewall rules, service accounts."""
    labels = owner_labels(site, resource)
    return " ".join(f"{label}={value}" for label, value in labels.items())


def is_described_as_ours(description: str, site: Site) -> bool:
    """Return whether a description says that something was made for this deployment."""
    return is_ours(labels_of_description(description), site)


def labels_of_description(description: str) -> dict[str, str]:
    """Return what a description of ours says, keyed by label; nothing of anybody else's words."""
    pairs = (word.partition("=") for word in description.split())
    return {label: value for label, separator, value in pairs if separator}


def require_ours(resource: str, site: Site, *, ours: bool) -> None:
    """Refuse what has our name and was not made by us.

    Raises:
        ApplicationError: NOT_OURS.
    """
    if not ours:
        message = f"{resource} exists and does not belong to the deployment {site.deployment}; it is left as it is"
        raise refused(FailureClass.NOT_OURS, message, resource=resource)
