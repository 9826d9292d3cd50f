"""What has to be true of the manifests whatever is ordered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.kubernetes.manifests import jobs
from activities.kubernetes.manifests.aws import AwsManifests
from activities.kubernetes.manifests.components import component_manifests
from activities.kubernetes.manifests.foundation import foundation, restore_foundation, storage_class
from activities.kubernetes.manifests.identity import DEPLOYMENT_LABEL, SERVER_NAMESPACE, selector
from activities.kubernetes.manifests.topology import CALLS, PORTS, PUBLIC_PORTS
from activities.kubernetes.objects import Object
from domain.deployment import AuthWebhook
from domain.shape import POOL_OF_COMPONENT, SCALABLE, Component, PoolName, Scale, Shape
from domain.sizing import component_sizes, pool_sizes
from tests.activities.kubernetes.samples import (
    BACKUP,
    BUCKET,
    CERTIFICATE,
    KEY,
    MEDIUM,
    NETWORK,
    ORDERS,
    RELEASE,
    SITE,
    SMALL,
    WEBHOOK,
    spec_of,
)

AWS = AwsManifests()
LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")
DNS_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
orders = pytest.mark.parametrize(("shape", "highly_available"), ORDERS, ids=lambda value: getattr(value, "name", value))


def installed(shape: Shape, *, highly_available: bool, scaling: dict[Component, Scale] | None = None) -> list[Object]:
    """Return the objects of all components."""
    spec = spec_of(shape, high_availability=highly_available).model_copy(update={"scaling": scaling or {}})
    return [
        obj
        for component in Component
        for obj in component_manifests(SITE, component, RELEASE, shape, spec, cloud=AWS).present
    ]


def everything(shape: Shape, *, highly_available: bool) -> list[Object]:
    """Return every object of a deployment."""
    return [
        storage_class(SITE, KEY, AWS),
        *foundation(SITE, WEBHOOK, AWS).present,
        *installed(shape, highly_available=highly_available),
        *AWS.endpoint(SITE, NETWORK, CERTIFICATE),
        jobs.backup_job(SITE, RELEASE, BUCKET, "first", AWS),
        *restore_foundation(SITE, AWS, {}).present,
        jobs.restore_job(SITE, RELEASE, BACKUP, AWS),
    ]


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """Return the objects of a kind, keyed by name."""
    return {obj["metadata"]["name"]: obj for obj in objects if obj["kind"] == kind}


def workloads(objects: list[Object]) -> dict[str, Object]:
    """Return Deployments and StatefulSets, keyed by name."""
    return of_kind(objects, "Deployment") | of_kind(objects, "StatefulSet")


def pod_templates(objects: list[Object]) -> Iterator[Object]:
    """Return every pod template."""
    for obj in objects:
        if "template" in obj.get("spec", {}):
            yield obj["spec"]["template"]


def selects(labels: dict[str, str], template: Object) -> bool:
    """Return whether a selector's labels match a pod template."""
    return bool(labels.items() <= template["metadata"]["labels"].items())


def amount(quantity: str) -> Fraction:
    """Return a quantity in cores or bytes."""
    units = {"m": Fraction(1, 1000), "Mi": Fraction(2**20), "Gi": Fraction(2**30)}
    found = re.fullmatch(r"(\d+)(m|Mi|Gi)?", quantity)
    assert found is not None
    return int(found[1]) * units.get(found[2], Fraction(1))


