"""The rules of an order that a file's table of mistakes does not reach; the rest is in tests/starters."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

import catalog
from domain.account import AccountSpec
from domain.catalogue import Catalogue
from domain.clouds import Cloud
from domain.deployment import AuthWebhook, DeploymentSpec, Endpoint, ExistingNetwork, NetworkSpec
from domain.order import check_account, check_order, dns_name_fault
from domain.shape import Component, Scale, ShapeName

CATALOGUE = catalog.load()
ACCOUNT = AccountSpec(
    name="acme-aws",
    customer="acme",
    cloud=Cloud.AWS,
    cloud_account_id="111122223333",
    regions=("eu-central-1", "us-west-1"),
    contact="ops@acme.example",
)
ORDER = DeploymentSpec(
    account="acme-aws",
    region="eu-central-1",
    shape=ShapeName.V1_MEDIUM,
    high_availability=True,
    release="4.12.1",
    kubernetes="1.35",
    endpoint=Endpoint(domain="prod.db.acme.example"),
    auth_webhook=AuthWebhook(url="https://login.acme.example:8443/byoc"),
    scaling={Component.API: Scale(minimum=3, maximum=24)},
)


def problems(catalogue: Catalogue = CATALOGUE, **changes: object) -> dict[str, str]:
    """Return what is wrong with the order when these fields are changed, keyed by path."""
    found = check_order(ORDER.model_copy(update=changes), catalogue, ACCOUNT)
    return {problem.path: str(problem) for problem in found}


def test_a_right_order_has_no_problem() -> None:
    """With its account and without."""
    assert check_order(ORDER, CATALOGUE, ACCOUNT) == ()
    assert check_order(ORDER, CATALOGUE) == ()


def test_an_order_is_checked_against_the_account_that_it_names() -> None:
    """Another account's answer would be worthless."""
    assert problems(account="other-aws") == {
        "spec.account": 'spec.account: "other-aws" is not the account "acme-aws". Allowed: acme-aws'
    }


def test_a_region_of_another_cloud_is_refused() -> None:
    """The account decides which cloud it is."""
    assert "is not a region of aws" in problems(region="europe-west3")["spec.region"]


def test_high_availability_needs_three_zones() -> None:
    """The answer names regions of the account that have them."""
    assert problems(region="us-west-1") == {
        "spec.region": 'spec.region: "us-west-1" has 2 zones, high availability needs 3. Allowed: eu-central-1'
    }


def test_a_withdrawn_release_is_refused_with_the_reason() -> None:
    """Whoever orders it learns why."""
    withdrawn = [
        release.model_copy(update={"withdrawn": "it loses writes"}) if release.version == "4.12.0" else release
        for release in CATALOGUE.releases
    ]
    catalogue = CATALOGUE.model_copy(update={"releases": tuple(withdrawn)})

    found = problems(catalogue, release="4.12.0")

    assert 'spec.release: "4.12.0" is withdrawn: it loses writes. Allowed:' in found["spec.release"]
    assert "4.12.1" in found["spec.release"]


@pytest.mark.parametrize(
    ("kubernetes", "words"),
    [("1.36", "is preview on aws"), ("1.32", "is expired on aws"), ("v1.35", "is not a Kubernetes minor version")],
)
def test_a_version_that_is_not_supported_is_refused(kubernetes: str, words: str) -> None:
    """Its status is named."""
    assert words in problems(release="4.11.0", kubernetes=kubernetes)["spec.kubernetes"]


@pytest.mark.parametrize("cidr", ["10.0.0.0/16", "172.31.0.0/17", "192.168.0.0/16", "10.255.240.0/20"])
def test_private_ranges_of_the_right_size_are_accepted(cidr: str) -> None:
    """RFC 1918, /16 to /20."""
    assert problems(network=NetworkSpec(cidr=IPv4Network(cidr))) == {}


@pytest.mark.parametrize("cidr", ["10.0.0.0/15", "172.32.0.0/16", "192.168.0.0/15", "100.64.0.0/16", "10.0.0.0/21"])
def test_other_ranges_are_refused(cidr: str) -> None:
    """Too large, too small, or not private from end to end."""
    assert list(problems(network=NetworkSpec(cidr=IPv4Network(cidr)))) == ["spec.network.cidr"]


def test_an_existing_network_needs_a_subnet_in_each_zone() -> None:
    """Two zones at least, three for high availability; each subnet once."""
    network = ExistingNetwork(network_id="vpc-0a1b2c3d", private_subnet_ids=("subnet-0a1b2c3d", "subnet-0a1b2c3d"))

    found = problems(network=NetworkSpec(existing=network))

    assert "at least 3" in found["spec.network.existing.privateSubnetIds"]
    assert 'subnet "subnet-0a1b2c3d" is listed more than once' in found["spec.network.existing"]


