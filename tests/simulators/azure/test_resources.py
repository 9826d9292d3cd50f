"""What holds for resources of every kind: entity tags, locks, use by others, regions, and changes that take time."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.authorization import AuthorizationManagementClient

from tests.simulators.azure.conftest import GROUP, NETWORK, NETWORKS, REGION, SUBSCRIPTION, Account
from tests.simulators.azure.test_authorization import CONTRIBUTOR, built_in, define, grant

ADDRESS: dict[str, Any] = {
    "location": REGION,
    "sku": {"name": "Standard"},
    "properties": {"publicIPAllocationMethod": "Static"},
}
NODES = f"{NETWORKS}/virtualNetworks/main/subnets/nodes"
LOCK = "/providers/Microsoft.Authorization/locks/keep"


def make_network(account: Account) -> Any:
    """Make the network of the tests."""
    return account.network().virtual_networks.begin_create_or_update("byoc", "main", NETWORK).result()


def lock(account: Account, scope: str, level: str) -> Any:
    """Lock something; return what takes the lock away again."""
    resources = account.resources().resources
    path, version = f"{scope}{LOCK}", {"api_version": "2020-05-01"}
    resources.begin_create_or_update_by_id(path, {"properties": {"level": level}}, **version).result()
    return lambda: resources.begin_delete_by_id(path, **version).result()


@pytest.mark.parametrize("locked", [GROUP, f"{NETWORKS}/virtualNetworks/main"])
def test_a_lock_keeps_what_is_below_it(account: Account, locked: str) -> None:
    """Neither the network nor its group can be deleted until the lock is gone; it can still be changed."""
    make_network(account)
    unlock = lock(account, locked, "CanNotDelete")

    with pytest.raises(HttpResponseError, match="ScopeLocked"):
        account.network().virtual_networks.begin_delete("byoc", "main")
    with pytest.raises(HttpResponseError, match="ScopeLocked"):
        account.resources().resource_groups.begin_delete("byoc")
    make_network(account)
    unlock()
    account.resources().resource_groups.begin_delete("byoc").result()

    assert account.azure.inventory(SUBSCRIPTION) == []


def test_a_read_only_lock_refuses_changes(account: Account) -> None:
    """It refuses whatever would write."""
    make_network(account)
    lock(account, GROUP, "ReadOnly")

    with pytest.raises(HttpResponseError, match="ScopeLocked"):
        make_network(account)


def test_an_entity_tag_that_has_changed_is_412(account: Account) -> None:
    """A write that depends on an old version changes nothing; one that depends on the present one does."""
    networks, tag = account.network().virtual_networks, make_network(account).etag
    tagged = {**NETWORK, "tags": {"a": "b"}}

    networks.begin_create_or_update("byoc", "main", tagged, headers={"If-Match": tag}).result()
    for stale in ({"If-Match": tag}, {"If-None-Match": "*"}):
        with pytest.raises(HttpResponseError, match="PreconditionFailed") as caught:
            networks.begin_create_or_update("byoc", "main", NETWORK, headers=stale)
        assert caught.value.status_code == 412

    assert networks.get("byoc", "main").tags == {"a": "b"}


def test_tags_are_changed_by_themselves(account: Account) -> None:
    """PATCH leaves the rest as it is."""
    make_network(account)

    changed = account.network().virtual_networks.update_tags("byoc", "main", {"tags": {"x": "y"}})

    assert changed.tags == {"x": "y"}
    assert [subnet.name for subnet in changed.subnets] == ["nodes"]


def test_what_is_in_use_is_not_deleted(account: Account) -> None:
    """An address stays while its gateway is there, the gateway while a subnet uses it, the subnet while used itself."""
    make_network(account)
    network = account.network()
    network.public_ip_addresses.begin_create_or_update("byoc", "nat", ADDRESS).result()
    address = {"publicIpAddresses": [{"id": f"{NETWORKS}/publicIPAddresses/nat"}]}
    gateway = {"location": REGION, "sku": {"name": "Standard"}, "properties": address}
    network.nat_gateways.begin_create_or_update("byoc", "nat", gateway).result()
    gateway_id = f"{NETWORKS}/natGateways/nat"
    subnet = {"properties": {"addressPrefix": "10.0.0.0/20", "natGateway": {"id": gateway_id}}}
    network.subnets.begin_create_or_update("byoc", "main", "nodes", subnet).result()

    with pytest.raises(HttpResponseError, match="PublicIPAddressCannotBeDeleted"):
        network.public_ip_addresses.begin_delete("byoc", "nat")
    with pytest.raises(HttpResponseError, match="InUseNatGatewayCannotBeDeleted"):
        network.nat_gateways.begin_delete("byoc", "nat")
    assert [entry.id for entry in network.nat_gateways.get("byoc", "nat").subnets] == [NODES]

    frontend = {"name": "front", "properties": {"subnet": {"id": NODES}}}
    balancer = {"location": REGION, "properties": {"frontendIPConfigurations": [frontend]}}
    network.load_balancers.begin_create_or_update("byoc", "inside", balancer).result()
    with pytest.raises(HttpResponseError, match="InUseSubnetCannotBeDeleted"):
        network.subnets.begin_delete("byoc", "main", "nodes")
    with pytest.raises(HttpResponseError, match="InUseSubnetCannotBeDeleted"):
        network.virtual_networks.begin_delete("byoc", "main")
    network.load_balancers.begin_delete("byoc", "inside").result()
    network.subnets.begin_delete("byoc", "main", "nodes").result()
    network.nat_gateways.begin_delete("byoc", "nat").result()
    network.public_ip_addresses.begin_delete("byoc", "nat").result()


def test_a_group_stays_while_another_one_uses_what_is_in_it(account: Account) -> None:
    """Its deletion fails with what blocks it, and succeeds afterwards."""
    make_network(account)
    account.resources().resource_groups.create_or_update("other", {"location": REGION})
    frontend = {"name": "front", "properties": {"subnet": {"id": NODES}}}
    balancer = {"location": REGION, "properties": {"frontendIPConfigurations": [frontend]}}
    balancers = account.network().load_balancers
    balancers.begin_create_or_update("other", "inside", balancer).result()

    with pytest.raises(HttpResponseError, match="ResourceGroupDeletionBlocked"):
        account.resources().resource_groups.begin_delete("byoc").result()
    assert account.resources().resource_groups.get("byoc").properties.provisioning_state == "Succeeded"
    balancers.begin_delete("other", "inside").result()
    account.resources().resource_groups.begin_delete("byoc").result()

    assert [resource.name for resource in account.azure.inventory(SUBSCRIPTION)] == ["other"]


def test_a_link_needs_join_on_what_is_joined(account: Account) -> None:
    """Whoever may write load balancers but not join subnets is refused with both scopes."""
    make_network(account)
    role = define(account, "balancers", "Microsoft.Network/loadBalancers/*", "Microsoft.Network/virtualNetworks/read")
    _, credential = grant(account, role)
    frontend = {"name": "front", "properties": {"subnet": {"id": NODES}}}
    balancer = {"location": REGION, "properties": {"frontendIPConfigurations": [frontend]}}

    with pytest.raises(HttpResponseError, match="LinkedAuthorizationFailed") as caught:
        account.network(credential).load_balancers.begin_create_or_update("byoc", "inside", balancer)

    assert "Microsoft.Network/virtualNetworks/subnets/join/action" in str(caught.value)
    _, contributor = grant(account, built_in(CONTRIBUTOR))
    account.network(contributor).load_balancers.begin_create_or_update("byoc", "inside", balancer).result()


def test_links_lead_to_what_exists_and_regions_stay(account: Account) -> None:
    """A reference to nothing is refused, and so is another region for what exists."""
    make_network(account)
    missing = {"id": f"{NETWORKS}/routeTables/nothing"}
    subnet = {"properties": {"addressPrefix": "10.0.0.0/20", "routeTable": missing}}

    with pytest.raises(HttpResponseError, match="InvalidResourceReference"):
        account.network().subnets.begin_create_or_update("byoc", "main", "nodes", subnet)
    with pytest.raises(HttpResponseError, match="InvalidResourceLocation"):
        account.network().virtual_networks.begin_create_or_update(
            "byoc", "main", {**NETWORK, "location": "northeurope"}
        )
    with pytest.raises(HttpResponseError, match="ParentResourceNotFound"):
        account.network().subnets.begin_create_or_update("byoc", "other", "nodes", subnet | {"properties": {}})


def test_changes_take_their_time(slow_account: Account) -> None:
    """A network is `Updating`, refuses a second change, and is `Succeeded` later; its operation says the same."""
    account, network = slow_account, slow_account.network()
    poller = network.virtual_networks.begin_create_or_update("byoc", "main", NETWORK, polling=False)

    assert poller.result().provisioning_state == "Updating"
    with pytest.raises(HttpResponseError, match="AnotherOperationInProgress"):
        network.virtual_networks.begin_create_or_update("byoc", "main", NETWORK, polling=False)
    account.azure.cloud.clock.advance(60)
    assert network.virtual_networks.get("byoc", "main").provisioning_state == "Succeeded"

    network.virtual_networks.begin_delete("byoc", "main", polling=False)
    assert network.virtual_networks.get("byoc", "main").provisioning_state == "Deleting"
    account.azure.cloud.clock.advance(60)
    assert list(network.virtual_networks.list("byoc")) == []


def test_a_poller_waits_for_the_end(slow_account: Account) -> None:
    """The SDK polls at the operation's address until simulated time has passed."""
    account = slow_account
    poller = account.network().virtual_networks.begin_create_or_update("byoc", "main", NETWORK)
    before = poller.status()
    account.azure.cloud.clock.set_speed(1000)

    assert before == "InProgress"
    assert poller.result().provisioning_state == "Succeeded"


