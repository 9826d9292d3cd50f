"""Azure's SDKs against the simulator: groups, registration, tenants."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError

from tests.simulators.azure.conftest import NETWORK, NETWORKS, REGION, SUBSCRIPTION, Account


def test_a_group_is_deleted_with_everything_in_it(account: Account) -> None:
    """A network is made, found, and gone with its group."""
    networks = account.network().virtual_networks

    made = networks.begin_create_or_update("byoc", "main", NETWORK).result()
    held = {resource.type for resource in account.azure.inventory(SUBSCRIPTION)}
    account.resources().resource_groups.begin_delete("byoc").result()

    assert made.subnets[0].name == "nodes"
    assert held == {"resource-group", "virtual-network", "subnet"}
    assert account.azure.inventory(SUBSCRIPTION) == []


def test_a_namespace_has_to_be_registered(account: Account) -> None:
    """An unregistered namespace refuses to make anything, until it is registered."""
    account.azure.cloud.identities.subscriptions[SUBSCRIPTION].registered.discard("microsoft.network")
    networks, providers = account.network().virtual_networks, account.resources().providers

    with pytest.raises(HttpResponseError) as caught:
        networks.begin_create_or_update("byoc", "main", NETWORK)
    before = providers.get("Microsoft.Network").registration_state
    providers.register("Microsoft.Network")
    after = providers.get("Microsoft.Network").registration_state
    networks.begin_create_or_update("byoc", "main", NETWORK).result()

    assert caught.value.error is not None
    assert caught.value.error.code == "MissingSubscriptionRegistration"
    assert (before, after) == ("NotRegistered", "Registered")


def test_groups_are_found_by_tags_and_tags_are_changed(account: Account) -> None:
    """PATCH changes tags; lists select by them; what carries no such tag is not listed."""
    groups = account.resources().resource_groups
    groups.create_or_update("other", {"location": REGION, "tags": {"byoc": "no"}})

    groups.update("byoc", {"tags": {"byoc": "acme"}})
    listed = [group.name for group in groups.list(filter="tagName eq 'byoc' and tagValue eq 'acme'")]

    assert listed == ["byoc"]
    assert {group.name for group in groups.list()} == {"byoc", "other"}
    assert groups.check_existence("byoc")
    assert not groups.check_existence("nothing")


def test_resources_are_found_by_tags_and_type(account: Account) -> None:
    """The list of everything knows regional resources, not their children."""
    account.network().virtual_networks.begin_create_or_update(
        "byoc", "main", {**NETWORK, "tags": {"byoc": "acme"}}
    ).result()
    account.network().route_tables.begin_create_or_update("byoc", "main", {"location": REGION}).result()
    resources = account.resources().resources

    by_tag = [found.id for found in resources.list(filter="tagName eq 'byoc' and tagValue eq 'acme'")]
    in_group = {found.type for found in resources.list_by_resource_group("byoc")}
    by_type = [found.type for found in resources.list(filter="resourceType eq 'Microsoft.Network/routeTables'")]

    assert by_tag == [f"{NETWORKS}/virtualNetworks/main"]
    assert in_group == {"Microsoft.Network/virtualNetworks", "Microsoft.Network/routeTables"}
    assert by_type == ["Microsoft.Network/routeTables"]


def test_what_is_not_there_is_404(account: Account) -> None:
    """A group and a resource have codes of their own."""
    with pytest.raises(ResourceNotFoundError, match="ResourceNotFound"):
        account.network().virtual_networks.get("byoc", "main")
    with pytest.raises(ResourceNotFoundError, match="ResourceGroupNotFound"):
        account.network().virtual_networks.get("nothing", "main")
    with pytest.raises(HttpResponseError, match="LocationNotAvailableForResourceGroup"):
        account.resources().resource_groups.create_or_update("far", {"location": "moon"})


def test_an_application_enters_only_tenants_that_let_it_in(account: Account) -> None:
    """Its token comes after consent; without a role it is refused in Azure's words."""
    application = account.azure.cloud.identities.add_application("operate")
    early = account.credential(application.client_id, application.secret)

    with pytest.raises(ClientAuthenticationError, match="AADSTS700016"):
        early.get_token("https://management.azure.com/.default")
    account.azure.cloud.identities.consent(account.tenant, application.client_id)
    # A credential remembers for a minute that it was refused.
    credential = account.credential(application.client_id, application.secret)
    with pytest.raises(HttpResponseError) as caught:
        account.resources(credential).resource_groups.get("byoc")

    assert caught.value.error is not None
    assert caught.value.error.code == "AuthorizationFailed"


def test_whoever_asks_without_a_token_learns_the_tenant(account: Account) -> None:
    """The challenge of a 401 names the tenant of the subscription."""
    url = f"{account.azure.url}/subscriptions/{SUBSCRIPTION}"

    reply = requests.get(url, params={"api-version": "2022-12-01"}, timeout=30)

    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "AuthenticationFailed"
    expected = f'Bearer authorization_uri="https://login.microsoftonline.com/{account.tenant}"'
    assert reply.headers["WWW-Authenticate"].startswith(expected)


class Bearer:
    """A credential that always has the same token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return the token."""
        return AccessToken(self._token, int(time.time()) + 3600)


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("made-up", "ExpiredAuthenticationToken"),
        ("owner:00000000-0000-0000-0000-0000000000bb", "InvalidAuthenticationTokenTenant"),
    ],
)
def test_a_token_of_nobody_or_of_another_tenant_is_401(account: Account, token: str, code: str) -> None:
    """Neither an unknown token nor the token of another customer opens the subscription."""
    with pytest.raises(ClientAuthenticationError, match=code):
        account.resources(Bearer(token)).resource_groups.get("byoc")


def test_a_token_for_something_else_is_refused(account: Account) -> None:
    """Its audience has to be Resource Manager."""
    _, credential = account.application()
    vault = credential.get_token("https://vault.azure.net/.default").token

    with pytest.raises(ClientAuthenticationError, match="InvalidAuthenticationTokenAudience"):
        account.resources(Bearer(vault)).resource_groups.get("byoc")
