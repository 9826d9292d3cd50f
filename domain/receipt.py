"""The offboarding receipt: what a customer gets when a deployment has left their account."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from domain.actor import Actor
from domain.approval import ApprovalRecord
from domain.deployment import Site
from domain.facts import Backup, Leftover
from domain.model import Model
from domain.operation import StepRecord, StepState
from domain.text import instant, table

_DELETION = "delete_"
"""The names of the steps that delete begin so, as those of their activities do."""


class Deletion(Model):
    """One step that deleted, and when it had nothing left to delete."""

    summary: str
    state: StepState
    ended_at: datetime | None = None


class Kept(Model):
    """One resource that stays in the customer's account on purpose."""

    resource_id: str
    kind: str
    reason: str
    until: datetime | None = None
    """When it may be deleted; None if nothing locks it."""


class Proof(Model):
    """One thing that was looked at after the deletion, and what was seen."""

    statement: str
    seen_at: datetime


class OffboardingReceipt(Model):
    """What was deleted, what stays and why, how we know, and who asked for it."""

    deployment: str
    customer: str
    account: str
    cloud: str
    cloud_account_id: str
    region: str
    generation: int
    operation_id: str
    actor: Actor
    approved: ApprovalRecord | None = None
    """The plan that was run, and who approved it; None if nobody had to."""
    started_at: datetime
    ended_at: datetime
    deletions: tuple[Deletion, ...] = ()
    """In the order in which they began."""
    skipped: tuple[str, ...] = ()
    """Steps that an operator skipped, in words: what they would have done is not known to be done."""
    kept: tuple[Kept, ...] = ()
    searched: bool = True
    """False if an operator skipped the search for leftovers: what is left is then not known."""
    proofs: tuple[Proof, ...] = ()

    @classmethod
    def write(  # the parts of a receipt are many, and each has its own source
        cls,
        *,
        site: Site,
        actor: Actor,
        operation_id: str,
        steps: Sequence[StepRecord],
        final_backup: Backup | None,
        kept: Sequence[Leftover] | None,
        started_at: datetime,
        ended_at: datetime,
        approved: ApprovalRecord | None = None,
    ) -> Self:
        """Return the receipt of a retirement.

        Args:
            site: where the deployment was.
            actor: who asked for the retirement.
            operation_id: the retirement's id.
            steps: everything that the retirement did.
            final_backup: the backup that stays, if the customer wanted one.
            kept: what the search for leftovers found to stay on purpose; None if an operator skipped the search.
            started_at: when the retirement began.
            ended_at: when it ended; the search was its last step.
            approved: the plan that was run, and who approved it.
        """
        until = final_backup.retain_until if final_backup else None
        return cls(
            deployment=site.deployment,
            customer=site.customer,
            account=site.account,
            cloud=site.cloud,
            cloud_account_id=site.cloud_account_id,
            region=site.region,
            generation=site.generation,
            operation_id=operation_id,
            actor=actor,
            approved=approved,
            started_at=started_at,
            ended_at=ended_at,
            deletions=tuple(
                Deletion(summary=step.summary, state=step.state, ended_at=step.ended_at)
                for step in steps
                if step.name.startswith(_DELETION)
            ),
            skipped=tuple(step.summary for step in steps if step.state is StepState.SKIPPED),
            kept=tuple(
                Kept(resource_id=left.resource_id, kind=left.kind, reason=left.kept_because, until=until)
                for left in kept or ()
            ),
            searched=kept is not None,
            proofs=_proofs(site, final_backup, kept, ended_at),
        )


def _proofs(
    site: Site, final_backup: Backup | None, kept: Sequence[Leftover] | None, seen_at: datetime
) -> tuple[Proof, ...]:
    proofs = []
    if final_backup:
        noun = "record" if final_backup.records == 1 else "records"
        proofs.append(
            Proof(
                statement=f"The final backup {final_backup.key} in bucket {final_backup.bucket} holds "
                f"{final_backup.records} {noun}, SHA-256 {final_backup.sha256}",
                seen_at=final_backup.taken_at,
            )
        )
    if kept is not None:
        beside = f" but the {len(kept)} that stay on purpose" if kept else ""
        proofs.append(
            Proof(
                statement=f"A search of {site.region} for the tag of {site.deployment} found no resource{beside}",
                seen_at=seen_at,
            )
        )
    return tuple(proofs)


def render(receipt: OffboardingReceipt) -> str:
    """Return the receipt as markdown, for the customer."""
    parts = [
        f"# Offboarding receipt: {receipt.deployment}",
        table(
            ("", ""),
            [
                ("Customer", receipt.customer),
                ("Account", f"{receipt.account} ({receipt.cloud} {receipt.cloud_account_id})"),
                ("Region", receipt.region),
                ("Asked for by", str(receipt.actor)),
                ("Operation", receipt.operation_id),
                *_approved(receipt),
                ("Started", instant(receipt.started_at)),
                ("Ended", instant(receipt.ended_at)),
            ],
        ),
        "## Deleted",
        table(
            ("What", "Result", "At"),
            [(done.summary, done.state, instant(done.ended_at)) for done in receipt.deletions],
        ),
        "## Kept in your account",
        _kept(receipt),
        "## Proof",
        _proof(receipt),
    ]
    if receipt.skipped:
        parts += ["## Skipped by an operator", "\n".join(f"- {summary}" for summary in receipt.skipped)]
    return "\n\n".join(parts) + "\n"


def _approved(receipt: OffboardingReceipt) -> list[tuple[str, str]]:
    if receipt.approved is None:
        return []
    return [
        ("Approved plan", receipt.approved.hash),
        *(("Approved by", f"{approval}, {instant(approval.at)}") for approval in receipt.approved.approvals),
    ]


def _kept(receipt: OffboardingReceipt) -> str:
    if not receipt.searched:
        return "Not known."
    if not receipt.kept:
        return "Nothing."
    return table(
        ("Kind", "Resource", "Why", "Until"),
        [(kept.kind, kept.resource_id, kept.reason, instant(kept.until)) for kept in receipt.kept],
    )


def _proof(receipt: OffboardingReceipt) -> str:
    lines = [f"- {proof.statement} ({instant(proof.seen_at)})." for proof in receipt.proofs]
    if not receipt.searched:
        lines.append("- An operator skipped the search for leftovers: that nothing is left is not proven.")
    return "\n".join(lines)
