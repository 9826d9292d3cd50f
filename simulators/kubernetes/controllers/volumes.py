"""Volumes: from a claim to a volume in the cloud and back, as the volume binder and a CSI provisioner do it."""

from __future__ import annotations

from simulators.faults import FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.controller import Controller, Surroundings
from simulators.kubernetes.controllers.pods import claim_names, is_finished
from simulators.kubernetes.controllers.quantities import amount
from simulators.kubernetes.objects import Object, copied, is_terminating, labels_of, name_of, namespace_of
from simulators.kubernetes.scheduler import SELECTED_NODE, ZONE

CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
PROVISIONER_PROTECTION = "external-provisioner.volume.kubernetes.io/finalizer"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


class VolumeController(Controller):
    """Binds claims to volumes, grows them, and gives volumes back to the cloud when their claim is gone."""

    name = "persistentvolume-controller"
    watches = (
        kinds.PERSISTENT_VOLUME_CLAIMS,
        kinds.PERSISTENT_VOLUMES,
        kinds.STORAGE_CLASSES,
        kinds.PODS,
        kinds.NODES,
    )
    heeds_faults = True

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._complained: set[str] = set()
        """Uids of the claims whose missing storage class has been reported."""

    def reconcile(self) -> None:
        """Take one step for every claim and every volume."""
        for claim in self.store.list(kinds.PERSISTENT_VOLUME_CLAIMS):
            if is_terminating(claim):
                self._let_go(claim)
            elif (claim.get("status") or {}).get("phase") == "Bound":
                self._grow(claim)
            else:
                self._bind(self.add_finalizer(kinds.PERSISTENT_VOLUME_CLAIMS, claim, CLAIM_PROTECTION))
        for volume in self.store.list(kinds.PERSISTENT_VOLUMES):
            self._reclaim(volume)

    def _let_go(self, claim: Object) -> None:
        """Let a deleted claim vanish as soon as no pod uses it."""
        pods = self.store.list(kinds.PODS, namespace_of(claim))
        if not any(name_of(claim) in claim_names(pod) for pod in pods if not is_finished(pod)):
            self.remove_finalizer(kinds.PERSISTENT_VOLUME_CLAIMS, claim, CLAIM_PROTECTION)

    def _bind(self, claim: Object) -> None:
        storage_class = self._class_of(claim)
        if claim["spec"].get("volumeName"):
            self._bind_to_named(claim)
        elif storage_class is None:
            self.update_status(kinds.PERSISTENT_VOLUME_CLAIMS, claim, {"phase": "Pending"})
            self._complain(claim)
        else:
            self._provision(claim, storage_class)

    def _complain(self, claim: Object) -> None:
        """Say once that the claim's storage class is missing."""
        if claim["metadata"]["uid"] in self._complained:
            return
        self._complained.add(claim["metadata"]["uid"])
        wanted = claim["spec"].get("storageClassName") or ""
        message = f'storageclass.storage.k8s.io "{wanted}" not found' if wanted else "no storage class is set"
        self.events.warning(claim, self.name, "ProvisioningFailed", message)

    def _class_of(self, claim: Object) -> Object | None:
        name = claim["spec"].get("storageClassName")
        if name is not None:
            return self.store.get(kinds.STORAGE_CLASSES, None, name) if name else None
        for storage_class in self.store.list(kinds.STORAGE_CLASSES):
            if (storage_class["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true":
                return storage_class
        return None

    def _bind_to_named(self, claim: Object) -> None:
        """Bind the claim to the volume that it names, if that one is free or reserved for it."""
        volume = self.store.get(kinds.PERSISTENT_VOLUMES, None, claim["spec"]["volumeName"])
        if volume is None or is_terminating(volume):
            return
        reference = volume["spec"].get("claimRef") or {}
        ours = (reference.get("namespace"), reference.get("name")) == (namespace_of(claim), name_of(claim))
        if reference and (not ours or reference.get("uid", claim["metadata"]["uid"]) != claim["metadata"]["uid"]):
            return
        volume = self.update_spec(kinds.PERSISTENT_VOLUMES, volume, {"claimRef": _reference(claim)})
        self.update_status(kinds.PERSISTENT_VOLUMES, volume, {"phase": "Bound"})
        self._mark_bound(claim, volume)

    def _provision(self, claim: Object, storage_class: Object) -> None:
        zone = self._zone_for(claim, storage_class)
        if zone is None or self.affliction(claim, FaultKind.STUCK, FaultKind.CAPACITY):
            self.update_status(kinds.PERSISTENT_VOLUME_CLAIMS, claim, {"phase": "Pending"})
            return
        volume_id = self.provider.ensure_volume(self.cluster.id, claim, storage_class, zone)
        if volume_id is None:
            self.update_status(kinds.PERSISTENT_VOLUME_CLAIMS, claim, {"phase": "Pending"})
            self.alarm.wake_after(self.durations.provider_poll, least_real=self.durations.least_wait)
            return
        name = f"pvc-{claim['metadata']['uid']}"
        volume = self.store.get(kinds.PERSISTENT_VOLUMES, None, name) or self.store.create(
            kinds.PERSISTENT_VOLUMES, _volume(name, claim, storage_class, volume_id, zone)
        )
        message = f"Successfully provisioned volume {name}"
        self.events.normal(claim, storage_class["provisioner"], "ProvisioningSucceeded", message)
        self._mark_bound(claim, volume)

    def _zone_for(self, claim: Object, storage_class: Object) -> str | None:
        """Return where to make the volume: where its first consumer will run, or in any zone if it need not wait."""
        if storage_class.get("volumeBindingMode") == "WaitForFirstConsumer":
            selected = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
            node = self.store.get(kinds.NODES, None, selected) if selected else None
            return labels_of(node).get(ZONE) if node else None
        zones = sorted({labels_of(node).get(ZONE, "") for node in self.store.list(kinds.NODES)} - {""})
        return zones[0] if zones else None

    def _mark_bound(self, claim: Object, volume: Object) -> None:
        annotations = {**(claim["metadata"].get("annotations") or {}), "pv.kubernetes.io/bind-completed": "yes"}
        claim = self.update_metadata(kinds.PERSISTENT_VOLUME_CLAIMS, claim, {"annotations": annotations})
        claim = self.update_spec(kinds.PERSISTENT_VOLUME_CLAIMS, claim, {"volumeName": name_of(volume)})
        self.update_status(
            kinds.PERSISTENT_VOLUME_CLAIMS,
            claim,
            {
                "phase": "Bound",
                "accessModes": copied(volume["spec"]["accessModes"]),
                "capacity": copied(volume["spec"]["capacity"]),
            },
        )

    def _grow(self, claim: Object) -> None:
        """Grow the volume of a bound claim that asks for more than it has; volumes never shrink."""
        asked = claim["spec"]["resources"]["requests"]["storage"]
        volume = self.store.get(kinds.PERSISTENT_VOLUMES, None, claim["spec"]["volumeName"])
        if volume is None or amount(asked) <= amount(volume["spec"]["capacity"]["storage"]):
            return
        storage_class = self._class_of(claim)
        if storage_class is None or not storage_class.get("allowVolumeExpansion"):
            return
        zone = (volume["metadata"].get("labels") or {}).get(ZONE, "")
        if self.provider.ensure_volume(self.cluster.id, claim, storage_class, zone) is None:
            self.alarm.wake_after(self.durations.provider_poll, least_real=self.durations.least_wait)
            return
        self.update_spec(kinds.PERSISTENT_VOLUMES, volume, {"capacity": {"storage": asked}})
        self.update_status(kinds.PERSISTENT_VOLUME_CLAIMS, claim, {"capacity": {"storage": asked}})
        self.events.normal(claim, "volume_expand", "VolumeResizeSuccessful", "Resize volume succeeded")

    def _reclaim(self, volume: Object) -> None:
        """Release a volume whose claim is gone; under the policy Delete, and once it is deleted, remove it for good."""
        reference = volume["spec"].get("claimRef")
        if reference is None:
            if is_terminating(volume):
                self._forget(volume)
            else:
                self.update_status(kinds.PERSISTENT_VOLUMES, volume, {"phase": "Available"})
            return
        claim = self.store.get(kinds.PERSISTENT_VOLUME_CLAIMS, reference["namespace"], reference["name"])
        if claim is not None and reference.get("uid", claim["metadata"]["uid"]) == claim["metadata"]["uid"]:
            return
        volume = self.update_status(kinds.PERSISTENT_VOLUMES, volume, {"phase": "Released"})
        if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            self._delete_in_cloud(volume)
        elif is_terminating(volume):
            self._forget(volume)

    def _delete_in_cloud(self, volume: Object) -> None:
        handle = (volume["spec"].get("csi") or {}).get("volumeHandle")
        if handle and not self.provider.delete_volume(self.cluster.id, handle):
            self.alarm.wake_after(self.durations.provider_poll, least_real=self.durations.least_wait)
            return
        self.store.delete(kinds.PERSISTENT_VOLUMES, volume)
        remaining = self.store.get(kinds.PERSISTENT_VOLUMES, None, name_of(volume))
        if remaining is not None:
            self._forget(remaining)

    def _forget(self, volume: Object) -> None:
        self.update_metadata(kinds.PERSISTENT_VOLUMES, volume, {"finalizers": []})


def _reference(claim: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": namespace_of(claim),
        "name": name_of(claim),
        "uid": claim["metadata"]["uid"],
    }


def _volume(name: str, claim: Object, storage_class: Object, volume_id: str, zone: str) -> Object:
    """Return the PersistentVolume for a volume that the cloud has made; pods that use it run in its zone."""
    provisioner = storage_class["provisioner"]
    reach = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}
    return {
        "metadata": {
            "name": name,
            "labels": {ZONE: zone},
            "annotations": {PROVISIONED_BY: provisioner},
            "finalizers": [VOLUME_PROTECTION, PROVISIONER_PROTECTION],
        },
        "spec": {
            "accessModes": copied(claim["spec"].get("accessModes") or ["ReadWriteOnce"]),
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "claimRef": _reference(claim),
            "csi": {"driver": provisioner, "volumeHandle": volume_id, "fsType": "ext4"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [reach]}},
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": name_of(storage_class),
            "volumeMode": claim["spec"].get("volumeMode", "Filesystem"),
        },
        "status": {"phase": "Bound"},
    }
