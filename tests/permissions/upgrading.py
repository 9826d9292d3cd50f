"""An upgrade of one deployment's cluster, step by step, with every mishap that a step has an answer to.

The steps are run as a worker runs them, by themselves: which of them an upgrade needs, and in which window, is tested
elsewhere.
"""

from __future__ import annotations

from activities.contracts import AddOn
from activities.upgrade_contracts import ControlPlaneUpgrade, NodePoolUpgrade, UpgradeCheckRequest
from domain.shape import PoolName
from domain.state import DeploymentState
from simulators.faults import FaultKind
from tests.activities.aws.conftest import connect
from tests.activities.tenant import Tenant, by_name
from tests.durability.installation import Installation

TARGET = "1.36"


def upgrade(installation: Installation, state: DeploymentState) -> None:
    """Check, and move control plane, add-ons, canary and pools one Kubernetes version on; each fails once."""
    site, facts, control = state.order.site, state.facts, installation.control
    activities = by_name(connect(installation.endpoints, control).activities())
    tenant = Tenant(site, activities, control, control.position())
    assert facts.cluster
    assert facts.roles
    assert facts.placement
    assert facts.network
    assert facts.firewall
    assert facts.key
    cluster, roles, placement, network = facts.cluster, facts.roles, facts.placement, facts.network
    check = UpgradeCheckRequest(
        site=site, cluster=cluster, kubernetes=TARGET, replaces_nodes=True, placement=placement, network=network
    )
    assert [found for found in tenant.run("check_upgrade", check) if not found.passed] == []
    further = ControlPlaneUpgrade(site=site, cluster=cluster, kubernetes=TARGET)
    _after_failing(tenant, "upgrade_control_plane", "UpdateClusterVersion", further)
    # The nodes are behind now, which is an error in the eyes of EKS; and the default quota is small.
    tenant.inject(FaultKind.ERROR, "GetServiceQuota", times=1, code="NoSuchResourceException")
    against = {found.name for found in tenant.run("check_upgrade", check) if not found.passed}
    assert against == {"provider-insights", "surge-quota"}
    proxy = AddOn(site=site, cluster=cluster, roles=roles, name="proxy")
    _after_failing(tenant, "upgrade_add_on", "UpdateAddon", proxy)
    pool = NodePoolUpgrade(
        site=site,
        cluster=cluster,
        network=network,
        firewall=facts.firewall,
        roles=roles,
        key=facts.key,
        placement=placement,
        pool=PoolName.SERVICES,
        kubernetes=TARGET,
    )
    _after_failing(tenant, "create_canary_node", "CreateNodegroup", pool)
    tenant.run("delete_canary_nodes", site)
    _after_failing(tenant, "upgrade_node_pool", "UpdateNodegroupVersion", pool)


def _after_failing(tenant: Tenant, activity: str, operation: str, argument: object) -> None:
    """Run an activity of which the cloud first makes nothing, until it succeeds."""
    tenant.inject(FaultKind.CRASH, operation, times=1)
    assert tenant.failure(activity, argument).message
    tenant.run(activity, argument)
