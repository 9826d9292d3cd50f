"""What the long-lived workflows know: the state that is carried over continue-as-new and answers queries."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from domain.account import AccessReport, AccountPhase, AccountSpec, AccountStanding, RevocationProof
from domain.actor import CONTROL_PLANE, Actor
from domain.appointment import Appointment, Notices
from domain.approval import ApprovalBook, ApprovalPolicy, ApprovalRecord, ApprovedPlan, Delegation
from domain.deployment import DeploymentSpec, FinalBackup, Site
from domain.facts import ApiKeyRecord, Backup, DeploymentFacts
from domain.model import Model
from domain.operation import OperationKind, OperationPhase, Pace, WaitingFor
from domain.pending import BrokenWindow
from domain.receipt import OffboardingReceipt
from domain.release import Release
from domain.shape import Shape
from domain.upgrade import UpgradeReport, UpgradeRequest, UpgradeWork
from domain.version import version_order


class Event(Model):
    """One line of the audit trail: what was asked or happened, by whom."""

    at: datetime
    what: str
    actor: Actor


class AccountState(Model):
    """Everything that an account's workflow knows."""

    spec: AccountSpec
    external_id: str
    connected_by: Actor | None = None
    """Who invited the account; None in states that are older than this field."""
    pace: Pace = Pace()
    phase: AccountPhase = AccountPhase.INVITED
    since: datetime
    report: AccessReport | None = None
    refusal: str = ""
    """Why the newest verification could not even enter the account; empty when it could."""
    hold_reason: str = ""
    proof: RevocationProof | None = None
    trail: tuple[Event, ...] = ()
    runs: int = 1
    """How many workflow runs this account has had (continue-as-new)."""
    by: Actor = CONTROL_PLANE
    """Who brought the present phase about."""
    released: bool = False
    """Whether a hold has ended and the verification that follows it has not: work stays parked until then."""
    deployments: tuple[str, ...] = ()
    """Names of the deployments that live in it and hear of every change of its standing."""

    @property
    def standing(self) -> AccountStanding:
        """What the deployments are told."""
        return AccountStanding(
            account=self.spec.name,
            phase=self.phase,
            hold_reason=self.hold_reason,
            verified=not self.released,
            withheld=self.report.withheld if self.report else (),
            by=self.by,
            since=self.since,
        )


class DeploymentPhase(StrEnum):
    """Where a deployment is in its life."""

    ORDERED = "ordered"
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    CHANGING = "changing"
    RETIRING = "retiring"
    RETIRED = "retired"
    ABORTED = "aborted"
    """Provisioning was given up and everything that it made was taken back."""

    @property
    def is_over(self) -> bool:
        """Whether the deployment's life has ended."""
        return self in (DeploymentPhase.RETIRED, DeploymentPhase.ABORTED)


class DeploymentOrder(Model):
    """A validated order: what the customer asked for, with what the catalogue said on that day."""

    site: Site
    spec: DeploymentSpec
    shape: Shape
    release: Release
    actor: Actor
    pace: Pace = Pace()
    approvals: ApprovalPolicy = ApprovalPolicy()
    """The account's policy as last told: with the order, or with a later request."""
    notices: Notices = Notices()
    """How long before an upgrade it is told."""


class ApiKeyChangeKind(StrEnum):
    """What happens to an API key."""

    CREATE = "create"
    REVOKE = "revoke"
    ROTATE = "rotate"


class ApiKeyChange(Model):
    """A change of the API keys. The key itself is made by the caller and never travels."""

    request_id: str
    kind: ApiKeyChangeKind
    actor: Actor
    record: ApiKeyRecord | None = None
    """The new key's record (create, rotate)."""
    key_id: str = ""
    """The key that is revoked, or that a rotation replaces."""
    overlap_seconds: int = 0
    """How long a rotated key stays valid beside the new one."""
    approvals: ApprovalPolicy | None = None
    """The account's policy when this was asked for; None: the one that the deployment was told last."""


class OperationRequest(Model):
    """A request for one operation on a deployment."""

    request_id: str
    """Chosen by the caller: the same id asks for the same operation, however often it is sent."""
    kind: OperationKind
    actor: Actor
    reason: str = ""
    final_backup: FinalBackup = FinalBackup.KEEP
    """For a retirement."""
    spec: DeploymentSpec | None = None
    """For a provisioning that converges to a changed specification."""
    shape: Shape | None = None
    release: Release | None = None
    key_change: ApiKeyChange | None = None
    """A change of the API keys that takes effect when the operation starts, because somebody has to approve it."""
    approvals: ApprovalPolicy | None = None
    """The account's policy when this was asked for; None: the one that the deployment was told last."""
    upgrade: UpgradeRequest | None = None
    """For an upgrade: what to."""
    maintenance: bool = False
    """For a reconfiguration: whether the windows have changed, which the provider's own maintenance has to follow."""


class OperationAccepted(Model):
    """The answer to a request: where to watch the operation."""

    operation_id: str
    workflow_id: str
    parked: str = ""
    """Why it cannot start at present (the customer holds the account), as a sentence; empty if nothing keeps it."""


