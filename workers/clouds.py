"""What the module of each cloud in this folder offers, and what is said where it cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from activities.needs import Need
from domain.account import AccountAccess
from domain.permission import TemplateForm
from workers.settings import WorkerSettings


class NotServed(ValueError):  # noqa: N818 - it names what is so
    """A cloud's SDK is not installed; the message says what would help."""


class NoSuchForm(ValueError):  # noqa: N818 - as above
    """What a cloud's customers apply has no such form; the message names those that there are."""


class CloudWiring(Protocol):
    """Fulfilled by modules: `workers.aws` and its like."""

    def declared_needs(self, settings: WorkerSettings) -> tuple[Need, ...]:
        """Return the permissions that the cloud's activities declare."""

    def activities(self, settings: WorkerSettings) -> Sequence[Callable[..., Any]]:
        """Return the activities that the cloud's worker registers."""

    def rendered_template(
        self, access: AccountAccess, regions: Sequence[str], form: TemplateForm, settings: WorkerSettings
    ) -> str:
        """Return what a customer applies, or reads; ValueError if the settings do not say who acts."""
