"""What each cloud, and Kubernetes, owes an upgrade. The obligations of `activities.contracts` hold here too."""

from __future__ import annotations

from abc import ABC, abstractmethod

from temporalio import activity

from activities.contracts import AddOn, ComponentRequest, InCluster, NodePoolRequest
from domain.deployment import Site
from domain.facts import Cluster, ComponentStatus, Domain, Network, NodePool, Placement
from domain.release import Release
from domain.shape import Component, PoolName
from domain.state import Reached
from domain.upgrade import Check, Measurement, MigrationPhase


class UpgradeCheckRequest(InCluster):
    """Does anything that the provider knows stand in the way of an upgrade?"""

    kubernetes: str = ""
    """The minor version that comes next; empty if the cluster's stays."""
    replaces_nodes: bool = False
    """Whether machines are replaced one by one, for which one more of each pool is needed meanwhile."""
    placement: Placement
    network: Network


class ControlPlaneUpgrade(InCluster):
    """The control plane, one minor version further."""

    kubernetes: str


class NodePoolUpgrade(NodePoolRequest):
    """One pool of nodes, to the version of the control plane."""

    kubernetes: str


class NodeValidation(InCluster):
    """Is the first node of the new version fit for what will run on it?"""

    pool: PoolName
    kubernetes: str


class ServerCheckRequest(InCluster):
    """Is the server fit for being upgraded?"""

    high_availability: bool
    release: Release
    """The one that runs."""


class MeasurementRequest(InCluster):
    """Read what canary and control have counted."""

    component: Component
    release: Release
    """Of the canary."""
    domain: Domain
    exercise: int = 0
    """Requests that are made through the public endpoint first, so that there is something to count."""


class MigrationRequest(InCluster):
    """One phase of a migration of the store's schema."""

    release: Release
    phase: MigrationPhase


class UpgradeContract(ABC):
    """Upgrading managed Kubernetes. What is at the asked version already, or beyond it, is left alone."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def check_upgrade(self, request: UpgradeCheckRequest) -> tuple[Check, ...]:
        """Return the provider's own findings, room for one more machine of each pool, free addresses, the certificate.

        Names: `provider-insights`, `surge-quota`, `free-addresses`, `certificate`, `cluster-settled`. A finding is a
        result, not an error.
        """

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def upgrade_control_plane(self, request: ControlPlaneUpgrade) -> Cluster:
        """Move the control plane one minor version on and return the cluster once it runs; never skip a version."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def upgrade_add_on(self, request: AddOn) -> None:
        """Bring the provider's add-on to the version that suits the cluster as it is now, and wait until it works."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_canary_node(self, request: NodePoolUpgrade) -> NodePool:
        """Make a pool of one machine like the pool's, at the new version, on which nothing lands but its validation."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_canary_nodes(self, site: Site) -> None:
        """Delete these pools: with the role that operates, which has made them for the time of the upgrade."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def upgrade_node_pool(self, request: NodePoolUpgrade) -> NodePool:
        """Replace the pool's machines one by one: a new one first, the old one drained by eviction, budgets honoured.

        A pod that may not be evicted makes it raise CONFIG with the pod and its budget named; it is never forced.
        """


class RecordContract(ABC):
    """Reading what workflows have recorded; its worker holds no credentials and reaches no cloud."""

    @activity.defn
    @abstractmethod
    async def read_reached(self, workflow_id: str) -> Reached:
        """Return how far an upgrade came whose workflow was ended from outside, by what that has recorded."""

    @activity.defn
    @abstractmethod
    async def await_end(self, workflow_id: str) -> str:
        """Return how a workflow has ended, in a word (`terminated`); one that still runs is looked at again."""


class ServerUpgradeContract(ABC):
    """Upgrading the server inside the cluster; the same for every cloud."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def check_server(self, request: ServerCheckRequest) -> tuple[Check, ...]:
        """Return what was seen of nodes, pods, disruption budgets and webhooks.

        Names: `nodes-ready`, `pods-ready`, `disruption-budgets`, `webhooks`. A finding is a result, not an error.
        """

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def validate_node(self, request: NodeValidation) -> Check:
        """Run a job on the canary node of the pool and return whether node, daemons and job are as they should be."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def stage_canary(self, request: ComponentRequest) -> ComponentStatus:
        """Let one pod of the component run the new release, and return once it is ready; the others stay.

        Of the store it is the replica of the highest ordinal, by the update's partition; of the others one pod more.
        """

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def measure(self, request: MeasurementRequest) -> Measurement:
        """Return what canary and control have counted, read from the metrics endpoint of each pod."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def roll_back_component(self, request: ComponentRequest) -> ComponentStatus:
        """Put the release of the request back, delete pods stuck in the other one, wait until all are ready."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def migrate(self, request: MigrationRequest) -> None:
        """Run one phase of the migration by a job of the store's image, to its end; again, it changes nothing."""
