"""Reaching the customer's project: is everything granted, and once it is revoked, is it really gone?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from google.auth.exceptions import RefreshError
from temporalio import activity

from activities.access_report import access_report, require_everything
from activities.contracts import AccessQuestion, AccountContract, PreflightContract
from activities.gcp.connection import GcpConnections
from activities.gcp.errors import failures_named, is_refusal, refusal_in_words
from activities.gcp.identity import control_account
from activities.gcp.part import GcpPart
from activities.gcp.settings import GcpSettings
from activities.gcp.surplus import LOOKING, surplus_permissions
from activities.gcp.verification import missing_permissions, withheld_accounts
from activities.needs import Need, actions_checked, needs
from domain.account import AccessReport, RevocationProof, access_to
from domain.clouds import Purpose
from domain.deployment import Site

Declared = Callable[[], tuple[Need, ...]]


class GcpAccount(GcpPart, AccountContract):
    """Verifies that the template is applied, whole and unchanged, and that it is gone after a revocation."""

    def __init__(self, settings: GcpSettings, connections: GcpConnections, declared_needs: Declared) -> None:
        """Take the needs of all activities, which include these: so they are asked for when they are wanted."""
        super().__init__(settings, connections)
        self._declared_needs = declared_needs

    @activity.defn(no_thread_cancel_exception=True)
    @needs(*LOOKING, purpose=Purpose.OBSERVE, why="Report what is granted to our accounts and needed by no step")
    def verify_access(self, question: AccessQuestion) -> AccessReport:
        """Google was asked about every declared permission, and what our accounts have was compared with that.

        The accounts are impersonated anew, whatever is cached: this is how a change of trust is noticed. One that the
        customer withholds is named; only without the observing one can nothing be said.
        """
        access = question.access
        with failures_named():
            self._connections.forget(access)
            principal = self._connections.try_to_impersonate(access, Purpose.OBSERVE)
            declared = self._declared_needs()
            withheld = withheld_accounts(self._connections, access)
            missing = missing_permissions(self._connections, access, declared, withheld=withheld)
            unreadable = {each.action for each in missing if each.purpose is Purpose.OBSERVE} & set(LOOKING)
            surplus = (
                ()
                if unreadable
                else surplus_permissions(
                    self._connections, access, question.regions, declared, self._settings.principal
                )
            )
        checked = actions_checked(declared, withheld)
        return access_report(principal, checked=checked, withheld=withheld, missing=missing, surplus=surplus)

    @activity.defn(no_thread_cancel_exception=True)
    def prove_revoked(self, question: AccessQuestion) -> RevocationProof:
        """Every attempt to impersonate one of the accounts was refused just now; what was cached is forgotten.

        Tokens that were issued before the revocation end by themselves, after an hour at the most.
        """
        access = question.access
        self._connections.forget(access)
        refusals = []
        with failures_named():
            for purpose in Purpose:
                try:
                    principal = self._connections.try_to_impersonate(access, purpose)
                except RefreshError as error:
                    if not is_refusal(error):
                        raise
                    refusals.append(f"{purpose}: {control_account(access, purpose)}: {refusal_in_words(error)}")
                else:
                    raise self._look_again(f"the project still lets us in as {principal}")
        return RevocationProof(proven_at=datetime.now(UTC), refusals=tuple(refusals))


class GcpPermissionCheck(GcpPart, PreflightContract):
    """Looks, before anything is made, whether everything is permitted."""

    def __init__(self, settings: GcpSettings, connections: GcpConnections, declared_needs: Declared) -> None:
        """Take the needs of all activities, as above."""
        super().__init__(settings, connections)
        self._declared_needs = declared_needs

    @activity.defn(no_thread_cancel_exception=True)
    def check_permissions(self, site: Site) -> AccessReport:
        """Everything that the activities declare is permitted.

        Raises:
            ApplicationError: PERMISSION if something is not, with the first missing one named, and how many more there
                are; AUTH if the account that makes deployments is withheld. Without the one that deletes they can be
                made.
        """
        with failures_named():
            self._connections.try_to_impersonate(site, Purpose.OPERATE)
            withheld = withheld_accounts(self._connections, site)
            principal = self._connections.try_to_impersonate(site, Purpose.OBSERVE)
            declared = self._declared_needs()
            missing = missing_permissions(self._connections, access_to(site), declared, withheld=withheld)
        require_everything(missing, "account")
        return access_report(principal, checked=actions_checked(declared, withheld), withheld=withheld)
