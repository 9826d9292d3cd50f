"""What the driver `disk.csi.azure.com` makes for claims: managed disks in the group of the cluster's nodes."""

from __future__ import annotations

from collections.abc import Mapping

from simulators.azure.cloud import Cloud
from simulators.azure.container import control_plane
from simulators.azure.container.fleet import id_of
from simulators.azure.container.machines import Machines
from simulators.azure.ids import parsed
from simulators.azure.records import Record
from simulators.azure.refusals import Json
from simulators.kubernetes.controllers.quantities import amount
from simulators.kubernetes.objects import Object, name_of, namespace_of
from simulators.kubernetes.provider import HinderedError

DISK = "Microsoft.Compute/disks"
DRIVER = "disk.csi.azure.com"
_SET = "Microsoft.Compute/diskEncryptionSets"
_SKUS = ("Premium_LRS", "Premium_ZRS", "PremiumV2_LRS", "StandardSSD_LRS", "StandardSSD_ZRS", "Standard_LRS")


class Volumes:
    """The disks of all claims."""

    def __init__(self, cloud: Cloud, machines: Machines) -> None:
        self._cloud = cloud
        self._machines = machines
        self._volumes: dict[tuple[str, str], str] = {}
        """Ids of disks, keyed by cluster id and the claim's uid."""
        self._ready: set[str] = set()

    def ensure(self, cluster: Record, claim: Object, storage_class: Object, zone: str) -> str | None:
        """Make the claim's disk, or grow it to what the claim asks for; return its id once it is ready.

        Raises:
            HinderedError: The storage class asks for what the driver does not know.
            Refusal: The cluster's identity may not use the disk encryption set, or there is none.
        """
        size = int(-(-amount(claim["spec"]["resources"]["requests"]["storage"]) // 2**30))
        key = (id_of(cluster), claim["metadata"]["uid"])
        self._cloud.work.settle()
        record = self._cloud.records.get(self._volumes.get(key, "-"))
        if record is None:
            record = self._provision(cluster, claim, storage_class, zone, size)
            self._volumes[key] = record.id.text
        record.properties["diskSizeGB"] = max(int(record.properties["diskSizeGB"]), size)
        self._cloud.work.settle()
        return record.id.text if record.id.key in self._ready else None

    def _provision(self, cluster: Record, claim: Object, storage_class: Object, zone: str, size: int) -> Record:
        if storage_class["provisioner"] != DRIVER:
            raise HinderedError(f"provisioner {storage_class['provisioner']} is not simulated")
        parameters = {key.lower(): value for key, value in (storage_class.get("parameters") or {}).items()}
        sku = parameters.get("skuname", "StandardSSD_LRS")
        if sku not in _SKUS:
            raise HinderedError(f"azureDisk - {sku} is not supported sku/storageaccounttype.")
        name = f"pvc-{claim['metadata']['uid']}"
        zones = [] if sku.endswith("_ZRS") else [zone.rpartition("-")[2]]
        record = self._machines.group_of(cluster).put(
            DISK,
            name,
            document={
                "sku": {"name": sku},
                "zones": zones,
                "tags": {**_tags(parameters.get("tags", "")), **_marks(name, claim)},
                "properties": {
                    "creationData": {"createOption": "Empty"},
                    "diskSizeGB": size,
                    "diskState": "Unattached",
                    "timeCreated": self._cloud.now(),
                    "encryption": self._encryption(cluster, parameters),
                },
            },
        )

        def ready() -> None:
            self._ready.add(record.id.key)

        self._cloud.work.start(self._cloud.durations.disk, ready)
        return record

    def _encryption(self, cluster: Record, parameters: Mapping[str, str]) -> Json:
        chosen = parameters.get("diskencryptionsetid")
        if not chosen:
            return {"type": "EncryptionAtRestWithPlatformKey"}
        wanted = parsed(chosen)
        if wanted is None or wanted.type.lower() != _SET.lower() or self._cloud.records.get(wanted.key) is None:
            raise HinderedError(f"diskEncryptionSetID({chosen}) does not exist")
        control_plane.require(self._cloud, cluster.document, f"{_SET}/read", wanted.text)
        kind = parameters.get("diskencryptiontype", "EncryptionAtRestWithCustomerKey")
        return {"type": kind, "diskEncryptionSetId": wanted.text}

    def delete(self, volume_id: str) -> None:
        """Take a disk away; it is gone at once."""
        record = self._cloud.records.get(volume_id)
        if record is not None:
            self._cloud.records.remove(record)
        self._volumes = {key: name for key, name in self._volumes.items() if name != volume_id}
        self._ready.discard(volume_id.lower())

    def forget_cluster(self, cluster_id: str) -> None:
        """Forget what went with a cluster."""
        self._volumes = {key: name for key, name in self._volumes.items() if key[0] != cluster_id}

    def forget(self) -> None:
        """Forget every volume."""
        self._volumes.clear()
        self._ready.clear()


def _tags(text: str) -> dict[str, str]:
    pairs = (pair.strip().partition("=") for pair in text.split(",") if pair.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _marks(name: str, claim: Object) -> dict[str, str]:
    """Return the tags by which the driver says what a disk is for."""
    return {
        "k8s-azure-created-by": "kubernetes-azure-dd",
        "kubernetes.io-created-for-pv-name": name,
        "kubernetes.io-created-for-pvc-name": name_of(claim),
        "kubernetes.io-created-for-pvc-namespace": namespace_of(claim),
    }
