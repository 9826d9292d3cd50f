"""Gateways of application routing in clusters of AKS: their proxies, their certificates, and the way in by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from azure.keyvault.certificates import CertificateClient, CertificatePolicy
from azure.mgmt.dns import DnsManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from kubernetes import client as kubernetes_client
from kubernetes.client.exceptions import ApiException

from activities.azure.transport import LoopbackTransport
from simulators.kubernetes import kinds
from simulators.kubernetes.certificates import CertificateAuthority
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object
from simulators.kubernetes.simulator import Cluster
from tests.simulators.azure.clusters import (
    NODE_GROUP,
    assign,
    get,
    kinds_of,
    kube_client,
    make_cluster,
    make_identity,
    pass_time,
)
from tests.simulators.azure.clusters import put as put_cluster
from tests.simulators.azure.conftest import REGION, SUBSCRIPTION, Account, Owner
from tests.simulators.serving import on_loop

NAMESPACE = "byoc"
HOST = "acme-prod.db.acme.example"
VAULT = "byoc-certs"
SECRET = f"https://{VAULT}.vault.azure.net/secrets/endpoint"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
PROXIES = "endpoint-approuting-istio"


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, at most ten seconds."""
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come to hold")


def make_certificate(account: Account, *names: str) -> Any:
    """Make a vault with an issued certificate for some names; return the vault."""
    vaults = account.client(KeyVaultManagementClient).vaults
    properties = {"tenantId": account.tenant, "sku": {"family": "A", "name": "standard"}}
    document = {"location": REGION, "properties": properties}
    vaults.begin_create_or_update("byoc", VAULT, document, polling=False)
    pass_time(account, 60)
    made = vaults.get("byoc", VAULT)
    transport = LoopbackTransport(account.azure.url)
    with CertificateClient(f"https://{VAULT}.vault.azure.net", Owner(), transport=transport, retry_total=0) as client:
        policy = CertificatePolicy(issuer_name="Unknown", subject=f"CN={names[0]}", san_dns_names=list(names))
        client.begin_create_certificate("endpoint", policy)
        request = x509.load_der_x509_csr(client.get_certificate_operation("endpoint").csr)
        signed = CertificateAuthority("test").sign(request, timedelta(days=90))
        client.merge_certificate("endpoint", [x509.load_pem_x509_certificate(signed).public_bytes(Encoding.DER)])
    return made


def make_reader(account: Account, cluster: Cluster, vault: Any) -> None:
    """Make the service account that reads the certificate, its identity, and what both need."""
    identity = make_identity(account, "endpoint")
    pass_time(account, 60)
    trust(account)
    assign(account, SECRETS_USER, identity.principal_id, vault.id)
    annotations = {"azure.workload.identity/client-id": identity.client_id}
    put(cluster, kinds.SERVICE_ACCOUNTS, "endpoint", annotations=annotations)


def trust(account: Account) -> None:
    """Let the identity trust the service account."""
    issuer = get(account).properties.oidc_issuer_profile.issuer_url
    subject = f"system:serviceaccount:{NAMESPACE}:endpoint"
    trusted = {"issuer": issuer, "subject": subject, "audiences": ["api://AzureADTokenExchange"]}
    client = account.client(ManagedServiceIdentityClient).federated_identity_credentials
    client.create_or_update("byoc", "endpoint", "endpoint", {"properties": trusted})


def make_gateway(account: Account, **infrastructure: Any) -> Cluster:
    """Make a cluster with a Gateway, its route, and the Service behind it."""
    cluster = make_cluster(account)
    on_loop(cluster.store.create, kinds.NAMESPACES, {"metadata": {"name": NAMESPACE}})
    spec: Object = {"gatewayClassName": "approuting-istio", "listeners": [listener("api", 443)]}
    put(cluster, kinds.SERVICES, "api", spec={"selector": {"app": "api"}, "ports": [{"port": 8080}]})
    put(cluster, kinds.GATEWAYS, "endpoint", spec=spec | ({"infrastructure": infrastructure} if infrastructure else {}))
    parent = {"name": "endpoint", "sectionName": "api"}
    backend = {"backendRefs": [{"name": "api", "port": 8080}]}
    put(cluster, kinds.HTTP_ROUTES, "api", spec={"parentRefs": [parent], "rules": [backend]})
    return cluster


def make_name(account: Account, address: str) -> None:
    """Let a public name lead to an address."""
    dns = account.client(DnsManagementClient)
    dns.zones.create_or_update("byoc", "db.acme.example", {"location": "global"})
    properties = {"TTL": 60, "ARecords": [{"ipv4Address": address}]}
    dns.record_sets.create_or_update("byoc", "db.acme.example", "acme-prod", "A", {"properties": properties})


