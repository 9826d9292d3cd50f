"""EBS volumes and snapshots, with their keys and their time."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

from typing import Any

from ministack.services import ec2, kms

from simulators.aws import fabric, scope
from simulators.aws.durations import Durations
from simulators.aws.ec2.listing import Document, Guard, Listing, Operation, tags_given
from simulators.aws.identifiers import new_id
from simulators.aws.instance_types import zones_of
from simulators.aws.refusals import Refusal
from simulators.aws.work import Work
from simulators.clock import Clock
from simulators.faults import Fault


class Storage:
    """The operations on volumes and snapshots."""

    def __init__(self, work: Work, clock: Clock, durations: Durations) -> None:
        self._work = work
        self._clock = clock
        self._durations = durations

    def operations(self) -> dict[str, Operation]:
        """Return the operations, keyed by name."""
        return {
            "CreateVolume": self._create_volume,
            "DescribeVolumes": _VOLUMES.describe,
            "CreateSnapshot": self._create_snapshot,
            "CopySnapshot": self._copy_snapshot,
            "DescribeSnapshots": _describe_snapshots,
        }

    def guards(self) -> dict[str, Guard]:
        """Return the checks, keyed by operation."""
        return {"DeleteVolume": _check_volume_unused}

    def _create_volume(self, parameters: Document) -> Document:
        """CreateVolume."""
        zone = parameters.get("AvailabilityZone", "")
        if zone not in zones_of(scope.current().region):
            raise Refusal("InvalidZone.NotFound", f"The zone '{zone}' does not exist.")
        snapshot = ec2._snapshots.get(parameters["SnapshotId"]) if parameters.get("SnapshotId") else None
        if parameters.get("SnapshotId") and snapshot is None:
            raise Refusal("InvalidSnapshot.NotFound", f"The snapshot '{parameters['SnapshotId']}' does not exist.")
        if snapshot is None and not parameters.get("Size"):
            raise Refusal("MissingParameter", "The request must contain the parameter size/snapshot")
        encrypted = parameters.get("Encrypted", False) or bool(snapshot and snapshot["Encrypted"])
        kind = parameters.get("VolumeType", "gp2")
        volume: dict[str, Any] = {
            "VolumeId": new_id("vol"),
            "Size": parameters.get("Size") or (snapshot or {}).get("VolumeSize"),
            "AvailabilityZone": zone,
            "State": "creating",
            "VolumeType": kind,
            "SnapshotId": parameters.get("SnapshotId", ""),
            "Iops": parameters.get("Iops", 3000 if kind == "gp3" else 100),
            "Throughput": parameters.get("Throughput", 125) if kind == "gp3" else None,
            "Encrypted": encrypted,
            "KmsKeyId": _key(parameters, encrypted),
            "CreateTime": self._clock.time(),
            "Attachments": [],
            "MultiAttachEnabled": False,
        }
        ec2._volumes[volume["VolumeId"]] = volume
        fabric.set_tags(volume["VolumeId"], tags_given(parameters, "volume"))
        self._work.start(
            self._durations.volume,
            lambda: volume.update(State="available"),
            lambda _fault: volume.update(State="error"),
        )
        return _VOLUMES.complete(volume)

    def _create_snapshot(self, parameters: Document) -> Document:
        """CreateSnapshot; it has no client token, so that every call makes another one."""
        volume = ec2._volumes.get(parameters.get("VolumeId", ""))
        if volume is None:
            raise Refusal("InvalidVolume.NotFound", f"The volume '{parameters.get('VolumeId')}' does not exist.")
        return self._snapshot(
            volume["VolumeId"], volume["Size"], volume["Encrypted"], volume.get("KmsKeyId"), parameters
        )

    def _copy_snapshot(self, parameters: Document) -> Document:
        """CopySnapshot, within a region or from another one."""
        here = scope.current()
        region, source_id = parameters.get("SourceRegion") or here.region, parameters["SourceSnapshotId"]
        source = ec2._snapshots.get_scoped(here.account, region, source_id)
        if source is None:
            raise Refusal("InvalidSnapshot.NotFound", f"The snapshot '{source_id}' does not exist.")
        if source["State"] != "completed":
            raise Refusal("IncorrectState", f"The snapshot '{source_id}' is not completed")
        encrypted = parameters.get("Encrypted", False) or source["Encrypted"]
        key = _key(parameters, encrypted) or source.get("KmsKeyId")
        made = self._snapshot("vol-ffffffff", source["VolumeSize"], encrypted, key, parameters)
        return {"SnapshotId": made["SnapshotId"], "Tags": made["Tags"]}

    def _snapshot(self, volume: str, size: int, encrypted: bool, key: str | None, parameters: Document) -> Document:
        snapshot: dict[str, Any] = {
            "SnapshotId": new_id("snap"),
            "VolumeId": volume,
            "VolumeSize": size,
            "Description": parameters.get("Description", ""),
            "State": "pending",
            "StartTime": self._clock.time(),
            "Progress": "0%",
            "OwnerId": scope.current().account,
            "Encrypted": encrypted,
            "KmsKeyId": key,
            "StorageTier": "standard",
        }
        ec2._snapshots[snapshot["SnapshotId"]] = snapshot
        fabric.set_tags(snapshot["SnapshotId"], tags_given(parameters, "snapshot"))

        def fail(fault: Fault) -> None:
            snapshot.update(State="error", StateMessage=fault.message or "The snapshot could not be completed")

        self._work.start(self._durations.snapshot, lambda: snapshot.update(State="completed", Progress="100%"), fail)
        return _SNAPSHOTS.complete(snapshot)


def _key(parameters: Document, encrypted: bool) -> str | None:
    """Return the ARN of the key that is asked for; without one the account's default key is used."""
    wanted = parameters.get("KmsKeyId")
    if not encrypted or not wanted:
        return None
    key = kms._resolve_key(wanted)
    if key is None or key["KeyState"] != "Enabled":
        raise Refusal("InvalidKmsKey.NotFound", f"The KMS key '{wanted}' does not exist or is not enabled")
    return str(key["Arn"])


