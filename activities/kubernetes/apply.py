"""Bringing the cluster in line with manifests: only what differs is applied, and only what is ours is touched."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog

from activities.failures import refused
from activities.kubernetes.access import ClusterApi
from activities.kubernetes.manifests.desired import Desired
from activities.kubernetes.manifests.identity import DEPLOYMENT_LABEL, MANAGED_BY
from activities.kubernetes.objects import Object, Reference, labels_of, reference_to
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import PREFIX

HASH_ANNOTATION = "byoc.dev/spec-hash"
"""SHA-256 of the manifest: tells that a field which we no longer want has to be taken back."""

_log = structlog.get_logger(__name__)


class Change(StrEnum):
    """What happened to an object."""

    MADE = "made"
    CHANGED = "changed"
    NONE = "none"
    REMOVED = "removed"


@dataclass(frozen=True)
class Outcome:
    """What bringing one object in line took."""

    reference: Reference
    change: Change
    put_back: tuple[str, ...] = ()
    """Fields that somebody else had taken from us, with the other's name."""


def bring_about(api: ClusterApi, desired: Desired) -> tuple[Outcome, ...]:
    """Apply what is to be present, in order, and delete what is to be absent; return what it took.

    Raises:
        ApplicationError: NOT_OURS for an object of our name that we did not make, and what the API answers.
    """
    present = [bring_in_line(api, obj) for obj in desired.present]
    absent = [remove(api, reference) for reference in desired.absent]
    return (*present, *absent)


def bring_in_line(api: ClusterApi, obj: Object) -> Outcome:
    """Make the object as `obj` says, without a mutating call if it is so already.

    It is so if it holds every value of the manifest, including its hash: the hash alone would miss what others
    changed, the other values alone a field that the manifest no longer has.
    """
    wanted = with_hash(obj)
    reference = reference_to(obj)
    found = api.get(reference)
    if found is not None:
        check_ours(api.site, found, reference)
        if holds(found, wanted):
            return Outcome(reference, Change.NONE)
    conflicts = api.apply(wanted)
    if conflicts:
        # Our manifests hold only fields that are ours to decide; whoever changed one edited the cluster by hand.
        _log.warning("taking fields back", deployment_id=api.site.deployment, object=str(reference), fields=conflicts)
        api.apply(wanted, force=True)
    return Outcome(reference, Change.MADE if found is None else Change.CHANGED, conflicts)


def remove(api: ClusterApi, reference: Reference) -> Outcome:
    """Delete the object if there is one; raises NOT_OURS if it is not ours."""
    found = api.get(reference)
    if found is None:
        return Outcome(reference, Change.NONE)
    check_ours(api.site, found, reference)
    api.delete(reference, uid=found["metadata"]["uid"])
    return Outcome(reference, Change.REMOVED)


def is_ours(site: Site, obj: Object) -> bool:
    """Return whether we made the object for this deployment."""
    labels = labels_of(obj)
    return labels.get(MANAGED_BY) == PREFIX and labels.get(DEPLOYMENT_LABEL) == site.deployment


def check_ours(site: Site, obj: Object, reference: Reference) -> None:
    """Raise NOT_OURS unless we made the object for this deployment."""
    if not is_ours(site, obj):
        message = f"{reference} exists and was not made for deployment {site.deployment}; it is left as it is"
        raise refused(FailureClass.NOT_OURS, message, resource=str(reference))


def with_hash(obj: Object) -> Object:
    """Return a copy of the manifest that bears its hash."""
    digest = hashlib.sha256(json.dumps(obj, sort_keys=True).encode()).hexdigest()
    marked = copy.deepcopy(obj)
    marked["metadata"].setdefault("annotations", {})[HASH_ANNOTATION] = digest
    return marked


def holds(found: Any, wanted: Any) -> bool:  # noqa: ANN401 - any part of decoded JSON
    """Return whether `found` has every value of `wanted`; what the API server added beside them does not count.

    Lists have to agree in length and order. Where the API server writes a value in another way (a quantity), this
    says no, and an apply that changes nothing follows.
    """
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and holds(found[key], part) for key, part in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(holds(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)
