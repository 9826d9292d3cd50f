"""Gateways in clusters of GKE, and the load balancers that its controller makes for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from google.cloud import certificate_manager_v1, compute_v1
from kubernetes import client as kubernetes_client
from kubernetes.client.exceptions import ApiException

from simulators.kubernetes import kinds
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object
from simulators.kubernetes.simulator import Cluster
from tests.simulators.gcp.customers import LOCATION, PROJECT, REGION, Customer
from tests.simulators.serving import on_loop

GATEWAY_API = {"gateway_api_config": {"channel": "CHANNEL_STANDARD"}}
NAMESPACE = "byoc"
GROUP = "gateway.networking.k8s.io"


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, at most ten seconds."""
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come to hold")


def make_cluster(account: Customer, *, proxies: bool = True) -> Cluster:
    """Return a cluster with the kinds of the Gateway API, in a network with room for proxies."""
    account.make_cluster(network_config=GATEWAY_API)
    if proxies:
        subnetwork = compute_v1.Subnetwork(
            name="proxies",
            network="global/networks/byoc",
            ip_cidr_range="10.1.0.0/23",
            purpose="REGIONAL_MANAGED_PROXY",
            role="ACTIVE",
        )
        subnetworks = account.rest(compute_v1.SubnetworksClient)
        account.done(subnetworks.insert_unary(project=PROJECT, region=REGION, subnetwork_resource=subnetwork))
    (cluster,) = account.kubernetes.clusters()
    on_loop(cluster.store.create, kinds.NAMESPACES, {"metadata": {"name": NAMESPACE}})
    return cluster


def make_certificate(account: Customer, name: str = "byoc") -> Object:
    """Make a certificate that is not issued yet, and return what keeps it."""
    manager = account.rpc(certificate_manager_v1.CertificateManagerClient)
    managed = {"domains": ["acme.example"]}
    manager.create_certificate(parent=LOCATION, certificate={"managed": managed}, certificate_id=name).result(
        timeout=30
    )
    (kept,) = [each for each in account.google.certificates.of(PROJECT) if each["name"].endswith(f"/{name}")]
    return kept


def put(cluster: Cluster, kind: Kind, name: str, spec: Object) -> None:
    """Make an object in the cluster."""
    head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}}
    on_loop(cluster.store.create, kind, {**head, "spec": spec}, NAMESPACE)


def listener(name: str, port: int) -> Object:
    """Return an HTTPS listener with the certificate."""
    options = {"networking.gke.io/cert-manager-certs": "byoc"}
    return {"name": name, "port": port, "protocol": "HTTPS", "tls": {"mode": "Terminate", "options": options}}


def gateway(*listeners: Object) -> Object:
    """Return the specification of a Gateway."""
    return {
        "gatewayClassName": "gke-l7-regional-external-managed",
        "listeners": list(listeners) or [listener("api", 443)],
    }


def route(section: str, service: str) -> Object:
    """Return the specification of a route."""
    return {
        "parentRefs": [{"name": "endpoint", "sectionName": section}],
        "rules": [{"backendRefs": [{"name": service, "port": 8080}]}],
    }


def target(kind: str, name: str, group: str = "") -> Object:
    """Return what a policy is for."""
    return {"group": group, "kind": kind, "name": name}


def found(cluster: Cluster, kind: Kind, name: str = "endpoint") -> Object:
    """Return an object of the cluster."""
    obj = cluster.store.get(kind, NAMESPACE, name)
    assert obj is not None
    return obj


def programmed(cluster: Cluster) -> Object:
    """Return what the controller says of the Gateway."""
    conditions = (found(cluster, kinds.GATEWAYS).get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == "Programmed"), {})


def parts(account: Customer) -> dict[str, list[str]]:
    """Return what the controller made, names by kind."""
    made: dict[str, list[str]] = {}
    for each in account.google.inventory(PROJECT):
        if each.name.startswith(("gkegw1-", "k8s1-")):
            made.setdefault(each.type, []).append(each.name)
    return made


def api(account: Customer, token: str) -> kubernetes_client.CustomObjectsApi:
    """Return a client of the cluster's custom resources."""
    (cluster,) = account.kubernetes.clusters()
    configuration = kubernetes_client.Configuration()
    configuration.host = cluster.url
    configuration.ca_cert_data = account.kubernetes.ca_pem.decode()
    configuration.api_key = {"authorization": f"Bearer {token}"}
    return kubernetes_client.CustomObjectsApi(kubernetes_client.ApiClient(configuration))


def listed(account: Customer, token: str) -> int:
    """Return with which status the cluster answers to a list of Gateways."""
    try:
        api(account, token).list_namespaced_custom_object(GROUP, "v1", "default", "gateways")
    except ApiException as error:
        return int(error.status)
    return 200