def put(cluster: Cluster, kind: Kind, name: str, *, annotations: Any = None, **parts: Any) -> None:
    """Make an object in the cluster."""
    metadata = {"name": name, **({"annotations": annotations} if annotations else {})}
    head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
    on_loop(cluster.store.create, kind, {**head, **parts}, NAMESPACE)


def listener(name: str, port: int) -> Object:
    """Return an HTTPS listener with the certificate."""
    options = {
        "kubernetes.azure.com/tls-cert-keyvault-uri": SECRET,
        "kubernetes.azure.com/tls-cert-service-account": "endpoint",
    }
    return {"name": name, "port": port, "protocol": "HTTPS", "tls": {"mode": "Terminate", "options": options}}


def status(cluster: Cluster) -> Object:
    """Return the status of the Gateway."""
    found = cluster.store.get(kinds.GATEWAYS, NAMESPACE, "endpoint")
    return dict((found or {}).get("status") or {})


def is_programmed(conditions: Any) -> str:
    """Return what the condition `Programmed` says."""
    return next((str(each["status"]) for each in conditions or () if each["type"] == "Programmed"), "")


def serves(cluster: Cluster) -> bool:
    """Return whether the Gateway and each of its listeners serve."""
    said = status(cluster)
    parts = [said, *(said.get("listeners") or ())]
    return all(is_programmed(each.get("conditions")) == "True" for each in parts)


def warnings(cluster: Cluster) -> str:
    """Return what the events about the Gateway warn of."""
    events = cluster.store.list(kinds.EVENTS, NAMESPACE)
    about = [each for each in events if each["involvedObject"]["kind"] == "Gateway" and each["type"] == "Warning"]
    return " ".join(f"{each['reason']}: {each['message']}" for each in about)


class TestKinds:
    """The kinds of the Gateway API."""

    def test_are_served_where_they_are_installed(self, account: Account) -> None:
        """A cluster without the managed Gateway API has none."""
        make_cluster(account, ingressProfile={"gatewayAPI": {"installation": "Disabled"}})
        api = kubernetes_client.CustomObjectsApi(kube_client(account, f"owner:{SUBSCRIPTION}"))
        arguments = ("gateway.networking.k8s.io", "v1", "default", "gateways")

        before = 200
        try:
            api.list_namespaced_custom_object(*arguments)
        except ApiException as error:
            before = int(error.status)
        document = get(account)
        document.properties.ingress_profile.gateway_api.installation = "Standard"
        put_cluster(account, document)
        pass_time(account, 200)

        assert before == 404
        assert api.list_namespaced_custom_object(*arguments)["items"] == []