def test_ids_of_an_existing_network_have_the_cloud_s_form() -> None:
    """A name in place of an id is found before anything is looked up."""
    subnets = ("subnet-0a1b2c3d", "subnet-1a1b2c3d", "private-c")
    network = ExistingNetwork(network_id="main", private_subnet_ids=subnets)

    found = problems(network=NetworkSpec(existing=network))

    assert set(found) == {"spec.network.existing.networkId", "spec.network.existing.privateSubnetIds[2]"}


GCP_NETWORK = ExistingNetwork(
    network_id="main", private_subnet_ids=("nodes",), pod_range="pods", service_range="services"
)


def problems_on_gcp(network: ExistingNetwork) -> dict[str, str]:
    """Return what is wrong with an order in a customer's network of GCP, keyed by path."""
    changes = {"account": "acme-gcp", "region": "europe-west4", "network": NetworkSpec(existing=network)}
    account = ACCOUNT.model_copy(
        update={"name": "acme-gcp", "cloud": Cloud.GCP, "cloud_account_id": "acme-prod", "regions": ("europe-west4",)}
    )
    found = check_order(ORDER.model_copy(update=changes), CATALOGUE, account)
    return {problem.path: str(problem) for problem in found}


def test_one_subnetwork_with_both_ranges_will_do_on_gcp() -> None:
    """It spans all zones, so high availability needs no more."""
    assert problems_on_gcp(GCP_NETWORK) == {}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"private_subnet_ids": ()}, "privateSubnetIds", "exactly 1"),
        ({"private_subnet_ids": ("nodes", "more")}, "privateSubnetIds", "exactly 1"),
        ({"pod_range": ""}, "podRange", "range of the pods is not named"),
        ({"service_range": ""}, "serviceRange", "range of the services is not named"),
        ({"service_range": "pods"}, "serviceRange", "the range of the pods already"),
    ],
)
def test_an_incomplete_network_of_gcp_is_refused_by_field(changes: dict[str, object], field: str, words: str) -> None:
    """One subnetwork, and two secondary ranges of it that are not the same."""
    found = problems_on_gcp(GCP_NETWORK.model_copy(update=changes))

    assert list(found) == [f"spec.network.existing.{field}"]
    assert words in found[f"spec.network.existing.{field}"]


SUBSCRIPTION = "00000000-0000-0000-0000-0000000000aa"
VNET = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/acme/providers/Microsoft.Network/virtualNetworks/main"
AZURE_NETWORK = ExistingNetwork(
    network_id=VNET, private_subnet_ids=(f"{VNET}/subnets/nodes",), public_subnet_ids=(f"{VNET}/subnets/api",)
)


def problems_on_azure(network: ExistingNetwork) -> dict[str, str]:
    """Return what is wrong with an order in a customer's network of Azure, keyed by path."""
    changes = {"account": "acme-azure", "region": "westeurope", "network": NetworkSpec(existing=network)}
    account = ACCOUNT.model_copy(
        update={
            "name": "acme-azure",
            "cloud": Cloud.AZURE,
            "cloud_account_id": SUBSCRIPTION,
            "regions": ("westeurope",),
        }
    )
    found = check_order(ORDER.model_copy(update=changes), CATALOGUE, account)
    return {problem.path: str(problem) for problem in found}


def test_a_subnet_for_nodes_and_one_for_the_api_server_will_do_on_azure() -> None:
    """Both span all zones, and pods and services have addresses that the network does not know."""
    assert problems_on_azure(AZURE_NETWORK) == {}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"private_subnet_ids": ()}, "privateSubnetIds", "exactly 1"),
        ({"public_subnet_ids": ()}, "publicSubnetIds", "one is for the API server"),
        ({"pod_range": "pods"}, "podRange", "only subnetworks of gcp"),
        ({"network_id": "main"}, "networkId", "not the id of a network on azure"),
    ],
)
def test_an_incomplete_network_of_azure_is_refused_by_field(changes: dict[str, object], field: str, words: str) -> None:
    """One subnet of each kind, and no secondary ranges."""
    found = problems_on_azure(AZURE_NETWORK.model_copy(update=changes))

    assert list(found) == [f"spec.network.existing.{field}"]
    assert words in found[f"spec.network.existing.{field}"]


