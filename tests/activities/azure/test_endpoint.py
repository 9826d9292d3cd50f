"""The server in a cluster of AKS, reached by its public name, and taken away again."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.network import NetworkManagementClient

from activities.azure.add_ons import AzureAddOns
from activities.azure.bucket import AzureBackupBucket
from activities.azure.certificate import AzureCertificate
from activities.azure.cluster import AzureCluster
from activities.azure.cluster_access import AzureClusterAccess
from activities.azure.cluster_token import AzureClusterTokens
from activities.azure.connection import AzureConnections
from activities.azure.controller_made import AzureControllerMade
from activities.azure.dns import AzureDomain, AzureEndpointRecord
from activities.azure.granting import BuiltInRole
from activities.azure.groups import node_group_name
from activities.azure.node_pools import AzureNodePools
from activities.azure.settings import AzureSettings
from activities.azure.vault import certificates_vault
from activities.azure.workload_identity import AzureWorkloadIdentity
from activities.cloud import Activity
from activities.contracts import (
    BackupRequest,
    BucketRequest,
    CertificateRequest,
    DomainRequest,
    NamespaceRequest,
    RestoreRequest,
)
from activities.kubernetes.manifests.azure import AzureManifests
from activities.kubernetes.server import KubernetesServer
from domain.failure import FailureClass
from domain.naming import base_name
from domain.shape import Component, PoolName
from simulators.endpoints import Endpoints
from tests.activities.azure.conftest import Account, activities_of
from tests.activities.azure.ground import GROUND, make_ground
from tests.activities.served import RELEASE, Served, kubernetes_settings

LATE = timedelta(hours=2)
PARTS = (
    AzureDomain, AzureCertificate, AzureBackupBucket, AzureCluster, AzureClusterAccess, AzureWorkloadIdentity,
    AzureAddOns, AzureNodePools, AzureControllerMade, AzureEndpointRecord,
)  # fmt: skip


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections, endpoints: Endpoints) -> Sequence[Activity]:
    """Everything that a server stands on, and the activities inside clusters."""
    tokens = AzureClusterTokens(connections)
    server = KubernetesServer(tokens, tokens, AzureManifests(), kubernetes_settings(endpoints))
    return [*activities_of(*GROUND, *PARTS)(settings, connections), *server.activities()]


class Deployment(Served[Account]):
    """A cluster with nodes, an issued certificate, and the namespace of the server."""

    def parts(self) -> set[str]:
        """Return the names of what is in the group of the nodes, apart from machines and their disks."""
        nodes = f"/{node_group_name(self.account.site)}/"
        found = [each for each in self.account.resources() if nodes in each.id]
        return {each.name for each in found if each.type in ("load-balancer", "public-ip-address")}


@pytest.fixture
def deployment(account: Account) -> Deployment:
    """Everything before the endpoint."""
    ground = make_ground(account)
    site = account.site
    bucket = account.run("create_backup_bucket", BucketRequest(site=site, key=ground.key))
    domain = account.run("create_domain", DomainRequest(site=site, domain=f"{site.deployment}.example"))
    certificate = account.run("create_certificate", CertificateRequest(site=site, domain=domain))
    cluster = account.run("create_cluster", ground.cluster_request())
    account.run("grant_cluster_access", ground.in_cluster(cluster))
    account.run("create_workload_identity", ground.identities(cluster))
    account.run("create_node_pool", ground.pool_request(cluster, PoolName.SERVICES, minimum=2))
    namespace = NamespaceRequest(site=site, cluster=cluster, auth_webhook=None, roles=ground.roles)
    account.run("create_namespace", namespace)
    return Deployment(account, ground, cluster, domain, certificate, bucket)


def test_the_server_is_used_by_its_public_name_and_leaves_nothing(deployment: Deployment) -> None:
    """A document goes through the load balancer over TLS, a backup and back; then no part of it and no disk is left."""
    account, site, cluster = deployment.account, deployment.account.site, deployment.cluster
    account.run("create_node_pool", deployment.ground.pool_request(cluster))
    deployment.install()

    balancer = deployment.open()
    tested = deployment.smoke_test()
    at_subscriptions = [
        deployment.status_at_subscriptions(account.endpoints, path) for path in ("/subscribe/healthz", "/healthz")
    ]
    taken = BackupRequest(site=site, cluster=cluster, bucket=deployment.bucket, release=RELEASE, name="first")
    backup = account.run("back_up", taken)
    restore = RestoreRequest(site=site, cluster=cluster, backup=backup, release=RELEASE, roles=deployment.ground.roles)
    proof = account.run("prove_restore", restore)
    disks = [each for each in account.resources() if each.name.startswith("pvc-")]
    during = deployment.parts()
    account.run("delete_workloads", site)

    assert ipaddress.ip_address(balancer.hostname).is_global
    assert tested.url == f"https://{deployment.domain.name}"
    assert set(tested.components) == set(Component)
    # Only the API server has the second path: the other port leads past it.
    assert at_subscriptions == [200, 404]
    assert (proof.records, proof.sha256) == (backup.records, backup.sha256)
    assert [each.encrypted for each in disks] == [True] * len(disks)
    assert disks
    assert "kubernetes" in during
    assert deployment.parts() == {"kube-apiserver"}
    assert [each for each in account.resources() if each.name.startswith("pvc-")] == []


def test_it_is_the_load_balancer_that_was_ordered(deployment: Deployment) -> None:
    """One public address for both ports, and a way in for the probes; all of it in the group of the nodes."""
    balancer = deployment.open()

    network = deployment.account.customer(NetworkManagementClient)
    group = node_group_name(deployment.account.site)
    found = network.load_balancers.get(group, "kubernetes")
    addresses = [each.ip_address for each in network.public_ip_addresses.list(group)]
    assert {rule.frontend_port for rule in found.load_balancing_rules} >= {443, 8443}
    assert balancer.hostname in addresses


def late_failure(deployment: Deployment) -> Any:
    """Return how opening the endpoint fails once it is late, when the controller has said why."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        detail = deployment.account.attempt_once("open_endpoint", deployment.endpoint_request(), age=LATE)
        if detail is None or detail.failure is not FailureClass.NOT_READY:
            return detail
        time.sleep(0.02)
    raise AssertionError("the controller says nothing")


def test_a_certificate_that_may_not_be_read_is_named(deployment: Deployment) -> None:
    """The endpoint's identity lost its role at the vault: nothing serves, and the missing action is said."""
    account = deployment.account
    authorization = account.customer(AuthorizationManagementClient)
    vaults = account.customer(KeyVaultManagementClient).vaults
    vault = vaults.get(base_name(account.site), certificates_vault(account.site))
    for assignment in list(authorization.role_assignments.list_for_scope(vault.id)):
        if assignment.role_definition_id.endswith(BuiltInRole.SECRETS_USER):
            authorization.role_assignments.delete_by_id(assignment.id)

    detail = late_failure(deployment)

    assert detail.failure is FailureClass.PERMISSION
    assert detail.action == "Microsoft.KeyVault/vaults/secrets/getSecret/action"


def test_what_a_cluster_leaves_behind_goes_with_it(deployment: Deployment) -> None:
    """With the cluster goes the group of its nodes, whatever its controllers had made there."""
    account = deployment.account
    deployment.open()
    during = deployment.parts()
    account.run("delete_node_pools", account.site)

    account.run("delete_cluster", account.site)
    account.run("delete_workloads", account.site)
    account.run("delete_load_balancers_and_volumes", account.site)

    assert "kubernetes" in during
    assert deployment.parts() == set()
