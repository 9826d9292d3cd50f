"""The public endpoint: what a load balancer is made for that ends TLS in front of API server and subscription server.

Where a cloud's load balancer for Services can end TLS, that is one Service; elsewhere it is a Gateway.
"""

from __future__ import annotations

from activities.kubernetes.manifests.identity import INSTANCE, PUBLIC_LABEL, SERVER_NAMESPACE, labels, selector
from activities.kubernetes.manifests.topology import PORTS, PUBLIC_PORTS
from activities.kubernetes.objects import GATEWAY, HTTP_ROUTE, SERVICE, Kind, Object, Reference, condition
from domain.deployment import Site
from domain.shape import Component

ENDPOINT = "endpoint"


def entrance_reference(kind: Kind) -> Reference:
    """Return where the object is that the load balancer is made for."""
    return Reference(kind, ENDPOINT, SERVER_NAMESPACE)


def address_of(entrance: Object) -> str:
    """Return the name or address of the load balancer, empty while it does not serve yet what the object says."""
    status = entrance.get("status") or {}
    if entrance["kind"] == SERVICE.name:
        found = (status.get("loadBalancer") or {}).get("ingress") or ()
        return next((host for each in found if (host := each.get("hostname") or each.get("ip"))), "")
    programmed = condition(entrance, "Programmed") or {}
    seen = programmed.get("observedGeneration", 0) >= entrance["metadata"].get("generation", 0)
    if programmed.get("status") != "True" or not seen or hindered_listener(entrance) is not None:
        return ""
    if not _leads_somewhere(entrance):
        return ""
    return next((each["value"] for each in status.get("addresses") or () if each.get("value")), "")


def _leads_somewhere(gateway: Object) -> bool:
    """Return whether a route is attached to each listener: a Gateway may be programmed before its routes are seen."""
    listeners = (gateway.get("status") or {}).get("listeners") or ()
    attached = {each["name"] for each in listeners if each.get("attachedRoutes")}
    return {each["name"] for each in gateway["spec"]["listeners"]} <= attached


def hindered_listener(entrance: Object) -> Object | None:
    """Return the condition that says why a listener of a Gateway serves nothing, None if each of them may serve.

    A Gateway as a whole may be programmed while a listener still lacks its certificate.
    """
    listeners = (entrance.get("status") or {}).get("listeners") or ()
    for type_ in ("ResolvedRefs", "Programmed"):
        for listener in listeners:
            for found in listener.get("conditions") or ():
                if found["type"] == type_ and found["status"] == "False":
                    hindrance: Object = found
                    return hindrance
    return None


def public_service(site: Site, annotations: dict[str, str]) -> Object:
    """Return a Service whose load balancer the annotations describe.

    It selects the pods of both public components. A target port is given by name, and a pod is an endpoint only of
    the ports that it has, so that each port leads to its own component.

    Every node leads on to every pod. If each led to its own pods alone ("Local"), a node would count as healthy for
    both ports as soon as it had a pod of either component.
    """
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.name,
        "metadata": {
            "name": ENDPOINT,
            "namespace": SERVER_NAMESPACE,
            "labels": labels(site, ENDPOINT),
            "annotations": annotations,
        },
        "spec": {
            "type": "LoadBalancer",
            "selector": {INSTANCE: site.deployment, PUBLIC_LABEL: "true"},
            "externalTrafficPolicy": "Cluster",
            "ports": [
                {"name": str(component), "port": port, "targetPort": str(component), "protocol": "TCP"}
                for component, port in PUBLIC_PORTS.items()
            ],
        },
    }


def backend_name(component: Component) -> str:
    """Return the name of the Service, and of its route and policies, by which a Gateway reaches a component."""
    return f"{ENDPOINT}-{component}"


def endpoint_object(site: Site, kind: Kind, name: str, spec: Object) -> Object:
    """Return one object of the endpoint."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": name, "namespace": SERVER_NAMESPACE, "labels": labels(site, name)},
        "spec": spec,
    }


def gateway(
    site: Site, gateway_class: str, tls_options: dict[str, str], infrastructure: Object | None = None
) -> Object:
    """Return a Gateway with a listener for each public component, all with the same TLS options of the cloud.

    `infrastructure` says what the objects are to be like that a controller makes in the cluster for it.
    """
    listeners = [
        {
            "name": str(component),
            "port": port,
            "protocol": "HTTPS",
            "tls": {"mode": "Terminate", "options": tls_options},
            "allowedRoutes": {"namespaces": {"from": "Same"}},
        }
        for component, port in PUBLIC_PORTS.items()
    ]
    spec: Object = {"gatewayClassName": gateway_class, "listeners": listeners}
    if infrastructure:
        spec["infrastructure"] = infrastructure
    return endpoint_object(site, GATEWAY, ENDPOINT, spec)


def backend(site: Site, component: Component) -> Object:
    """Return the Service by which the Gateway finds the pods of a component; it has no load balancer of its own."""
    spec: Object = {
        "type": "ClusterIP",
        "selector": selector(site, component),
        "ports": [
            {"name": str(component), "port": PORTS[component], "targetPort": str(component), "protocol": "TCP"},
        ],
    }
    return endpoint_object(site, SERVICE, backend_name(component), spec)


def route(site: Site, component: Component) -> Object:
    """Return what leads everything that comes to a component's listener to its pods."""
    spec: Object = {
        "parentRefs": [{"name": ENDPOINT, "sectionName": str(component)}],
        "rules": [{"backendRefs": [{"name": backend_name(component), "port": PORTS[component]}]}],
    }
    return endpoint_object(site, HTTP_ROUTE, backend_name(component), spec)
