"""What the records say, in plain words, and which resources the facts in them name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from domain.account import AccessReport, AccountPhase
from domain.actor import Actor
from domain.audit import AuditKind, Resource
from starters.history.payloads import Value
from workflows import steps

KINDS = {
    "approve": AuditKind.APPROVED,
    "decline": AuditKind.DECLINED,
    "decide": AuditKind.DECIDED,
    "decide_pending": AuditKind.DECIDED,
    "approve_override": AuditKind.APPROVED,
    "change_api_keys": AuditKind.KEY_CHANGED,
    "hold": AuditKind.HELD,
    "release": AuditKind.RELEASED,
}
"""What a line about an update tells; about any other update: that something was requested."""

_ABOUT = "{about}"

_NAMED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "create_network": (
        ("network", "networkId"),
        ("subnet", "privateSubnetIds"),
        ("subnet", "publicSubnetIds"),
    ),
    "create_firewall": (("security-group", "controlPlaneGroupId"), ("security-group", "nodeGroupId")),
    "create_roles": tuple(("role", name) for name in ("controlPlane", "nodes", "storageDriver", "store", "restore")),
    "create_encryption_key": (("key", "keyId"),),
    "create_backup_bucket": (("bucket", "name"),),
    "create_domain": (("zone", "zoneId"),),
    "create_certificate": (("certificate", "certificateId"),),
    "create_cluster": (("cluster", "name"),),
    "create_node_pool": (("node-pool", "name"),),
    "install_component": (("component", "component"),),
    "open_endpoint": (("load-balancer", "hostname"),),
    "smoke_test": (("endpoint", "url"),),
    "back_up": (("bucket", "bucket"), ("backup", "key")),
    "lock_backup": (("bucket", "bucket"), ("backup", "key")),
    "prove_restore": (("backup", "key"),),
}
"""Of the facts that an activity returns, those that name a resource, with its part in the deployment."""


def actor_in(value: Value) -> Actor | None:
    """Return who a request or an order names, wherever its model keeps that; None if it names nobody."""
    return _first_actor(value, (("actor",), ("order", "actor"), ("connectedBy",), ()))


def teller_in(value: Value) -> Actor | None:
    """Return who brought about what a signal tells; None if it names nobody."""
    return _first_actor(value, (("by",), ("actor",), ()))


def _first_actor(value: Value, paths: Iterable[tuple[str, ...]]) -> Actor | None:
    for path in paths:
        try:
            return Actor.model_validate(value.get(*path))
        except ValidationError:
            continue
    return None


def requested(update: str, value: Value) -> str:
    """Return what an update asks for."""
    match update:
        case "request":
            what = str(value.get("kind") or "an operation")
            if value.get("spec"):
                what += " to a changed specification"
            if value.get("kind") == "retire":
                what += f", final backup: {value.get('finalBackup')}"
        case "decide":
            what = f"{value.get('choice')} {value.get('step') or ''}".rstrip()
        case "decide_pending":
            what = f"{value.get('choice')} {value.get('operationId') or ''}".rstrip()
        case "approve_override" | "withdraw_override":
            what = f"{update.replace('_', ' ')} {value.get('operationId') or ''}".rstrip()
        case "change_api_keys":
            what = f"{value.get('kind')} API key {value.get('keyId') or value.get('record', 'id') or ''}".rstrip()
        case "approve" | "decline" | "withdraw_approval" | "delegate" | "plan_again":
            what = _about_a_plan(update, value)
        case _:
            what = update.replace("_", " ")
    if side := value.get("side"):
        what += f" for the {side}"
    reason = value.get("reason")
    return f"{what}: {reason}" if reason else what


def _about_a_plan(update: str, value: Value) -> str:
    """Return what is asked about the plan of an operation that waits for approval."""
    what = f"{update.replace('_', ' ')} {value.get('operationId') or ''}".rstrip()
    details = (("plan", str(value.get("hash") or "")[:12]), ("to", value.get("to")), ("until", value.get("until")))
    return ", ".join([what, *(f"{name} {detail}" for name, detail in details if detail)])


def told(signal: str, value: Value) -> str:
    """Return what a signal tells."""
    words = [signal.replace("_", " ")]
    words += [str(value.get(name)) for name in ("deployment", "phase", "holdReason", "reason") if value.get(name)]
    if withheld := value.get("withheld"):
        words.append(f"withheld: {', '.join(map(str, withheld))}")
    return " - ".join(words)


def parks(signal: str, value: Value) -> bool | None:
    """Return whether work is to rest because the customer holds the account; None for a signal about other things."""
    if signal != "account_changed":
        return None
    return value.get("phase") == AccountPhase.HELD or value.get("verified") is False


def keys_in(value: Value) -> tuple[Resource, ...]:
    """Return the API keys that a change concerns."""
    ids = (value.get("keyId"), value.get("record", "id"))
    return tuple(Resource(kind="api-key", id=str(each)) for each in ids if each)


def ordered(value: Value) -> str:
    """Return what a deployment's or account's first request asks for."""
    spec = value.get("order", "spec") or value.get("spec") or {}
    site = value.get("order", "site") or {}
    if site:
        generation = f", generation {site.get('generation')}" if site.get("generation", 1) > 1 else ""
        return (
            f"order {spec.get('shape')} in {site.get('cloud')} {site.get('cloudAccountId')} {site.get('region')}, "
            f"release {spec.get('release')}{generation}"
        )
    regions = ", ".join(spec.get("regions") or ())
    return f"connect {spec.get('cloud')} {spec.get('cloudAccountId')} of {spec.get('customer')} ({regions})"


def verified(value: Value) -> tuple[str, str]:
    """Return what a verification found, and what is missing."""
    try:
        report = AccessReport.model_validate(value.data)
    except ValidationError:
        return "verified what is granted; the report cannot be read", ""
    missing = ", ".join(f"{each.action} on {each.resource}" for each in report.missing)
    if missing:
        found = f"{len(report.missing)} of {report.checked_actions} actions are missing"
    else:
        found = f"everything that is needed is granted ({report.checked_actions} actions)"
    if report.withheld:
        found += f"; withheld: {', '.join(report.withheld)}"
    return found, missing


def named_in(activity: str, value: Value) -> tuple[Resource, ...]:
    """Return the resources that the facts in an activity's answer name."""
    if activity == "find_leftovers" and isinstance(value.data, list):
        found = [each for each in value.data if isinstance(each, dict)]
        return tuple(Resource(kind=str(each.get("kind", "")), id=str(each.get("resourceId", ""))) for each in found)
    return tuple(_named(activity, value))


def _named(activity: str, value: Value) -> Iterator[Resource]:
    for kind, field in _NAMED.get(activity, ()):
        found: Any = value.get(field)
        for each in found if isinstance(found, list) else [found]:
            if each:
                yield Resource(kind=kind, id=str(each))


def step_name(activity: str, summary: str) -> str:
    """Return a step's name as operators type it, `create_node_pool/store`, from its activity and its sentence."""
    for step in steps.ALL:
        head, about, tail = step.summary.partition(_ABOUT)
        if step.name == activity and about and summary.startswith(head) and summary.endswith(tail):
            return f"{activity}/{summary[len(head) : len(summary) - len(tail)]}"
    return activity
