"""Clusters of AKS, by the SDK: made, read, changed, upgraded and deleted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from kubernetes import client as kubernetes_client

from simulators.faults import Fault, FaultKind
from tests.simulators.azure.clusters import (
    API_SERVER,
    CLUSTER,
    IDENTITIES,
    KEY_USER,
    KEY_VAULT,
    NAME,
    NODES,
    assign,
    containers,
    get,
    kinds_of,
    kube_client,
    make_cluster,
    make_encryption_set,
    make_key,
    make_surroundings,
    pass_time,
    pool,
    put,
    wanted,
)
from tests.simulators.azure.conftest import REGION, SUBSCRIPTION, Account, serve


@pytest.fixture(scope="module")
def ground() -> Iterator[Account]:
    """A subscription with everything that a cluster needs around it, where none is made."""
    for account in serve(math.inf):
        make_surroundings(account)
        yield account


def refused(account: Account, document: dict[str, Any]) -> str:
    """Return the code with which AKS refuses a cluster."""
    with pytest.raises(HttpResponseError) as caught:
        put(account, document)
    assert caught.value.error is not None
    return str(caught.value.error.code)


class TestMade:
    """What a new cluster is."""

    def test_becomes_succeeded_with_its_pools(self, slow_account: Account) -> None:
        """It is `Creating` meanwhile, and the poller ends."""
        make_surroundings(slow_account)
        begun = put(slow_account, wanted())
        pass_time(slow_account, 600)
        made = get(slow_account)

        assert begun.properties.provisioning_state == "Creating"
        assert begun.properties.agent_pool_profiles[0].provisioning_state == "Creating"
        assert made.properties.provisioning_state == "Succeeded"
        (system,) = made.properties.agent_pool_profiles
        assert (system.name, system.mode, system.count, system.provisioning_state) == (
            "system", "System", 3, "Succeeded",
        )  # fmt: skip
        assert (made.properties.kubernetes_version, made.properties.current_kubernetes_version) == ("1.34", "1.34.4")
        assert made.properties.oidc_issuer_profile.issuer_url.startswith(f"https://{REGION}.oic.prod-aks.azure.com/")
        kubelet = made.properties.identity_profile["kubeletidentity"]
        assert kubelet.client_id is not None
        assert kubelet.object_id != made.identity.user_assigned_identities[f"{IDENTITIES}/cluster"].principal_id

    def test_ends_as_the_poller_says(self, account: Account) -> None:
        """Whoever waits for the operation gets the cluster."""
        make_surroundings(account)

        made = containers(account).managed_clusters.begin_create_or_update("byoc", NAME, wanted()).result()

        assert made.properties.provisioning_state == "Succeeded"
        assert [entry.name for entry in containers(account).managed_clusters.list()] == [NAME]

    def test_has_nodes_in_every_zone(self, account: Account) -> None:
        """With the labels by which pods and volumes find them, and disks under the customer's key."""
        make_surroundings(account)
        encryption = make_encryption_set(account)
        put(account, wanted(diskEncryptionSetID=encryption))
        pass_time(account, 600)
        (cluster,) = account.azure.kubernetes.clusters()
        nodes = kubernetes_client.CoreV1Api(kube_client(account, f"owner:{SUBSCRIPTION}")).list_node().items
        held = [entry for entry in account.azure.inventory(SUBSCRIPTION) if "byoc-1-nodes" in entry.id]

        zones = sorted(node.metadata.labels["topology.kubernetes.io/zone"] for node in nodes)
        assert zones == [f"{REGION}-{number}" for number in (1, 2, 3)]
        assert {node.metadata.labels["kubernetes.azure.com/agentpool"] for node in nodes} == {"system"}
        assert all(node.spec.provider_id.startswith(f"azure:///subscriptions/{SUBSCRIPTION}/") for node in nodes)
        assert cluster.version == "1.34"
        disks = [entry for entry in held if entry.type == "disk"]
        assert [entry.encrypted for entry in disks] == [True] * 3
        assert {entry.tags["byoc"] for entry in held if entry.tags} == {"managed"}
        machines = [entry for entry in held if entry.type == "virtual-machine"]
        assert sorted(entry.details["zones"] for entry in machines) == [["1"], ["2"], ["3"]]

    def test_draws_on_the_cores_of_region_and_family(self, account: Account) -> None:
        """And what is not there is refused before anything is made."""
        make_surroundings(account)
        account.azure.quotas.set_limit(SUBSCRIPTION, REGION, "standardDSv5Family", 5)

        with pytest.raises(HttpResponseError, match="requested 6, remaining 5 for family standardDSv5Family") as caught:
            put(account, wanted())
        account.azure.quotas.set_limit(SUBSCRIPTION, REGION, "standardDSv5Family", 6)
        put(account, wanted())
        pass_time(account, 600)

        assert caught.value.error.code == "ErrCode_InsufficientVCPUQuota"
        used = account.azure.quotas.used
        assert used[SUBSCRIPTION, REGION, "cores"] == used[SUBSCRIPTION, REGION, "standardDSv5Family"] == 6
        containers(account).managed_clusters.begin_delete("byoc", NAME).result()
        assert used[SUBSCRIPTION, REGION, "cores"] == 0

    def test_keeps_its_network(self, account: Account) -> None:
        """Machines and API server hold their subnets."""
        make_cluster(account)

        for subnet in (NODES, API_SERVER):
            with pytest.raises(HttpResponseError, match="InUseSubnetCannotBeDeleted"):
                account.network().subnets.begin_delete("byoc", "byoc", subnet.rpartition("/")[2])


