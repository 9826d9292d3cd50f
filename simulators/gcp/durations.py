"""How long Google Cloud takes, in simulated seconds: typical values of the real one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Durations(BaseModel):
    """Simulated seconds from a call until what it started is done."""

    model_config = ConfigDict(frozen=True)

    network: float = 20.0
    """A network, subnetwork, route or firewall: made, changed or deleted."""
    router: float = 15.0
    nat: float = 40.0
    """From a change of a router until its gateways carry traffic."""
    address: float = 4.0
    disk: float = 4.0
    snapshot: float = 30.0
    load_balancer: float = 30.0
    """A part of a load balancer: a forwarding rule, a target pool, a health check."""
    service_load_balancer: float = 45.0
    """From a Service of type LoadBalancer until its address is known."""
    label: float = 1.0
    """Any change that moves nothing, such as new labels."""
    cluster: float = 420.0
    cluster_update: float = 180.0
    cluster_upgrade: float = 600.0
    cluster_deletion: float = 240.0
    node_pool: float = 100.0
    node_pool_update: float = 60.0
    node_upgrade: float = 150.0
    """Each batch of nodes that is replaced."""
    node_pool_deletion: float = 90.0
    api: float = 15.0
    """Until an API is enabled or disabled."""
    certificate: float = 120.0
    """From the DNS record that proves the domain until the certificate is issued."""
    certificate_parts: float = 5.0
    """A DNS authorization, a certificate map, an entry."""


class Delays(BaseModel):
    """How long changes take to be seen, in simulated seconds; at infinite speed nothing of this happens."""

    model_config = ConfigDict(frozen=True)

    service_account: float = 6.0
    """Until a new service account is found by policies and by whoever wants to act as it."""
    policy: float = 7.0
    """Until a changed policy or custom role has effect."""
