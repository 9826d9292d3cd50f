"""Upgrades of node pools, and the machine on which a new version is tried first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from temporalio import activity

from activities.aws.cluster import find_cluster
from activities.aws.cluster_token import AwsClusterTokens
from activities.aws.connection import AwsClient
from activities.aws.errors import failures_named
from activities.aws.existence import gone_is_success
from activities.aws.health import health_failure
from activities.aws.node_groups import (
    UNDER_WAY,
    AwsNodeGroups,
    canary_group,
    delete_group,
    find_group,
    launch_templates,
    machine_of,
    node_groups,
)
from activities.aws.ownership import require_ours
from activities.aws.part import AwsPart
from activities.aws.updates import tell, untold_failure
from activities.failures import refused
from activities.kubernetes.evictions import unevictable
from activities.kubernetes.manifests.identity import canary_of
from activities.needs import needs
from activities.upgrade_contracts import NodePoolUpgrade, UpgradeContract
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import NodePool
from domain.failure import FailureClass
from domain.naming import base_name, resource_name
from domain.shape import PoolName
from domain.version import version_order

_GROUP_LABEL = "eks.amazonaws.com/nodegroup"
"""By which EKS names a node's group."""
_NOT_EVICTED = "PodEvictionFailure"


class AwsCanaryNodes(AwsNodeGroups, UpgradeContract):
    """Makes and deletes the machines on which a new version is tried."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "ec2:DescribeLaunchTemplates", "eks:DescribeNodegroup", "eks:CreateNodegroup", "eks:DeleteNodegroup",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_canary_node(self, request: NodePoolUpgrade) -> NodePool:
        """A node group of one machine runs the new version, from the pool's own launch template.

        Its taint keeps everything off it but the job that validates it. A canary of another version, which an upgrade
        before has left, is replaced; one that EKS failed to make is deleted, so that the next look makes it again.
        """
        site, group = request.site, canary_group(request)
        with failures_named(resource=group.name):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            present = find_group(eks, request.cluster.name, group.name)
            if present is None:
                self._create_group(eks, request, group, self._template_of_pool(request))
                raise self._look_again(f"{group.name} is being created")
            require_ours(site, present.get("tags", {}), f"EKS node group {group.name}")
            if present["status"] == "CREATE_FAILED":
                raise self._give_up_on_failed_group(eks, present)
            if present["status"] in UNDER_WAY:
                raise self._look_again(f"EKS reports {group.name} as {present['status']}")
            if present["version"] != request.kubernetes:
                with gone_is_success():
                    eks.delete_nodegroup(clusterName=request.cluster.name, nodegroupName=group.name)
                raise self._look_again(f"EKS is deleting {group.name}, which has version {present['version']}")
            if present["status"] != "ACTIVE":
                raise health_failure(present.get("health", {}).get("issues", []), f"the node of {group.name}")
        return NodePool(pool=request.pool, name=group.name, instance_type=machine_of(request).instance_type)

    @activity.defn(no_thread_cancel_exception=True)
    @needs("eks:DescribeCluster", "eks:DescribeNodegroup", "eks:DeleteNodegroup", purpose=Purpose.OPERATE)
    def delete_canary_nodes(self, site: Site) -> None:
        """No node group is left on which a version was tried; the launch templates are the pools'."""
        with failures_named():
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            if find_cluster(eks, base_name(site)) is None:
                return
            canaries = [resource_name(site, canary_of(pool)) for pool in PoolName]
            if remaining := [each for each in canaries if delete_group(eks, site, each)]:
                raise self._look_again(f"EKS is deleting {', '.join(remaining)}")

    def _template_of_pool(self, request: NodePoolUpgrade) -> str:
        """Return the id of the launch template with which the pool was made."""
        name = resource_name(request.site, request.pool)
        ec2 = self._connections.client("ec2", request.site, Purpose.OPERATE)
        for template in launch_templates(ec2, request.site):
            if template["LaunchTemplateName"] == name:
                return str(template["LaunchTemplateId"])
        message = f"The launch template {name}, with which the pool was made, does not exist any more"
        raise refused(FailureClass.CONFIG, message, resource=name)


class AwsNodePoolUpgrades(AwsPart, UpgradeContract):
    """Replaces the machines of a pool."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "eks:DescribeNodegroup", "eks:UpdateNodegroupVersion", "eks:ListUpdates", "eks:DescribeUpdate",
        "eks:TagResource",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def upgrade_node_pool(self, request: NodePoolUpgrade) -> NodePool:
        """Every machine of the pool runs the asked version, or a newer one; its groups are done one after the other.

        EKS starts new machines first, then empties and ends one old machine at a time (`maxUnavailable` 1), by eviction
        and never by force. An update that failed is told once and begun anew by the next run.

        Raises:
            CONFIG: a pod was not evicted within EKS's patience of 15 minutes; pod and budget are named.
        """
        site, cluster = request.site, request.cluster.name
        with failures_named(resource=resource_name(site, request.pool)):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            for group in node_groups(request):
                present = find_group(eks, cluster, group.name)
                if present is None:
                    message = f"There is no EKS node group {group.name} to upgrade"
                    raise refused(FailureClass.CONFIG, message, resource=group.name)
                require_ours(site, present.get("tags", {}), f"EKS node group {group.name}")
                if present["status"] in UNDER_WAY:
                    raise self._look_again(f"EKS reports {group.name} as {present['status']}")
                if version_order(present["version"]) < version_order(request.kubernetes):
                    self._begin_group(eks, request, present)
                    raise self._look_again(f"EKS is moving {group.name} to Kubernetes {request.kubernetes}")
                if present["status"] != "ACTIVE":
                    raise health_failure(present.get("health", {}).get("issues", []), f"the nodes of {group.name}")
        name, machine = resource_name(site, request.pool), machine_of(request)
        return NodePool(pool=request.pool, name=name, instance_type=machine.instance_type)

    def _begin_group(self, eks: AwsClient, request: NodePoolUpgrade, present: Mapping[str, Any]) -> None:
        cluster, group, target = request.cluster.name, present["nodegroupName"], request.kubernetes
        if failed := untold_failure(eks, cluster, present, {"Version": target}, nodegroupName=group):
            hint = self._who_stays(request, group) if _was_not_evicted(failed) else ""
            what = f"the nodes of {group} to Kubernetes {target}"
            raise tell(eks, present["nodegroupArn"], failed, what, hint=hint)
        template = present["launchTemplate"]
        eks.update_nodegroup_version(
            clusterName=cluster,
            nodegroupName=group,
            version=target,
            # EKS wants it named, and the same one; its version stays that with which the pool was made.
            launchTemplate={"id": template["id"], "version": template["version"]},
            force=False,
        )

    def _who_stays(self, request: NodePoolUpgrade, group: str) -> str:
        """Return which pods may not be evicted from the group's nodes, and why, to be said behind EKS's own words."""
        credentials = AwsClusterTokens(self._connections)
        found = unevictable(credentials, request.site, request.cluster, f"{_GROUP_LABEL}={group}")
        return f": {'; '.join(found)}" if found else ""


def _was_not_evicted(update: Mapping[str, Any]) -> bool:
    return any(error.get("errorCode") == _NOT_EVICTED for error in update.get("errors", ()))
