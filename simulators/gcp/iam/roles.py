"""Roles: those that Google predefines, as far as the product's template and the clusters use them, and custom ones."""

from __future__ import annotations

import base64
import copy
import fnmatch
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from simulators.clock import Clock
from simulators.gcp.refusals import Json, Refusal, exists, failed_precondition, invalid, not_found

_ROLE_ID = re.compile(r"[a-zA-Z0-9_.]{3,64}")
_PERMISSION = re.compile(r"[a-z][a-zA-Z0-9]*(\.[a-zA-Z0-9]+)+")
_KEPT_DELETED = 7 * 86400.0
"""Simulated seconds for which a deleted role can be brought back, and its id is taken."""

PREDEFINED: Mapping[str, tuple[str, ...]] = {
    "roles/owner": ("*",),
    "roles/viewer": ("*.get", "*.list"),
    "roles/iam.serviceAccountTokenCreator": (
        "iam.serviceAccounts.get",
        "iam.serviceAccounts.getAccessToken",
        "iam.serviceAccounts.getOpenIdToken",
        "iam.serviceAccounts.implicitDelegation",
        "iam.serviceAccounts.list",
        "iam.serviceAccounts.signBlob",
        "iam.serviceAccounts.signJwt",
    ),
    "roles/iam.serviceAccountUser": (
        "iam.serviceAccounts.actAs",
        "iam.serviceAccounts.get",
        "iam.serviceAccounts.list",
    ),
    "roles/iam.workloadIdentityUser": (
        "iam.serviceAccounts.get",
        "iam.serviceAccounts.getAccessToken",
        "iam.serviceAccounts.getOpenIdToken",
        "iam.serviceAccounts.list",
    ),
    "roles/cloudkms.cryptoKeyEncrypterDecrypter": (
        "cloudkms.cryptoKeyVersions.useToDecrypt",
        "cloudkms.cryptoKeyVersions.useToEncrypt",
    ),
    "roles/container.admin": ("container.*",),
    "roles/container.clusterViewer": ("container.clusters.get", "container.clusters.list"),
    "roles/container.serviceAgent": ("compute.*",),
    "roles/container.defaultNodeServiceAccount": (
        "autoscaling.sites.writeMetrics",
        "logging.logEntries.create",
        "monitoring.metricDescriptors.list",
        "monitoring.timeSeries.create",
        "monitoring.timeSeries.list",
    ),
    "roles/compute.serviceAgent": ("compute.*",),
    "roles/logging.logWriter": ("logging.logEntries.create",),
    "roles/monitoring.metricWriter": ("monitoring.metricDescriptors.create", "monitoring.timeSeries.create"),
    "roles/storage.admin": ("storage.*",),
    "roles/storage.objectAdmin": ("storage.objects.*",),
    "roles/storage.objectCreator": ("storage.objects.create",),
    "roles/storage.objectUser": (
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
        "storage.objects.update",
    ),
    "roles/storage.objectViewer": ("storage.objects.get", "storage.objects.list"),
}
"""Patterns of permissions, keyed by role."""


