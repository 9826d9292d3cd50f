"""The steps of all operations, as data: an activity, a sentence for people, how patient to be, how it is undone.

`workflows.step_runner` runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from activities.contracts import (
    AccountContract,
    ClusterContract,
    FoundationContract,
    KubernetesContract,
    NetworkContract,
    PreflightContract,
)
from activities.upgrade_contracts import ServerUpgradeContract, UpgradeContract

ADD_ONS_BEFORE_NODES = ("network", "proxy", "identity")
"""Add-ons without which no node becomes ready, by the names that `AddOn` has for every cloud."""
ADD_ONS_ON_NODES = ("dns", "storage", "metrics")
"""Those that need nodes to run on."""

Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Patience:
    """How long one attempt may take, and how long the step may go on before somebody is asked."""

    attempt: timedelta
    deadline: timedelta


QUICK = Patience(attempt=timedelta(minutes=1), deadline=timedelta(minutes=30))
SLOW = Patience(attempt=timedelta(minutes=2), deadline=timedelta(hours=2))
LONG = Patience(attempt=timedelta(minutes=2), deadline=timedelta(hours=6))
"""What replaces every machine of a pool, one after the other."""


@dataclass(frozen=True)
class Undo:
    """How what a step made is taken back: one activity that finds its resources by tag."""

    activity: Callable[..., Any]
    summary: str
    takes_retention: bool = False
    in_cluster: bool = False

    @property
    def name(self) -> str:
        """The activity's name."""
        return self.activity.__name__


@dataclass(frozen=True)
class Step(Generic[Question, Answer]):
    """One step: an activity of the contract, what it is called in plain words, and how it is undone."""

    activity: Callable[[Any, Question], Answer]
    summary: str
    patience: Patience = QUICK
    undo: tuple[Undo, ...] = ()
    may_skip: bool = False
    in_cluster: bool = False
    deletes: bool = False
    """Whether it is a deletion, which waits while the customer withholds the role for that."""

    @property
    def name(self) -> str:
        """The activity's name."""
        return self.activity.__name__


# Taking back.
DELETE_ROLES = Undo(FoundationContract.delete_roles, "Delete the roles")
DELETE_KEY = Undo(FoundationContract.delete_encryption_key, "Delete the encryption key", takes_retention=True)
DELETE_BUCKET = Undo(FoundationContract.delete_backup_bucket, "Delete the backup bucket", takes_retention=True)
DELETE_DOMAIN = Undo(FoundationContract.delete_domain, "Delete the DNS zone")
DELETE_CERTIFICATE = Undo(FoundationContract.delete_certificate, "Delete the certificate")
DELETE_NETWORK = Undo(NetworkContract.delete_network, "Delete the network")
DELETE_EGRESS = Undo(NetworkContract.delete_egress, "Delete the NAT gateways")
DELETE_PRIVATE_ENDPOINTS = Undo(NetworkContract.delete_private_endpoints, "Delete the private endpoints")
DELETE_FIREWALL = Undo(NetworkContract.delete_firewall, "Delete the firewall")
DELETE_CLUSTER = Undo(ClusterContract.delete_cluster, "Delete the Kubernetes control plane")
DELETE_POOLS = Undo(ClusterContract.delete_node_pools, "Delete the node pools")
DELETE_LEAKS = Undo(
    ClusterContract.delete_load_balancers_and_volumes, "Delete load balancers and volumes that the cluster left"
)
DELETE_ALARMS = Undo(ClusterContract.delete_alarms, "Delete the alarms")
DELETE_CANARY_NODES = Undo(UpgradeContract.delete_canary_nodes, "Delete the canary nodes")
DELETE_WORKLOADS = Undo(KubernetesContract.delete_workloads, "Delete the server from the cluster", in_cluster=True)

