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
