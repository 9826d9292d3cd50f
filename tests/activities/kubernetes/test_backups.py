"""Backups and the proof that they can be restored."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.contracts import BackupRequest, RestoreRequest, SmokeTestRequest
from activities.kubernetes.manifests.identity import RESTORE_NAMESPACE, SERVER_NAMESPACE
from domain.facts import Backup
from domain.failure import FailureClass
from domain.shape import Component
from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from tests.activities.kubernetes.playground import Playground, names
from tests.activities.kubernetes.samples import BUCKET, DOMAIN, KEY, RELEASE, SITE


@pytest.fixture
def storing(playground: Playground) -> Playground:
    """A playground whose server holds one document."""
    playground.found()
    playground.install()
    playground.open()
    request = SmokeTestRequest(site=SITE, cluster=playground.cluster, domain=DOMAIN, release=RELEASE)
    playground.until_done(playground.server.smoke_test, request)
    return playground


def backup_request(playground: Playground, name: str = "20261123T2200Z") -> BackupRequest:
    """Return the request of a backup."""
    return BackupRequest(site=SITE, cluster=playground.cluster, bucket=BUCKET, release=RELEASE, name=name)


def restore_request(playground: Playground, backup: Backup, *, operation: str = SITE.operation) -> RestoreRequest:
    """Return the request of a proof."""
    site = SITE.model_copy(update={"operation": operation})
    return RestoreRequest(site=site, cluster=playground.cluster, backup=backup, release=RELEASE)


def test_a_backup_is_an_object_in_the_bucket(storing: Playground) -> None:
    """The result describes the object that is there."""
    backup = storing.until_done(storing.server.back_up, backup_request(storing))

    body = storing.provider.objects[BUCKET.name, backup.key]
    assert backup.key == "backups/20261123T2200Z"
    assert backup.size_bytes == len(body)
    assert backup.records == 1


def test_the_same_name_returns_the_same_backup(storing: Playground) -> None:
    """A repeat finds the job's result and runs nothing."""
    first = storing.until_done(storing.server.back_up, backup_request(storing))
    position = storing.world.journal.position

    again = storing.until_done(storing.server.back_up, backup_request(storing))

    assert again == first
    assert storing.changes(position) == []


def test_only_the_newest_backups_job_stays(storing: Playground) -> None:
    """Jobs do not pile up."""
    for name in ("first", "second", "third"):
        storing.until_done(storing.server.back_up, backup_request(storing, name))

    assert names(storing.listed(kinds.JOBS, SERVER_NAMESPACE)) == {"backup-third"}
    assert len(storing.provider.objects) == 3


@pytest.mark.parametrize(
    ("refusal", "failure_class", "action"),
    [
        (
            "AccessDenied: User: arn:aws:sts::1:role/store is not authorized to perform: s3:PutObject on resource: x",
            FailureClass.PERMISSION,
            "s3:PutObject",
        ),
        (
            "AccessDenied: User: arn:aws:sts::1:role/store is not authorized to perform: kms:GenerateDataKey on this",
            FailureClass.PERMISSION,
            "kms:GenerateDataKey",
        ),
        (f"KMS.DisabledException: {KEY.key_id} is disabled.", FailureClass.PERMISSION, ""),
        (f"KMS.KMSInvalidStateException: {KEY.key_id} is pending deletion.", FailureClass.PERMISSION, ""),
        ("NoSuchBucket: The specified bucket does not exist", FailureClass.UNKNOWN, ""),
    ],
    ids=["object", "key", "key disabled", "key going", "bucket"],
)
def test_a_backup_that_fails_says_why_and_can_be_tried_again(
    storing: Playground,
    monkeypatch: pytest.MonkeyPatch,
    refusal: str,
    failure_class: FailureClass,
    action: str,
) -> None:
    """The store's own words reach the operator; the next attempt runs a new job."""
    with monkeypatch.context() as broken:
        broken.setattr(storing.provider, "put_object", lambda *_: refusal)
        failure = storing.failure_of(storing.server.back_up, backup_request(storing))
    backup = storing.until_done(storing.server.back_up, backup_request(storing))

    assert (failure.failure, failure.action) == (failure_class, action)
    assert refusal in failure.message
    assert failure.resource == "Job byoc-server/backup-" + backup_job_suffix(storing)
    assert backup.records == 1


def backup_job_suffix(playground: Playground) -> str:
    """Return the rest of the only backup job's name."""
    (name,) = names(playground.listed(kinds.JOBS, SERVER_NAMESPACE))
    return name.removeprefix("backup-")