@pytest.mark.parametrize("given", ["acme-prod", "123456789012", SUBSCRIPTION.upper(), f"{SUBSCRIPTION}0"])
def test_a_subscription_is_named_by_its_guid(given: str) -> None:
    """In small letters, as Azure shows it; anything else is refused at the door."""
    account = ACCOUNT.model_copy(update={"cloud": Cloud.AZURE, "cloud_account_id": given, "regions": ("westeurope",)})

    found = {problem.path for problem in check_account(account, CATALOGUE)}

    assert any(path.endswith("cloudAccountId") for path in found)


def test_names_of_ranges_are_for_gcp_alone() -> None:
    """Elsewhere they would be left unread, so they are refused."""
    subnets = ("subnet-0a1b2c3d", "subnet-1a1b2c3d", "subnet-2a1b2c3d")
    network = ExistingNetwork(
        network_id="vpc-0a1b2c3d", private_subnet_ids=subnets, pod_range="pods", service_range="services"
    )

    found = problems(network=NetworkSpec(existing=network))

    assert list(found) == ["spec.network.existing.podRange", "spec.network.existing.serviceRange"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://login.acme.example/", "does not start with https://"),
        ("login.acme.example", "does not start with https://"),
        ("https://", "names no host"),
        ("https://ada@login.acme.example/", "contains credentials"),
        ("https://@login.acme.example/", "contains credentials"),
        ("https://127.0.0.1/", "leads to an address"),
        ("https://[::1]/", "leads to an address"),
        ("https://2130706433/", "names a host that is an address"),
        ("https://0x7f.1/", "names a host that is an address"),
        ("https://localhost/", "leads back"),
        ("https://localhost./", "leads back"),
        ("https://api.byoc.svc.cluster.local/", "leads back"),
        ("https://metadata.google.internal/", "leads back"),
        ("https://login/", "not a full DNS name"),
        ("https://login.acme.example:99999/", "is not a URL"),
        ("https://[login/", "is not a URL"),
        ("https://login.acme.example/#x", "fragment"),
    ],
)
def test_a_webhook_that_does_not_lead_to_the_customer_is_refused(url: str, words: str) -> None:
    """Only https to a host name that a certificate can prove."""
    assert words in problems(auth_webhook=AuthWebhook(url=url))["spec.authWebhook.url"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Prod.acme.example", "lower case"),
        ("*.acme.example", "wildcard"),
        ("prod", "full DNS name"),
        ("prod..example", "label"),
        ("prod.acme.example.", "label"),
        ("-prod.acme.example", "label"),
        ("prod_db.acme.example", "label"),
        (f"{'a' * 64}.example", "label"),
        (".".join(["a" * 30] * 3), "at most 64"),
    ],
)
def test_a_domain_that_is_no_dns_name_is_refused(name: str, words: str) -> None:
    """Or one that no certificate can carry."""
    assert words in problems(endpoint=Endpoint(domain=name))["spec.endpoint.domain"]


@given(st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?", fullmatch=True), min_size=2, max_size=5))
def test_a_name_made_of_labels_is_a_dns_name(labels: list[str]) -> None:
    """Unless its last label is a number."""
    assert (dns_name_fault(".".join(labels)) == "") is not labels[-1].isdigit()


def test_high_availability_keeps_its_least_number_of_replicas() -> None:
    """Limits of the order's own cannot take redundancy away."""
    found = problems(scaling={Component.STORE: Scale(minimum=1, maximum=5)})

    assert "at least 3" in found["spec.scaling.store.minimum"]


def test_a_right_account_has_no_problem() -> None:
    """As agreed on with the customer."""
    assert check_account(ACCOUNT, CATALOGUE) == ()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"cloud_account_id": "1234"}, "spec.cloudAccountId"),
        ({"cloud_account_id": "111122223333\n"}, "spec.cloudAccountId"),
        ({"cloud": Cloud.AZURE, "regions": ("westeurope",)}, "spec.cloudAccountId"),
        ({"regions": ()}, "spec.regions"),
        ({"regions": ("eu-central-1", "eu-centrl-1")}, "spec.regions[1]"),
        ({"regions": ("eu-central-1", "eu-central-1")}, "spec.regions[1]"),
        ({"contact": "ada at acme"}, "spec.contact"),
    ],
)
def test_a_wrong_account_is_refused_by_field(changes: dict[str, object], path: str) -> None:
    """Each cloud names its accounts in its own way."""
    found = check_account(ACCOUNT.model_copy(update=changes), CATALOGUE)

    assert [problem.path for problem in found] == [path]
