"""How the control plane enters subscriptions: as the vendor's applications, and only where they are expected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.azure.connection import AzureConnections
from activities.azure.errors import failures_named
from activities.azure.groups import EMPTYING, ENSURING, group_name
from activities.azure.identity import control_role_name
from activities.azure.part import AzurePart
from activities.azure.settings import AzureSettings
from activities.azure.template import as_json, template
from activities.barrier import WouldChange, changes_barred
from activities.calling import PRODUCT
from activities.cloud import Activity
from activities.deeds import Ledger, collected
from activities.needs import declared, needs
from domain.account import access_to
from domain.clouds import Purpose
from domain.deployment import Site
from domain.failure import FailureClass, FailureDetail
from simulators.azure.documents import AzureTemplate
from simulators.faults import FaultKind
from tests.activities.azure.conftest import REGION, Account, activities_of, fresh_site

NETWORKS = "Microsoft.Network/virtualNetworks"


class GroupActivities(AzurePart):
    """Activities on nothing but the deployment's group."""

    @activity.defn
    @needs(*ENSURING, f"{NETWORKS}/write", purpose=Purpose.OPERATE)
    def make_group(self, site: Site) -> None:
        """Make it."""
        with failures_named():
            self._ensure_group(site)

    @activity.defn
    @needs(*EMPTYING, purpose=Purpose.DELETE)
    def empty_group(self, site: Site) -> None:
        """Take it away, if it is empty."""
        with failures_named():
            self._delete_group_if_empty(site)


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """What these tests run."""
    return activities_of(GroupActivities)(settings, connections)


@pytest.fixture
def fresh(settings: AzureSettings) -> AzureConnections:
    """Connections that have entered nowhere."""
    return AzureConnections(settings)


def refusal(connections: AzureConnections, site: Site, purpose: Purpose = Purpose.OPERATE) -> FailureDetail:
    """Return how the control plane is kept out of a subscription."""
    with pytest.raises(ApplicationError) as caught, failures_named():
        connections.client(ResourceManagementClient, site, purpose)
    detail: FailureDetail = caught.value.details[0]
    return detail


def test_the_tenant_is_learned_and_the_caller_is_named(account: Account) -> None:
    """A call needs nothing but the subscription's id, and the customer's log says who called on whose behalf."""
    account.run("make_group", account.site)

    (made,) = account.changes()
    expected = f"{PRODUCT} deployment/{account.site.deployment} operation/{account.site.operation} step/make_group"
    assert made.agent.startswith(expected)
    assert made.principal == "app:byoc-operate"


def test_one_customer_cannot_lead_us_to_another(account: Account, fresh: AzureConnections) -> None:
    """Whoever names a subscription that let us in for somebody else gets nothing."""
    stranger = account.site.model_copy(update={"account": "mallory", "external_id": "other"})
    fresh.client(ResourceManagementClient, account.site, Purpose.OPERATE)

    found = refusal(fresh, stranger)

    assert found.failure is FailureClass.AUTH
    assert control_role_name(stranger, Purpose.OPERATE) in found.message


def test_a_role_elsewhere_opens_nothing(account: Account, fresh: AzureConnections, settings: AzureSettings) -> None:
    """The role has to be one of the subscription that is entered: one of the same name in their own is not enough."""
    own = fresh_site().model_copy(update={"account": "mallory", "external_id": "other"})
    document = template(access_to(own), settings.applications, declared(account.activities.values()))
    theirs = account.control.subscription(own.cloud_account_id)
    theirs.apply_template(AzureTemplate(**json.loads(as_json(document))))
    stranger = own.model_copy(update={"cloud_account_id": account.subscription})

    found = refusal(fresh, stranger)

    assert found.failure is FailureClass.AUTH


def test_a_subscription_that_nobody_has_is_a_refusal(fresh: AzureConnections, account: Account) -> None:
    """A wrong id is said to be one."""
    found = refusal(fresh, fresh_site())

    assert (found.failure, found.code) == (FailureClass.AUTH, "SubscriptionNotFound")


def test_without_consent_nobody_is_let_in(fresh: AzureConnections, account: Account) -> None:
    """A purpose whose application the customer has not let in, or has no role, is refused by Entra or by Azure."""
    found = refusal(fresh, account.site, Purpose.OBSERVE)

    assert found.failure is FailureClass.AUTH
    assert found.code.startswith("AADSTS")


