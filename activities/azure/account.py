"""Reaching the customer's subscription: is everything granted, and once it is revoked, is it really gone?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from temporalio import activity

from activities.access_report import access_report, require_everything
from activities.azure.connection import AzureConnections
from activities.azure.errors import failures_named
from activities.azure.holdings import LOOKING, holdings
from activities.azure.part import AzurePart
from activities.azure.settings import AzureSettings
from activities.azure.surplus import surplus_permissions
from activities.azure.template import ROLE_READ
from activities.azure.verification import missing_permissions, refusal, withheld_applications
from activities.contracts import AccessQuestion, AccountContract, PreflightContract
from activities.needs import Need, actions_checked, needs
from domain.account import AccessReport, RevocationProof, access_to
from domain.clouds import Purpose
from domain.deployment import Site

Declared = Callable[[], tuple[Need, ...]]

_FIRST_LOOK = "Find the role that was made for this account, before anything is done"


class AzureAccount(AzurePart, AccountContract):
    """Verifies that the template is applied, whole and unchanged, and that it is gone after a revocation."""

    def __init__(self, settings: AzureSettings, connections: AzureConnections, declared_needs: Declared) -> None:
        """Take the needs of all activities, which include these: so they are asked for when they are wanted."""
        super().__init__(settings, connections)
        self._declared_needs = declared_needs

    @activity.defn(no_thread_cancel_exception=True)
    @needs(*LOOKING, purpose=Purpose.OBSERVE, why="Compare what is granted to our applications with what steps need")
    @needs(ROLE_READ, purpose=Purpose.OPERATE, why=_FIRST_LOOK)
    @needs(ROLE_READ, purpose=Purpose.DELETE, why=_FIRST_LOOK)
    def verify_access(self, question: AccessQuestion) -> AccessReport:
        """Every declared action was compared with what our applications hold, and what they hold with the template.

        The subscription is entered anew, whatever is cached: this is how a change of trust is noticed. An application
        that the customer withholds is named; only without the observing one can nothing be said.
        """
        access = question.access
        with failures_named():
            self._connections.forget(access)
            principal = self._connections.try_to_enter(access, Purpose.OBSERVE)
            declared = self._declared_needs()
            withheld = withheld_applications(self._connections, access)
            held = holdings(self._connections, access, withheld=withheld)
        surplus = surplus_permissions(held, access, self._settings.applications, declared)
        missing = missing_permissions(held, access, declared, withheld=withheld)
        checked = actions_checked(declared, withheld)
        return access_report(principal, checked=checked, withheld=withheld, missing=missing, surplus=surplus)

    @activity.defn(no_thread_cancel_exception=True)
    def prove_revoked(self, question: AccessQuestion) -> RevocationProof:
        """Every attempt to enter as one of the applications was refused just now; what was cached is forgotten.

        Tokens that were issued before the revocation open nothing any more: without a role, no call is allowed.
        """
        access = question.access
        self._connections.forget(access)
        refusals = []
        with failures_named():
            for purpose in Purpose:
                words = refusal(self._connections, access, purpose)
                if not words:
                    raise self._look_again(f"the subscription still lets us in to {purpose}")
                refusals.append(f"{purpose}: {self._settings.applications[purpose]}: {words}")
        return RevocationProof(proven_at=datetime.now(UTC), refusals=tuple(refusals))


class AzurePermissionCheck(AzurePart, PreflightContract):
    """Looks, before anything is made, whether everything is permitted."""

    def __init__(self, settings: AzureSettings, connections: AzureConnections, declared_needs: Declared) -> None:
        """Take the needs of all activities, as above."""
        super().__init__(settings, connections)
        self._declared_needs = declared_needs

    @activity.defn(no_thread_cancel_exception=True)
    @needs(*LOOKING, purpose=Purpose.OBSERVE, why="Compare what is granted to our applications with what steps need")
    def check_permissions(self, site: Site) -> AccessReport:
        """Everything that the activities declare is permitted.

        Raises:
            ApplicationError: PERMISSION if something is not, with the first missing one named, and how many more there
                are; AUTH if the application that makes deployments is withheld. Without the one that deletes they can
                be made.
        """
        with failures_named():
            self._connections.try_to_enter(site, Purpose.OPERATE)
            withheld = withheld_applications(self._connections, site)
            principal = self._connections.try_to_enter(site, Purpose.OBSERVE)
            declared, access = self._declared_needs(), access_to(site)
            held = holdings(self._connections, site, withheld=withheld)
        missing = missing_permissions(held, access, declared, withheld=withheld)
        require_everything(missing, "application")
        return access_report(principal, checked=actions_checked(declared, withheld), withheld=withheld)
