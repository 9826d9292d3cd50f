"""Whose a resource is: our tags in the spellings of the AWS services, and the refusal to touch what lacks them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from activities.failures import refused
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import OWNER_VALUE, TAG_DEPLOYMENT, TAG_OWNER

Tags = Mapping[str, str]
"""Keyed by tag name."""


def as_tag_list(tags: Tags) -> list[dict[str, str]]:
    """Return `tags` as most services want them: a list of `Key` and `Value`."""
    return [{"Key": name, "Value": value} for name, value in tags.items()]


def from_tag_list(tags: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """Return the tags of such a list, keyed by tag name."""
    return {tag["Key"]: tag.get("Value", "") for tag in tags or ()}


def is_ours(site: Site, tags: Tags) -> bool:
    """Return whether a resource with these tags was made for the deployment of `site`."""
    return tags.get(TAG_OWNER) == OWNER_VALUE and tags.get(TAG_DEPLOYMENT) == site.deployment


def require_ours(site: Site, tags: Tags, what: str) -> None:
    """Return if the resource is ours.

    Raises:
        NotOurs: `what` has our name without our tags; it is neither changed nor deleted.
    """
    if not is_ours(site, tags):
        message = f"{what} exists without the tags of deployment {site.deployment}; it is left as it is"
        raise refused(FailureClass.NOT_OURS, message, resource=what)


def lacking(wanted: Tags, present: Tags) -> dict[str, str]:
    """Return the tags of `wanted` that are missing or have another value; what others have added is left alone."""
    return {name: value for name, value in wanted.items() if present.get(name) != value}