class OperationOutcome(Model):
    """How an operation ended."""

    operation_id: str
    kind: OperationKind
    phase: OperationPhase
    """DONE or ABORTED."""
    facts: DeploymentFacts = DeploymentFacts()
    receipt: OffboardingReceipt | None = None
    final_backup: Backup | None = None
    ended_at: datetime
    summary: str = ""
    upgrade: UpgradeReport | None = None
    """Of an upgrade: what was done, and how it goes on if it parked."""


class Reached(Model):
    """How far an upgrade has come."""

    facts: DeploymentFacts
    report: UpgradeReport


class OperationReport(Model):
    """What an operation tells its deployment while it runs."""

    operation_id: str
    phase: OperationPhase
    waiting_for: tuple[WaitingFor, ...] = ()


class OperationSummary(Model):
    """One operation in a deployment's record."""

    operation_id: str
    workflow_id: str
    request_id: str
    kind: OperationKind
    actor: Actor
    reason: str = ""
    asked_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    phase: OperationPhase | None = None
    """None while it is queued for the first time; an upgrade that has parked is PARKED."""
    approved: ApprovalRecord | None = None
    """The plan that it runs, and who approved it; None if nobody had to."""
    signature: str = ""
    """Of an upgrade that went wrong: what it was, the same on every deployment."""


class OperationOrder(Model):
    """What the deployment hands to an operation."""

    operation_id: str
    site: Site
    spec: DeploymentSpec
    shape: Shape
    release: Release
    facts: DeploymentFacts
    actor: Actor
    pace: Pace
    reason: str = ""
    final_backup: FinalBackup = FinalBackup.KEEP
    api_keys: tuple[ApiKeyRecord, ...] = ()
    first: bool = True
    """Whether the deployment was never active before: an abort of the first provisioning takes everything back."""
    approved: ApprovedPlan | None = None
    """What it may do at most; None if nobody had to approve it."""
    standing: AccountStanding | None = None
    """How the account stood when the operation began; changes are told by signal."""
    upgrade: UpgradeWork | None = None
    """Of an upgrade: its stages."""
    maintenance: bool = False
    """Of a reconfiguration: whether the provider's own maintenance has to follow changed windows."""


class QueuedOperation(Model):
    """An accepted request that waits for its turn, or runs."""

    summary: OperationSummary
    request: OperationRequest
    approval: ApprovalBook | None = None
    """Which approvals it needs and has; None if it needs none."""
    appointment: Appointment | None = None
    """Of an upgrade: when it may start."""
    approved: ApprovedPlan | None = None
    """Of an upgrade that has parked: what was approved, with which it goes on."""


class DeploymentState(Model):
    """Everything that a deployment's workflow knows."""

    order: DeploymentOrder
    phase: DeploymentPhase = DeploymentPhase.ORDERED
    since: datetime
    facts: DeploymentFacts = DeploymentFacts()
    queue: tuple[QueuedOperation, ...] = ()
    running: QueuedOperation | None = None
    report: OperationReport | None = None
    """The newest report of the running operation."""
    past: tuple[OperationSummary, ...] = ()
    """The newest 50 operations that ended, oldest first."""
    was_active: bool = False
    """Whether it was ever provisioned; `past` forgets that after 50 operations."""
    operations: int = 0
    """How many operations were accepted so far; the next one's number is one more."""
    api_keys: tuple[ApiKeyRecord, ...] = ()
    delegations: tuple[Delegation, ...] = ()
    """Who may approve in whose place."""
    receipt: OffboardingReceipt | None = None
    trail: tuple[Event, ...] = ()
    runs: int = 1
    """How many workflow runs this deployment has had (continue-as-new)."""
    standing: AccountStanding | None = None
    """What the account told last; None if it has not told anything."""
    broken_windows: tuple[BrokenWindow, ...] = ()
    """Receipts of the newest 20 upgrades that were begun outside of the windows, oldest first."""
    unsettled: str = ""
    """Why pods of another release than the recorded one may run; until an upgrade has settled it nothing converges."""

    @property
    def has_been_active(self) -> bool:
        """Whether a provisioning has ever come to its end; older states tell it by their past operations alone."""
        return self.was_active or any(
            past.kind is OperationKind.PROVISION and past.phase is OperationPhase.DONE for past in self.past
        )

    @property
    def is_held(self) -> bool:
        """Whether the customer holds the account: no operation starts, and the running one parks."""
        return self.standing is not None and self.standing.parks

    @property
    def kubernetes(self) -> str:
        """The minor version of the control plane: of the one that was seen, else of the one that was ordered."""
        cluster = self.facts.cluster
        version = cluster.version if cluster and cluster.version else self.order.spec.kubernetes
        return ".".join(version.removeprefix("v").split(".")[:2])

    @property
    def oldest_nodes(self) -> str:
        """The minor version of the oldest nodes; empty if nothing is known of it."""
        known = [pool.kubernetes for pool in self.facts.pools if pool.kubernetes]
        return min(known, key=version_order, default="")
