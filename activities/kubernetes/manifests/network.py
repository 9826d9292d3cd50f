"""Network policies: nothing is allowed in or out, except the flows that `topology` names and what is listed here."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.identity import (
    BACKUP,
    RESTORE,
    RESTORE_NAMESPACE,
    SERVER_NAMESPACE,
    labels,
    selector,
)
from activities.kubernetes.manifests.topology import CALLS, METRICS_PORT, PORTS, PUBLIC_PORTS, callers
from activities.kubernetes.objects import NETWORK_POLICY, Object, Reference
from domain.deployment import AuthWebhook, Site
from domain.shape import Component

WEBHOOK_POLICY = "auth-webhook"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ANYWHERE = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}
"""Every address but the link-local ones, where clouds serve the machine's own credentials."""


def server_policies(site: Site, cloud: CloudManifests) -> tuple[Object, ...]:
    """Return the policies of the server's namespace, without that of the auth webhook."""
    backup = _policy(
        site,
        SERVER_NAMESPACE,
        BACKUP,
        egress=[_to_component(site, Component.STORE), *_to_object_storage(cloud)],
    )
    return (
        *_basics(site, SERVER_NAMESPACE),
        *(_component_policy(site, component, cloud) for component in Component),
        backup,
    )


def webhook_policy(site: Site, webhook: AuthWebhook) -> Object:
    """Let authentication, and nothing else, call the customer's webhook.

    A network policy cannot name a host, so the rule is on the port of the webhook's URL.
    """
    url = urlsplit(webhook.url)
    port = url.port or _DEFAULT_PORTS.get(url.scheme, 443)
    rule = {"to": [_ANYWHERE], "ports": [_tcp(port)]}
    return _policy(site, SERVER_NAMESPACE, WEBHOOK_POLICY, pods=Component.AUTHENTICATION, egress=[rule])


def webhook_policy_reference() -> Reference:
    """Return where the policy of the webhook is."""
    return Reference(NETWORK_POLICY, WEBHOOK_POLICY, SERVER_NAMESPACE)


def restore_policies(site: Site, cloud: CloudManifests) -> tuple[Object, ...]:
    """Return the policies of the restore namespace: the job reads object storage, and reaches nothing of the server."""
    restore = _policy(site, RESTORE_NAMESPACE, RESTORE, egress=_to_object_storage(cloud))
    return (*_basics(site, RESTORE_NAMESPACE), restore)


def _basics(site: Site, namespace: str) -> tuple[Object, ...]:
    deny = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    name_service = {
        "to": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }
        ],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    }
    names = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [name_service]}
    return _object(site, namespace, "default-deny", deny), _object(site, namespace, "dns", names)


def _component_policy(site: Site, component: Component, cloud: CloudManifests) -> Object:
    ingress: list[Object] = []
    clients: list[str] = [*callers(component)]
    if component is Component.STORE:
        clients.append(BACKUP)
    if clients:
        ingress.append({"from": [_pods(site, client) for client in clients], "ports": [_tcp(PORTS[component])]})
    if component in PUBLIC_PORTS:
        # What comes through a load balancer has the address of the node or proxy that led it on, and these come and go.
        visitors = [*cloud.load_balancer_peers()] or [_ANYWHERE]
        ingress.append({"from": visitors, "ports": [_tcp(PORTS[component])]})
        if sources := cloud.probe_sources():
            probes = [{"ipBlock": {"cidr": cidr}} for cidr in sources]
            ingress.append({"from": probes, "ports": [_tcp(METRICS_PORT)]})
    egress = [_to_component(site, called) for called in CALLS[component]]
    if component is Component.STORE:
        egress.extend(_to_object_storage(cloud))
    return _policy(site, SERVER_NAMESPACE, component, ingress=ingress, egress=egress)


def _to_component(site: Site, component: Component) -> Object:
    return {"to": [_pods(site, component)], "ports": [_tcp(PORTS[component])]}


def _to_object_storage(cloud: CloudManifests) -> list[Object]:
    identity = [
        {"to": [{"ipBlock": {"cidr": cidr}}], "ports": [_tcp(port)]} for cidr, port in cloud.identity_endpoints()
    ]
    return [{"to": [_ANYWHERE], "ports": [_tcp(443)]}, *identity]


def _policy(
    site: Site,
    namespace: str,
    name: str,
    *,
    pods: str = "",
    ingress: Iterable[Object] = (),
    egress: Iterable[Object] = (),
) -> Object:
    """Return a policy for the pods of that name (by default the policy's own), with the rules that are given."""
    spec: Object = {"podSelector": {"matchLabels": selector(site, pods or name)}, "policyTypes": []}
    for type_, rules in (("Ingress", list(ingress)), ("Egress", list(egress))):
        if rules:
            spec["policyTypes"].append(type_)
            spec[type_.lower()] = rules
    if not spec["policyTypes"]:
        spec["policyTypes"] = ["Ingress", "Egress"]
    return _object(site, namespace, name, spec)


def _object(site: Site, namespace: str, name: str, spec: Object) -> Object:
    return {
        "apiVersion": NETWORK_POLICY.api_version,
        "kind": NETWORK_POLICY.name,
        "metadata": {"name": str(name), "namespace": namespace, "labels": labels(site, name)},
        "spec": spec,
    }


def _pods(site: Site, name: str) -> Object:
    return {"podSelector": {"matchLabels": selector(site, name)}}


def _tcp(port: int) -> Object:
    return {"protocol": "TCP", "port": port}
