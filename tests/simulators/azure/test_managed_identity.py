"""Identities of workloads, which trust signed tokens instead of secrets."""

from __future__ import annotations

import time
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.mgmt.msi import ManagedServiceIdentityClient
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.simulators.azure.conftest import GROUP, REGION, Account
from tests.simulators.azure.test_authorization import READER, assign, built_in

ISSUER = "https://oidc.example/cluster"
SUBJECT = "system:serviceaccount:byoc:backup"
AUDIENCE = "api://AzureADTokenExchange"
TRUST = {"properties": {"issuer": ISSUER, "subject": SUBJECT, "audiences": [AUDIENCE]}}


@pytest.fixture
def key(account: Account) -> RSAKey:
    """The key of a cluster's issuer."""
    made = RSAKey.generate_key(2048)
    account.azure.entra.issuers[ISSUER] = made.as_pem(private=False).decode()
    return made


def signed(key: RSAKey, **claims: Any) -> str:
    """Return a service account's token."""
    given = {"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "exp": int(time.time()) + 600} | claims
    return jwt.encode({"alg": "RS256"}, given, key)


def make_identity(account: Account) -> Any:
    """Make an identity that trusts the issuer."""
    client = account.client(ManagedServiceIdentityClient)
    made = client.user_assigned_identities.create_or_update("byoc", "backup", {"location": REGION})
    client.federated_identity_credentials.create_or_update("byoc", "backup", "cluster", TRUST)
    return made


def test_a_trusted_token_stands_for_the_identity(account: Account, key: RSAKey) -> None:
    """The identity has what its role allows."""
    made = make_identity(account)
    assign(account, built_in(READER), made.principal_id, GROUP)
    credential = account.assertion(made.client_id, lambda: signed(key))

    assert account.resources(credential).resource_groups.get("byoc").name == "byoc"
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        account.resources(credential).resource_groups.update("byoc", {"tags": {}})


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"sub": "system:serviceaccount:byoc:other"}, "AADSTS700213"),
        ({"iss": "https://oidc.example/other"}, "AADSTS700213"),
        ({"aud": ["somebody"]}, "AADSTS700213"),
    ],
)
def test_any_other_token_is_refused(account: Account, key: RSAKey, claims: dict[str, Any], code: str) -> None:
    """Subject, issuer and audience have to be those of the credential."""
    made = make_identity(account)
    credential = account.assertion(made.client_id, lambda: signed(key, **claims))

    with pytest.raises(ClientAuthenticationError, match=code):
        credential.get_token("https://management.azure.com/.default")


@pytest.mark.usefixtures("key")
def test_a_token_that_somebody_else_signed_is_refused(account: Account) -> None:
    """The signature has to be the issuer's."""
    made = make_identity(account)
    stranger = RSAKey.generate_key(2048)
    credential = account.assertion(made.client_id, lambda: signed(stranger))

    with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
        credential.get_token("https://management.azure.com/.default")


def test_an_application_can_sign_for_itself(account: Account) -> None:
    """An application with a registered key needs no secret; its assertion is about itself."""
    key = RSAKey.generate_key(2048)
    made = account.azure.cloud.identities.add_application("operate", key.as_pem(private=False).decode())
    account.azure.cloud.identities.consent(account.tenant, made.client_id)
    assign(account, built_in(READER), account.principal(made))
    own = account.assertion(made.client_id, lambda: signed(key, sub=made.client_id))
    other = account.assertion(made.client_id, lambda: signed(key))

    assert account.resources(own).resource_groups.get("byoc").name == "byoc"
    with pytest.raises(ClientAuthenticationError, match="AADSTS700021"):
        other.get_token("https://management.azure.com/.default")


def test_an_identity_keeps_its_principal_and_ends_with_it(account: Account, key: RSAKey) -> None:
    """Written again it is the same; deleted, its tokens open nothing."""
    made = make_identity(account)
    identities = account.client(ManagedServiceIdentityClient).user_assigned_identities
    assign(account, built_in(READER), made.principal_id)
    groups = account.resources(account.assertion(made.client_id, lambda: signed(key))).resource_groups
    groups.get("byoc")

    assert identities.create_or_update("byoc", "backup", {"location": REGION}).principal_id == made.principal_id
    identities.delete("byoc", "backup")
    with pytest.raises(ClientAuthenticationError, match="ExpiredAuthenticationToken"):
        groups.get("byoc")


def test_credentials_are_complete_and_unlike(account: Account) -> None:
    """One without an issuer and a second one of the same issuer and subject are refused; they are listed."""
    make_identity(account)
    credentials = account.client(ManagedServiceIdentityClient).federated_identity_credentials

    with pytest.raises(HttpResponseError, match="already exists"):
        credentials.create_or_update("byoc", "backup", "again", TRUST)
    with pytest.raises(HttpResponseError, match="BadRequest"):
        credentials.create_or_update("byoc", "backup", "half", {"properties": {"subject": SUBJECT, "audiences": ["x"]}})

    assert [entry.name for entry in credentials.list("byoc", "backup")] == ["cluster"]
    credentials.delete("byoc", "backup", "cluster")
    assert list(credentials.list("byoc", "backup")) == []
