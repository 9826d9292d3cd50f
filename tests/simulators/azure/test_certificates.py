"""Certificates in vaults, and the authority that signs them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.certificates import CertificateClient, CertificatePolicy
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from activities.azure.transport import LoopbackTransport
from simulators.azure.acme import AcmeDirectory
from simulators.azure.vault_certificates import covers
from simulators.kubernetes.certificates import CertificateAuthority
from tests.simulators.azure.conftest import Account, Owner
from tests.simulators.azure.test_vaults import KEY_USER, URL, VAULT_ID, let_use, make_vault
from tests.simulators.serving import serving

NAME = "prod.acme.example"
POLICY = CertificatePolicy("Unknown", subject=f"CN={NAME}", san_dns_names=[NAME], key_type="EC", key_curve_name="P-256")
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
CERTIFICATES_OFFICER = "a4417e6f-fecd-4de8-b567-7b0420556985"


def certificates(account: Account, credential: Any = None) -> Any:
    """Return a client for the certificates in the vault."""
    transport = LoopbackTransport(account.azure.url)
    return CertificateClient(URL, credential or Owner(), transport=transport, retry_total=0)


def sign(account: Account, name: str = "endpoint") -> Any:
    """Sign the request that is pending, and merge the certificate."""
    client = certificates(account)
    request = x509.load_der_x509_csr(bytes(client.get_certificate_operation(name).csr))
    authority = CertificateAuthority("an authority")
    signed = x509.load_pem_x509_certificate(authority.sign(request, timedelta(days=90)))
    return client.merge_certificate(name, [signed.public_bytes(serialization.Encoding.DER)])


def secret(account: Account, token: str = "") -> requests.Response:
    """Ask the vault for the secret that goes with the certificate."""
    headers = {"Host": "acme.vault.azure.net", **({"Authorization": f"Bearer {token}"} if token else {})}
    return requests.get(f"{account.azure.url}/secrets/endpoint?api-version=7.6", headers=headers, timeout=10)


def test_a_certificate_is_requested_signed_and_merged(account: Account) -> None:
    """The request has the policy's names; before the merge there is nothing to read."""
    make_vault(account, protected=False)
    client = certificates(account)

    operation = client.begin_create_certificate("endpoint", POLICY, tags={"who": "us"}).result()

    assert operation.status == "inProgress"
    assert client.get_certificate("endpoint").cer is None
    merged = sign(account)
    assert merged.properties.enabled
    assert merged.properties.tags == {"who": "us"}
    assert merged.properties.expires_on - datetime.now(UTC) > timedelta(days=89)
    assert client.get_certificate("endpoint").cer == merged.cer
    assert client.get_certificate_operation("endpoint").status == "completed"


def test_a_foreign_certificate_is_not_merged(account: Account) -> None:
    """Its key has to be the one that the vault has made."""
    make_vault(account)
    client = certificates(account)
    client.begin_create_certificate("one", POLICY)
    client.begin_create_certificate("endpoint", POLICY)
    other = sign(account, "one").cer

    with pytest.raises(HttpResponseError, match="does not match"):
        client.merge_certificate("endpoint", [bytes(other)])


def test_the_key_leaves_as_a_secret_alone(account: Account) -> None:
    """Whoever may read secrets gets it with its certificate, and nobody else does."""
    make_vault(account)
    certificates(account).begin_create_certificate("endpoint", POLICY)
    merged = sign(account)
    identity = account.azure.cloud.identities.add_identity(account.tenant, "endpoint")
    token = account.azure.cloud.identities.issue(identity, "https://vault.azure.net")

    assert secret(account).status_code == 401
    assert "vault.azure.net" in secret(account).headers["WWW-Authenticate"]
    let_use(account, identity.object_id, KEY_USER)
    assert secret(account, token).json()["error"]["innererror"]["code"] == "ForbiddenByRbac"
    let_use(account, identity.object_id, SECRETS_USER)
    value = secret(account, token).json()["value"].encode()
    key = serialization.load_pem_private_key(value, None)
    read = x509.load_pem_x509_certificates(value)[0]
    assert read.public_bytes(serialization.Encoding.DER) == bytes(merged.cer)
    assert key.public_key() == read.public_key()


