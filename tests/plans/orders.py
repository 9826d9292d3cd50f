"""Orders to plan, as the door makes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import catalog
from activities.contracts import PlanQuestion
from domain.facts import (
    Bucket,
    Certificate,
    Cluster,
    ComponentStatus,
    DeploymentFacts,
    Domain,
    Firewall,
    Key,
    LoadBalancer,
    Machine,
    Network,
    NodePool,
    Placement,
    RestoreProof,
    Roles,
)
from domain.operation import OperationKind
from domain.shape import Component, PoolName, ShapeName
from domain.sizing import shape_as_ordered
from domain.state import OperationOrder
from tests.workflows.orders import operation_order

FACTS = DeploymentFacts(
    placement=Placement(
        zones=("eu-west-1a", "eu-west-1b", "eu-west-1c"),
        machines=tuple(Machine(pool=pool, instance_type="m6i.xlarge", minimum=3, maximum=6) for pool in PoolName),
    ),
    network=Network(network_id="vpc-1", private_subnet_ids=("subnet-1",), public_subnet_ids=("subnet-2",)),
    firewall=Firewall(control_plane_group_id="sg-1", node_group_id="sg-2"),
    roles=Roles(control_plane="r1", nodes="r2", storage_driver="r3", store="r4", restore="r5"),
    key=Key(key_id="key-1"),
    bucket=Bucket(name="bucket-1"),
    domain=Domain(zone_id="Z1", name="acme.db.example", name_servers=("ns1",)),
    certificate=Certificate(certificate_id="cert-1"),
    cluster=Cluster(name="byoc-acme", endpoint="https://c", certificate_authority="", version="1.35"),
    pools=tuple(NodePool(pool=pool, name=f"byoc-{pool}", instance_type="m6i.xlarge") for pool in PoolName),
    components=tuple(ComponentStatus(component=each, image="i", ready=1, desired=1) for each in Component),
    load_balancer=LoadBalancer(hostname="lb.example"),
    restore_proof=RestoreProof(
        key="k", records=1, sha256="ab", seconds=1.0, proven_at=datetime(2026, 6, 1, tzinfo=UTC)
    ),
)
"""Everything that an active deployment knows."""


def order(shape: ShapeName = ShapeName.V1_MEDIUM, *, high_availability: bool = False, **changes: Any) -> OperationOrder:
    """Return an order of one shape, complete as from the door."""
    plain = operation_order("acme-prod")
    spec = plain.spec.model_copy(update={"shape": shape, "high_availability": high_availability})
    complete = {"spec": spec, "shape": shape_as_ordered(catalog.load().shape(shape), spec)}
    return plain.model_copy(update={**complete, **changes})


def question(kind: OperationKind = OperationKind.PROVISION, **changes: Any) -> PlanQuestion:
    """Return the question for a plan of a first provisioning, or of another operation on an active deployment."""
    if kind is not OperationKind.PROVISION:
        changes = {"first": False, "facts": FACTS, **changes}
    return PlanQuestion(kind=kind, order=order(**changes))