def test_a_group_is_deleting_for_a_while(slow_account: Account) -> None:
    """Nothing can be made in it meanwhile."""
    account, groups = slow_account, slow_account.resources().resource_groups
    groups.begin_delete("byoc", polling=False)

    assert groups.get("byoc").properties.provisioning_state == "Deleting"
    with pytest.raises(HttpResponseError, match="ResourceGroupBeingDeleted"):
        account.network().virtual_networks.begin_create_or_update("byoc", "main", NETWORK)
    account.azure.cloud.clock.advance(60)
    assert not groups.check_existence("byoc")


def test_a_new_identity_is_not_found_by_assignments_for_a_while(slow_account: Account) -> None:
    """Unless the assignment says what kind of principal it is."""
    account = slow_account
    application, _ = account.application()
    assignments = account.client(AuthorizationManagementClient).role_assignments
    role = built_in(CONTRIBUTOR)
    properties = {"roleDefinitionId": role, "principalId": account.principal(application)}
    name = "11111111-1111-4111-8111-111111111111"

    with pytest.raises(HttpResponseError, match="PrincipalNotFound"):
        assignments.create(GROUP, name, {"properties": properties})
    assignments.create(GROUP, name, {"properties": properties | {"principalType": "ServicePrincipal"}})
    assignments.delete(GROUP, name)
    account.azure.cloud.clock.advance(60)

    made = assignments.create(GROUP, name, {"properties": properties})
    assert made.principal_type == "ServicePrincipal"
