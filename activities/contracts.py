"""What each cloud, and Kubernetes, owes the workflows. An activity's name is its method's, the same in every cloud.

Obligations of every activity here:

- **Converges.** It looks first, makes or changes only what differs, and returns the facts. On an unchanged deployment
  it makes no mutating call. What is under way (a cluster that is being created) makes it raise `NotReadyYet`; Temporal
  calls it again at the poll interval. It never sleeps for minutes.
- **Is idempotent across crashes.** Killed between a deed and its reply it is run again, and nothing exists twice:
  names and tokens derive from (deployment, resource, generation), never from the attempt. Where the cloud offers
  neither a token nor a unique name, a second look precedes every creation after a doubtful one, and duplicates of ours
  are removed.
- **Owns by tag.** What it makes carries the tags of `domain.naming.owner_tags`. It adopts what carries them, refuses
  (`NotOurs`) what has our name without them, and deletes nothing that lacks them.
- **Names what is missing.** A refusal by the cloud becomes a `FailureDetail` with the action, quota or resource named.
- **Deletes what a lost reply may have left.** A deletion finds its resources by tag and name, not by recorded facts;
  what is already gone is success; what is on its way out raises `NotReadyYet`; it returns once nothing is left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime, timedelta

from pydantic import JsonValue
from temporalio import activity

from domain.account import AccessReport, AccountAccess, RevocationProof
from domain.approval import ApprovalPolicy
from domain.deployment import AuthWebhook, DeploymentSpec, NetworkSpec, Site
from domain.facts import (
    AddressPlan,
    ApiKeyRecord,
    Backup,
    Bucket,
    Certificate,
    Cluster,
    ComponentStatus,
    Domain,
    Firewall,
    Key,
    Leftover,
    LoadBalancer,
    Network,
    NodePool,
    Placement,
    RestoreProof,
    Roles,
    SmokeTest,
)
from domain.maintenance import Exclusion, MaintenancePolicy, MaintenanceWindow, Opening, Work
from domain.model import Model
from domain.operation import OperationKind
from domain.plan import Plan, PlannedChange
from domain.release import Release
from domain.shape import Component, PoolName, Shape
from domain.state import OperationOrder


class AccessQuestion(Model):
    """May we do, in these regions, everything that our template asks for?"""

    access: AccountAccess
    regions: tuple[str, ...]


class CapacityQuestion(Model):
    """Is there room in the account for this deployment?"""

    site: Site
    shape: Shape
    high_availability: bool
    network: NetworkSpec = NetworkSpec()
    """The customer's own network, if there is one, decides the zones and needs no quotas for one of ours."""


class AddressQuestion(Model):
    """Which address ranges will the network have?"""

    site: Site
    network: NetworkSpec
    placement: Placement


class NetworkRequest(Model):
    """Make the network, or verify the customer's own."""

    site: Site
    network: NetworkSpec
    placement: Placement
    addresses: AddressPlan


class InNetwork(Model):
    """Something that is made inside the network."""

    site: Site
    network: Network


class DomainRequest(Model):
    """The DNS zone of the endpoint."""

    site: Site
    domain: str


class CertificateRequest(Model):
    """A certificate for the domain, validated through its zone."""

    site: Site
    domain: Domain


class ClusterRequest(Model):
    """The control plane of the cluster."""

    site: Site
    kubernetes: str
    network: Network
    firewall: Firewall
    roles: Roles
    key: Key


class InCluster(Model):
    """Something that is made for or in the cluster."""

    site: Site
    cluster: Cluster


class WorkloadIdentityRequest(Model):
    """Let service accounts of the cluster act as cloud roles."""

    site: Site
    cluster: Cluster
    roles: Roles


class NodePoolRequest(Model):
    """One pool of nodes over all zones."""

    site: Site
    cluster: Cluster
    network: Network
    firewall: Firewall
    roles: Roles
    key: Key
    placement: Placement
    pool: PoolName


class AddOn(Model):
    """Which add-on: `network` (CNI), `storage` (CSI driver), `metrics`, `dns`, `proxy`."""

    site: Site
    cluster: Cluster
    roles: Roles
    name: str


