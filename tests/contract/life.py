"""The life of a deployment, scene by scene: every activity that a cloud owes, in an order in which it can be run.

Nothing here is about one cloud. What one activity returns goes into the questions of those after it, as the workflows
hand it on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import catalog
from activities.contracts import (
    AccessQuestion,
    AccountContract,
    AddOn,
    AddressQuestion,
    ApiKeysRequest,
    BackupLock,
    BackupRequest,
    BucketRequest,
    CapacityQuestion,
    CertificateRequest,
    ClusterContract,
    ClusterRequest,
    ComponentRequest,
    DomainRequest,
    EndpointRequest,
    FoundationContract,
    InCluster,
    InNetwork,
    KubernetesContract,
    MaintenanceRequest,
    NamespaceRequest,
    NetworkContract,
    NetworkRequest,
    NodePoolRequest,
    PreflightContract,
    PublicationRequest,
    RestoreRequest,
    Retention,
    SmokeTestRequest,
    StorageClassRequest,
    WorkloadIdentityRequest,
)
from activities.upgrade_contracts import (
    ControlPlaneUpgrade,
    MeasurementRequest,
    MigrationRequest,
    NodePoolUpgrade,
    NodeValidation,
    ServerCheckRequest,
    ServerUpgradeContract,
    UpgradeCheckRequest,
    UpgradeContract,
)
from domain.account import access_to
from domain.clouds import Cloud
from domain.deployment import DeploymentSpec, Endpoint, NetworkSpec, Site
from domain.facts import (
    AddressPlan,
    Backup,
    Bucket,
    Certificate,
    Cluster,
    Domain,
    Firewall,
    Key,
    LoadBalancer,
    Network,
    Placement,
    Roles,
)
from domain.release import Release
from domain.shape import Component, PoolName, Shape
from domain.upgrade import MigrationPhase

CONTRACTS = (
    AccountContract,
    PreflightContract,
    NetworkContract,
    FoundationContract,
    ClusterContract,
    KubernetesContract,
    UpgradeContract,
    ServerUpgradeContract,
)
"""What a cloud owes, the activities in its clusters included; plans and comparisons are the same program for all."""
ACTIVITIES = tuple(sorted(name for contract in CONTRACTS for name in contract.__abstractmethods__))
"""The names of all activities; the tests go through them, so that a new one fails until it has a scene."""
IN_CLUSTER = KubernetesContract.__abstractmethods__ | ServerUpgradeContract.__abstractmethods__
"""Those that are one program for all clouds."""

RELEASE, NEXT_RELEASE = [release for release in catalog.load().releases if not release.withdrawn][-2:]
"""The last two that can be ordered: the first is installed, the second tried."""
SHAPE: Shape = catalog.load().shapes[0]
"""The smallest."""
BACKUP_LOCK_DAYS = 7


@dataclass
class Facts:
    """What is known of the deployment so far; each scene may add one thing."""

    site: Site
    placement: Placement = field(init=False)
    addresses: AddressPlan = field(init=False)
    roles: Roles = field(init=False)
    key: Key = field(init=False)
    bucket: Bucket = field(init=False)
    domain: Domain = field(init=False)
    certificate: Certificate = field(init=False)
    network: Network = field(init=False)
    firewall: Firewall = field(init=False)
    cluster: Cluster = field(init=False)
    load_balancer: LoadBalancer = field(init=False)
    backup: Backup = field(init=False)

    @property
    def kubernetes(self) -> str:
        """The Kubernetes version that is ordered: the one before `next_kubernetes`."""
        offered = [each.version for each in catalog.load().clouds[Cloud(self.site.cloud)].kubernetes]
        return offered[offered.index(self.next_kubernetes) - 1]

    @property
    def next_kubernetes(self) -> str:
        """The version to which the cluster is upgraded: that which an order gets that names none."""
        offered = catalog.load().clouds[Cloud(self.site.cloud)].kubernetes
        return next(each.version for each in offered if each.default)

    @property
    def access(self) -> AccessQuestion:
        """The question about the account as such."""
        return AccessQuestion(access=access_to(self.site), regions=(self.site.region,))

    @property
    def room(self) -> CapacityQuestion:
        """The question whether there is room."""
        return CapacityQuestion(site=self.site, shape=SHAPE, high_availability=False)

    @property
    def in_network(self) -> InNetwork:
        """The argument of what is about the network alone."""
        return InNetwork(site=self.site, network=self.network)

    @property
    def in_cluster(self) -> InCluster:
        """The argument of what is about the cluster alone."""
        return InCluster(site=self.site, cluster=self.cluster)

    @property
    def retention(self) -> Retention:
        """The argument of deletions that might have to keep something; here they have not."""
        return Retention(site=self.site)

    @property
    def domain_name(self) -> str:
        """The public name of the server."""
        return f"{self.site.deployment}.db.acme.example"

    @property
    def network_request(self) -> NetworkRequest:
        """The order for the network."""
        return NetworkRequest(site=self.site, network=NetworkSpec(), placement=self.placement, addresses=self.addresses)

    @property
    def cluster_request(self) -> ClusterRequest:
        """The order for the control plane."""
        return ClusterRequest(
            site=self.site,
            kubernetes=self.kubernetes,
            network=self.network,
            firewall=self.firewall,
            roles=self.roles,
            key=self.key,
        )

    def pool(self, pool: PoolName) -> NodePoolRequest:
        """Return the order for a pool."""
        return NodePoolRequest(
            site=self.site,
            cluster=self.cluster,
            network=self.network,
            firewall=self.firewall,
            roles=self.roles,
            key=self.key,
            placement=self.placement,
            pool=pool,
        )

    def pool_upgrade(self, pool: PoolName) -> NodePoolUpgrade:
        """Return the order for a pool, or for its canary, at the next Kubernetes version."""
        return NodePoolUpgrade(**dict(self.pool(pool)), kubernetes=self.next_kubernetes)

    @property
    def upgrade_check(self) -> UpgradeCheckRequest:
        """The question whether the provider sees anything in the way of the next Kubernetes version."""
        return UpgradeCheckRequest(
            site=self.site,
            cluster=self.cluster,
            kubernetes=self.next_kubernetes,
            replaces_nodes=True,
            placement=self.placement,
            network=self.network,
        )

    def add_on(self, name: str) -> AddOn:
        """Return the order for an add-on."""
        return AddOn(site=self.site, cluster=self.cluster, roles=self.roles, name=name)

    def component(self, component: Component, release: Release = RELEASE) -> ComponentRequest:
        """Return the order for a component of the server."""
        spec = DeploymentSpec(
            account=self.site.account,
            region=self.site.region,
            shape=SHAPE.name,
            release=release.version,
            kubernetes=self.kubernetes,
            endpoint=Endpoint(domain=self.domain_name),
        )
        return ComponentRequest(
            site=self.site,
            cluster=self.cluster,
            component=component,
            release=release,
            shape=SHAPE,
            spec=spec,
            bucket=self.bucket,
        )


@dataclass(frozen=True)
class Scene:
    """One activity with its argument."""

    activity: str
    ask: Callable[[Facts], object]
    """Returns the argument."""
    learns: str = ""
    """The field of the facts that the answer becomes."""
    about: str = ""
    """Tells the scenes of one activity apart."""

    @property
    def name(self) -> str:
        """Activity, and what it is about."""
        return f"{self.activity}/{self.about}" if self.about else self.activity

    @property
    def deletes(self) -> bool:
        """Whether the activity takes something away, and makes nothing."""
        return self.activity.startswith("delete_")


def _site(facts: Facts) -> Site:
    return facts.site


def _add_on(name: str) -> Scene:
    return Scene("install_add_on", lambda facts: facts.add_on(name), about=name)


def _upgraded_add_on(name: str) -> Scene:
    return Scene("upgrade_add_on", lambda facts: facts.add_on(name), about=name)


def _upgraded_pool(pool: PoolName) -> Scene:
    return Scene("upgrade_node_pool", lambda facts: facts.pool_upgrade(pool), about=pool)


def _pool(pool: PoolName) -> Scene:
    return Scene("create_node_pool", lambda facts: facts.pool(pool), about=pool)


def _component(component: Component) -> Scene:
    return Scene("install_component", lambda facts: facts.component(component), about=component)


def _canary(component: Component) -> Scene:
    return Scene("stage_canary", lambda facts: facts.component(component, NEXT_RELEASE), about=component)


def _back(component: Component) -> Scene:
    return Scene("roll_back_component", lambda facts: facts.component(component), about=component)


CREATION: tuple[Scene, ...] = (
    Scene("verify_access", lambda facts: facts.access),
    Scene("check_permissions", _site),
    Scene("check_quotas", lambda facts: facts.room),
    Scene("choose_placement", lambda facts: facts.room, learns="placement"),
    Scene(
        "plan_addresses",
        lambda facts: AddressQuestion(site=facts.site, network=NetworkSpec(), placement=facts.placement),
        learns="addresses",
    ),
    Scene("create_roles", _site, learns="roles"),
    Scene("create_encryption_key", _site, learns="key"),
    Scene("create_backup_bucket", lambda facts: BucketRequest(site=facts.site, key=facts.key), learns="bucket"),
    Scene("create_domain", lambda facts: DomainRequest(site=facts.site, domain=facts.domain_name), learns="domain"),
    Scene(
        "create_certificate",
        lambda facts: CertificateRequest(site=facts.site, domain=facts.domain),
        learns="certificate",
    ),
    Scene("create_network", lambda facts: facts.network_request, learns="network"),
    Scene("create_firewall", lambda facts: facts.in_network, learns="firewall"),
    Scene("create_egress", lambda facts: facts.in_network),
    Scene("create_private_endpoints", lambda facts: facts.in_network),
    Scene("create_cluster", lambda facts: facts.cluster_request, learns="cluster"),
    Scene("grant_cluster_access", lambda facts: facts.in_cluster),
    Scene(
        "create_workload_identity",
        lambda facts: WorkloadIdentityRequest(site=facts.site, cluster=facts.cluster, roles=facts.roles),
    ),
    *map(_add_on, ("network", "proxy", "identity")),
    *map(_pool, PoolName),
    *map(_add_on, ("dns", "storage", "metrics")),
    Scene(
        "create_storage_class",
        lambda facts: StorageClassRequest(site=facts.site, cluster=facts.cluster, key=facts.key),
    ),
    Scene(
        "create_namespace",
        lambda facts: NamespaceRequest(site=facts.site, cluster=facts.cluster, auth_webhook=None, roles=facts.roles),
    ),
    Scene("apply_api_keys", lambda facts: ApiKeysRequest(site=facts.site, cluster=facts.cluster, keys=())),
    *map(
        _component,
        (Component.STORE, Component.AUTHENTICATION, Component.API, Component.SUBSCRIPTION, Component.CDC),
    ),
    Scene(
        "open_endpoint",
        lambda facts: EndpointRequest(
            site=facts.site,
            cluster=facts.cluster,
            network=facts.network,
            domain=facts.domain,
            certificate=facts.certificate,
        ),
        learns="load_balancer",
    ),
    Scene(
        "publish_endpoint",
        lambda facts: PublicationRequest(site=facts.site, domain=facts.domain, load_balancer=facts.load_balancer),
    ),
    Scene(
        "smoke_test",
        lambda facts: SmokeTestRequest(site=facts.site, cluster=facts.cluster, domain=facts.domain, release=RELEASE),
    ),
    Scene(
        "back_up",
        lambda facts: BackupRequest(
            site=facts.site, cluster=facts.cluster, bucket=facts.bucket, release=RELEASE, name="first"
        ),
        learns="backup",
    ),
    Scene(
        "prove_restore",
        lambda facts: RestoreRequest(
            site=facts.site, cluster=facts.cluster, backup=facts.backup, release=RELEASE, roles=facts.roles
        ),
    ),
    Scene(
        "lock_backup",
        lambda facts: BackupLock(site=facts.site, backup=facts.backup, retain_days=BACKUP_LOCK_DAYS),
    ),
    Scene("create_alarms", lambda facts: facts.in_cluster),
    Scene("set_maintenance_policy", lambda facts: MaintenanceRequest(**dict(facts.in_cluster))),
)
"""From the first look at the account to a server that answers, in the order of a provisioning."""

UPGRADE: tuple[Scene, ...] = (
    Scene("check_upgrade", lambda facts: facts.upgrade_check),
    Scene(
        "check_server",
        lambda facts: ServerCheckRequest(
            site=facts.site, cluster=facts.cluster, high_availability=False, release=RELEASE
        ),
    ),
    Scene(
        "migrate",
        lambda facts: MigrationRequest(
            site=facts.site, cluster=facts.cluster, release=NEXT_RELEASE, phase=MigrationPhase.EXPAND
        ),
    ),
    *map(_canary, (Component.API, Component.STORE)),
    Scene(
        "measure",
        lambda facts: MeasurementRequest(
            site=facts.site,
            cluster=facts.cluster,
            component=Component.API,
            release=NEXT_RELEASE,
            domain=facts.domain,
            exercise=5,
        ),
    ),
    *map(_back, (Component.API, Component.STORE)),
    Scene(
        "upgrade_control_plane",
        lambda facts: ControlPlaneUpgrade(site=facts.site, cluster=facts.cluster, kubernetes=facts.next_kubernetes),
        learns="cluster",
    ),
    # First the one whose versions follow those of Kubernetes.
    *map(_upgraded_add_on, ("proxy", "network", "identity", "dns", "storage", "metrics")),
    Scene("create_canary_node", lambda facts: facts.pool_upgrade(PoolName.SERVICES), about=PoolName.SERVICES),
    Scene(
        "validate_node",
        lambda facts: NodeValidation(
            site=facts.site, cluster=facts.cluster, pool=PoolName.SERVICES, kubernetes=facts.next_kubernetes
        ),
    ),
    Scene("delete_canary_nodes", _site),
    *map(_upgraded_pool, (PoolName.SERVICES, PoolName.STORE)),
)
"""A release tried and taken back, and one Kubernetes minor version further, while the server runs."""

RETIREMENT: tuple[Scene, ...] = (
    Scene("delete_workloads", _site),
    Scene("delete_alarms", _site),
    Scene("delete_node_pools", _site),
    Scene("delete_load_balancers_and_volumes", _site),
    Scene("delete_cluster", _site),
    Scene("delete_certificate", _site),
    Scene("delete_domain", _site),
    Scene("delete_private_endpoints", _site),
    Scene("delete_egress", _site),
    Scene("delete_firewall", _site),
    Scene("delete_network", _site),
    Scene("delete_roles", _site),
    Scene("delete_backup_bucket", lambda facts: facts.retention),
    Scene("delete_encryption_key", lambda facts: facts.retention),
    Scene("find_leftovers", lambda facts: facts.retention),
)
"""Everything taken away, in the order of a retirement; nothing is asked of the facts but the site."""

REVOCATION = Scene("prove_revoked", lambda facts: facts.access)
"""After the customer has taken the template away."""