@orders
def test_every_object_says_whose_it_is(shape: Shape, highly_available: bool) -> None:
    """Objects, pods and claims carry the recommended labels and the deployment's name, all of them valid."""
    objects = everything(shape, highly_available=highly_available)
    claims = [claim for obj in objects for claim in obj.get("spec", {}).get("volumeClaimTemplates", ())]

    for labelled in (*objects, *pod_templates(objects), *claims):
        labels = labelled["metadata"]["labels"]
        assert {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by"} <= labels.keys()
        assert labels[DEPLOYMENT_LABEL] == SITE.deployment
        assert all(LABEL_VALUE.match(value) for value in labels.values())


@orders
def test_selectors_match_exactly_the_pods_of_their_component(shape: Shape, highly_available: bool) -> None:
    """Workload, service and disruption budget of a component select its pods and no other's."""
    objects = installed(shape, highly_available=highly_available)
    templates = {name: obj["spec"]["template"] for name, obj in workloads(objects).items()}
    services = {name: obj["spec"]["selector"] for name, obj in of_kind(objects, "Service").items()}
    budgets = of_kind(objects, "PodDisruptionBudget")
    selectors = [
        *services.items(),
        *((name, obj["spec"]["selector"]["matchLabels"]) for name, obj in (workloads(objects) | budgets).items()),
    ]

    assert set(templates) == set(services) == set(Component)
    for name, labels in selectors:
        assert {other for other, template in templates.items() if selects(labels, template)} == {name}


@orders
def test_every_port_that_is_named_exists(shape: Shape, highly_available: bool) -> None:
    """Target ports and probes name ports of the containers that they mean; public ports lead to one component each."""
    objects = installed(shape, highly_available=highly_available)
    public = AWS.endpoint(SITE, NETWORK, CERTIFICATE)[0]["spec"]
    ports = {
        name: {port["name"] for port in obj["spec"]["template"]["spec"]["containers"][0]["ports"]}
        for name, obj in workloads(objects).items()
    }

    for name, service in of_kind(objects, "Service").items():
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports[name]
    for name, workload in workloads(objects).items():
        container = workload["spec"]["template"]["spec"]["containers"][0]
        probes = (container[probe] for probe in ("startupProbe", "livenessProbe", "readinessProbe"))
        assert {probe["httpGet"]["port"] for probe in probes} <= ports[name]
    behind = {name for name, obj in workloads(objects).items() if selects(public["selector"], obj["spec"]["template"])}
    for port in public["ports"]:
        assert [name for name in behind if port["targetPort"] in ports[name]] == [port["targetPort"]]


@orders
def test_no_manifest_fights_the_autoscaler(shape: Shape, highly_available: bool) -> None:
    """Every workload has an autoscaler with the order's limits, and none has a number of replicas of its own."""
    objects = installed(shape, highly_available=highly_available)
    sizes = component_sizes(shape, high_availability=highly_available)
    autoscalers = of_kind(objects, "HorizontalPodAutoscaler").values()
    scalers = {obj["spec"]["scaleTargetRef"]["name"]: obj["spec"] for obj in autoscalers}

    assert scalers.keys() == workloads(objects).keys()
    for name, spec in scalers.items():
        scale = sizes[Component(name)].scale
        assert (spec["minReplicas"], spec["maxReplicas"]) == (scale.minimum, scale.maximum)
        assert "replicas" not in workloads(objects)[name]["spec"]


@orders
def test_a_drain_is_never_blocked_for_ever(shape: Shape, highly_available: bool) -> None:
    """Each disruption budget lets a replica go, and what can have several replicas has a budget."""
    objects = installed(shape, highly_available=highly_available)
    sizes = component_sizes(shape, high_availability=highly_available)
    budgets = of_kind(objects, "PodDisruptionBudget")

    assert {name for name in Component if sizes[name].scale.maximum > 1} == budgets.keys()
    assert all(obj["spec"]["maxUnavailable"] == 1 and "minAvailable" not in obj["spec"] for obj in budgets.values())


@orders
def test_pods_fit_on_the_machines_that_the_shape_pays_for(shape: Shape, highly_available: bool) -> None:
    """Every pod fits on a machine of its pool, and at the maximum all pods of a pool fit on its machines in sum."""
    objects = everything(shape, highly_available=highly_available)
    sizes = component_sizes(shape, high_availability=highly_available)
    pools = pool_sizes(shape, high_availability=highly_available)
    taken = {pool: [Fraction(0), Fraction(0)] for pool in PoolName}

    for template in pod_templates(objects):
        pool = PoolName(template["spec"]["nodeSelector"]["byoc.dev/pool"])
        requests = [container["resources"]["requests"] for container in template["spec"]["containers"]]
        cpu = sum((amount(request["cpu"]) for request in requests), Fraction(0))
        memory = sum((amount(request["memory"]) for request in requests), Fraction(0))
        name = template["metadata"]["labels"]["app.kubernetes.io/name"]
        number = sizes[Component(name)].scale.maximum if name in set(Component) else 1
        taken[pool][0] += cpu * number
        taken[pool][1] += memory * number
        assert cpu < pools[pool].cpu
        assert memory < pools[pool].memory_gib * 2**30

    for pool, (cpu, memory) in taken.items():
        assert cpu < pools[pool].cpu * pools[pool].maximum
        assert memory < pools[pool].memory_gib * 2**30 * pools[pool].maximum


@orders
def test_memory_is_fixed(shape: Shape, highly_available: bool) -> None:
    """Every container's memory limit is its request, so that no neighbour's need ends it."""
    for template in pod_templates(everything(shape, highly_available=highly_available)):
        for container in template["spec"]["containers"]:
            resources = container["resources"]
            assert resources["limits"] == {"memory": resources["requests"]["memory"]}


@orders
def test_pods_are_confined_as_their_namespace_demands(shape: Shape, highly_available: bool) -> None:
    """The "restricted" pod security standard holds for every pod, and the namespaces enforce it."""
    objects = everything(shape, highly_available=highly_available)

    for template in pod_templates(objects):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all(volume.keys() & {"emptyDir", "secret", "configMap", "ephemeral"} for volume in spec["volumes"])
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
    for namespace in of_kind(objects, "Namespace").values():
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@orders
def test_everything_that_a_pod_refers_to_is_there(shape: Shape, highly_available: bool) -> None:
    """Service accounts, priorities, the storage class, secrets and configuration exist, or are optional."""
    objects = everything(shape, highly_available=highly_available)
    accounts = {
        (obj["metadata"]["namespace"], obj["metadata"]["name"]) for obj in objects if obj["kind"] == "ServiceAccount"
    }
    for obj in objects:
        template = obj.get("spec", {}).get("template")
        if template is None:
            continue
        spec: Any = template["spec"]
        assert (obj["metadata"]["namespace"], spec["serviceAccountName"]) in accounts
        assert spec["priorityClassName"] in of_kind(objects, "PriorityClass")
        mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        claims = obj["spec"].get("volumeClaimTemplates", [])
        claimed = {claim["metadata"]["name"] for claim in claims}
        assert mounted == {volume["name"] for volume in spec["volumes"]} | claimed
        for claim in claims:
            assert claim["spec"]["storageClassName"] in of_kind(objects, "StorageClass")


def test_volumes_are_encrypted_with_the_deployments_key() -> None:
    """The default class names the key, waits for the pod's zone and can grow; its volumes carry our owner tags."""
    made = storage_class(SITE, KEY, AWS)

    assert made["parameters"]["encrypted"] == "true"
    assert made["parameters"]["kmsKeyId"] == KEY.key_id
    assert made["volumeBindingMode"] == "WaitForFirstConsumer"
    assert made["allowVolumeExpansion"] is True
    assert "byoc:deployment=acme-prod" in made["parameters"].values()


def policies(webhook: AuthWebhook | None = WEBHOOK) -> dict[str, Object]:
    """Return the specifications of the network policies of the server's namespace, keyed by name."""
    found = of_kind(list(foundation(SITE, webhook, AWS).present), "NetworkPolicy")
    return {name: obj["spec"] for name, obj in found.items() if obj["metadata"]["namespace"] == SERVER_NAMESPACE}


def allows(rules: list[Object], direction: str, pods: dict[str, str], port: int) -> bool:
    """Return whether a policy's rules allow traffic from or to pods with these labels at a port."""
    return any(
        any(
            "podSelector" in peer and "namespaceSelector" not in peer and peer["podSelector"]["matchLabels"] == pods
            for peer in rule[direction]
        )
        and any(entry["port"] == port for entry in rule["ports"])
        for rule in rules
    )


def test_nothing_is_allowed_that_no_policy_allows() -> None:
    """One policy selects every pod and allows nothing in either direction."""
    assert policies()["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("caller", Component)
@pytest.mark.parametrize("called", Component)
def test_components_reach_exactly_those_that_they_call(caller: Component, called: Component) -> None:
    """A flow is allowed at both of its ends if the one component calls the other, else at neither."""
    out = policies()[caller].get("egress", [])
    into = policies()[called].get("ingress", [])

    expected = called in CALLS[caller]
    assert allows(out, "to", selector(SITE, called), PORTS[called]) is expected
    assert allows(into, "from", selector(SITE, caller), PORTS[called]) is expected


@pytest.mark.parametrize("component", Component)
def test_addresses_in_the_environment_are_allowed_flows(component: Component) -> None:
    """Each address that a component is given is one that the policies let it reach."""
    desired = component_manifests(SITE, component, RELEASE, MEDIUM, spec_of(MEDIUM), cloud=AWS)
    container = next(iter(workloads(list(desired.present)).values()))["spec"]["template"]["spec"]["containers"][0]
    given = {entry["value"] for entry in container["env"] if entry["name"].endswith("_ADDRESS")}

    assert given == {f"{called}.byoc-server.svc.cluster.local:{PORTS[called]}" for called in CALLS[component]}


def test_only_the_store_and_its_jobs_reach_object_storage() -> None:
    """HTTPS to the outside is open to the store and to backups, and to authentication for the webhook alone."""

    def reaches_outside(spec: Object) -> bool:
        return any("ipBlock" in peer for rule in spec.get("egress", []) for peer in rule["to"])

    outside = {name for name, spec in policies().items() if reaches_outside(spec)}

    assert outside == {"store", "backup", "auth-webhook"}


@pytest.mark.parametrize(
    ("url", "port"),
    [("https://login.acme.example/byoc", 443), ("https://login.acme.example:8443/", 8443), ("http://10.1.2.3/x", 80)],
)
def test_the_webhook_is_reached_at_its_port_only(url: str, port: int) -> None:
    """The policy opens the port of the URL, for authentication."""
    spec = policies(AuthWebhook(url=url))["auth-webhook"]

    assert spec["podSelector"]["matchLabels"] == selector(SITE, Component.AUTHENTICATION)
    assert [entry["port"] for rule in spec["egress"] for entry in rule["ports"]] == [port]


def test_without_a_webhook_its_traces_are_unwanted() -> None:
    """Neither policy nor configuration is made, and both are taken away where an earlier order had them."""
    desired = foundation(SITE, None, AWS)

    assert "auth-webhook" not in {obj["metadata"]["name"] for obj in desired.present}
    assert sorted(str(reference) for reference in desired.absent) == [
        "ConfigMap byoc-server/auth-webhook",
        "NetworkPolicy byoc-server/auth-webhook",
    ]


def test_the_restore_reaches_nothing_of_the_server() -> None:
    """In the restore namespace names and object storage are all that is open, and nothing comes in."""
    found = of_kind(list(restore_foundation(SITE, AWS, {}).present), "NetworkPolicy")

    assert set(found) == {"default-deny", "dns", "restore"}
    assert not any("ingress" in obj["spec"] for obj in found.values())
    assert all("ipBlock" in peer for rule in found["restore"]["spec"]["egress"] for peer in rule["to"])


@given(
    scaling=st.dictionaries(
        st.sampled_from(SCALABLE),
        st.tuples(st.integers(1, 20), st.integers(0, 20)).map(lambda pair: Scale(minimum=pair[0], maximum=sum(pair))),
    ),
    highly_available=st.booleans(),
)
def test_an_order_decides_the_limits(scaling: dict[Component, Scale], highly_available: bool) -> None:
    """Limits in the order replace those of the shape, component by component."""
    objects = installed(MEDIUM, highly_available=highly_available, scaling=scaling)

    for name, scaler in of_kind(objects, "HorizontalPodAutoscaler").items():
        if name in scaling:
            scale = scaling[Component(name)]
            assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (scale.minimum, scale.maximum)


@given(st.text(min_size=1, max_size=120), st.text(min_size=1, max_size=120))
def test_job_names_are_valid_and_tell_backups_apart(one: str, other: str) -> None:
    """Whatever a backup is called, its job's name leaves room for the pod's suffix; different names stay different."""
    names = [jobs.backup_job_name(name) for name in (one, other)]

    assert all(DNS_LABEL.match(name) and len(name) <= 57 for name in names)
    assert (names[0] == names[1]) is (one == other)


def test_the_store_lives_on_its_own_machines() -> None:
    """Only the store selects and tolerates the store's pool; its replicas never share a machine."""
    for name, obj in workloads(installed(SMALL, highly_available=False)).items():
        spec = obj["spec"]["template"]["spec"]
        assert spec["nodeSelector"] == {"byoc.dev/pool": str(POOL_OF_COMPONENT[Component(name)])}
        assert ("tolerations" in spec) is (name == Component.STORE)
        if name == Component.STORE:
            rules = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            assert [rule["topologyKey"] for rule in rules] == ["kubernetes.io/hostname"]
            assert spec["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "DoNotSchedule"


def test_the_endpoint_ends_tls_at_every_port() -> None:
    """The load balancer presents the certificate on each port, and carries our owner tags."""
    service = AWS.endpoint(SITE, NETWORK, CERTIFICATE)[0]
    prefix = "service.beta.kubernetes.io/aws-load-balancer-"
    annotations = {name.removeprefix(prefix): value for name, value in service["metadata"]["annotations"].items()}

    assert annotations["ssl-cert"] == CERTIFICATE.certificate_id
    assert annotations["ssl-ports"] == ",".join(str(port["port"]) for port in service["spec"]["ports"])
    assert "byoc:deployment=acme-prod" in annotations["additional-resource-tags"].split(",")


def test_the_endpoint_is_for_the_controller_that_every_cluster_of_eks_has() -> None:
    """No class, node ports, and only annotations that the cloud controller manager reads."""
    service = AWS.endpoint(SITE, NETWORK, CERTIFICATE)[0]
    prefix = "service.beta.kubernetes.io/aws-load-balancer-"
    annotations = {name.removeprefix(prefix): value for name, value in service["metadata"]["annotations"].items()}

    assert annotations["type"] == "nlb"
    assert "loadBalancerClass" not in service["spec"]
    assert service["spec"].get("allocateLoadBalancerNodePorts", True)
    assert annotations.keys() <= {
        "type", "subnets", "ssl-cert", "ssl-ports", "ssl-negotiation-policy", "backend-protocol",
        "cross-zone-load-balancing-enabled", "additional-resource-tags", "healthcheck-protocol", "healthcheck-port",
        "healthcheck-path", "healthcheck-interval", "healthcheck-healthy-threshold", "healthcheck-unhealthy-threshold",
    }  # fmt: skip
    assert annotations["healthcheck-healthy-threshold"] == annotations["healthcheck-unhealthy-threshold"]


@pytest.mark.parametrize("component", Component)
def test_only_the_public_ports_are_open_to_everyone(component: Component) -> None:
    """What comes through the load balancer reaches the component's own port; nodes come and go, so from anywhere."""
    open_to_all = [
        entry["port"]
        for rule in policies()[component].get("ingress", [])
        for entry in rule["ports"]
        if any("ipBlock" in peer for peer in rule["from"])
    ]

    assert open_to_all == ([PORTS[component]] if component in PUBLIC_PORTS else [])
