"""Status conditions: the list of typed findings that most kinds carry in their status."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from simulators.kubernetes.objects import Object


def timestamp(instant: datetime) -> str:
    """Return an instant as the API writes it: UTC, whole seconds, `Z`."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def finding(type_: str, status: bool | str, reason: str = "", message: str = "") -> Object:
    """Return a condition without its times; `status` is True, False or `Unknown`."""
    found: Object = {"type": type_, "status": str(status)}
    if reason:
        found["reason"] = reason
    if message:
        found["message"] = message
    return found


def merged(present: Sequence[Object] | None, findings: Sequence[Object], now: str) -> list[Object]:
    """Return `present` with `findings` put in by type.

    `lastTransitionTime` changes only with the status, so that a condition tells since when it has been so. Conditions
    of other types stay as they are.
    """
    by_type = {entry["type"]: entry for entry in present or ()}
    for found in findings:
        before = by_type.get(found["type"])
        since = before.get("lastTransitionTime", now) if before and before["status"] == found["status"] else now
        by_type[found["type"]] = {**found, "lastTransitionTime": since}
    return list(by_type.values())
