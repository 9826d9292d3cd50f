"""What ministack's CloudFormation leaves out of `AWS::IAM::Role`: the boundary, and the required trust policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.core.responses import get_account_id
from ministack.services.cloudformation import provisioners

from simulators.aws import emulator

Properties = dict[str, Any]
Provisioned = tuple[str, dict[str, Any]]
"""Physical id and attributes of a resource."""


def install() -> None:
    """Let stacks make roles with everything that their templates say; installing twice is harmless."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::IAM::Role"]  # noqa: SLF001 (ministack has no public registry)
    if handlers["create"] is not _create:
        _ministack.update(handlers)
        handlers |= {"create": _create, "update": _update}


_ministack: dict[str, Callable[..., Provisioned]] = {}


def _create(logical_id: str, properties: Properties, stack: str) -> Provisioned:
    provisioned = _ministack["create"](logical_id, _checked(properties), stack)
    _bound(provisioned[0], properties)
    return provisioned


def _update(physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str) -> Provisioned:
    provisioned = _ministack["update"](physical_id, old, _checked(new), stack, logical_id)
    _bound(provisioned[0], new)
    return provisioned


def _checked(properties: Properties) -> Properties:
    if not properties.get("AssumeRolePolicyDocument"):
        raise ValueError("Properties validation failed: required key [AssumeRolePolicyDocument] not found")
    return properties


def _bound(name: str, properties: Properties) -> None:
    role = emulator.role(get_account_id(), name)
    if role is not None:
        role["PermissionsBoundary"] = properties.get("PermissionsBoundary")
