"""The controllers of a simulated cluster: what turns specifications into running pods, volumes and load balancers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulators.kubernetes.controllers.timing import Durations
    from simulators.kubernetes.simulator import Cluster


def start(cluster: Cluster, durations: Durations | None = None) -> asyncio.Task[None]:
    """Run the controllers, the scheduler and the kubelets of `cluster` until the returned task is cancelled."""
    # The loop imports every controller, and these import from this package.
    from simulators.kubernetes.controllers.loop import ControllerLoop  # noqa: PLC0415

    loop = ControllerLoop(cluster, durations)
    return asyncio.create_task(loop.run(), name=f"controllers of {cluster.id}")
