"""A customer's cloud account: what was agreed, how we reach it, and what we found there."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from domain.actor import CONTROL_PLANE, Actor
from domain.approval import ApprovalPolicy
from domain.clouds import Cloud, Purpose
from domain.deployment import Site
from domain.model import DnsLabel, Model, OrderedModel


class AccountPhase(StrEnum):
    """Where an account is in its life."""

    INVITED = "invited"
    """The customer has our template and has not applied it (fully) yet."""
    ACTIVE = "active"
    SUSPENDED = "suspended"
    """A verification failed: something that was granted is missing."""
    HELD = "held"
    """The customer said "hands off": running work parks, and nothing new starts."""
    REVOKING = "revoking"
    REVOKED = "revoked"


class AccountAccess(Model):
    """How activities reach the account. Nothing here is secret: the external id only ties our calls to one customer."""

    account: DnsLabel
    customer: DnsLabel
    cloud: Cloud
    cloud_account_id: str
    """AWS: the 12-digit account id. GCP: the project id. Azure: the subscription id."""
    external_id: str


def access_to(place: Site | AccountAccess) -> AccountAccess:
    """Return how the account of a deployment is reached."""
    if isinstance(place, AccountAccess):
        return place
    return AccountAccess(
        account=place.account,
        customer=place.customer,
        cloud=Cloud(place.cloud),
        cloud_account_id=place.cloud_account_id,
        external_id=place.external_id,
    )


class AccountSpec(OrderedModel):
    """What the customer and we agreed on."""

    name: DnsLabel
    customer: DnsLabel
    cloud: Cloud
    cloud_account_id: str
    """AWS: the 12-digit account id. GCP: the project id. Azure: the subscription id."""
    regions: tuple[str, ...]
    """The regions in which deployments may be ordered."""
    contact: str = ""
    """E-mail address of who acts for the customer; shown with the account, nothing is sent to it."""
    approvals: ApprovalPolicy = ApprovalPolicy()
    """Who has to approve an operation's plan before it runs; nobody unless it says so."""


class MissingPermission(Model):
    """One action that was declared and is not granted."""

    action: str
    """In the cloud's own spelling, `ec2:CreateVpc`."""
    purpose: Purpose
    resource: str = "*"


class SurplusPermission(Model):
    """Something that is granted and that no step declares."""

    purpose: Purpose
    action: str
    """As the cloud's policy has it, with its wildcards: `ec2:*`."""
    resource: str = "*"
    granted_by: str = ""
    """The policy (its name or ARN) that grants it, for whoever takes it away."""
    because: str = ""
    """What is wider than agreed: that no step declares it, or which limit of the template is gone."""


class AccessReport(Model):
    """What a verification found: what is granted, compared with what the steps declare."""

    principal: str
    """Who the cloud says that we are, an ARN on AWS."""
    verified_at: datetime
    missing: tuple[MissingPermission, ...] = ()
    """Declared and not granted, but for what belongs to a withheld role."""
    surplus: tuple[SurplusPermission, ...] = ()
    """Granted and not declared. Nothing stops for it; the customer is told what they can take away."""
    more_surplus: int = 0
    """How much more is surplus than `surplus` names."""
    withheld: tuple[Purpose, ...] = ()
    """Roles that the customer does not lend at present. Without `delete` everything but deletions goes on."""
    checked_actions: int = 0

    @property
    def complete(self) -> bool:
        """Whether work can go on: at most the role for deletions is withheld, which narrows the account."""
        return not self.missing and set(self.withheld) <= {Purpose.DELETE}


class AccountStanding(Model):
    """What an account tells the deployments that live in it, whenever it changes."""

    account: DnsLabel
    phase: AccountPhase
    hold_reason: str = ""
    verified: bool = True
    """False from the end of a hold until the verification that follows it: what was parked stays parked."""
    withheld: tuple[Purpose, ...] = ()
    """Roles that the customer does not lend at present."""
    by: Actor = CONTROL_PLANE
    """Who brought the phase about."""
    since: datetime

    @property
    def parks(self) -> bool:
        """Whether no step may start in the account."""
        return self.phase is AccountPhase.HELD or not self.verified

    @property
    def keeps_deletions_waiting(self) -> bool:
        """Whether the customer has taken back the role for deletions."""
        return Purpose.DELETE in self.withheld

    def hold_in_words(self) -> str:
        """Say why work is parked, as one sentence without its full stop."""
        if self.phase is AccountPhase.HELD:
            return f"The customer holds the account {self.account}: {self.hold_reason or 'no reason was given'}"
        return f"The hold on the account {self.account} has ended; work goes on once the account is verified"

    def withholding_in_words(self) -> str:
        """Say what the customer has taken back, as one sentence without its full stop."""
        roles = " and ".join(self.withheld)
        return f"The customer withholds the role for {roles} in the account {self.account}"


class Resident(Model):
    """A deployment that lives in an account, as it tells the account."""

    deployment: DnsLabel


class RevocationProof(Model):
    """Evidence that we can no longer enter the account."""

    proven_at: datetime
    refusals: tuple[str, ...]
    """For each purpose, the cloud's answer to our attempt to assume the role."""


class ConnectAccount(Model):
    """The request that starts an account's workflow."""

    spec: AccountSpec
    external_id: str
    actor: Actor
