"""The server in a cluster of GKE, reached by its public name, and taken away again."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from google.cloud import compute_v1, resourcemanager_v3

from activities.contracts import (
    CertificateRequest,
    DomainRequest,
    NamespaceRequest,
)
from activities.gcp.cluster_token import GcpClusterTokens
from activities.gcp.connection import GcpConnections
from activities.gcp.settings import GcpSettings
from activities.kubernetes.manifests.gcp import GcpManifests, tls_policy
from activities.kubernetes.server import KubernetesServer
from domain.failure import FailureClass
from domain.shape import Component, PoolName
from tests.activities.gcp.conftest import REGION, Account
from tests.activities.gcp.ground import make_ground
from tests.activities.served import Served, kubernetes_settings
from tests.activities.tenant import by_name

BALANCER_PARTS = {
    "address", "backend-service", "firewall", "forwarding-rule", "health-check", "network-endpoint-group",
    "target-https-proxy", "url-map",
}  # fmt: skip
LATE = timedelta(hours=2)


class Deployment(Served[Account]):
    """A cluster with nodes, an issued certificate, and the namespace of the server."""

    def parts(self) -> list[str]:
        """Return what GKE made for load balancers, by name."""
        return sorted(each.name for each in self.account.resources() if each.name.startswith(("gkegw", "k8s1-")))


@pytest.fixture
def deployment(account: Account, settings: GcpSettings) -> Deployment:
    """Everything before the endpoint, with the activities of clusters beside those of the cloud."""
    tokens = GcpClusterTokens(GcpConnections(settings))
    server = KubernetesServer(tokens, tokens, GcpManifests(), kubernetes_settings(account.endpoints))
    account = replace(account, activities={**account.activities, **by_name(server.activities())})
    ground = make_ground(account)
    domain = account.run("create_domain", DomainRequest(site=account.site, domain=f"{account.site.deployment}.example"))
    certificate = account.run("create_certificate", CertificateRequest(site=account.site, domain=domain))
    cluster = account.run("create_cluster", ground.cluster_request())
    account.run("grant_cluster_access", ground.in_cluster(cluster))
    account.run("create_namespace", NamespaceRequest(site=account.site, cluster=cluster, auth_webhook=None))
    return Deployment(account, ground, cluster, domain, certificate)


def test_the_server_is_used_by_its_public_name_and_leaves_nothing(deployment: Deployment) -> None:
    """A document goes through the load balancer over TLS; after the deletion no part of one and no disk is left."""
    account, site = deployment.account, deployment.account.site
    for pool in (PoolName.STORE, PoolName.SERVICES):
        account.run("create_node_pool", deployment.ground.pool_request(deployment.cluster, pool))
    deployment.install()

    balancer = deployment.open()
    tested = deployment.smoke_test()
    at_subscriptions = [
        deployment.status_at_subscriptions(account.endpoints, path) for path in ("/subscribe/healthz", "/healthz")
    ]
    during = {each.type for each in account.resources()}
    account.run("delete_workloads", site)

    assert ipaddress.ip_address(balancer.hostname).is_global
    assert tested.url == f"https://{deployment.domain.name}"
    assert set(tested.components) == set(Component)
    # Only the API server has the second path: the other port leads past it.
    assert at_subscriptions == [200, 404]
    assert during >= BALANCER_PARTS
    assert deployment.parts() == []
    assert [each for each in account.resources() if each.name.startswith("pvc-")] == []


def test_it_is_the_load_balancer_that_was_ordered(deployment: Deployment) -> None:
    """In the region, at both ports, with the certificate and the TLS policy; long requests, and pods that drain."""
    account = deployment.account
    where = {"project": account.project, "region": REGION}

    balancer = deployment.open()

    rules = list(account.customer(compute_v1.ForwardingRulesClient).list(**where))
    proxies = list(account.customer(compute_v1.RegionTargetHttpsProxiesClient).list(**where))
    services = list(account.customer(compute_v1.RegionBackendServicesClient).list(**where))
    assert {(rule.I_p_address, rule.port_range) for rule in rules} == {
        (balancer.hostname, "443-443"),
        (balancer.hostname, "8443-8443"),
    }
    assert {rule.load_balancing_scheme for rule in rules} == {"EXTERNAL_MANAGED"}
    for proxy in proxies:
        assert proxy.ssl_policy.endswith(f"/regions/{REGION}/sslPolicies/{tls_policy(account.site)}")
        (presented,) = proxy.ssl_certificates
        assert presented.endswith(deployment.certificate.certificate_id)
    assert {service.timeout_sec for service in services} == {86400}
    assert {service.connection_draining.draining_timeout_sec for service in services} == {60, 90}


def test_a_certificate_in_use_is_not_deleted(deployment: Deployment) -> None:
    """Google keeps it as long as the load balancer presents it."""
    deployment.open()

    refused = deployment.account.attempt_once("delete_certificate", deployment.account.site)

    assert refused is not None
    assert refused.failure is FailureClass.CONFLICT


def without_agent(account: Account) -> None:
    """Take the role of GKE's service agent away."""
    projects = account.customer(resourcemanager_v3.ProjectsClient)
    resource = f"projects/{account.project}"
    policy = projects.get_iam_policy(request={"resource": resource, "options": {"requested_policy_version": 3}})
    kept = [binding for binding in policy.bindings if binding.role != "roles/container.serviceAgent"]
    del policy.bindings[:]
    policy.bindings.extend(kept)
    policy.version = 3
    projects.set_iam_policy(request={"resource": resource, "policy": policy})


def late_failure(deployment: Deployment) -> Any:
    """Return how opening the endpoint fails once it is late, when the controller has said why."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        detail = deployment.account.attempt_once("open_endpoint", deployment.endpoint_request(), age=LATE)
        if detail is None or detail.failure is not FailureClass.NOT_READY:
            return detail
        time.sleep(0.02)
    raise AssertionError("the controller says nothing")


def test_what_the_agent_may_not_do_is_named(deployment: Deployment) -> None:
    """GKE's own service agent lacks a permission, which only the customer can give it."""
    without_agent(deployment.account)

    detail = late_failure(deployment)

    assert detail.failure is FailureClass.PERMISSION
    assert detail.action == "compute.addresses.create"


def test_a_network_without_room_for_proxies_is_named(deployment: Deployment) -> None:
    """Without the proxy-only subnetwork there is no load balancer, and the controller's words say so."""
    subnetworks = deployment.account.customer(compute_v1.SubnetworksClient)
    (name,) = deployment.ground.network.public_subnet_ids
    subnetworks.delete_unary(project=deployment.account.project, region=REGION, subnetwork=name)

    detail = late_failure(deployment)

    assert detail.failure is not FailureClass.NOT_READY
    assert "proxy-only subnetwork is required" in detail.message
    assert deployment.parts() == []


def test_what_a_cluster_leaves_behind_is_found(deployment: Deployment) -> None:
    """With the cluster goes its controller: the parts of the load balancer stay until they are looked for."""
    account = deployment.account
    deployment.open()
    account.run("delete_node_pools", account.site)
    account.run("delete_cluster", account.site)
    left = deployment.parts()

    account.run("delete_workloads", account.site)
    account.run("delete_load_balancers_and_volumes", account.site)
    account.run("delete_firewall", account.site)

    assert left
    assert deployment.parts() == []