class TestGateways:
    """What becomes of a Gateway."""

    def test_get_proxies_a_load_balancer_and_their_certificate(self, account: Account) -> None:
        """The address is that of the Service before the proxies, in the group of the nodes."""
        vault = make_certificate(account, HOST)
        cluster = make_gateway(account)
        make_reader(account, cluster, vault)

        until(lambda: serves(cluster))
        pods = cluster.store.list(kinds.PODS, NAMESPACE, "gateway.networking.k8s.io/gateway-name=endpoint")
        (address,) = account.network().public_ip_addresses.list(NODE_GROUP)

        assert status(cluster)["addresses"] == [{"type": "IPAddress", "value": address.ip_address}]
        assert len(pods) == 2
        assert address.tags["k8s-azure-service"] == f"{NAMESPACE}/{PROXIES}"

    def test_serve_nothing_without_their_certificate(self, account: Account) -> None:
        """The load balancer is there all the same; the events say step by step what is missing."""
        vault = make_certificate(account, HOST)
        cluster = make_gateway(account)

        until(lambda: "service account endpoint does not exist" in warnings(cluster))
        identity = make_identity(account, "endpoint")
        pass_time(account, 60)
        annotations = {"azure.workload.identity/client-id": identity.client_id}
        put(cluster, kinds.SERVICE_ACCOUNTS, "endpoint", annotations=annotations)
        until(lambda: "AADSTS700213" in warnings(cluster))
        trust(account)
        until(lambda: "Microsoft.KeyVault/vaults/secrets/getSecret/action" in warnings(cluster))
        until(lambda: is_programmed(status(cluster).get("conditions")) == "True")
        hindered = status(cluster)["listeners"][0]["conditions"]
        assign(account, SECRETS_USER, identity.principal_id, vault.id)

        assert is_programmed(hindered) == "False"
        assert "FailedMount" in warnings(cluster)
        until(lambda: serves(cluster))

    def test_are_customized(self, account: Account) -> None:
        """Labels and annotations for what is made, and by a ConfigMap how the proxies run."""
        vault = make_certificate(account, HOST)
        reference = {"group": "", "kind": "ConfigMap", "name": "endpoint"}
        annotations = {"service.beta.kubernetes.io/azure-pip-tags": "byoc=managed,team=a"}
        labels = {"app.kubernetes.io/name": "endpoint"}
        cluster = make_gateway(account, labels=labels, annotations=annotations, parametersRef=reference)
        deployment = '{"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.azure.com/mode": "system"}}}}}'
        put(cluster, kinds.CONFIG_MAPS, "endpoint", data={"deployment": deployment})
        make_reader(account, cluster, vault)

        until(lambda: serves(cluster))
        service = cluster.store.get(kinds.SERVICES, NAMESPACE, PROXIES)
        proxies = cluster.store.get(kinds.DEPLOYMENTS, NAMESPACE, PROXIES)
        (address,) = account.network().public_ip_addresses.list(NODE_GROUP)

        assert service is not None
        assert proxies is not None
        assert service["metadata"]["labels"]["app.kubernetes.io/name"] == "endpoint"
        assert proxies["spec"]["template"]["spec"]["nodeSelector"] == {"kubernetes.azure.com/mode": "system"}
        assert address.tags["team"] == "a"

    def test_vanish_at_once_and_what_was_made_for_them_after_them(self, account: Account) -> None:
        """Nothing is left in the cluster, nor in the group of the nodes."""
        vault = make_certificate(account, HOST)
        cluster = make_gateway(account)
        make_reader(account, cluster, vault)
        until(lambda: serves(cluster))
        during = kinds_of(account)
        gateway = cluster.store.get(kinds.GATEWAYS, NAMESPACE, "endpoint")
        assert gateway is not None

        on_loop(cluster.store.delete, kinds.GATEWAYS, gateway)

        assert cluster.store.get(kinds.GATEWAYS, NAMESPACE, "endpoint") is None
        until(lambda: cluster.store.get(kinds.SERVICES, NAMESPACE, PROXIES) is None)
        until(lambda: cluster.store.get(kinds.DEPLOYMENTS, NAMESPACE, PROXIES) is None)
        assert during["public-ip-address"] - kinds_of(account)["public-ip-address"] == 1

    def test_get_what_was_made_for_them_again(self, account: Account) -> None:
        """Whoever deletes the Service before its Gateway finds another one; with the namespace all of it goes."""
        vault = make_certificate(account, HOST)
        cluster = make_gateway(account)
        make_reader(account, cluster, vault)
        until(lambda: serves(cluster))
        first = cluster.store.get(kinds.SERVICES, NAMESPACE, PROXIES)
        home = cluster.store.get(kinds.NAMESPACES, None, NAMESPACE)
        assert first is not None
        assert home is not None

        on_loop(cluster.store.delete, kinds.SERVICES, first)

        def again() -> bool:
            found = cluster.store.get(kinds.SERVICES, NAMESPACE, PROXIES)
            return found is not None and found["metadata"]["uid"] != first["metadata"]["uid"]

        until(again)
        on_loop(cluster.store.delete, kinds.NAMESPACES, home)
        until(lambda: cluster.store.get(kinds.NAMESPACES, None, NAMESPACE) is None)
        until(lambda: len(list(account.network().public_ip_addresses.list(NODE_GROUP))) == 0)


class TestPublicNames:
    """The way in from outside."""

    def test_lead_through_the_proxies_to_the_service_of_the_route(self, account: Account) -> None:
        """Once the record is there; at ports without a listener there is nothing."""
        vault = make_certificate(account, HOST)
        cluster = make_gateway(account)
        make_reader(account, cluster, vault)
        until(lambda: serves(cluster))
        names, address = account.azure.names, status(cluster)["addresses"][0]["value"]

        before = names.resolve(HOST)
        make_name(account, address)
        until(lambda: names.resolve(HOST) is not None)

        assert before is None
        assert names.resolve(HOST) == (cluster.id, NAMESPACE, "api", 8080)
        assert names.resolve(HOST, 8443) is None
        assert names.has_certificate(HOST)

    def test_need_a_certificate_that_covers_them(self, account: Account) -> None:
        """One for another name is presented, and refused by clients."""
        vault = make_certificate(account, "other.acme.example")
        cluster = make_gateway(account)
        make_reader(account, cluster, vault)
        until(lambda: serves(cluster))
        make_name(account, status(cluster)["addresses"][0]["value"])

        assert not account.azure.names.has_certificate(HOST)