class StorageClassRequest(Model):
    """The encrypted storage class."""

    site: Site
    cluster: Cluster
    key: Key


class ComponentRequest(Model):
    """One component of the server."""

    site: Site
    cluster: Cluster
    component: Component
    release: Release
    shape: Shape
    spec: DeploymentSpec
    bucket: Bucket


class NamespaceRequest(Model):
    """Namespace, service accounts, network policies, secrets and the auth webhook's configuration."""

    site: Site
    cluster: Cluster
    auth_webhook: AuthWebhook | None
    roles: Roles | None = None
    """As whom service accounts act, where the cloud reads that off them. None in histories that are older."""


class EndpointRequest(Model):
    """The TLS load balancer in front of API server and subscription server."""

    site: Site
    cluster: Cluster
    network: Network
    domain: Domain
    certificate: Certificate


class PublicationRequest(Model):
    """The DNS record that leads to the load balancer."""

    site: Site
    domain: Domain
    load_balancer: LoadBalancer


class SmokeTestRequest(Model):
    """Use the server as a client would, through its public endpoint."""

    site: Site
    cluster: Cluster
    domain: Domain
    release: Release
    read_only: bool = False
    """Only look at health and release: for converging a deployment whose customers are using it."""


class BackupRequest(Model):
    """A backup of the store into the bucket."""

    site: Site
    cluster: Cluster
    bucket: Bucket
    release: Release
    name: str
    """Last part of the object's key: a repeat with the same name returns the same backup."""
    retain_days: int = 0
    """How long the object is locked; 0 leaves it unlocked."""


class RestoreRequest(Model):
    """Prove that a backup can be restored, in a namespace of its own that is gone afterwards."""

    site: Site
    cluster: Cluster
    backup: Backup
    release: Release
    roles: Roles | None = None
    """As in `NamespaceRequest`."""


class ApiKeysRequest(Model):
    """The complete list of API keys; the cluster's secret holds exactly those that are valid."""

    site: Site
    cluster: Cluster
    keys: tuple[ApiKeyRecord, ...]


class Retention(Model):
    """A deletion that may have to leave something until a date."""

    site: Site
    keep_backups: bool = False


class BucketRequest(Model):
    """The backup bucket."""

    site: Site
    key: Key


class BackupLock(Model):
    """Lock one backup."""

    site: Site
    backup: Backup
    retain_days: int


class MaintenanceRequest(InCluster):
    """The provider's own maintenance of the cluster: nothing by itself, and what it cannot leave in our windows."""

    windows: tuple[MaintenanceWindow, ...] = ()
    """Of the deployment. None in histories that are older: the provider's policy has a window of ours then."""
    exclusions: tuple[Exclusion, ...] = ()


class WindowQuestion(Model):
    """When may work of this kind start?"""

    policy: MaintenancePolicy
    work: Work
    need: timedelta
    """How long it takes at the 95th percentile."""
    now: datetime
    not_before: datetime | None = None
    count: int = 1
    spread_by: str = ""
    """Name of the deployment: its start in the window is put off by a part of what the window leaves, always the same;
    empty: no spreading."""


class WindowAnswer(Model):
    """The next openings; fewer than asked for if there are no more within three years."""

    openings: tuple[Opening, ...] = ()
    """`at` is when the work starts: not before `not_before`, spread if that was asked for."""


class PlanQuestion(Model):
    """What would this operation do?"""

    kind: OperationKind
    order: OperationOrder
    policy: ApprovalPolicy = ApprovalPolicy()
    """Of the account; who approves an operation of which risk."""
    changes_specification: bool = False
    """Whether a provisioning that is not the first one goes to another specification than the one that runs."""


class ComparisonQuestion(Model):
    """What would this step change?"""

    site: Site
    step: str
    """The step's name, `install_component/store`."""
    activity: str
    question: dict[str, JsonValue]
    """The activity's argument, as in a history."""


class Comparison(Model):
    """What a step would change, and its answer if it would change nothing."""

    changes: tuple[PlannedChange, ...] = ()
    """Its first change; nothing is known about those that would follow it."""
    answer: JsonValue = None
    """The activity's answer, as in a history; None as well for one that answers nothing."""


