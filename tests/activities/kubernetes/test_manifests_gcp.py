"""What only Google Cloud's manifests say."""

from __future__ import annotations

import pytest

from activities.gcp.roles import RoleName, account_email
from activities.kubernetes.manifests.foundation import foundation, restore_foundation, storage_class
from activities.kubernetes.manifests.gcp import GcpManifests
from activities.kubernetes.manifests.topology import METRICS_PORT, PORTS, PUBLIC_PORTS
from activities.kubernetes.objects import Object
from domain.naming import owner_labels
from domain.shape import Component
from tests.activities.kubernetes.samples import GCP_CERTIFICATE, GCP_KEY, GCP_NETWORK, GCP_SITE

GCP = GcpManifests()


def endpoint() -> dict[str, list[Object]]:
    """Return the objects of the endpoint, keyed by kind."""
    found: dict[str, list[Object]] = {}
    for obj in GCP.endpoint(GCP_SITE, GCP_NETWORK, GCP_CERTIFICATE):
        found.setdefault(obj["kind"], []).append(obj)
    return found


def test_tls_ends_at_every_public_port_with_the_certificate_of_the_region() -> None:
    """Each listener presents the certificate, none speaks plain HTTP, and a policy sets the versions of TLS."""
    objects = endpoint()
    (gateway,), (policy,) = objects["Gateway"], objects["GCPGatewayPolicy"]

    assert gateway["spec"]["gatewayClassName"] == "gke-l7-regional-external-managed"
    assert [each["port"] for each in gateway["spec"]["listeners"]] == [*PUBLIC_PORTS.values()]
    for listener in gateway["spec"]["listeners"]:
        assert listener["protocol"] == "HTTPS"
        assert listener["tls"]["options"] == {"networking.gke.io/cert-manager-certs": "byoc-acme-prod"}
    assert policy["spec"]["targetRef"]["name"] == gateway["metadata"]["name"]
    assert policy["spec"]["default"] == {"sslPolicy": "byoc-acme-prod-tls"}


@pytest.mark.parametrize("component", PUBLIC_PORTS)
def test_each_listener_leads_to_its_component(component: Component) -> None:
    """From listener to route to Service to pods, with the policies of health and of connections on that Service."""
    objects = endpoint()
    name = f"endpoint-{component}"
    route, service, health, connections = (
        next(obj for obj in objects[kind] if obj["metadata"]["name"] == name)
        for kind in ("HTTPRoute", "Service", "HealthCheckPolicy", "GCPBackendPolicy")
    )

    assert route["spec"]["parentRefs"] == [{"name": "endpoint", "sectionName": str(component)}]
    assert route["spec"]["rules"] == [{"backendRefs": [{"name": name, "port": PORTS[component]}]}]
    assert service["spec"]["type"] == "ClusterIP"
    assert service["spec"]["selector"]["app.kubernetes.io/name"] == component
    assert health["spec"]["targetRef"] == connections["spec"]["targetRef"] == {
        "group": "", "kind": "Service", "name": name,
    }  # fmt: skip
    assert health["spec"]["default"]["config"]["httpHealthCheck"]["port"] == METRICS_PORT
    assert connections["spec"]["default"]["connectionDraining"]["drainingTimeoutSec"] >= 60
    assert connections["spec"]["default"]["logging"] == {"enabled": False}


@pytest.mark.parametrize("component", Component)
def test_the_load_balancer_may_ask_public_pods_for_their_health(component: Component) -> None:
    """Google's probes reach the port of readiness of public pods, and that of no other pod."""
    policies = {obj["metadata"]["name"]: obj for obj in foundation(GCP_SITE, None, GCP).present}
    rules = policies[component]["spec"].get("ingress", [])

    probed = [
        peer["ipBlock"]["cidr"]
        for rule in rules
        for peer in rule["from"]
        if rule["ports"] == [{"protocol": "TCP", "port": METRICS_PORT}]
    ]

    assert probed == (["35.191.0.0/16", "130.211.0.0/22"] if component in PUBLIC_PORTS else [])


def test_pods_act_as_the_service_accounts_that_exist_for_them() -> None:
    """Store and restore act as the accounts of these names; the others act as none."""
    objects = (*foundation(GCP_SITE, None, GCP).present, *restore_foundation(GCP_SITE, GCP, {}).present)
    found = {
        (obj["metadata"]["namespace"], obj["metadata"]["name"]): obj["metadata"]["annotations"]
        for obj in objects
        if obj["kind"] == "ServiceAccount" and "annotations" in obj["metadata"]
    }

    assert found == {
        ("byoc-server", "store"): {"iam.gke.io/gcp-service-account": account_email(GCP_SITE, RoleName.STORE)},
        ("byoc-restore", "restore"): {"iam.gke.io/gcp-service-account": account_email(GCP_SITE, RoleName.RESTORE)},
    }


def test_volumes_are_encrypted_with_the_deployments_key_and_labelled_as_ours() -> None:
    """The class names the key, and its labels are those by which deletions know a disk."""
    made = storage_class(GCP_SITE, GCP_KEY, GCP)

    assert made["parameters"]["disk-encryption-kms-key"] == GCP_KEY.key_id
    labels = dict(pair.split("=") for pair in made["parameters"]["labels"].split(","))
    assert labels == owner_labels(GCP_SITE, "volume")