def test_a_gateway_presents_what_its_identity_may_read(account: Account) -> None:
    """By the function that a cluster's provider calls, with the URL of the secret."""
    make_vault(account)
    plane = account.azure.certificates
    identity = account.azure.cloud.identities.add_identity(account.tenant, "endpoint")
    certificates(account).begin_create_certificate("endpoint", POLICY)
    let_use(account, identity.object_id, SECRETS_USER)
    early = plane.read_as(identity, f"{URL}/secrets/endpoint")
    sign(account)
    other = account.azure.cloud.identities.add_identity(account.tenant, "other")

    found = plane.read_as(identity, f"{URL}/secrets/endpoint")

    assert early == "The certificate endpoint is not signed yet."
    assert isinstance(found, x509.Certificate)
    assert [covers(found, name) for name in (NAME.upper(), "other.acme.example")] == [True, False]
    assert "lacks Microsoft.KeyVault/vaults/secrets/getSecret/action" in str(
        plane.read_as(other, f"{URL}/secrets/endpoint")
    )
    assert "no vault" in str(plane.read_as(identity, "https://nobody.vault.azure.net/secrets/endpoint"))


def test_a_renewal_is_a_version(account: Account) -> None:
    """Until it is merged, the former one is read."""
    make_vault(account)
    client = certificates(account)
    client.begin_create_certificate("endpoint", POLICY)
    first = sign(account)

    client.begin_create_certificate("endpoint", POLICY)

    assert client.get_certificate("endpoint").properties.version == first.properties.version
    second = sign(account)
    assert (
        client.get_certificate("endpoint").properties.version == second.properties.version != first.properties.version
    )


def test_a_deleted_certificate_can_be_recovered_or_purged(account: Account) -> None:
    """Its name is taken until then."""
    make_vault(account, protected=False)
    client = certificates(account)
    client.begin_create_certificate("endpoint", POLICY)
    sign(account)

    client.begin_delete_certificate("endpoint", _polling_interval=0).wait()
    with pytest.raises(HttpResponseError, match="deleted but recoverable"):
        client.begin_create_certificate("endpoint", POLICY)
    client.begin_recover_deleted_certificate("endpoint", _polling_interval=0).wait()
    assert client.get_certificate("endpoint").cer
    client.begin_delete_certificate("endpoint", _polling_interval=0).wait()
    client.purge_deleted_certificate("endpoint")

    for look in (client.get_certificate, client.get_deleted_certificate):
        with pytest.raises(ResourceNotFoundError):
            look("endpoint")


def test_data_needs_roles_for_data(account: Account) -> None:
    """The refusal names the action; the role for certificates is enough for them, and for no secret."""
    make_vault(account)
    application, credential = account.application()
    client = certificates(account, credential)

    with pytest.raises(HttpResponseError, match=r"vaults/certificates/create/action"):
        client.begin_create_certificate("endpoint", POLICY)
    let_use(account, account.principal(application), CERTIFICATES_OFFICER, VAULT_ID)
    assert client.begin_create_certificate("endpoint", POLICY).result().csr


class TestAuthority:
    """The ACME directory, as any client of the protocol sees it."""

    @pytest.fixture
    def directory(self, account: Account, tmp_path: Path) -> Iterator[tuple[AcmeDirectory, str]]:
        """The directory, and the file with the authority that signs its own certificate."""
        authority = CertificateAuthority("public")
        file = tmp_path / "ca.pem"
        file.write_bytes(authority.pem)
        directory = AcmeDirectory(account.azure.cloud.world, authority, account.azure.public_records.texts_of)
        with serving(directory):
            yield directory, str(file)

    def test_it_is_trusted_by_its_authority_and_asks_for_signatures(self, directory: tuple[AcmeDirectory, str]) -> None:
        """What nobody has signed is refused with a problem, and every answer has a nonce."""
        served, file = directory

        found = requests.get(served.url, verify=file, timeout=10).json()
        refused = requests.post(found["newOrder"], json={}, verify=file, timeout=10)

        assert set(found) == {"newNonce", "newAccount", "newOrder", "meta"}
        assert refused.status_code == 401
        assert refused.json()["type"] == "urn:ietf:params:acme:error:malformed"
        assert (
            refused.headers["Replay-Nonce"]
            != requests.head(found["newNonce"], verify=file, timeout=10).headers["Replay-Nonce"]
        )