class PlanningContract(ABC):
    """Planning; its worker holds no credentials and reaches no cloud."""

    @activity.defn
    @abstractmethod
    async def make_plan(self, question: PlanQuestion) -> Plan:
        """Rehearse the operation and return what it will do; nothing is touched."""


class ProposalQuestion(Model):
    """What should be rolled out this month?"""

    at: datetime


class ProposalAnswer(Model):
    """The rollouts that were proposed, or were there already."""

    rollouts: tuple[str, ...] = ()
    """Names."""
    left_alone: tuple[str, ...] = ()
    """What was not proposed, and why, in words."""


class ProposalContract(ABC):
    """Proposing rollouts; its worker holds no credentials and reaches no cloud."""

    @activity.defn
    @abstractmethod
    async def propose_rollouts(self, question: ProposalQuestion) -> ProposalAnswer:
        """Start a rollout of the newest release whose first wave has to be approved, and one for each cloud of which
        deployments run an expired Kubernetes version, to the next one. The same month again changes nothing.
        """


class WindowContract(ABC):
    """Reading maintenance windows; its worker holds no credentials and reaches no cloud."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def find_openings(self, question: WindowQuestion) -> WindowAnswer:
        """Return when the work may start, by the time zone data of this worker."""


class ComparisonContract(ABC):
    """Comparing with what exists. A cloud's worker registers it beside the activities that it compares with."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def compare(self, question: ComparisonQuestion) -> Comparison:
        """Run the step's own activity with every call barred that would change something, and say which was the first.

        Nothing is changed: an activity looks before it acts, so that one without anything to do comes to its end.
        """


class AccountContract(ABC):
    """Reaching the customer's account."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def verify_access(self, question: AccessQuestion) -> AccessReport:
        """Assume each role, and simulate each declared action in each region; report what is missing.

        A role that cannot be assumed at all raises AUTH; missing actions are a result, not an error.
        """

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def prove_revoked(self, question: AccessQuestion) -> RevocationProof:
        """Return the cloud's refusals once every attempt to enter is refused; until then raise `NotReadyYet`."""


class PreflightContract(ABC):
    """Looking before anything is made."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def check_permissions(self, site: Site) -> AccessReport:
        """Return the report of a fully permitted account; raise PERMISSION with the first missing action named."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def check_quotas(self, question: CapacityQuestion) -> None:
        """Return if the account has room for the whole deployment; raise QUOTA naming quota, need and limit."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def choose_placement(self, question: CapacityQuestion) -> Placement:
        """Return three zones (fewer if the region has fewer, at least two) and machine types offered in all of them."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def plan_addresses(self, question: AddressQuestion) -> AddressPlan:
        """Return the ranges of the subnets; raise CONFIG if a range is too small or overlaps one that exists."""


class NetworkContract(ABC):
    """The network of the deployment."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_network(self, request: NetworkRequest) -> Network:
        """Make network and subnets, or verify the customer's own (zones, tags, routes, free addresses)."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_network(self, site: Site) -> None:
        """Delete network and subnets that are ours, once nothing is in them."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_egress(self, request: InNetwork) -> None:
        """Let private subnets reach out through a NAT gateway in each zone, public ones directly."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_egress(self, site: Site) -> None:
        """Delete gateways, their addresses and routes."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_private_endpoints(self, request: InNetwork) -> None:
        """Let the cluster reach the cloud's own services without leaving the network."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_private_endpoints(self, site: Site) -> None:
        """Delete these endpoints."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_firewall(self, request: InNetwork) -> Firewall:
        """Make the security groups of control plane and nodes with their rules."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_firewall(self, site: Site) -> None:
        """Delete these security groups, also those that a controller of the cluster leaked."""