def test_a_missing_secret_is_ours_to_mend(settings: AzureSettings, account: Account, tmp_path: Path) -> None:
    """Without its own credentials the control plane says so."""
    lost = AzureConnections(settings.model_copy(update={"credentials_file": str(tmp_path / "none.json")}))

    assert "no credentials of its own" in refusal(lost, account.site).message


def test_a_role_that_goes_away_is_noticed(settings: AzureSettings, account: Account) -> None:
    """After an hour, or once the subscription is forgotten, the role is looked for again."""
    moment = [datetime.now(UTC)]
    connections = AzureConnections(settings, now=lambda: moment[0])
    connections.client(ResourceManagementClient, account.site, Purpose.OPERATE)
    account.owner.delete_template()

    connections.client(ResourceManagementClient, account.site, Purpose.OPERATE)
    moment[0] += timedelta(hours=2)

    assert refusal(connections, account.site).failure in {FailureClass.AUTH, FailureClass.PERMISSION}


def test_namespaces_are_the_customers_to_register(account: Account, connections: AzureConnections) -> None:
    """Where one is not registered the customer is told; the SDK does not try to register it."""
    account.run("make_group", account.site)
    networks = connections.client(NetworkManagementClient, account.site, Purpose.OPERATE).virtual_networks
    wanted = {"location": REGION, "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
    account.customer(ResourceManagementClient).providers.unregister("Microsoft.Network")

    with pytest.raises(HttpResponseError) as caught:
        networks.begin_create_or_update(group_name(account.site), "any", wanted, polling=False)

    assert caught.value.error.code == "MissingSubscriptionRegistration"
    assert "register/action" not in {call.operation for call in account.control.journal(after=account.since)}


def test_a_cancelled_activity_calls_nobody(account: Account) -> None:
    """It ends before its next call, and is not torn out of one."""
    account.attempt_cancelled("make_group", account.site)


def test_behind_the_barrier_nothing_changes(account: Account) -> None:
    """An activity that is only compared comes as far as its first change, which is named."""
    with changes_barred(), pytest.raises(WouldChange) as caught:
        account.attempt("make_group", account.site)

    assert caught.value.call == "resources.subscriptions/resourceGroups/write"
    assert group_name(account.site) in caught.value.detail
    assert account.resources() == []


def test_deeds_are_noted_with_what_they_changed(account: Account) -> None:
    """The audit trail gets each change with the id of the resource, and whether its answer came."""
    ledger = Ledger()
    account.inject(FaultKind.LOST_REPLY, "subscriptions/resourceGroups/write", times=1)

    with collected(ledger):
        account.attempt_once("make_group", account.site)
        account.attempt_once("make_group", account.site)

    group = f"/subscriptions/{account.subscription}/resourceGroups/{group_name(account.site)}"
    deeds = ledger.told()
    assert [(deed.operation, deed.answered) for deed in deeds] == [("subscriptions/resourceGroups/write", False)]
    assert deeds[0].resources[0].id.lower() == group.lower()


def test_the_group_goes_when_it_is_empty(account: Account) -> None:
    """It is made once, stays while something is in it, and is gone afterwards; what is gone is no error."""
    account.run("make_group", account.site)
    account.run("make_group", account.site)
    assert len(account.changes()) == 1
    client = account.customer(NetworkManagementClient)
    addresses, name = client.public_ip_addresses, group_name(account.site)
    wanted = {"location": REGION, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    addresses.begin_create_or_update(name, "theirs", wanted).result()

    account.run("empty_group", account.site)
    assert {each.type for each in account.resources()} == {"resource-group", "public-ip-address"}
    addresses.begin_delete(name, "theirs").result()
    account.run("empty_group", account.site)
    account.run("empty_group", account.site)

    assert account.resources() == []


def test_a_group_of_somebody_elses_is_left_alone(account: Account) -> None:
    """What has the group's name without our tags is neither used nor deleted."""
    groups = account.customer(ResourceManagementClient).resource_groups
    groups.create_or_update(group_name(account.site), {"location": REGION})

    assert account.failure("make_group", account.site).failure is FailureClass.NOT_OURS
    account.run("empty_group", account.site)

    assert [each.type for each in account.resources()] == ["resource-group"]