class TestRefused:
    """What AKS does not make."""

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"kubernetesVersion": "1.29"}, "K8sVersionNotSupported"),
            ({"dnsPrefix": ""}, "InvalidParameter"),
            ({"agentPoolProfiles": []}, "InvalidParameter"),
            ({"agentPoolProfiles": [{"name": "user", **pool()}]}, "OperationNotAllowed"),
            (
                {"agentPoolProfiles": [{"name": "system", **pool(mode="System", availabilityZones=["4"])}]},
                "AvailabilityZoneNotSupported",
            ),
            (
                {"agentPoolProfiles": [{"name": "system", **pool(mode="System", vmSize="Standard_Z1")}]},
                "VMSizeNotSupported",
            ),
            ({"agentPoolProfiles": [{"name": "Sys-tem", **pool(mode="System")}]}, "InvalidParameter"),
            ({"aadProfile": None}, "DisableLocalAccountsNotAllowed"),
            ({"oidcIssuerProfile": {"enabled": False}}, "InvalidParameter"),
            ({"networkProfile": {"serviceCidr": "10.0.8.0/22", "dnsServiceIP": "10.0.8.10"}},
             "ServiceCidrOverlapExistingSubnetsCidr"),
            ({"networkProfile": {"serviceCidr": "172.16.0.0/16", "dnsServiceIP": "10.0.0.10"}}, "InvalidDNSServiceIP"),
            ({"networkProfile": {"networkPolicy": "cilium", "serviceCidr": "172.16.0.0/16",
                                 "dnsServiceIP": "172.16.0.10"}}, "InvalidParameter"),
            ({"apiServerAccessProfile": {"authorizedIPRanges": ["nowhere"]}}, "InvalidParameter"),
            ({"apiServerAccessProfile": {"enableVnetIntegration": True}}, "InvalidParameter"),
            ({"apiServerAccessProfile": {"enableVnetIntegration": True, "subnetId": NODES}}, "InvalidParameter"),
            ({"ingressProfile": {"webAppRouting": {"gatewayAPIImplementations": {"appRoutingIstio":
                {"mode": "Enabled"}}}}}, "InvalidParameter"),
            ({"nodeResourceGroup": "byoc"}, "NodeResourceGroupAlreadyExists"),
            ({"securityProfile": {"azureKeyVaultKms": {"enabled": True}}}, "InvalidParameter"),
        ],
    )  # fmt: skip
    def test_what_is_wrong(self, ground: Account, options: dict[str, Any], code: str) -> None:
        """It says so at once, and nothing is made."""
        assert refused(ground, wanted(**options)) == code
        assert "managed-cluster" not in kinds_of(ground)

    def test_a_subnet_without_the_way_out(self, account: Account) -> None:
        """The outbound type wants a NAT gateway at the subnet."""
        make_surroundings(account)
        subnet = {"properties": {"addressPrefix": "10.0.0.0/20"}}
        account.network().subnets.begin_create_or_update("byoc", "byoc", "nodes", subnet).result()

        assert refused(account, wanted()) == "NATGatewayNotAssociatedWithSubnet"

    def test_a_kubelet_identity_that_the_cluster_may_not_assign(self, account: Account) -> None:
        """The cluster's own identity needs that permission."""
        make_surroundings(account)
        client = account.client(AuthorizationManagementClient)
        for assignment in list(client.role_assignments.list_for_scope(f"{IDENTITIES}/nodes")):
            client.role_assignments.delete_by_id(assignment.id)
        account.azure.cloud.access.settle_now()

        assert refused(account, wanted()) == "CustomKubeletIdentityMissingPermissionError"

    def test_a_key_for_secrets_that_the_cluster_may_not_use(self, account: Account) -> None:
        """The cluster's own identity encrypts and decrypts with it."""
        make_surroundings(account)
        url = make_key(account)
        identities = account.client(ManagedServiceIdentityClient).user_assigned_identities
        security = {"azureKeyVaultKms": {"enabled": True, "keyId": url}, "workloadIdentity": {"enabled": True}}
        missing = {"azureKeyVaultKms": {"enabled": True, "keyId": f"{url}s"}}

        nowhere = refused(account, wanted(securityProfile=missing))
        forbidden = refused(account, wanted(securityProfile=security))
        key = account.client(KeyVaultManagementClient).keys.get("byoc", KEY_VAULT, "disks")
        assign(account, KEY_USER, identities.get("byoc", "cluster").principal_id, key.id)
        put(account, wanted(securityProfile=security))
        pass_time(account, 600)

        assert nowhere == "AzureKeyVaultKmsKeyNotFound"
        assert forbidden == "AzureKeyVaultKmsValidateIdentityPermissionFailed"
        (cluster,) = [entry for entry in account.azure.inventory(SUBSCRIPTION) if entry.type == "managed-cluster"]
        assert cluster.encrypted is True

    def test_callers_who_may_not_use_what_it_links_to(self, account: Account) -> None:
        """A role that has the cluster's own action alone is not enough."""
        make_surroundings(account)
        application, credential = account.application()
        client = account.client(AuthorizationManagementClient)
        permission = {"actions": ["Microsoft.ContainerService/managedClusters/*"]}
        scope = f"/subscriptions/{SUBSCRIPTION}"
        role = "7f3a1c8e-0000-4000-8000-000000000001"
        properties = {"roleName": "aks", "assignableScopes": [scope], "permissions": [permission]}
        client.role_definitions.create_or_update(scope, role, {"properties": properties})
        granted = {
            "roleDefinitionId": f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{role}",
            "principalId": account.principal(application),
            "principalType": "ServicePrincipal",
        }
        client.role_assignments.create(scope, "7f3a1c8e-0000-4000-8000-000000000002", {"properties": granted})
        account.azure.cloud.access.settle_now()

        with pytest.raises(HttpResponseError, match="LinkedAuthorizationFailed"):
            containers(account, credential).managed_clusters.begin_create_or_update("byoc", NAME, wanted())

    def test_a_network_that_its_identity_may_not_join(self, account: Account) -> None:
        """That shows only while it is made: the cluster is `Failed`, and can be deleted."""
        make_surroundings(account)
        client = account.client(AuthorizationManagementClient)
        for assignment in list(client.role_assignments.list_for_scope(NODES)):
            client.role_assignments.delete_by_id(assignment.id)
        account.azure.cloud.access.settle_now()

        with pytest.raises(HttpResponseError, match="LinkedAuthorizationFailed"):
            containers(account).managed_clusters.begin_create_or_update("byoc", NAME, wanted()).result()

        assert get(account).properties.provisioning_state == "Failed"
        containers(account).managed_clusters.begin_delete("byoc", NAME).result()
        assert "managed-cluster" not in kinds_of(account)


