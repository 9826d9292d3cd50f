"""The AKS control plane: made, converged, entered and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient

from activities.azure.cluster_identity import key_scope
from activities.azure.cluster_token import AzureClusterTokens
from activities.azure.connection import AzureConnections
from activities.azure.granting import BuiltInRole
from activities.azure.settings import AzureSettings
from activities.cloud import Activity
from activities.contracts import InNetwork, MaintenanceRequest
from activities.kubernetes.manifests.azure import disk_encryption_set
from domain.facts import Cluster, Network
from domain.failure import FailureClass
from domain.naming import base_name, owner_tags, resource_name
from simulators.azure.documents import AzureQuota
from simulators.faults import FaultKind
from tests.activities.azure.clusters import PARTS, change, described, put
from tests.activities.azure.conftest import EGRESS, REGION, Account, activities_of
from tests.activities.azure.ground import GROUND, PODS, SERVICES, ZONES, Ground, make_ground
from tests.activities.azure.networks import own_network

CREATION, DELETION = "managedClusters/write", "managedClusters/delete"


LATE = timedelta(hours=2)


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """The activities on clusters, and on what they stand on."""
    return activities_of(*GROUND, *PARTS)(settings, connections)


def roles_of(account: Account, name: str) -> set[tuple[str, str]]:
    """Return scope and role of everything that an identity may do, in lower case."""
    identities = account.customer(ManagedServiceIdentityClient).user_assigned_identities
    principal = identities.get(base_name(account.site), resource_name(account.site, name)).principal_id
    listed = account.customer(AuthorizationManagementClient).role_assignments.list_for_subscription()
    return {
        (each.scope.lower(), each.role_definition_id.rpartition("/")[2])
        for each in listed
        if each.principal_id == principal
    }


def test_the_control_plane_is_closed_and_encrypted(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Only the network and our own addresses reach the API, Azure's roles decide, and our key encrypts everything."""
    found = described(account)
    properties = found["properties"]

    access = properties["apiServerAccessProfile"]
    assert access["authorizedIPRanges"] == list(EGRESS)
    assert (access["enablePrivateCluster"], access["enableVnetIntegration"]) == (False, True)
    assert access["subnetId"] == ground.network.public_subnet_ids[0]
    assert access["disableRunCommand"]
    assert properties["disableLocalAccounts"]
    assert (properties["aadProfile"]["managed"], properties["aadProfile"]["enableAzureRBAC"]) == (True, True)
    kms = properties["securityProfile"]["azureKeyVaultKms"]
    assert (kms["enabled"], kms["keyId"]) == (True, ground.key.key_id)
    assert properties["diskEncryptionSetID"] == disk_encryption_set(account.site)
    assert properties["autoUpgradeProfile"] == {"upgradeChannel": "none", "nodeOSUpgradeChannel": "None"}
    assert (found["sku"]["tier"], found["tags"]) == ("Standard", owner_tags(account.site, "cluster"))


def test_pods_and_services_have_addresses_of_their_own(account: Account, cluster: Cluster) -> None:
    """Cilium enforces network policies over an overlay, and nodes go out by the network's own gateway."""
    network = described(account)["properties"]["networkProfile"]

    assert (network["networkPluginMode"], network["networkDataplane"], network["networkPolicy"]) == (
        "overlay", "cilium", "cilium",
    )  # fmt: skip
    assert (network["podCidr"], network["serviceCidr"], network["dnsServiceIP"]) == (PODS, SERVICES, "10.245.0.10")
    assert network["outboundType"] == "userAssignedNATGateway"


def test_beside_it_run_akss_own_pods_alone(account: Account, cluster: Cluster) -> None:
    """A small machine in each zone, which nothing else is placed on, closed like all others."""
    (pool,) = described(account)["properties"]["agentPoolProfiles"]

    assert (pool["name"], pool["mode"], pool["count"]) == ("system", "System", 3)
    assert pool["availabilityZones"] == list(ZONES)
    assert pool["nodeTaints"] == ["CriticalAddonsOnly=true:NoSchedule"]
    assert (pool["enableNodePublicIP"], pool["securityProfile"]["sshAccess"]) == (False, "Disabled")
    disks = [each for each in account.resources() if each.type == "disk"]
    assert [each.encrypted for each in disks] == [True] * 3


def test_its_identity_may_what_it_needs_where_it_needs_it(account: Account, ground: Ground, cluster: Cluster) -> None:
    """At the subnets, at the identity of nodes, at the key and at the encryption set; nowhere else."""
    site = account.site
    nodes = account.customer(ManagedServiceIdentityClient).user_assigned_identities.get(
        base_name(site), resource_name(site, "nodes")
    )

    found = roles_of(account, "cluster")

    assert found == {
        (ground.network.private_subnet_ids[0].lower(), BuiltInRole.NETWORK_CONTRIBUTOR),
        (ground.network.public_subnet_ids[0].lower(), BuiltInRole.NETWORK_CONTRIBUTOR),
        (nodes.id.lower(), BuiltInRole.IDENTITY_OPERATOR),
        (key_scope(site, ground.key.key_id).lower(), BuiltInRole.KEY_USER),
        (disk_encryption_set(site).lower(), BuiltInRole.READER),
    }