class TestKinds:
    """The kinds of the Gateway API and GKE's policies."""

    def test_are_not_served_without_the_channel(self, account: Customer) -> None:
        """A cluster that nobody asked to has no Gateways, neither at their path nor in the discovery."""
        account.make_cluster()

        assert listed(account, account.owner.token) == 404

    def test_need_the_permission_for_custom_resources(self, account: Customer) -> None:
        """IAM has one name for all of them."""
        make_cluster(account)
        known = account.member("byoc-operate", "container.thirdPartyObjects.list")
        stranger = account.member("byoc-stranger", "container.services.list")

        assert listed(account, known.token) == 200
        assert listed(account, stranger.token) == 403

    def test_are_in_the_discovery(self, account: Customer) -> None:
        """Tools find them there."""
        make_cluster(account)

        resources = api(account, account.owner.token).get_api_resources(GROUP, "v1").resources

        names = {each.name for each in resources}
        assert {"gateways", "gateways/status", "httproutes"} <= names

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"listenres": []}, 'unknown field "spec.listenres"'),
            ({"listeners": [{"name": "api", "port": "443", "protocol": "HTTPS"}]}, "cannot unmarshal string"),
            ({"listeners": [{"name": "api", "port": 443}]}, "spec.listeners[0].protocol"),
        ],
    )
    def test_have_schemas(self, account: Customer, change: Object, words: str) -> None:
        """A field that does not exist, has another type or is missing is refused."""
        make_cluster(account)
        wanted = {
            "apiVersion": f"{GROUP}/v1", "kind": "Gateway", "metadata": {"name": "g"}, "spec": {**gateway(), **change},
        }  # fmt: skip

        with pytest.raises(ApiException) as caught:
            api(account, account.owner.token).create_namespaced_custom_object(
                GROUP, "v1", NAMESPACE, "gateways", wanted, field_validation="Strict"
            )

        assert words in caught.value.body.replace('\\"', '"')


