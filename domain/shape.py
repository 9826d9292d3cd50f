"""The five components of the server, and the sizes in which a deployment can be ordered."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from domain.model import Model, OrderedModel


class Component(StrEnum):
    """One microservice of the server."""

    STORE = "store"
    AUTHENTICATION = "authentication"
    API = "api"
    SUBSCRIPTION = "subscription"
    CDC = "cdc"


class ShapeName(StrEnum):
    """A pre-configured size."""

    V1_SMALL = "v1-small"
    V1_MEDIUM = "v1-medium"
    V1_LARGE = "v1-large"


class PoolName(StrEnum):
    """A node pool: state lives apart from what can be replaced at any moment."""

    STORE = "store"
    SERVICES = "services"


POOL_OF_COMPONENT = {
    Component.STORE: PoolName.STORE,
    Component.AUTHENTICATION: PoolName.SERVICES,
    Component.API: PoolName.SERVICES,
    Component.SUBSCRIPTION: PoolName.SERVICES,
    Component.CDC: PoolName.SERVICES,
}
"""The pool in which each component runs."""

SCALABLE = (Component.STORE, Component.API, Component.SUBSCRIPTION)
"""The components whose limits an order may set; each scales independently of the others."""


class Scale(OrderedModel):
    """Limits between which a component scales by itself."""

    minimum: int
    """Replicas that always run."""
    maximum: int
    """Replicas that run at most."""


class ComponentSize(Model):
    """What one replica of a component asks for, and how many there may be."""

    cpu_millis: int
    memory_mib: int
    scale: Scale
    volume_gib: int = 0
    """Size of each replica's volume; 0 for what keeps no state."""


class PoolSize(Model):
    """Machines of one node pool, over all zones."""

    cpu: int
    memory_gib: int
    minimum: int
    maximum: int


class Shape(Model):
    """One size with its sensible defaults."""

    name: ShapeName
    description: str
    high_availability_offered: bool
    components: dict[Component, ComponentSize]
    """Keyed by component; replica numbers are those without high availability."""
    highly_available_replicas: dict[Component, Scale]
    """Keyed by component; replaces `scale` when high availability is ordered."""
    pools: dict[PoolName, PoolSize]
    highly_available_pools: dict[PoolName, PoolSize] = Field(default_factory=dict)
    """Keyed by pool; replaces `pools` when high availability is ordered."""
    scaling_bounds: dict[Component, Scale] = Field(default_factory=dict)
    """Keyed by component; the widest limits that an order may set in `scaling`."""