class TestChanged:
    """What becomes of a cluster later."""

    def test_by_one_operation_at_a_time(self, slow_account: Account) -> None:
        """Another one is refused until the first has ended, whatever it is about."""
        make_surroundings(slow_account)
        put(slow_account, wanted())
        client = containers(slow_account)

        with pytest.raises(HttpResponseError) as second:
            put(slow_account, wanted())
        with pytest.raises(HttpResponseError) as nodes:
            client.agent_pools.begin_create_or_update("byoc", NAME, "more", {"properties": pool()})
        with pytest.raises(HttpResponseError) as deletion:
            client.managed_clusters.begin_delete("byoc", NAME)

        for caught in (second, nodes, deletion):
            assert (caught.value.status_code, caught.value.error.code) == (409, "OperationNotAllowed")

    def test_by_a_new_version_one_minor_at_a_time(self, slow_account: Account) -> None:
        """The control plane goes ahead, and the nodes stay."""
        make_cluster(slow_account)
        found = get(slow_account)
        found.properties.kubernetes_version = "1.36"

        with pytest.raises(HttpResponseError, match=r"1\.34\.4 to 1\.36\.0 is not allowed"):
            put(slow_account, found)
        found.properties.kubernetes_version = "1.35"
        begun = put(slow_account, found)
        pass_time(slow_account, 700)
        after = get(slow_account)

        assert (begun.properties.provisioning_state, begun.properties.current_kubernetes_version) == (
            "Upgrading", "1.34.4",
        )  # fmt: skip
        assert (after.properties.provisioning_state, after.properties.current_kubernetes_version) == (
            "Succeeded", "1.35.2",
        )  # fmt: skip
        assert after.properties.agent_pool_profiles[0].current_orchestrator_version == "1.34.4"
        (cluster,) = slow_account.azure.kubernetes.clusters()
        assert cluster.version == "1.35"

    def test_only_by_whoever_has_seen_its_last_state(self, account: Account) -> None:
        """The entity tag of an older one is refused."""
        make_cluster(account)
        client, found = containers(account).managed_clusters, get(account)
        condition = {"etag": found.e_tag, "match_condition": MatchConditions.IfNotModified}
        found.tags["byoc"] = "changed"

        client.begin_create_or_update("byoc", NAME, found, **condition).result()
        with pytest.raises(HttpResponseError) as caught:
            client.begin_create_or_update("byoc", NAME, found, **condition)

        assert caught.value.status_code == 412

    def test_by_tags_that_reach_the_group_of_the_nodes(self, account: Account) -> None:
        """The issuer of tokens stays what it was."""
        make_cluster(account)
        issuer = get(account).properties.oidc_issuer_profile.issuer_url

        changed = containers(account).managed_clusters.begin_update_tags("byoc", NAME, {"tags": {"team": "a"}}).result()

        assert changed.tags["team"] == "a"
        assert account.resources().resource_groups.get("byoc-1-nodes").tags["team"] == "a"
        assert changed.properties.oidc_issuer_profile.issuer_url == issuer

    @pytest.mark.parametrize(
        ("field", "value"), [("dns_prefix", "other"), ("node_resource_group", "other"), ("enable_rbac", False)]
    )
    def test_not_in_what_is_fixed(self, account: Account, field: str, value: object) -> None:
        """Some properties are those of the first request for ever."""
        make_cluster(account)
        found = get(account)
        setattr(found.properties, field, value)

        with pytest.raises(HttpResponseError, match="PropertyChangeNotAllowed"):
            put(account, found)