# Making, in the order of provisioning.
CHECK_PERMISSIONS = Step(PreflightContract.check_permissions, "Check the permissions")
CHECK_QUOTAS = Step(PreflightContract.check_quotas, "Check the quotas")
CHOOSE_PLACEMENT = Step(PreflightContract.choose_placement, "Choose zones and machine types")
PLAN_ADDRESSES = Step(PreflightContract.plan_addresses, "Plan the address ranges")
CREATE_NETWORK = Step(NetworkContract.create_network, "Create the network", undo=(DELETE_NETWORK,))
CREATE_EGRESS = Step(NetworkContract.create_egress, "Create the NAT gateways", SLOW, undo=(DELETE_EGRESS,))
CREATE_PRIVATE_ENDPOINTS = Step(
    NetworkContract.create_private_endpoints,
    "Create private endpoints to the cloud's services",
    SLOW,
    undo=(DELETE_PRIVATE_ENDPOINTS,),
)
CREATE_FIREWALL = Step(NetworkContract.create_firewall, "Create the firewall", undo=(DELETE_FIREWALL,))
CREATE_ROLES = Step(FoundationContract.create_roles, "Create the roles", undo=(DELETE_ROLES,))
CREATE_KEY = Step(FoundationContract.create_encryption_key, "Create the encryption key", undo=(DELETE_KEY,))
CREATE_BUCKET = Step(FoundationContract.create_backup_bucket, "Create the backup bucket", undo=(DELETE_BUCKET,))
CREATE_DOMAIN = Step(FoundationContract.create_domain, "Create the DNS zone", undo=(DELETE_DOMAIN,))
CREATE_CERTIFICATE = Step(
    FoundationContract.create_certificate, "Create the certificate", SLOW, undo=(DELETE_CERTIFICATE,)
)
CREATE_CLUSTER = Step(
    ClusterContract.create_cluster, "Create the Kubernetes control plane", SLOW, undo=(DELETE_CLUSTER, DELETE_LEAKS)
)
GRANT_ACCESS = Step(ClusterContract.grant_cluster_access, "Grant us, and nobody else, access to the cluster")
CREATE_IDENTITY = Step(ClusterContract.create_workload_identity, "Give the workloads their identities", SLOW)
INSTALL_ADD_ON = Step(ClusterContract.install_add_on, "Install the {about} add-on", SLOW)
CREATE_POOL = Step(ClusterContract.create_node_pool, "Create the {about} node pool", SLOW, undo=(DELETE_POOLS,))
CREATE_STORAGE_CLASS = Step(
    KubernetesContract.create_storage_class, "Create the encrypted storage class", in_cluster=True
)
CREATE_NAMESPACE = Step(
    KubernetesContract.create_namespace,
    "Create the server's namespace",
    in_cluster=True,
    undo=(DELETE_WORKLOADS,),
)
INSTALL_COMPONENT = Step(KubernetesContract.install_component, "Install the {about} component", SLOW, in_cluster=True)
APPLY_API_KEYS = Step(KubernetesContract.apply_api_keys, "Apply the API keys", in_cluster=True)
OPEN_ENDPOINT = Step(KubernetesContract.open_endpoint, "Open the public endpoint", SLOW, in_cluster=True)
PUBLISH_ENDPOINT = Step(ClusterContract.publish_endpoint, "Publish the endpoint's name")
SMOKE_TEST = Step(
    KubernetesContract.smoke_test, "Use the server through its public endpoint", SLOW, may_skip=True, in_cluster=True
)
BACK_UP = Step(KubernetesContract.back_up, "Take a backup", SLOW, may_skip=True, in_cluster=True)
PROVE_RESTORE = Step(
    KubernetesContract.prove_restore, "Prove that the backup restores", SLOW, may_skip=True, in_cluster=True
)
LOCK_BACKUP = Step(ClusterContract.lock_backup, "Lock the final backup", may_skip=True)
CREATE_ALARMS = Step(ClusterContract.create_alarms, "Create the alarms", may_skip=True, undo=(DELETE_ALARMS,))
SET_MAINTENANCE_POLICY = Step(
    ClusterContract.set_maintenance_policy, "Switch off the provider's own upgrades", SLOW, may_skip=True
)
FIND_LEFTOVERS = Step(ClusterContract.find_leftovers, "Prove that nothing is left", may_skip=True)

# Upgrading.
CHECK_UPGRADE = Step(UpgradeContract.check_upgrade, "Check that the cloud allows the upgrade")
CHECK_SERVER = Step(ServerUpgradeContract.check_server, "Check that the server can be upgraded", in_cluster=True)
BACK_UP_BEFORE = Step(KubernetesContract.back_up, "Take a backup before the upgrade", SLOW, in_cluster=True)
PROVE_BEFORE = Step(
    KubernetesContract.prove_restore, "Prove that the backup before the upgrade restores", SLOW, in_cluster=True
)
UPGRADE_CONTROL_PLANE = Step(
    UpgradeContract.upgrade_control_plane, "Upgrade the Kubernetes control plane to {about}", LONG
)
UPGRADE_ADD_ON = Step(UpgradeContract.upgrade_add_on, "Upgrade the {about} add-on", SLOW)
CREATE_CANARY_NODE = Step(
    UpgradeContract.create_canary_node,
    "Create one {about} node of the new version",
    SLOW,
    undo=(DELETE_CANARY_NODES,),
)
VALIDATE_NODE = Step(
    ServerUpgradeContract.validate_node, "Validate the new {about} node before any other", SLOW, in_cluster=True
)
DELETE_CANARY = Step(UpgradeContract.delete_canary_nodes, "Delete the {about} canary node", SLOW)
UPGRADE_POOL = Step(UpgradeContract.upgrade_node_pool, "Replace the machines of the {about} node pool", LONG)
VERIFY_SERVER = Step(
    KubernetesContract.smoke_test, "Use the server through its public endpoint after {about}", SLOW, in_cluster=True
)
MIGRATE = Step(ServerUpgradeContract.migrate, "Migrate the store's schema: {about}", SLOW, in_cluster=True)
STAGE_CANARY = Step(
    ServerUpgradeContract.stage_canary, "Let one pod of the {about} component run the new release", in_cluster=True
)
MEASURE = Step(ServerUpgradeContract.measure, "Compare the {about} canary with the others", in_cluster=True)
PROMOTE_COMPONENT = Step(
    KubernetesContract.install_component, "Promote the {about} component to the new release", SLOW, in_cluster=True
)
ROLL_BACK_COMPONENT = Step(
    ServerUpgradeContract.roll_back_component,
    "Put the {about} component back to the release before",
    SLOW,
    in_cluster=True,
)

# An account's own.
VERIFY_ACCESS = Step(AccountContract.verify_access, "Verify what the customer granted")
PROVE_REVOKED = Step(
    AccountContract.prove_revoked,
    "Prove that we can no longer enter",
    Patience(attempt=timedelta(minutes=1), deadline=timedelta(days=3650)),
)

ALL: tuple[Step[Any, Any], ...] = tuple(value for value in list(vars().values()) if isinstance(value, Step))
"""Every step that there is; the durability tests go through it."""

UNDOS: tuple[Undo, ...] = tuple(value for value in list(vars().values()) if isinstance(value, Undo))
"""Every way to take something back."""


def name_of(activity: str, summary: str) -> str:
    """Return the name of the step whose activity has these words in the history: `install_component/store`."""
    for step in ALL:
        before, about, after = step.summary.partition("{about}")
        if step.name == activity and about and summary.startswith(before) and summary.endswith(after):
            return f"{activity}/{summary[len(before) : len(summary) - len(after)]}"
    return activity
