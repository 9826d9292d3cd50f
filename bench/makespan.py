"""(b) Wall time of one provisioning over the critical path of the cloud latencies that the simulators inject."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.graph import critical_path
from domain.state import DeploymentPhase
from simulators.aws.consistency import Delays
from simulators.aws.durations import Durations
from simulators.kubernetes.controllers.timing import Durations as ClusterDurations
from tests.durability import installation as durability

SPEED = 8.0
"""Simulated seconds in a real one: slow enough that this machine's own work is small beside the latencies."""


def latencies() -> dict[str, float]:
    """Return what the simulated cloud takes for each step, in simulated seconds, at the least."""
    cloud, cluster, lag = Durations(), ClusterDurations(), Delays()
    add_ons = ("network", "proxy", "identity", "dns", "storage", "metrics")
    pods = {f"install_component/{name}": cluster.pod_start for name in ("authentication", "api", "subscription", "cdc")}
    return {
        "create_roles": lag.role,
        "create_network": lag.resource,
        "create_firewall": lag.resource,
        "create_certificate": cloud.certificate,
        "create_cluster": cloud.cluster,
        "create_egress": cloud.nat_gateway,
        "create_private_endpoints": cloud.vpc_endpoint,
        **{f"install_add_on/{name}": cloud.add_on for name in add_ons},
        "create_node_pool/store": cloud.node_group,
        "create_node_pool/services": cloud.node_group,
        "install_component/store": cloud.volume + cluster.pod_start,
        **pods,
        "open_endpoint": cloud.load_balancer,
        "back_up": cluster.pod_start,
        "prove_restore": cluster.pod_start,
    }


async def measure() -> dict[str, float]:
    """Return `makespan_ratio` and both of its parts, in real seconds."""
    with tempfile.TemporaryDirectory() as folder:
        async with durability.installed(Path(folder), speed=SPEED) as running:
            running.patience = 900.0
            customer = await running.customer("makespan")
            await running.order(customer)
            state = await running.until_phase(customer, DeploymentPhase.ACTIVE)
    (provisioning,) = state.past
    assert provisioning.started_at is not None
    assert provisioning.ended_at is not None
    wall = (provisioning.ended_at - provisioning.started_at).total_seconds()
    least = critical_path(latencies()) / SPEED
    return {"makespan_ratio": wall / least, "makespan_seconds": wall, "critical_path_seconds": least}