class TestFaults:
    """What goes wrong on request."""

    def test_stuck_until_it_is_aborted(self, account: Account) -> None:
        """It stays `Creating` while the rule is in force, and becomes whole by asking again."""
        make_surroundings(account)
        rule = Fault(kind=FaultKind.STUCK, service="containerservice", operation="managedClusters/write")
        fault = account.azure.cloud.world.faults.add(rule)
        put(account, wanted())
        pass_time(account, 10_000)
        stuck = get(account).properties.provisioning_state
        containers(account).managed_clusters.begin_abort_latest_operation("byoc", NAME).result()
        aborted = get(account).properties
        account.azure.cloud.world.faults.remove(fault.id)
        pass_time(account, 600)
        after = get(account).properties.provisioning_state
        put(account, wanted())
        pass_time(account, 600)

        assert (stuck, aborted.provisioning_state, after) == ("Creating", "Canceled", "Canceled")
        assert aborted.agent_pool_profiles[0].provisioning_state == "Canceled"
        assert get(account).properties.provisioning_state == "Succeeded"

    def test_no_machines(self, account: Account) -> None:
        """The cluster is `Failed` with its pools, and made whole by asking again."""
        make_surroundings(account)
        rule = Fault(kind=FaultKind.CAPACITY, service="containerservice", mutating=True)
        fault = account.azure.cloud.world.faults.add(rule)

        with pytest.raises(HttpResponseError, match="ZonalAllocationFailed"):
            containers(account).managed_clusters.begin_create_or_update("byoc", NAME, wanted()).result()
        failed = get(account)
        account.azure.cloud.world.faults.remove(fault.id)
        put(account, wanted())

        assert failed.properties.provisioning_state == "Failed"
        assert failed.properties.agent_pool_profiles[0].provisioning_state == "Failed"
        assert get(account).properties.provisioning_state == "Succeeded"
        assert kinds_of(account)["virtual-machine"] == 3

    def test_no_cores(self, account: Account) -> None:
        """The quota's own error, at once."""
        make_surroundings(account)
        account.azure.cloud.world.faults.add(Fault(kind=FaultKind.QUOTA, service="containerservice"))

        assert refused(account, wanted()) == "ErrCode_InsufficientVCPUQuota"


