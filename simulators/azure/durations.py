"""How long Azure takes, in simulated seconds: typical values of the real one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Durations(BaseModel):
    """Simulated seconds from a call until what it started is done."""

    model_config = ConfigDict(frozen=True)

    network: float = 5.0
    """A network, subnetwork, security group or route table: made, changed or deleted."""
    public_address: float = 5.0
    nat: float = 20.0
    load_balancer: float = 15.0
    private_endpoint: float = 60.0
    disk: float = 5.0
    snapshot: float = 30.0
    encryption_set: float = 10.0
    cluster: float = 420.0
    """A cluster with its first node pools."""
    cluster_update: float = 90.0
    cluster_tags: float = 20.0
    """A change of nothing but tags."""
    cluster_upgrade: float = 600.0
    """The control plane, by one minor version."""
    cluster_deletion: float = 300.0
    node_pool: float = 150.0
    node_pool_update: float = 60.0
    node_pool_deletion: float = 150.0
    node_upgrade: float = 240.0
    """As many nodes as are replaced at once."""
    service_load_balancer: float = 45.0
    """Until the load balancer of a Service leads into a cluster."""
    vault: float = 10.0
    """Until the name of a new vault resolves."""
    storage_account: float = 20.0
    group_deletion: float = 20.0
    """A resource group that is empty by then."""
    registration: float = 30.0
    """Until a namespace is registered."""


class Delays(BaseModel):
    """How long changes take to be seen, in simulated seconds; at infinite speed nothing of this happens."""

    model_config = ConfigDict(frozen=True)

    assignment: float = 20.0
    """Until a changed role assignment or role definition has effect; Microsoft speaks of up to ten minutes."""
    principal: float = 15.0
    """Until a new identity is found by role assignments."""