class Roles:
    """Every role that can be granted."""

    def __init__(self, clock: Clock, lag: float) -> None:
        """`lag` is in simulated seconds: how long a changed role keeps its former permissions."""
        self._clock = clock
        self._lag = lag
        self._custom: dict[str, Json] = {}
        self._former: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._deleted_at: dict[str, float] = {}

    def grants(self, role: str, permission: str) -> bool:
        """Return whether a role, as it is in effect now, contains the permission."""
        return any(fnmatch.fnmatchcase(permission, pattern) for pattern in self._in_effect(role))

    def exists(self, role: str) -> bool:
        """Return whether the role can be granted."""
        return role in PREDEFINED or (role in self._custom and not self._custom[role].get("deleted"))

    def of(self, project: str) -> list[Json]:
        """Return the custom roles of a project, those that are marked as deleted too."""
        return [role for name, role in sorted(self._custom.items()) if name.startswith(f"projects/{project}/roles/")]

    def get(self, name: str) -> Json:
        """Return a role; refuse as IAM does if there is none."""
        self._purge()
        if name in PREDEFINED:
            included = [pattern for pattern in PREDEFINED[name] if "*" not in pattern]
            return {"name": name, "title": name, "includedPermissions": included, "stage": "GA"}
        if name not in self._custom:
            raise not_found(f"The role named {name} was not found.")
        return self._custom[name]

    def create(self, project: str, role_id: str, role: Mapping[str, Any]) -> Json:
        """Make a custom role."""
        self._purge()
        name = f"projects/{project}/roles/{role_id}"
        if not _ROLE_ID.fullmatch(role_id):
            raise invalid(f"The role_id {role_id!r} must match [a-zA-Z0-9_\\.]{{3,64}}.")
        if name in self._custom and self._custom[name].get("deleted"):
            message = f"You can't create a role_id ({role_id}) which has been marked for deletion."
            raise failed_precondition(message)
        if name in self._custom:
            raise exists(f"A role named {role_id} in projects/{project} already exists.")
        kept = {key: role[key] for key in ("title", "description", "includedPermissions", "stage") if key in role}
        _validate(kept)
        self._custom[name] = {"name": name, "stage": "ALPHA", **kept}
        self._stamp(name)
        return self._custom[name]

    def update(self, name: str, changes: Mapping[str, Any], mask: str) -> tuple[Json, bool]:
        """Change a custom role; return it, and whether anything is other than before."""
        role = self._living(name)
        _require_etag(changes.get("etag"), role["etag"])
        fields = [part for part in mask.split(",") if part] or [key for key in changes if key not in ("name", "etag")]
        wanted = {key: changes[key] for key in fields if key in changes}
        if "includedPermissions" in fields:
            wanted.setdefault("includedPermissions", [])
        _validate(wanted)
        changed = any(role.get(key) != value for key, value in wanted.items())
        if changed:
            self._remember(name)
            role.update(wanted)
            self._stamp(name)
        return role, changed

    def delete(self, name: str) -> Json:
        """Mark a custom role as deleted: its bindings have no effect any more."""
        role = self._living(name)
        self._remember(name)
        role["deleted"] = True
        self._deleted_at[name] = self._clock.time()
        return role

    def undelete(self, name: str) -> Json:
        """Bring back a custom role that was deleted not long ago."""
        role = self.get(name)
        if not role.get("deleted"):
            raise failed_precondition(f"The role {name} is not marked for deletion.")
        del role["deleted"], self._deleted_at[name]
        return role

    def settle_now(self, prefix: str) -> None:
        """Let every role whose name begins so have effect at once."""
        self._former = {name: former for name, former in self._former.items() if not name.startswith(prefix)}

    def forget(self) -> None:
        """Forget every custom role."""
        for memory in (self._custom, self._former, self._deleted_at):
            memory.clear()

    def _living(self, name: str) -> Json:
        role = self.get(name)
        if name in PREDEFINED:
            raise invalid(f"The role {name} is not a custom role.")
        if role.get("deleted"):
            raise failed_precondition(f"You can't change the role {name}, which has been marked for deletion.")
        return role

    def _in_effect(self, role: str) -> tuple[str, ...]:
        if role in PREDEFINED:
            return PREDEFINED[role]
        former = self._former.get(role)
        if former is not None and self._clock.time() < former[0] and not math.isinf(self._clock.speed):
            return former[1]
        return self._current(role)

    def _current(self, role: str) -> tuple[str, ...]:
        record = self._custom.get(role)
        return tuple(record.get("includedPermissions", ())) if record and not record.get("deleted") else ()

    def _remember(self, name: str) -> None:
        self._former[name] = (self._clock.time() + self._lag, self._in_effect(name))

    def _stamp(self, name: str) -> None:
        self._custom[name]["etag"] = etag_of({**self._custom[name], "at": self._clock.time()})

    def _purge(self) -> None:
        for name, at in list(self._deleted_at.items()):
            if self._clock.time() > at + _KEPT_DELETED:
                del self._deleted_at[name], self._custom[name]


def _validate(role: Mapping[str, Any]) -> None:
    for permission in role.get("includedPermissions", ()):
        if not _PERMISSION.fullmatch(permission):
            raise invalid(f"Permission {permission} is not valid.")


def _require_etag(given: str | None, current: str) -> None:
    if given and given != current:
        raise Refusal("ABORTED", "There were concurrent policy changes. Please retry the whole read-modify-write.")


def etag_of(document: Mapping[str, Any]) -> str:
    """Return an etag, as bytes are written in JSON, that changes with the document."""
    text = json.dumps(copy.deepcopy(dict(document)), sort_keys=True, default=str)
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()