class TestDeleted:
    """What is left of a cluster."""

    def test_with_the_group_of_its_nodes(self, slow_account: Account) -> None:
        """It is `Deleting` meanwhile; afterwards nobody can reach it and its network is free."""
        make_surroundings(slow_account)
        before = kinds_of(slow_account)
        put(slow_account, wanted())
        pass_time(slow_account, 600)
        clusters = containers(slow_account).managed_clusters
        clusters.begin_delete("byoc", NAME, polling=False)
        during = get(slow_account).properties.provisioning_state
        pass_time(slow_account, 600)

        assert during == "Deleting"
        assert kinds_of(slow_account) == before
        assert slow_account.azure.kubernetes.clusters() == []
        with pytest.raises(ResourceNotFoundError):
            get(slow_account)
        clusters.begin_delete("byoc", NAME, polling=False)
        slow_account.network().virtual_networks.begin_delete("byoc", "byoc", polling=False)

    def test_with_its_own_resource_group(self, account: Account) -> None:
        """The group takes the cluster along, and the cluster the group of its nodes."""
        make_cluster(account)

        account.resources().resource_groups.begin_delete("byoc").result()

        assert account.azure.kubernetes.clusters() == []
        assert [entry for entry in account.azure.inventory(SUBSCRIPTION) if entry.type != "role-assignment"] == []


class TestCalls:
    """What can be asked of a cluster."""

    def test_credentials_lead_to_its_api(self, account: Account) -> None:
        """Server and authority are in them; local accounts are off."""
        make_cluster(account)

        core = kubernetes_client.CoreV1Api(kube_client(account, f"owner:{SUBSCRIPTION}"))

        assert "kube-system" in [entry.metadata.name for entry in core.list_namespace().items]
        with pytest.raises(HttpResponseError, match="disable local accounts"):
            containers(account).managed_clusters.list_cluster_admin_credentials("byoc", NAME)

    def test_versions_to_go_to(self, account: Account) -> None:
        """One minor version up for the control plane, up to the control plane for pools."""
        make_cluster(account)
        client = containers(account)

        profile = client.managed_clusters.get_upgrade_profile("byoc", NAME)
        versions = client.managed_clusters.list_kubernetes_versions(REGION)

        control_plane = profile.properties.control_plane_profile
        assert [upgrade.kubernetes_version for upgrade in control_plane.upgrades] == ["1.35.2"]
        nodes = client.agent_pools.get_upgrade_profile("byoc", NAME, "system").properties
        assert (nodes.kubernetes_version, list(nodes.upgrades or ())) == ("1.34.4", [])
        assert [entry["version"] for entry in versions["values"]][:2] == ["1.36", "1.35"]
        assert get(account).id == CLUSTER
