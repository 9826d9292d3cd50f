"""The receipt says what was deleted, what stays until when, and how that is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from domain.actor import Actor, Door
from domain.deployment import Site
from domain.facts import Backup, Leftover
from domain.operation import StepRecord, StepState
from domain.receipt import OffboardingReceipt, render

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
UNTIL = NOW + timedelta(days=35)
SITE = Site(
    deployment="acme-prod",
    customer="acme",
    account="acme-aws",
    cloud="aws",
    cloud_account_id="111122223333",
    external_id="e",
    region="eu-central-1",
)
BACKUP = Backup(
    bucket="byoc-acme-prod-backups-0a1b2c3d",
    key="final-1",
    size_bytes=10,
    sha256="ab" * 32,
    records=42,
    taken_at=NOW,
    retain_until=UNTIL,
)
BUCKET = Leftover(resource_id=BACKUP.bucket, kind="s3:bucket", kept_because="the final backup is locked in it")


def step(name: str, summary: str, state: StepState = StepState.DONE) -> StepRecord:
    """Return a step that took a minute."""
    return StepRecord(name=name, summary=summary, state=state, started_at=NOW, ended_at=NOW + timedelta(minutes=1))


def receipt(*, kept: tuple[Leftover, ...] | None, backup: Backup | None, skipped: bool = False) -> OffboardingReceipt:
    """Return the receipt of a retirement with two deletions."""
    state = StepState.SKIPPED if skipped else StepState.DONE
    return OffboardingReceipt.write(
        site=SITE,
        actor=Actor(name="ada@vendor.example", door=Door.CLI),
        operation_id="retire-2",
        steps=(
            step("back_up", "Take a backup"),
            step("delete_cluster", "Delete the Kubernetes control plane"),
            step("delete_network", "Delete the network", state),
            step("find_leftovers", "Prove that nothing is left"),
        ),
        final_backup=backup,
        kept=kept,
        started_at=NOW,
        ended_at=NOW + timedelta(hours=1),
    )


def test_a_receipt_names_what_was_deleted_and_what_stays() -> None:
    """The bucket stays until the lock of the final backup ends."""
    text = render(receipt(kept=(BUCKET,), backup=BACKUP))

    assert "| Delete the Kubernetes control plane | done | 2026-11-23 12:01:00 UTC |" in text
    assert "Take a backup" not in text
    assert "| the final backup is locked in it | 2026-12-28 12:00:00 UTC |" in text
    assert "holds 42 records" in text
    assert "found no resource but the 1 that stay on purpose (2026-11-23 13:00:00 UTC)" in text


def test_a_receipt_without_leftovers_says_that_nothing_is_kept() -> None:
    """And that this was looked for."""
    text = render(receipt(kept=(), backup=None))

    assert "## Kept in your account\n\nNothing." in text
    assert "for the tag of acme-prod found no resource (" in text


def test_a_receipt_claims_no_proof_that_was_skipped() -> None:
    """Neither that nothing is kept."""
    text = render(receipt(kept=None, backup=None, skipped=True))

    assert "that nothing is left is not proven" in text
    assert "## Kept in your account\n\nNot known." in text
    assert "## Skipped by an operator\n\n- Delete the network" in text


def test_a_receipt_whose_search_was_skipped_claims_nothing_about_what_is_kept() -> None:
    """The final backup is known, everything else is not."""
    text = render(receipt(kept=None, backup=BACKUP))

    assert "## Kept in your account\n\nNot known." in text
    assert "that nothing is left is not proven" in text


def test_a_receipt_survives_a_history() -> None:
    """It is a model like every other."""
    written = receipt(kept=(BUCKET,), backup=BACKUP)

    assert OffboardingReceipt.model_validate_json(written.model_dump_json()) == written