class TestLoadBalancers:
    """What becomes of a Gateway in the project."""

    def test_wait_for_an_issued_certificate(self, account: Customer) -> None:
        """Until then nothing is made, and conditions and events say why."""
        cluster = make_cluster(account)
        put(cluster, kinds.GATEWAYS, "endpoint", gateway())
        until(lambda: "does not exist" in programmed(cluster).get("message", ""))
        certificate = make_certificate(account)
        until(lambda: "not ACTIVE" in programmed(cluster).get("message", ""))
        before = parts(account)

        certificate["managed"]["state"] = "ACTIVE"
        until(lambda: programmed(cluster)["status"] == "True")

        warnings = [each for each in cluster.store.list(kinds.EVENTS, NAMESPACE) if each["type"] == "Warning"]
        assert before == {}
        assert {each["involvedObject"]["kind"] for each in warnings} == {"Gateway"}
        assert all("GWCER106" in each["message"] for each in warnings)
        (address,) = found(cluster, kinds.GATEWAYS)["status"]["addresses"]
        (rule,) = account.rest(compute_v1.ForwardingRulesClient).list(project=PROJECT, region=REGION)
        assert rule.I_p_address == address["value"]

    def make(self, account: Customer) -> Cluster:
        """Return a cluster with a Gateway of two ports, a route from each, and its Services."""
        cluster = make_cluster(account)
        make_certificate(account)["managed"]["state"] = "ACTIVE"
        for name in ("api", "subscription"):
            ports = [{"port": 8080, "targetPort": 8080}]
            put(cluster, kinds.SERVICES, name, {"selector": {"app": name}, "ports": ports})
            put(cluster, kinds.HTTP_ROUTES, name, route(name, name))
        put(cluster, kinds.GATEWAYS, "endpoint", gateway(listener("api", 443), listener("subscription", 8443)))
        until(lambda: programmed(cluster).get("status") == "True")
        return cluster

    def test_follow_the_gateway(self, account: Customer) -> None:
        """A listener that goes takes its forwarding rule along, a route its backends; the address stays."""
        cluster = self.make(account)
        before, address = parts(account), found(cluster, kinds.GATEWAYS)["status"]["addresses"]
        smaller = found(cluster, kinds.GATEWAYS)

        on_loop(cluster.store.save, kinds.GATEWAYS, {**smaller, "spec": gateway()})
        until(lambda: len(parts(account)["forwarding-rule"]) == 1)

        after = parts(account)
        assert {kind: len(names) for kind, names in before.items()} == {
            "address": 1, "backend-service": 2, "firewall": 1, "forwarding-rule": 2, "health-check": 2,
            "network-endpoint-group": 6, "target-https-proxy": 2, "url-map": 2,
        }  # fmt: skip
        assert {kind: len(names) for kind, names in after.items()} == {
            "address": 1, "backend-service": 1, "firewall": 1, "forwarding-rule": 1, "health-check": 1,
            "network-endpoint-group": 3, "target-https-proxy": 1, "url-map": 1,
        }  # fmt: skip
        assert found(cluster, kinds.GATEWAYS)["status"]["addresses"] == address

    def test_follow_the_policies(self, account: Customer) -> None:
        """A policy for a Service reaches its backend service; one for nothing says so itself."""
        cluster = self.make(account)
        services = account.rest(compute_v1.RegionBackendServicesClient)

        def settings() -> set[tuple[int, bool]]:
            listed = services.list(project=PROJECT, region=REGION)
            return {(each.timeout_sec, each.log_config.enable) for each in listed}

        before = settings()
        default = {"timeoutSec": 600, "logging": {"enabled": True}}
        put(cluster, kinds.GCP_BACKEND_POLICIES, "api", {"default": default, "targetRef": target("Service", "api")})
        put(cluster, kinds.GCP_BACKEND_POLICIES, "none", {"default": default, "targetRef": target("Service", "none")})
        until(lambda: settings() == {(30, False), (600, True)})

        attached = {
            name: found(cluster, kinds.GCP_BACKEND_POLICIES, name)["status"]["conditions"][0]["status"]
            for name in ("api", "none")
        }
        assert before == {(30, False)}
        assert attached == {"api": "True", "none": "False"}

    def test_need_the_ssl_policy_that_is_named(self, account: Customer) -> None:
        """One that does not exist keeps the change from being programmed; what served before serves on."""
        cluster = self.make(account)
        default, about = {"sslPolicy": "modern"}, target("Gateway", "endpoint", GROUP)

        put(cluster, kinds.GCP_GATEWAY_POLICIES, "endpoint", {"default": default, "targetRef": about})
        until(lambda: programmed(cluster)["status"] == "False")
        message = programmed(cluster)["message"]
        policy = compute_v1.SslPolicy(name="modern", min_tls_version="TLS_1_2")
        policies = account.rest(compute_v1.RegionSslPoliciesClient)
        account.done(policies.insert_unary(project=PROJECT, region=REGION, ssl_policy_resource=policy))
        until(lambda: programmed(cluster)["status"] == "True")

        proxies = account.rest(compute_v1.RegionTargetHttpsProxiesClient).list(project=PROJECT, region=REGION)
        assert "sslPolicies/modern' was not found" in message
        assert {each.ssl_policy.rpartition("/")[2] for each in proxies} == {"modern"}

    def test_lead_from_each_port_to_its_own_service(self, account: Customer) -> None:
        """By listener, route and Service; another port leads nowhere."""
        cluster = self.make(account)
        (address,) = found(cluster, kinds.GATEWAYS)["status"]["addresses"]

        led = [account.google.provider.destination_at(address["value"], port) for port in (443, 8443, 80)]

        assert led == [(cluster.id, NAMESPACE, "api", 8080), (cluster.id, NAMESPACE, "subscription", 8080), None]

    def test_are_gone_before_their_gateway(self, account: Customer) -> None:
        """A finalizer holds it until the controller has taken everything away."""
        cluster = self.make(account)
        held: Any = found(cluster, kinds.GATEWAYS)["metadata"]["finalizers"]

        on_loop(cluster.store.delete, kinds.GATEWAYS, found(cluster, kinds.GATEWAYS))
        until(lambda: cluster.store.get(kinds.GATEWAYS, NAMESPACE, "endpoint") is None)

        assert held == ["gateway.finalizer.networking.gke.io"]
        assert parts(account) == {}

    def test_ignore_routes_that_lead_nowhere(self, account: Customer) -> None:
        """Such a route says what is wrong, and the listener has no backend."""
        cluster = make_cluster(account)
        make_certificate(account)["managed"]["state"] = "ACTIVE"
        put(cluster, kinds.HTTP_ROUTES, "api", route("api", "missing"))
        put(cluster, kinds.HTTP_ROUTES, "other", route("other", "missing"))
        put(cluster, kinds.GATEWAYS, "endpoint", gateway())
        until(lambda: programmed(cluster).get("status") == "True")

        reasons = {}
        for name in ("api", "other"):
            (parent,) = found(cluster, kinds.HTTP_ROUTES, name)["status"]["parents"]
            reasons[name] = {each["type"]: each["reason"] for each in parent["conditions"]}
        assert reasons["api"] == {"Accepted": "Accepted", "ResolvedRefs": "BackendNotFound"}
        assert reasons["other"]["Accepted"] == "NoMatchingParent"
        assert "backend-service" not in parts(account)

    def test_of_other_classes_are_not_made(self, account: Customer) -> None:
        """Nobody acts on a Gateway of a class that is not simulated."""
        cluster = make_cluster(account)
        put(cluster, kinds.GATEWAYS, "endpoint", {**gateway(), "gatewayClassName": "gke-l7-rilb"})
        until(lambda: "finalizers" in found(cluster, kinds.GATEWAYS)["metadata"])

        assert programmed(cluster)["reason"] == "Pending"
        assert parts(account) == {}
