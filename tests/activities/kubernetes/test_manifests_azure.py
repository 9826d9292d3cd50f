"""What only Azure's manifests say."""

from __future__ import annotations

import json

import pytest

from activities.kubernetes.manifests import jobs
from activities.kubernetes.manifests.azure import AzureManifests, disk_encryption_set
from activities.kubernetes.manifests.components import component_manifests
from activities.kubernetes.manifests.foundation import foundation, restore_foundation, storage_class
from activities.kubernetes.manifests.topology import PORTS, PUBLIC_PORTS
from activities.kubernetes.objects import Object
from domain.naming import owner_tags
from domain.shape import Component
from tests.activities.kubernetes.samples import (
    AZURE_BUCKET,
    AZURE_CERTIFICATE,
    AZURE_KEY,
    AZURE_NETWORK,
    AZURE_ROLES,
    AZURE_SITE,
    BACKUP,
    RELEASE,
    SMALL,
    spec_of,
)

AZURE = AzureManifests()
CLIENT = "azure.workload.identity/client-id"
USE = "azure.workload.identity/use"
PROXIES = {"podSelector": {"matchLabels": {"gateway.networking.k8s.io/gateway-name": "endpoint"}}}


def endpoint() -> dict[str, list[Object]]:
    """Return the objects of the endpoint, keyed by kind."""
    found: dict[str, list[Object]] = {}
    for obj in AZURE.endpoint(AZURE_SITE, AZURE_NETWORK, AZURE_CERTIFICATE):
        found.setdefault(obj["kind"], []).append(obj)
    return found


def templates() -> dict[str, Object]:
    """Return the pod templates of components and jobs, keyed by name."""
    spec = spec_of(SMALL)
    found = [
        jobs.backup_job(AZURE_SITE, RELEASE, AZURE_BUCKET, "first", AZURE),
        jobs.restore_job(AZURE_SITE, RELEASE, BACKUP, AZURE),
    ]
    for component in Component:
        made = component_manifests(AZURE_SITE, component, RELEASE, SMALL, spec, cloud=AZURE)
        found += [obj for obj in made.present if "template" in obj.get("spec", {})]
    return {obj["metadata"]["name"]: obj["spec"]["template"] for obj in found}


def test_tls_ends_at_every_public_port_with_the_certificate_of_the_vault() -> None:
    """Each listener names the certificate and the service account that may read it, and none speaks plain HTTP."""
    (gateway,) = endpoint()["Gateway"]

    assert gateway["spec"]["gatewayClassName"] == "approuting-istio"
    assert [each["port"] for each in gateway["spec"]["listeners"]] == [*PUBLIC_PORTS.values()]
    for listener in gateway["spec"]["listeners"]:
        assert listener["protocol"] == "HTTPS"
        assert listener["tls"]["options"] == {
            "kubernetes.azure.com/tls-cert-keyvault-uri": AZURE_CERTIFICATE.certificate_id,
            "kubernetes.azure.com/tls-cert-service-account": "endpoint",
        }


@pytest.mark.parametrize("component", PUBLIC_PORTS)
def test_each_listener_leads_to_its_component(component: Component) -> None:
    """From listener to route to Service to pods."""
    objects = endpoint()
    name = f"endpoint-{component}"
    route, service = (
        next(obj for obj in objects[kind] if obj["metadata"]["name"] == name) for kind in ("HTTPRoute", "Service")
    )

    assert route["spec"]["parentRefs"] == [{"name": "endpoint", "sectionName": str(component)}]
    assert route["spec"]["rules"] == [{"backendRefs": [{"name": name, "port": PORTS[component]}]}]
    assert service["spec"]["selector"]["app.kubernetes.io/name"] == component


def test_what_aks_makes_for_the_gateway_is_known_as_ours() -> None:
    """Service and proxies get our labels, by which a deletion waits for them; the address in Azure gets our tags."""
    (gateway,) = endpoint()["Gateway"]
    infrastructure = gateway["spec"]["infrastructure"]

    assert infrastructure["labels"] == gateway["metadata"]["labels"]
    tags = infrastructure["annotations"]["service.beta.kubernetes.io/azure-pip-tags"]
    assert dict(pair.split("=") for pair in tags.split(",")) == owner_tags(AZURE_SITE, "load-balancer")


@pytest.mark.parametrize("port", PUBLIC_PORTS.values())
def test_the_load_balancer_asks_the_proxies_for_their_health(port: int) -> None:
    """It asks over HTTP where Envoy answers; a handshake without a name would fail at each of our ports."""
    (gateway,) = endpoint()["Gateway"]
    annotations = gateway["spec"]["infrastructure"]["annotations"]

    asked = {name: annotations[f"service.beta.kubernetes.io/port_{port}_health-probe_{name}"] for name in
             ("protocol", "port", "request-path")}  # fmt: skip

    assert asked == {"protocol": "http", "port": "15021", "request-path": "/healthz/ready"}


