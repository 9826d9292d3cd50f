"""Reaching the customer's account: is everything granted, and once it is revoked, is it really gone?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from botocore.exceptions import ClientError
from temporalio import activity

from activities.access_report import access_report
from activities.aws.connection import AwsConnections
from activities.aws.errors import classify, code_of, failures_named
from activities.aws.identity import control_role_arn
from activities.aws.part import AwsPart
from activities.aws.settings import AwsSettings
from activities.aws.surplus import LOOKING, surplus_permissions
from activities.aws.verification import SIMULATE, checked_actions, missing_permissions, withheld_roles
from activities.contracts import AccessQuestion, AccountContract
from activities.needs import Need, needs
from domain.account import AccessReport, RevocationProof
from domain.clouds import Purpose
from domain.failure import FailureClass


class AwsAccount(AwsPart, AccountContract):
    """Verifies that the template is applied, whole and unchanged, and that it is gone after a revocation."""

    def __init__(
        self, settings: AwsSettings, connections: AwsConnections, declared_needs: Callable[[], tuple[Need, ...]]
    ) -> None:
        """Take the needs of all AWS activities, which include these: so they are asked for when they are wanted."""
        super().__init__(settings, connections)
        self._declared_needs = declared_needs

    @activity.defn(no_thread_cancel_exception=True)
    @needs(SIMULATE, purpose=Purpose.OBSERVE, why="Verify that everything is granted")
    @needs(*LOOKING, purpose=Purpose.OBSERVE, why="Report what is granted to our roles and needed by no step")
    def verify_access(self, question: AccessQuestion) -> AccessReport:
        """IAM was asked about every declared action in every region, and what our roles have was compared with that.

        The roles are assumed anew, whatever is cached: this is how a change of the trust is noticed. One that the
        customer withholds is named; only without the observing one can nothing be said.
        """
        access = question.access
        with failures_named():
            self._connections.forget(access)
            principal = self._connections.client("sts", access, Purpose.OBSERVE).get_caller_identity()["Arn"]
            iam = self._connections.client("iam", access, Purpose.OBSERVE)
            declared = self._declared_needs()
            withheld = withheld_roles(self._connections, access)
            missing = missing_permissions(iam, access, question.regions, declared, withheld=withheld)
            surplus = surplus_permissions(iam, access, question.regions, declared, self._settings.principal)
        checked = checked_actions(declared, withheld)
        return access_report(principal, checked=checked, withheld=withheld, missing=missing, surplus=surplus)

    @activity.defn(no_thread_cancel_exception=True)
    def prove_revoked(self, question: AccessQuestion) -> RevocationProof:
        """Every attempt to assume one of the roles was refused just now; what was cached is forgotten.

        Sessions that were begun before the revocation end by themselves, after an hour at the most.
        """
        access = question.access
        self._connections.forget(access)
        refusals = []
        with failures_named():
            for purpose in Purpose:
                try:
                    principal = self._connections.try_to_assume(access, purpose)
                except ClientError as error:
                    if classify(code_of(error)) is not FailureClass.PERMISSION:
                        raise
                    role = control_role_arn(access, purpose)
                    refusals.append(
                        f"{purpose}: {role}: {code_of(error)}: {error.response['Error'].get('Message', '')}"
                    )
                else:
                    raise self._look_again(f"the account still lets us in as {principal}")
        return RevocationProof(proven_at=datetime.now(UTC), refusals=tuple(refusals))
