"""By what a resource is known as ours: the tags of `domain.naming.owner_tags`, unchanged.

What has no tags (subnets, role assignments) is ours by its name in something that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from activities.azure.existing import if_exists
from activities.failures import refused
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import OWNER_VALUE, TAG_DEPLOYMENT, TAG_OWNER

Found = TypeVar("Found")


def is_ours(tags: Mapping[str, str] | None, site: Site) -> bool:
    """Return whether tags say that something was made for this deployment, in whatever generation."""
    # The keys of tags ignore case, and some services change it.
    found = {key.lower(): value for key, value in (tags or {}).items()}
    return found.get(TAG_OWNER) == OWNER_VALUE and found.get(TAG_DEPLOYMENT) == site.deployment


def ours_or_none(found: Any | None, site: Site) -> Any | None:  # noqa: ANN401 - a resource of any SDK
    """Return what was found if its tags say that it is ours, else None."""
    return found if found is not None and is_ours(found.tags, site) else None


def tags_with_ours(tags: Mapping[str, str] | None, ours: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that something has to have: what it has already, and ours."""
    return {**(tags or {}), **ours}


def require_ours(tags: Mapping[str, str] | None, site: Site, what: str) -> None:
    """Refuse what has our name and was not made by us; `what` says it in words, with its name.

    Raises:
        ApplicationError: NOT_OURS.
    """
    if not is_ours(tags, site):
        message = f"{what} exists and does not belong to the deployment {site.deployment}; it is left as it is"
        raise refused(FailureClass.NOT_OURS, message, resource=what)


def find_ours(look: Callable[[], Found], site: Site, what: str) -> Found | None:
    """Return what is there under a name of ours, None if nothing is.

    Raises:
        ApplicationError: NOT_OURS.
    """
    found = if_exists(look)
    if found is not None:
        tags: Mapping[str, str] | None = getattr(found, "tags", None)
        require_ours(tags, site, what)
    return found