def test_proxies_run_on_our_nodes_in_all_zones() -> None:
    """Neither beside the store nor on the nodes that are there for AKS itself."""
    objects = endpoint()
    (gateway,), (options,) = objects["Gateway"], objects["ConfigMap"]
    pod = json.loads(options["data"]["deployment"])["spec"]["template"]["spec"]

    assert gateway["spec"]["infrastructure"]["parametersRef"] == {
        "group": "", "kind": "ConfigMap", "name": options["metadata"]["name"],
    }  # fmt: skip
    assert pod["nodeSelector"] == {"byoc.dev/pool": "services"}
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"


def test_only_the_proxies_reach_public_components() -> None:
    """Clients come to the proxies from anywhere; these reach the two components, their controller, and nothing else."""
    (policy,) = endpoint()["NetworkPolicy"]
    policies = {obj["metadata"]["name"]: obj for obj in foundation(AZURE_SITE, None, AZURE).present}

    assert policy["spec"]["podSelector"] == PROXIES["podSelector"]
    (inward,) = policy["spec"]["ingress"]
    assert "from" not in inward
    assert [each["port"] for each in inward["ports"]] == [*PUBLIC_PORTS.values(), 15021]
    *components, controller = policy["spec"]["egress"]
    reached = {
        rule["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]: rule["ports"][0]["port"]
        for rule in components
    }
    assert reached == {component: PORTS[component] for component in PUBLIC_PORTS}
    assert controller["to"][0]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "aks-istio-system"
    }
    for component in PUBLIC_PORTS:
        peers = [peer for rule in policies[component]["spec"]["ingress"] for peer in rule["from"]]
        assert PROXIES in peers
        assert not [peer for peer in peers if "ipBlock" in peer]


def test_pods_act_as_the_managed_identities_that_exist_for_them() -> None:
    """Store, restore and endpoint act as the identities of these names; the others act as none."""
    objects = (
        *foundation(AZURE_SITE, None, AZURE, AZURE_ROLES).present,
        *restore_foundation(AZURE_SITE, AZURE, {}, AZURE_ROLES).present,
    )
    accounts = [obj["metadata"] for obj in objects if obj["kind"] == "ServiceAccount"]

    found = {(each["namespace"], each["name"]): each["annotations"] for each in accounts if "annotations" in each}
    marked = {each["name"] for each in accounts if each["labels"].get(USE) == "true"}

    assert found == {
        ("byoc-server", "store"): {CLIENT: AZURE_ROLES.store},
        ("byoc-server", "endpoint"): {CLIENT: AZURE_ROLES.endpoint},
        ("byoc-restore", "restore"): {CLIENT: AZURE_ROLES.restore},
    }
    assert marked == {"store", "endpoint", "restore"}


def test_only_pods_that_act_in_azure_get_a_token() -> None:
    """The store with its backups, and the restore."""
    marked = {name for name, template in templates().items() if template["metadata"]["labels"].get(USE) == "true"}

    assert marked == {"store", "backup-first", "restore-first"}


def test_envoy_may_run_beside_the_server_and_our_own_pods_stay_confined() -> None:
    """The server's namespace enforces what the proxies of AKS meet; a restore has none of them beside it."""
    server = next(obj for obj in foundation(AZURE_SITE, None, AZURE).present if obj["kind"] == "Namespace")
    restore = next(obj for obj in restore_foundation(AZURE_SITE, AZURE, {}).present if obj["kind"] == "Namespace")

    standards = {
        obj["metadata"]["name"]: obj["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for obj in (server, restore)
    }

    assert standards == {"byoc-server": "baseline", "byoc-restore": "restricted"}
    assert server["metadata"]["labels"]["pod-security.kubernetes.io/warn"] == "restricted"
    for template in templates().values():
        assert template["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_way_to_entra_is_open_to_those_who_act_there() -> None:
    """Tokens come over HTTPS, which the store and the jobs may use anyway; the others reach each other alone."""
    policies = {obj["metadata"]["name"]: obj for obj in foundation(AZURE_SITE, None, AZURE).present}

    open_to_https = {
        name
        for name, policy in policies.items()
        for rule in policy.get("spec", {}).get("egress", ())
        if "ipBlock" in rule["to"][0] and rule["ports"] == [{"protocol": "TCP", "port": 443}]
    }

    assert AZURE.identity_endpoints() == ()
    assert open_to_https == {"store", "backup"}


def test_volumes_are_encrypted_through_the_deployments_set_and_tagged_as_ours() -> None:
    """Nobody exports them, and their tags are those by which deletions know a disk."""
    made = storage_class(AZURE_SITE, AZURE_KEY, AZURE)
    parameters = made["parameters"]

    assert parameters["diskEncryptionSetID"] == disk_encryption_set(AZURE_SITE)
    assert disk_encryption_set(AZURE_SITE).endswith(
        "/resourceGroups/byoc-acme-prod/providers/Microsoft.Compute/diskEncryptionSets/byoc-acme-prod-disks"
    )
    assert (parameters["networkAccessPolicy"], parameters["publicNetworkAccess"]) == ("DenyAll", "Disabled")
    assert dict(pair.split("=") for pair in parameters["tags"].split(",")) == owner_tags(AZURE_SITE, "volume")
