"""How many replicas of a component there may be: the shape's limits, or the specification's in their place."""

from __future__ import annotations

from domain.deployment import DeploymentSpec
from domain.shape import Component, Scale, Shape


def limits(component: Component, shape: Shape, spec: DeploymentSpec) -> Scale:
    """Return the least and the greatest number of replicas."""
    if component in spec.scaling:
        return spec.scaling[component]
    if spec.high_availability and component in shape.highly_available_replicas:
        return shape.highly_available_replicas[component]
    return shape.components[component].scale
