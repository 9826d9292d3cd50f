"""Pools of nodes: the node groups of a pool are made, converged and deleted together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from temporalio import activity

from activities.aws.cluster import find_cluster
from activities.aws.connection import AwsClient
from activities.aws.errors import failures_named
from activities.aws.existence import gone_is_success
from activities.aws.health import health_failure
from activities.aws.node_groups import (
    REPAIR,
    UNDER_WAY,
    UPDATE,
    AwsNodeGroups,
    NodeGroup,
    delete_group,
    find_group,
    launch_templates,
    machine_of,
    node_groups,
)
from activities.aws.ownership import lacking, require_ours
from activities.contracts import ClusterContract, NodePoolRequest
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import NodePool
from domain.naming import base_name, owner_tags, resource_name


class AwsNodePools(AwsNodeGroups, ClusterContract):
    """Makes, converges and deletes node pools."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "ec2:DescribeLaunchTemplates", "ec2:CreateLaunchTemplate", "eks:DescribeNodegroup", "eks:CreateNodegroup",
        "eks:UpdateNodegroupConfig", "eks:TagResource", "eks:DeleteNodegroup",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_node_pool(self, request: NodePoolRequest) -> NodePool:
        """Every node group of the pool is active with at least its smallest number of nodes.

        Sizes, labels, taints and settings that differ are put back; the number of nodes between the limits is the
        autoscaler's. Machine type, image and disks of a group never change: that takes another pool. A group that EKS
        failed to make holds nothing: it is deleted, so that the next look makes it again.
        """
        site, machine = request.site, machine_of(request)
        groups = node_groups(request)
        with failures_named(resource=resource_name(site, request.pool)):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            found = {group.name: find_group(eks, request.cluster.name, group.name) for group in groups}
            if None in found.values():
                ec2 = self._connections.client("ec2", site, Purpose.OPERATE)
                template_id = self._launch_template(ec2, request)
                for group in groups:
                    if found[group.name] is None:
                        self._create_group(eks, request, group, template_id)
            failed: list[Exception] = []
            waiting: list[str] = []
            for group in groups:
                present = found[group.name]
                if present is None:
                    waiting.append(f"{group.name} is being created")
                    continue
                require_ours(site, present.get("tags", {}), f"EKS node group {group.name}")
                if present["status"] == "CREATE_FAILED":
                    failed.append(self._give_up_on_failed_group(eks, present))
                elif reason := self._group_not_ready_because(eks, request, group, present):
                    waiting.append(reason)
            if failed:
                raise failed[0]
            if waiting:
                raise self._look_again("; ".join(waiting))
        return NodePool(pool=request.pool, name=resource_name(site, request.pool), instance_type=machine.instance_type)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "eks:DescribeCluster", "eks:ListNodegroups", "eks:DescribeNodegroup", "eks:DeleteNodegroup",
        "ec2:DescribeLaunchTemplates", "ec2:DeleteLaunchTemplate",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_node_pools(self, site: Site) -> None:
        """No node group of the cluster is left, and no launch template of the deployment."""
        with failures_named():
            eks = self._connections.client("eks", site, Purpose.DELETE)
            if remaining := self._delete_node_groups(eks, site):
                raise self._look_again(f"EKS is deleting {', '.join(remaining)}")
            ec2 = self._connections.client("ec2", site, Purpose.DELETE)
            for template in launch_templates(ec2, site):
                with gone_is_success():
                    ec2.delete_launch_template(LaunchTemplateId=template["LaunchTemplateId"])

    def _group_not_ready_because(
        self, eks: AwsClient, request: NodePoolRequest, group: NodeGroup, present: Mapping[str, Any]
    ) -> str:
        """Return why the group is not ready, empty if it is; put back what differs of an active one.

        Raises:
            the failure of a group that has run out of machines or lost a permission; it heals by itself once that ends.
        """
        if present["status"] in UNDER_WAY:
            return f"EKS reports {group.name} as {present['status']}"
        if missing := lacking(owner_tags(request.site, group.resource), present.get("tags", {})):
            eks.tag_resource(resourceArn=present["nodegroupArn"], tags=missing)
        if change := _change(group, present):
            eks.update_nodegroup_config(clusterName=request.cluster.name, nodegroupName=group.name, **change)
            return f"EKS is changing {', '.join(change)} of {group.name}"
        if present["status"] != "ACTIVE":
            raise health_failure(present.get("health", {}).get("issues", []), f"the nodes of {group.name}")
        return ""

    def _delete_node_groups(self, eks: AwsClient, site: Site) -> list[str]:
        """Begin to delete every node group of the cluster and return the names of those that are still there."""
        name = base_name(site)
        cluster = find_cluster(eks, name)
        if cluster is None:
            return []
        require_ours(site, cluster.get("tags", {}), f"EKS cluster {name}")
        pages = eks.get_paginator("list_nodegroups").paginate(clusterName=name)
        return [group for page in pages for group in page["nodegroups"] if delete_group(eks, site, group)]


def _change(group: NodeGroup, present: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has to change of an active group, as parameters of UpdateNodegroupConfig."""
    change: dict[str, Any] = {}
    scaling = present["scalingConfig"]
    if (scaling["minSize"], scaling["maxSize"]) != (group.minimum, group.maximum):
        within = min(max(scaling["desiredSize"], group.minimum), group.maximum)
        change["scalingConfig"] = {"minSize": group.minimum, "maxSize": group.maximum, "desiredSize": within}
    if missing := lacking(group.labels, present.get("labels") or {}):
        change["labels"] = {"addOrUpdateLabels": missing}
    if missing_taints := [taint for taint in group.taints if taint not in (present.get("taints") or [])]:
        change["taints"] = {"addOrUpdateTaints": missing_taints}
    if present.get("updateConfig", {}).get("maxUnavailable") != UPDATE["maxUnavailable"]:
        change["updateConfig"] = UPDATE
    if not present.get("nodeRepairConfig", {}).get("enabled"):
        change["nodeRepairConfig"] = REPAIR
    return change