def test_the_facts_lead_into_the_cluster(account: Account, cluster: Cluster, settings: AzureSettings) -> None:
    """A deletion finds the same cluster without them, and a token is the operating application's."""
    tokens = AzureClusterTokens(AzureConnections(settings))

    assert (cluster.name, cluster.version) == (base_name(account.site), "1.34")
    assert cluster.endpoint.startswith("https://")
    assert cluster.oidc_issuer == described(account)["properties"]["oidcIssuerProfile"]["issuerURL"]
    assert tokens.find(account.site) == cluster
    assert tokens.token(account.site, cluster)


def test_it_waits_for_the_way_out(account: Account) -> None:
    """The gateway is made meanwhile: without it no node would come up."""
    ground = make_ground(account, gateway=False)

    waiting = account.attempt_once("create_cluster", ground.cluster_request())
    account.run("create_egress", InNetwork(site=account.site, network=ground.network))

    assert waiting is not None
    assert (waiting.failure, "NAT gateway" in waiting.message) == (FailureClass.NOT_READY, True)
    assert account.run("create_cluster", ground.cluster_request()).name == base_name(account.site)


def test_another_change_of_the_cluster_is_waited_for(account: Account, ground: Ground, cluster: Cluster) -> None:
    """AKS does one thing at a time; what it refuses meanwhile is looked at again."""
    change(account, lambda document: put(document["properties"], "autoUpgradeProfile.upgradeChannel", "stable"))
    busy = {
        "code": "OperationNotAllowed",
        "message": "Operation is not allowed because there's an in progress updating managed cluster operation",
    }
    account.inject(FaultKind.ERROR, CREATION, times=1, **busy)

    request = MaintenanceRequest(**dict(ground.in_cluster(cluster)))
    waiting = account.attempt_once("set_maintenance_policy", request)

    assert waiting is not None
    assert (waiting.failure, "busy" in waiting.message) == (FailureClass.NOT_READY, True)


def test_a_quota_that_is_too_small_is_named(account: Account, ground: Ground) -> None:
    """The message says which family of machines has no cores left."""
    account.owner.set_quota(AzureQuota(region=REGION, name="standardDSv5Family", limit=2))

    detail = account.failure("create_cluster", ground.cluster_request())

    assert detail.failure is FailureClass.QUOTA
    assert "standardDSv5Family" in detail.message


def test_roles_that_do_not_count_yet_are_waited_for(account: Account, ground: Ground) -> None:
    """A role of the cluster's identity takes minutes to count; later its lack is a failure."""
    missing = {
        "code": "CustomKubeletIdentityMissingPermissionError",
        "message": "The cluster user assigned identity must be given permission to assign kubelet identity.",
    }
    account.inject(FaultKind.ERROR, CREATION, times=2, **missing)

    young = account.attempt_once("create_cluster", ground.cluster_request())
    old = account.attempt_once("create_cluster", ground.cluster_request(), age=LATE)

    assert young is not None
    assert young.failure is FailureClass.NOT_READY
    assert old is not None
    assert old.failure is not FailureClass.NOT_READY


def test_a_cluster_that_failed_for_such_a_role_is_made_again(account: Account, ground: Ground) -> None:
    """AKS notices some only while it makes the cluster; as long as the step is young nobody is told."""
    words = "The client does not have permission to perform action 'Microsoft.Compute/diskEncryptionSets/read'"
    account.inject(FaultKind.CRASH, CREATION, times=2, code="LinkedAuthorizationFailed", message=words)

    cluster = account.run("create_cluster", ground.cluster_request())

    assert cluster.name == base_name(account.site)


def test_a_network_of_the_customers_own_has_its_own_way_out(account: Account, ground: Ground) -> None:
    """By the customer's route table, which AKS leaves alone; a subnet that leads nowhere is refused."""
    existing = own_network(account, nat=False)
    theirs = Network(
        network_id=existing.network_id,
        private_subnet_ids=existing.private_subnet_ids,
        public_subnet_ids=existing.public_subnet_ids,
        ours=False,
    )
    request = ground.cluster_request().model_copy(update={"network": theirs})
    refused = account.failure("create_cluster", request)
    own_network(account, nat=False, routes=True)

    account.run("create_cluster", request)

    assert (refused.failure, refused.resource) == (FailureClass.CONFIG, theirs.private_subnet_ids[0])
    assert described(account)["properties"]["networkProfile"]["outboundType"] == "userDefinedRouting"