def _check_volume_unused(parameters: Document) -> None:
    volume_id = parameters.get("VolumeId", "")
    volume = ec2._volumes.get(volume_id)
    if volume is None:
        raise Refusal("InvalidVolume.NotFound", f"The volume '{volume_id}' does not exist.")
    if volume["Attachments"]:
        message = f"Volume {volume_id} is currently attached to {volume['Attachments'][0]['InstanceId']}"
        raise Refusal("VolumeInUse", message)


def _describe_snapshots(parameters: Document) -> Document:
    """DescribeSnapshots; the accounts do not share any, so that every owner but the caller has none."""
    owners = parameters.get("OwnerIds")
    if owners and not {"self", scope.current().account} & set(owners):
        return {"Snapshots": []}
    return _SNAPSHOTS.describe(parameters)


_VOLUMES = Listing(
    "Volumes", "VolumeId", "VolumeIds", "InvalidVolume.NotFound", "volume", ec2._volumes.values,
    filters={"volume-id": "VolumeId", "status": "State", "availability-zone": "AvailabilityZone",
             "volume-type": "VolumeType", "encrypted": "Encrypted", "size": "Size", "snapshot-id": "SnapshotId",
             "attachment.instance-id": "Attachments.InstanceId", "attachment.status": "Attachments.State",
             "attachment.delete-on-termination": "Attachments.DeleteOnTermination",
             "attachment.device": "Attachments.Device"},
)  # fmt: skip

_SNAPSHOTS = Listing(
    "Snapshots", "SnapshotId", "SnapshotIds", "InvalidSnapshot.NotFound", "snapshot", ec2._snapshots.values,
    filters={"snapshot-id": "SnapshotId", "volume-id": "VolumeId", "status": "State", "owner-id": "OwnerId",
             "encrypted": "Encrypted", "description": "Description", "progress": "Progress",
             "volume-size": "VolumeSize", "storage-tier": "StorageTier"},
)  # fmt: skip
