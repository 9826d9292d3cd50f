"""The encryption key of a deployment: of the cluster's secrets, of disks and of backups.

Key rings and keys stay for ever, by Google's design; what is destroyed are a key's versions. So each generation of a
deployment has a key of its own in the deployment's key ring.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.api_core.exceptions import AlreadyExists
from google.cloud import kms_v1, resourcemanager_v3, storage
from google.cloud.logging_v2.services.config_service_v2 import ConfigServiceV2Client
from google.protobuf import duration_pb2, field_mask_pb2
from temporalio import activity

from activities.contracts import FoundationContract, Retention
from activities.gcp.backup_locks import locked_until
from activities.gcp.compute import if_exists
from activities.gcp.errors import failures_named
from activities.gcp.keys import key_name, ring_name
from activities.gcp.logs import account_of_logging
from activities.gcp.ownership import is_ours, require_ours
from activities.gcp.part import GcpPart
from activities.gcp.policies import PolicyEditor
from activities.gcp.project import ServiceAgent, project_number, service_agent
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Key
from domain.naming import TAG_RETAINED_UNTIL, global_name, owner_labels

LABEL_RETAINED_UNTIL = TAG_RETAINED_UNTIL.replace(":", "-")
ROTATION = timedelta(days=365)
_USE = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
_Version = kms_v1.CryptoKeyVersion.CryptoKeyVersionState
SCHEDULED = _Version.DESTROY_SCHEDULED
DESTROYED = (_Version.DESTROYED, SCHEDULED)


class GcpEncryption(GcpPart, FoundationContract):
    """Makes the key, and has its versions destroyed."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "cloudkms.cryptoKeys.create", "cloudkms.cryptoKeys.get", "cloudkms.cryptoKeys.getIamPolicy",
        "cloudkms.cryptoKeys.setIamPolicy", "cloudkms.cryptoKeys.update", "cloudkms.cryptoKeyVersions.create",
        "cloudkms.cryptoKeyVersions.list", "cloudkms.keyRings.create", "cloudkms.keyRings.get",
        "logging.cmekSettings.get", "resourcemanager.projects.get",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_encryption_key(self, site: Site) -> Key:
        """One key of this generation exists, rotated every year; Google's services may use it for disks, backups, logs.

        Nobody else may by the key's own policy. Its protection is in software, as of all keys that Google rotates in
        every region. A key whose versions were destroyed, which is so when a generation is made again, has a new one.
        """
        with failures_named():
            kms = self._connections.client(kms_v1.KeyManagementServiceClient, site, Purpose.OPERATE)
            self._ensure_ring(kms, site)
            key = self._ensure_key(kms, site)
            self._ensure_usable(kms, key)
            agents = [f"serviceAccount:{email}" for email in self._users(site)]
            PolicyEditor(kms, key, self._settings).grant_exactly(_USE, agents)
        return Key(key_id=key)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "cloudkms.cryptoKeyVersions.destroy", "cloudkms.cryptoKeyVersions.list", "cloudkms.cryptoKeys.list",
        "cloudkms.cryptoKeys.update", "cloudkms.keyRings.get", "storage.buckets.get", "storage.objects.list",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_encryption_key(self, retention: Retention) -> None:
        """Every version of every key is scheduled for destruction, unless kept backups need it until a lock ends."""
        site = retention.site
        with failures_named():
            kms = self._connections.client(kms_v1.KeyManagementServiceClient, site, Purpose.DELETE)
            ring = ring_name(site)
            if if_exists(lambda: kms.get_key_ring(name=ring)) is None:
                return
            ours = [key for key in kms.list_crypto_keys(parent=ring) if is_ours(key.labels, site)]
            needed_until = self._backups_locked_until(site) if retention.keep_backups else None
            for key in ours:
                if needed_until is not None:
                    wanted = {**key.labels, LABEL_RETAINED_UNTIL: needed_until.date().isoformat()}
                    self._label(kms, key, wanted)
                    continue
                for version in list(kms.list_crypto_key_versions(parent=key.name)):
                    if version.state not in DESTROYED:
                        kms.destroy_crypto_key_version(name=version.name)

    def _backups_locked_until(self, site: Site) -> datetime | None:
        """Return when the last lock on a backup ends; None if no backup is locked."""
        client = self._connections.client(storage.Client, site, Purpose.DELETE)
        return locked_until(client, global_name(site, "backups"), now=datetime.now(UTC))

    @staticmethod
    def _ensure_ring(kms: kms_v1.KeyManagementServiceClient, site: Site) -> None:
        name = ring_name(site)
        if if_exists(lambda: kms.get_key_ring(name=name)) is None:
            parent, _, identifier = name.rpartition("/keyRings/")
            kms.create_key_ring(parent=parent, key_ring_id=identifier, key_ring=kms_v1.KeyRing())

    def _ensure_key(self, kms: kms_v1.KeyManagementServiceClient, site: Site) -> str:
        name = key_name(site)
        found = if_exists(lambda: kms.get_crypto_key(name=name))
        if found is None:
            parent, _, identifier = name.rpartition("/cryptoKeys/")
            wanted = kms_v1.CryptoKey(
                purpose=kms_v1.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT,
                labels=owner_labels(site, "key"),
                rotation_period=_as_duration(ROTATION),
                next_rotation_time=datetime.now(UTC) + ROTATION,
            )
            try:
                kms.create_crypto_key(parent=parent, crypto_key_id=identifier, crypto_key=wanted)
            except AlreadyExists as error:
                raise self._look_again(f"the key {name} exists and is not visible yet") from error
            return name
        require_ours(f"key {name}", site, ours=is_ours(found.labels, site))
        if LABEL_RETAINED_UNTIL in found.labels:
            # The deployment was ordered again: its key is in use, not merely retained.
            kept = {label: value for label, value in found.labels.items() if label != LABEL_RETAINED_UNTIL}
            self._label(kms, found, kept)
        if found.rotation_period != ROTATION:
            rotated = kms_v1.CryptoKey(
                name=name, rotation_period=_as_duration(ROTATION), next_rotation_time=datetime.now(UTC) + ROTATION
            )
            mask = field_mask_pb2.FieldMask(paths=["rotation_period", "next_rotation_time"])
            kms.update_crypto_key(crypto_key=rotated, update_mask=mask)
        return name

    def _ensure_usable(self, kms: kms_v1.KeyManagementServiceClient, key: str) -> None:
        """The key's primary version is none that was destroyed or is about to be; one that is disabled is left so."""
        if kms.get_crypto_key(name=key).primary.state not in (
            *DESTROYED,
            _Version.CRYPTO_KEY_VERSION_STATE_UNSPECIFIED,
        ):
            return
        # One that an earlier attempt made, and could not make the primary one, is taken before another is made.
        enabled = [each for each in kms.list_crypto_key_versions(parent=key) if each.state == _Version.ENABLED]
        version = enabled[-1] if enabled else kms.create_crypto_key_version(parent=key)
        kms.update_crypto_key_primary_version(name=key, crypto_key_version_id=version.name.rpartition("/")[2])

    def _users(self, site: Site) -> list[str]:
        """Return the e-mail addresses as which Google's services encrypt with the key.

        Those of the storage service and of logging come into existence when they are first asked for; before that, no
        policy may name them. The others come with their APIs.
        """
        projects = self._connections.client(resourcemanager_v3.ProjectsClient, site, Purpose.OPERATE)
        number = project_number(projects, site)
        client = self._connections.client(storage.Client, site, Purpose.OPERATE)
        return [
            service_agent(number, ServiceAgent.COMPUTE),
            service_agent(number, ServiceAgent.CONTAINER),
            client.get_service_account_email(retry=None),
            account_of_logging(self._connections.client(ConfigServiceV2Client, site, Purpose.OPERATE), site),
        ]

    @staticmethod
    def _label(kms: kms_v1.KeyManagementServiceClient, key: kms_v1.CryptoKey, labels: dict[str, str]) -> None:
        if dict(key.labels) != labels:
            kms.update_crypto_key(
                crypto_key=kms_v1.CryptoKey(name=key.name, labels=labels),
                update_mask=field_mask_pb2.FieldMask(paths=["labels"]),
            )


def _as_duration(value: timedelta) -> duration_pb2.Duration:
    return duration_pb2.Duration(seconds=int(value.total_seconds()))
