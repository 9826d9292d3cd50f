"""Cloud KMS through its official SDK."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import AlreadyExists, FailedPrecondition, NotFound, PermissionDenied
from google.cloud import kms_v1

from tests.simulators.gcp.customers import LOCATION, Customer, refused

RING = f"{LOCATION}/keyRings/byoc"
KEY = f"{RING}/cryptoKeys/byoc"


@pytest.fixture
def kms(account: Customer) -> kms_v1.KeyManagementServiceClient:
    """A client, of the owner."""
    client: kms_v1.KeyManagementServiceClient = account.rpc(kms_v1.KeyManagementServiceClient)
    return client


def make_key(kms: kms_v1.KeyManagementServiceClient) -> kms_v1.CryptoKey:
    """Make a labelled key in a ring."""
    kms.create_key_ring(parent=LOCATION, key_ring_id="byoc", key_ring={})
    key = {"purpose": "ENCRYPT_DECRYPT", "labels": {"byoc": "managed"}}
    made: kms_v1.CryptoKey = kms.create_crypto_key(parent=RING, crypto_key_id="byoc", crypto_key=key)
    return made


class TestKeys:
    """Key rings and keys, which stay for ever."""

    def test_come_with_a_version(self, kms: kms_v1.KeyManagementServiceClient) -> None:
        """It is the primary one, and enabled."""
        made = make_key(kms)

        assert made.primary.name == f"{KEY}/cryptoKeyVersions/1"
        assert made.primary.state.name == "ENABLED"
        assert made.destroy_scheduled_duration.days == 30
        assert [key.labels["byoc"] for key in kms.list_crypto_keys(parent=RING)] == ["managed"]

    def test_exist_once(self, kms: kms_v1.KeyManagementServiceClient) -> None:
        """Rings and keys alike."""
        make_key(kms)

        with refused(AlreadyExists, RING):
            kms.create_key_ring(parent=LOCATION, key_ring_id="byoc", key_ring={})
        with refused(AlreadyExists, KEY):
            kms.create_crypto_key(parent=RING, crypto_key_id="byoc", crypto_key={"purpose": "ENCRYPT_DECRYPT"})

    def test_need_a_ring(self, kms: kms_v1.KeyManagementServiceClient) -> None:
        """That of another region will not do."""
        with refused(NotFound, RING):
            kms.create_crypto_key(parent=RING, crypto_key_id="byoc", crypto_key={"purpose": "ENCRYPT_DECRYPT"})

    def test_change_labels_and_rotation(self, account: Customer, kms: kms_v1.KeyManagementServiceClient) -> None:
        """An equal update has no effect."""
        make_key(kms)
        key = {"name": KEY, "labels": {"byoc": "d1"}}

        for _ in range(2):
            kms.update_crypto_key(crypto_key=key, update_mask={"paths": ["labels"]})

        assert dict(kms.get_crypto_key(name=KEY).labels) == {"byoc": "d1"}
        assert account.names("kms", changed=True).count("UpdateCryptoKey") == 1

    def test_have_another_primary_version(self, account: Customer, kms: kms_v1.KeyManagementServiceClient) -> None:
        """It has to be enabled; what was encrypted before is read as before."""
        make_key(kms)
        sealed = kms.encrypt(name=KEY, plaintext=b"secret").ciphertext
        for _ in range(2):
            kms.create_crypto_key_version(parent=KEY)
        disabled = {"name": f"{KEY}/cryptoKeyVersions/3", "state": "DISABLED"}
        kms.update_crypto_key_version(crypto_key_version=disabled, update_mask={"paths": ["state"]})

        for _ in range(2):
            kms.update_crypto_key_primary_version(name=KEY, crypto_key_version_id="2")

        assert kms.get_crypto_key(name=KEY).primary.name == f"{KEY}/cryptoKeyVersions/2"
        assert kms.decrypt(name=KEY, ciphertext=sealed).plaintext == b"secret"
        assert account.names("kms", changed=True).count("UpdateCryptoKeyPrimaryVersion") == 1
        with refused(FailedPrecondition, "cannot be the primary version"):
            kms.update_crypto_key_primary_version(name=KEY, crypto_key_version_id="3")

    def test_encrypt_while_their_version_is_enabled(self, kms: kms_v1.KeyManagementServiceClient) -> None:
        """What was encrypted can be decrypted, until the version is disabled."""
        make_key(kms)
        sealed = kms.encrypt(name=KEY, plaintext=b"secret").ciphertext

        opened = kms.decrypt(name=KEY, ciphertext=sealed).plaintext
        version = {"name": f"{KEY}/cryptoKeyVersions/1", "state": "DISABLED"}
        kms.update_crypto_key_version(crypto_key_version=version, update_mask={"paths": ["state"]})

        assert (opened, b"secret" in sealed[:12]) == (b"secret", False)
        with refused(FailedPrecondition, "not enabled"):
            kms.decrypt(name=KEY, ciphertext=sealed)


class TestVersions:
    """Versions, which are destroyed."""

    def test_are_destroyed_thirty_days_later(self, slow_account: Customer) -> None:
        """Until then they can be restored, disabled; afterwards never."""
        kms = slow_account.rpc(kms_v1.KeyManagementServiceClient)
        make_key(kms)
        name = f"{KEY}/cryptoKeyVersions/1"

        scheduled = kms.destroy_crypto_key_version(name=name)
        restored = kms.restore_crypto_key_version(name=name)
        version = {"name": name, "state": "ENABLED"}
        kms.update_crypto_key_version(crypto_key_version=version, update_mask={"paths": ["state"]})
        kms.destroy_crypto_key_version(name=name)
        slow_account.pass_time(31 * 86400)

        assert (scheduled.state.name, restored.state.name) == ("DESTROY_SCHEDULED", "DISABLED")
        assert kms.get_crypto_key_version(name=name).state.name == "DESTROYED"
        with refused(FailedPrecondition, "cannot be restored"):
            kms.restore_crypto_key_version(name=name)
        assert kms.get_crypto_key(name=KEY).name == KEY

    def test_are_not_destroyed_twice(self, kms: kms_v1.KeyManagementServiceClient) -> None:
        """The second time the state is in the way."""
        make_key(kms)
        name = f"{KEY}/cryptoKeyVersions/1"
        kms.destroy_crypto_key_version(name=name)

        with refused(FailedPrecondition, "DESTROY_SCHEDULED"):
            kms.destroy_crypto_key_version(name=name)

    def test_are_added_by_hand(self, kms: kms_v1.KeyManagementServiceClient) -> None:
        """The primary one stays what it was."""
        make_key(kms)

        kms.create_crypto_key_version(parent=KEY, crypto_key_version={})

        numbers = [entry.name.rpartition("/")[2] for entry in kms.list_crypto_key_versions(parent=KEY)]
        assert numbers == ["1", "2"]
        assert kms.get_crypto_key(name=KEY).primary.name.endswith("/1")


class TestPolicies:
    """Policies of rings and keys."""

    def test_of_a_ring_hold_for_its_keys(self, account: Customer, kms: kms_v1.KeyManagementServiceClient) -> None:
        """Whoever may use the ring may use the key."""
        make_key(kms)
        email = account.make_account("byoc-user")
        client = account.rpc(kms_v1.KeyManagementServiceClient, account.credentials(email))
        with refused(PermissionDenied, "cloudkms.cryptoKeyVersions.useToEncrypt"):
            client.encrypt(name=KEY, plaintext=b"secret")

        policy = kms.get_iam_policy(request={"resource": RING})
        policy.bindings.add(role="roles/cloudkms.cryptoKeyEncrypterDecrypter", members=[f"serviceAccount:{email}"])
        kms.set_iam_policy(request={"resource": RING, "policy": policy})

        assert client.encrypt(name=KEY, plaintext=b"secret").ciphertext
        held = client.test_iam_permissions(
            request={
                "resource": KEY,
                "permissions": ["cloudkms.cryptoKeyVersions.useToEncrypt", "cloudkms.cryptoKeys.update"],
            }
        )
        assert list(held.permissions) == ["cloudkms.cryptoKeyVersions.useToEncrypt"]

    def test_are_those_of_what_exists(self, kms: kms_v1.KeyManagementServiceClient) -> None:
        """A policy of a key that is not there is refused."""
        with refused(NotFound, KEY):
            kms.get_iam_policy(request={"resource": KEY})