class FoundationContract(ABC):
    """What the cluster stands on beside the network."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_roles(self, site: Site) -> Roles:
        """Make the identities of cluster, nodes and workloads, each under the permissions boundary."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_roles(self, site: Site) -> None:
        """Delete these identities."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_encryption_key(self, site: Site) -> Key:
        """Make the key, with yearly rotation, that encrypts secrets, disks and backups."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_encryption_key(self, retention: Retention) -> None:
        """Schedule the key's deletion; with kept backups it stays, because they cannot be read without it."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_backup_bucket(self, request: BucketRequest) -> Bucket:
        """Make the bucket: versioned, lockable, encrypted with the key, no public access, TLS only, in the region."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_backup_bucket(self, retention: Retention) -> None:
        """Delete the bucket with all versions; with kept backups, only what is not locked."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_domain(self, request: DomainRequest) -> Domain:
        """Make the DNS zone."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_domain(self, site: Site) -> None:
        """Delete the zone and its records."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_certificate(self, request: CertificateRequest) -> Certificate:
        """Order the certificate, publish its validation records, and return it once it is issued."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_certificate(self, site: Site) -> None:
        """Delete the certificate once nothing uses it."""


class ClusterContract(ABC):
    """Managed Kubernetes."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_cluster(self, request: ClusterRequest) -> Cluster:
        """Make the control plane (private and allow-listed public endpoint, encrypted secrets, logs); wait for it."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_cluster(self, site: Site) -> None:
        """Delete the control plane, once its pools are gone."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def grant_cluster_access(self, request: InCluster) -> None:
        """Let the control plane's own role, and nobody else, operate the cluster."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_workload_identity(self, request: WorkloadIdentityRequest) -> None:
        """Let the service accounts of store, restore and storage driver act as their roles."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def install_add_on(self, request: AddOn) -> None:
        """Install the provider's add-on in the version that suits the cluster, and wait until it works."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_node_pool(self, request: NodePoolRequest) -> NodePool:
        """Make the pool and wait for its nodes; raise CAPACITY if the cloud has no machines of this type."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_node_pools(self, site: Site) -> None:
        """Delete every pool of the cluster and its launch templates."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def set_maintenance_policy(self, request: MaintenanceRequest) -> None:
        """Switch off the provider's own automatic upgrades, and bind what cannot be refused to the given windows."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_alarms(self, request: InCluster) -> None:
        """Make the provider's alarms on the health of nodes and load balancer."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_alarms(self, site: Site) -> None:
        """Delete these alarms."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def publish_endpoint(self, request: PublicationRequest) -> None:
        """Make the DNS record that leads to the load balancer."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def lock_backup(self, request: BackupLock) -> Backup:
        """Lock a backup object until its retention ends, and return it with that instant."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_load_balancers_and_volumes(self, site: Site) -> None:
        """Delete load balancers and volumes that the cluster's controllers made and did not take away."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def find_leftovers(self, retention: Retention) -> tuple[Leftover, ...]:
        """Return everything in the region that carries this deployment's tag, and why what may stay does stay."""


class KubernetesContract(ABC):
    """The server inside the cluster; the same for every cloud."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_storage_class(self, request: StorageClassRequest) -> None:
        """Apply the encrypted storage class and make it the default."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def create_namespace(self, request: NamespaceRequest) -> None:
        """Apply namespace, service accounts, deny-by-default network policies and the webhook's configuration."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def install_component(self, request: ComponentRequest) -> ComponentStatus:
        """Apply one component and wait until it is rolled out."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def open_endpoint(self, request: EndpointRequest) -> LoadBalancer:
        """Apply what the load balancer is made for (a Service, a Gateway) and return its address once it has one."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def smoke_test(self, request: SmokeTestRequest) -> SmokeTest:
        """Write and read one document through the public endpoint with a short-lived key (unless read-only)."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def back_up(self, request: BackupRequest) -> Backup:
        """Run the backup job and return its object once it is complete."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def prove_restore(self, request: RestoreRequest) -> RestoreProof:
        """Restore into an isolated namespace, compare checksum and number of records, and remove the namespace."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def apply_api_keys(self, request: ApiKeysRequest) -> None:
        """Make the server accept exactly the keys that are valid."""

    @activity.defn(no_thread_cancel_exception=True)
    @abstractmethod
    def delete_workloads(self, site: Site) -> None:
        """Delete the endpoint, the workloads and their claims, and wait for what controllers made for them.

        A cluster that does not exist (any more) has no workloads: that is success.
        """
