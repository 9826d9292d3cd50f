"""How long the cloud takes, in simulated seconds: typical values of the real one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Durations(BaseModel):
    """Simulated seconds from a call until what it started is done."""

    model_config = ConfigDict(frozen=True)

    cluster: float = 600.0
    cluster_deletion: float = 300.0
    cluster_version_update: float = 600.0
    cluster_configuration_update: float = 120.0
    node_group: float = 150.0
    node_group_deletion: float = 120.0
    node_group_configuration_update: float = 90.0
    node_group_version_update: float = 300.0
    eviction_patience: float = 900.0
    """How long an update tries to empty one machine before it fails."""
    add_on: float = 30.0
    add_on_deletion: float = 15.0
    nat_gateway: float = 90.0
    nat_gateway_deletion: float = 60.0
    vpc_endpoint: float = 60.0
    vpc_endpoint_deletion: float = 60.0
    load_balancer: float = 60.0
    load_balancer_deletion: float = 20.0
    volume: float = 5.0
    snapshot: float = 60.0
    certificate: float = 60.0
    """From the moment at which the validation record can be found."""
    quota_increase: float = 3600.0