def test_a_proof_restores_compares_and_leaves_nothing(storing: Playground) -> None:
    """Records and checksum are those of the backup, and the namespace is gone."""
    backup = storing.until_done(storing.server.back_up, backup_request(storing))

    proof = storing.until_done(storing.server.prove_restore, restore_request(storing, backup))

    assert (proof.key, proof.records, proof.sha256) == (backup.key, backup.records, backup.sha256)
    assert proof.seconds >= 0
    assert RESTORE_NAMESPACE not in names(storing.listed(kinds.NAMESPACES))


def test_the_restore_runs_as_its_own_identity(storing: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job reads the bucket as the restore namespace's account, never as the store's."""
    readers: list[str] = []
    read = storing.provider.get_object

    def watch(cluster: str, account: str, bucket: str, key: str) -> bytes | str:
        readers.append(account)
        return read(cluster, account, bucket, key)

    monkeypatch.setattr(storing.provider, "get_object", watch)
    backup = storing.until_done(storing.server.back_up, backup_request(storing))
    storing.until_done(storing.server.prove_restore, restore_request(storing, backup))

    assert readers == [f"system:serviceaccount:{RESTORE_NAMESPACE}:restore"]


def test_an_attempt_after_the_proof_returns_it(storing: Playground) -> None:
    """Killed after the namespace went and before the reply, the step is not done twice."""
    backup = storing.until_done(storing.server.back_up, backup_request(storing))
    first = storing.until_done(storing.server.prove_restore, restore_request(storing, backup))
    position = storing.world.journal.position

    again = storing.until_done(storing.server.prove_restore, restore_request(storing, backup))

    assert again == first
    assert storing.changes(position) == []


def test_another_operation_proves_anew(storing: Playground) -> None:
    """Next week's proof of the same backup is one of its own."""
    backup = storing.until_done(storing.server.back_up, backup_request(storing))
    storing.until_done(storing.server.prove_restore, restore_request(storing, backup))
    position = storing.world.journal.position

    storing.until_done(storing.server.prove_restore, restore_request(storing, backup, operation="acme-prod/drill/2"))

    assert any(change.startswith("patch jobs byoc-restore/") for change in storing.changes(position))


@pytest.mark.parametrize(
    ("damage", "words"),
    [({"sha256": "f" * 64}, "checksum mismatch"), ({"records": 2}, "held 2 records")],
    ids=["checksum", "records"],
)
def test_a_backup_that_comes_back_different_is_no_proof(
    storing: Playground, damage: dict[str, Any], words: str
) -> None:
    """The failure says what differs, and the restored data are gone."""
    backup = storing.until_done(storing.server.back_up, backup_request(storing))
    wrong = backup.model_copy(update=damage)

    failure = storing.failure_of(storing.server.prove_restore, restore_request(storing, wrong))

    assert failure.failure is FailureClass.UNKNOWN
    assert words in failure.message
    home = storing.get(kinds.NAMESPACES, RESTORE_NAMESPACE)
    assert home is None or "deletionTimestamp" in home["metadata"]
    assert storing.get(kinds.CONFIG_MAPS, "restore-proof") is None


def test_a_namespace_left_by_another_proof_makes_room_first(storing: Playground) -> None:
    """What a killed operation left is removed before the next proof begins."""
    backup = storing.until_done(storing.server.back_up, backup_request(storing))
    stuck = storing.fault(
        Fault(kind=FaultKind.STUCK, service="kubernetes", operation="start pod", resource=RESTORE_NAMESPACE)
    )
    for _ in range(3):
        with pytest.raises(ApplicationError):
            storing.attempt(storing.server.prove_restore, restore_request(storing, backup, operation="killed/1"))
    storing.world.faults.remove(stuck.id)

    proof = storing.until_done(storing.server.prove_restore, restore_request(storing, backup))

    assert proof.records == backup.records
    assert RESTORE_NAMESPACE not in names(storing.listed(kinds.NAMESPACES))


def test_a_backup_needs_the_stores_image(storing: Playground) -> None:
    """The job runs the release's store, confined as every other pod."""
    storing.until_done(storing.server.back_up, backup_request(storing, "one"))

    (job,) = storing.listed(kinds.JOBS, SERVER_NAMESPACE)
    spec = job["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == RELEASE.components[Component.STORE]
    assert spec["containers"][0]["args"] == ["backup", "--bucket", BUCKET.name, "--key", "backups/one"]
    assert spec["serviceAccountName"] == "store"
