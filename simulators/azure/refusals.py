"""What Azure refuses a call with, in the envelope of Resource Manager and of the data planes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass
class Refusal(Exception):  # noqa: N818 - it is Azure that refuses, no error of ours
    """A call that is not fulfilled."""

    status: int
    code: str
    message: str
    target: str = ""
    details: tuple[Json, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def error(self) -> Json:
        """Return the error as Resource Manager writes it, in replies and in operations that failed."""
        error: Json = {"code": self.code, "message": self.message}
        if self.target:
            error["target"] = self.target
        if self.details:
            error["details"] = list(self.details)
        return error


def invalid(code: str, message: str, target: str = "") -> Refusal:
    """The request is wrong."""
    return Refusal(400, code, message, target)


def conflict(code: str, message: str) -> Refusal:
    """The state of the world does not allow it now."""
    return Refusal(409, code, message)


def not_found(resource: str, group: str) -> Refusal:
    """There is no such resource; `resource` is its type and name."""
    return Refusal(
        404,
        "ResourceNotFound",
        f"The Resource '{resource}' under resource group '{group}' was not found. For more details please go to"
        " https://aka.ms/ARMResourceNotFoundFix",
    )


def group_not_found(group: str) -> Refusal:
    """There is no such resource group."""
    return Refusal(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
