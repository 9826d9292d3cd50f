"""The server's five components: where each listens and which others it talks to.

The network policies, the addresses in the components' environment and the services all follow from these tables, so
that a flow which is configured is also allowed, and no other is.
"""

from __future__ import annotations

from activities.kubernetes.manifests.identity import SERVER_NAMESPACE
from domain.shape import Component

PORTS = {
    Component.STORE: 7000,
    Component.AUTHENTICATION: 7100,
    Component.API: 8080,
    Component.SUBSCRIPTION: 8081,
    Component.CDC: 7200,
}
"""Where each component serves the others, or clients. The port's name is the component's."""

METRICS_PORT = 9090
"""Every component serves `/metrics`, `/livez` and `/readyz` here, for the kubelet and for monitoring only."""

CALLS: dict[Component, tuple[Component, ...]] = {
    Component.STORE: (Component.STORE,),
    Component.AUTHENTICATION: (),
    Component.API: (Component.STORE, Component.AUTHENTICATION, Component.SUBSCRIPTION, Component.CDC),
    Component.SUBSCRIPTION: (Component.STORE, Component.AUTHENTICATION),
    Component.CDC: (Component.STORE,),
}
"""Whom each component calls. The replicas of the store replicate among themselves; the API server passes on what comes
for authentication and subscription from clients that can only use its port, and asks all of them how they are."""

PUBLIC_PORTS = {Component.API: 443, Component.SUBSCRIPTION: 8443}
"""Ports of the load balancer, for the components that clients reach: HTTP API and device synchronization."""


def callers(component: Component) -> tuple[Component, ...]:
    """Return who calls `component`."""
    return tuple(caller for caller, called in CALLS.items() if component in called)


def address(component: Component) -> str:
    """Return the address at which others in the cluster reach `component`."""
    return f"{component}.{SERVER_NAMESPACE}.svc.cluster.local:{PORTS[component]}"
