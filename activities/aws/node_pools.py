"""Pools of nodes: EKS managed node groups and the launch template behind them.

A pool is one node group over all zones, except where state lives: the store's volumes stay in their zone for ever, so
its pool is one node group for each zone in which it has a node. A group that spans zones could replace a lost node in a
zone from which its volume cannot be reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from temporalio import activity

from activities.aws.cluster import find_cluster, is_role_not_usable_yet
from activities.aws.connection import AwsClient
from activities.aws.errors import code_of, failures_named
from activities.aws.existence import gone_is_success, if_exists
from activities.aws.health import health_failure
from activities.aws.ownership import as_tag_list, from_tag_list, is_ours, lacking, require_ours
from activities.aws.part import AwsPart
from activities.contracts import ClusterContract, NodePoolRequest
from activities.kubernetes.manifests.identity import POOL_LABEL
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Machine, NodePool
from domain.naming import TAG_DEPLOYMENT, base_name, owner_tags, resource_name, token
from domain.shape import PoolName

ROOT_VOLUME_GIB = 50
_IMAGE = "AL2023_x86_64_STANDARD"
_UNDER_WAY = frozenset({"CREATING", "UPDATING", "DELETING"})
_UPDATE = {"maxUnavailable": 1}
_REPAIR = {"enabled": True}


@dataclass(frozen=True)
class NodeGroup:
    """One node group as it has to be."""

    name: str
    resource: str
    """What its tags and its token call it."""
    subnet_ids: tuple[str, ...]
    minimum: int
    maximum: int


class AwsNodePools(AwsPart, ClusterContract):
    """Makes, converges and deletes node pools."""

    @activity.defn
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
        site, machine = request.site, _machine(request)
        groups = node_groups(request)
        with failures_named(resource=resource_name(site, request.pool)):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            found = {group.name: _find(eks, request.cluster.name, group.name) for group in groups}
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

    @activity.defn
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
            for template in _launch_templates(ec2, site):
                with gone_is_success():
                    ec2.delete_launch_template(LaunchTemplateId=template["LaunchTemplateId"])

    def _launch_template(self, ec2: AwsClient, request: NodePoolRequest) -> str:
        """Return the id of the pool's launch template, which is made if there is none."""
        name = resource_name(request.site, request.pool)
        resource = f"launch-template-{request.pool}"
        for template in _launch_templates(ec2, request.site):
            if template["LaunchTemplateName"] == name:
                return str(template["LaunchTemplateId"])
        try:
            created = ec2.create_launch_template(
                LaunchTemplateName=name,
                ClientToken=token(request.site, resource),
                LaunchTemplateData=launch_template_data(request),
                TagSpecifications=[
                    {"ResourceType": "launch-template", "Tags": as_tag_list(owner_tags(request.site, resource))}
                ],
            )
        except ClientError as error:
            if "AlreadyExists" not in code_of(error):
                raise
            # Ours from an earlier attempt and not listed yet, or somebody else's: the next look tells, by the name.
            found = if_exists(ec2.describe_launch_templates, LaunchTemplateNames=[name])
            for template in found["LaunchTemplates"] if found else ():
                require_ours(request.site, from_tag_list(template.get("Tags")), f"launch template {name}")
            raise self._look_again(f"the launch template {name} is not visible yet") from error
        return str(created["LaunchTemplate"]["LaunchTemplateId"])

    def _create_group(self, eks: AwsClient, request: NodePoolRequest, group: NodeGroup, template_id: str) -> None:
        try:
            eks.create_nodegroup(
                clusterName=request.cluster.name,
                nodegroupName=group.name,
                subnets=list(group.subnet_ids),
                scalingConfig={"minSize": group.minimum, "maxSize": group.maximum, "desiredSize": group.minimum},
                instanceTypes=[_machine(request).instance_type],
                amiType=_IMAGE,
                capacityType="ON_DEMAND",
                nodeRole=request.roles.nodes,
                launchTemplate={"id": template_id, "version": "1"},
                labels=_labels(request.pool),
                taints=_taints(request.pool),
                updateConfig=_UPDATE,
                nodeRepairConfig=_REPAIR,
                tags=owner_tags(request.site, group.resource),
                clientRequestToken=token(request.site, group.resource),
            )
        except ClientError as error:
            if code_of(error) == "ResourceInUseException":
                raise self._look_again(f"the node group {group.name} is not visible yet") from error
            if is_role_not_usable_yet(error):
                raise self._look_again(f"the role {request.roles.nodes} cannot be used yet") from error
            raise

    def _give_up_on_failed_group(self, eks: AwsClient, present: Mapping[str, Any]) -> Exception:
        """Delete a group that EKS could not make, and return the failure that says why it could not."""
        with gone_is_success():
            eks.delete_nodegroup(clusterName=present["clusterName"], nodegroupName=present["nodegroupName"])
        return health_failure(present.get("health", {}).get("issues", []), f"the node group {present['nodegroupName']}")

    def _group_not_ready_because(
        self, eks: AwsClient, request: NodePoolRequest, group: NodeGroup, present: Mapping[str, Any]
    ) -> str:
        """Return why the group is not ready, empty if it is; put back what differs of an active one.

        Raises:
            the failure of a group that has run out of machines or lost a permission; it heals by itself once that ends.
        """
        if present["status"] in _UNDER_WAY:
            return f"EKS reports {group.name} as {present['status']}"
        if missing := lacking(owner_tags(request.site, group.resource), present.get("tags", {})):
            eks.tag_resource(resourceArn=present["nodegroupArn"], tags=missing)
        if change := _change(request.pool, group, present):
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
        remaining = []
        for page in eks.get_paginator("list_nodegroups").paginate(clusterName=name):
            for group in page["nodegroups"]:
                present = _find(eks, name, group)
                if present is None:
                    continue
                require_ours(site, present.get("tags", {}), f"EKS node group {group}")
                if present["status"] not in _UNDER_WAY:
                    with gone_is_success():
                        eks.delete_nodegroup(clusterName=name, nodegroupName=group)
                remaining.append(group)
        return remaining


def node_groups(request: NodePoolRequest) -> tuple[NodeGroup, ...]:
    """Return the node groups of a pool; the zones' shares of its limits are as even as they can be."""
    machine, name = _machine(request), resource_name(request.site, request.pool)
    subnets = request.network.private_subnet_ids
    if request.pool is not PoolName.STORE:
        return (NodeGroup(name, f"pool-{request.pool}", subnets, machine.minimum, machine.maximum),)
    zones = request.placement.zones[: max(1, machine.minimum)]
    return tuple(
        NodeGroup(
            name=f"{name}-{zone}",
            resource=f"pool-{request.pool}-{zone}",
            subnet_ids=(subnets[number],),
            minimum=_share(machine.minimum, number, len(zones)),
            maximum=_share(machine.maximum, number, len(zones)),
        )
        for number, zone in enumerate(zones)
    )


def launch_template_data(request: NodePoolRequest) -> dict[str, Any]:
    """Return how the pool's machines start: an encrypted root volume, and no credentials of the node for its pods.

    Instance metadata answers only to requests with a session token (IMDSv2), and with a hop limit of 1 not to pods in
    networks of their own: these act as their own roles.
    """
    tags = {**owner_tags(request.site, f"node-{request.pool}"), "Name": resource_name(request.site, request.pool)}
    return {
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {
                    "VolumeSize": ROOT_VOLUME_GIB,
                    "VolumeType": "gp3",
                    "Encrypted": True,
                    "KmsKeyId": request.key.key_id,
                    "DeleteOnTermination": True,
                },
            }
        ],
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "SecurityGroupIds": [request.firewall.node_group_id],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": as_tag_list(tags)},
            {"ResourceType": "volume", "Tags": as_tag_list(tags)},
        ],
    }


def _machine(request: NodePoolRequest) -> Machine:
    return next(machine for machine in request.placement.machines if machine.pool is request.pool)


def _share(total: int, number: int, of: int) -> int:
    """Return the part of `total` for one of `of` zones, at least 1; the first zones get what does not divide."""
    return max(1, total // of + (1 if number < total % of else 0))


def _labels(pool: PoolName) -> dict[str, str]:
    return {POOL_LABEL: pool.value}


def _taints(pool: PoolName) -> list[dict[str, str]]:
    """Return what keeps everything but the store off the store's nodes."""
    if pool is not PoolName.STORE:
        return []
    return [{"key": POOL_LABEL, "value": pool.value, "effect": "NO_SCHEDULE"}]


def _change(pool: PoolName, group: NodeGroup, present: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has to change of an active group, as parameters of UpdateNodegroupConfig."""
    change: dict[str, Any] = {}
    scaling = present["scalingConfig"]
    if (scaling["minSize"], scaling["maxSize"]) != (group.minimum, group.maximum):
        within = min(max(scaling["desiredSize"], group.minimum), group.maximum)
        change["scalingConfig"] = {"minSize": group.minimum, "maxSize": group.maximum, "desiredSize": within}
    if missing := lacking(_labels(pool), present.get("labels") or {}):
        change["labels"] = {"addOrUpdateLabels": missing}
    if missing_taints := [taint for taint in _taints(pool) if taint not in (present.get("taints") or [])]:
        change["taints"] = {"addOrUpdateTaints": missing_taints}
    if present.get("updateConfig", {}).get("maxUnavailable") != _UPDATE["maxUnavailable"]:
        change["updateConfig"] = _UPDATE
    if not present.get("nodeRepairConfig", {}).get("enabled"):
        change["nodeRepairConfig"] = _REPAIR
    return change


def _find(eks: AwsClient, cluster: str, name: str) -> Mapping[str, Any] | None:
    found = if_exists(eks.describe_nodegroup, clusterName=cluster, nodegroupName=name)
    return found["nodegroup"] if found else None


def _launch_templates(ec2: AwsClient, site: Site) -> Iterator[Mapping[str, Any]]:
    """Yield the deployment's launch templates."""
    by_tag = [{"Name": f"tag:{TAG_DEPLOYMENT}", "Values": [site.deployment]}]
    for page in ec2.get_paginator("describe_launch_templates").paginate(Filters=by_tag):
        for template in page["LaunchTemplates"]:
            if is_ours(site, from_tag_list(template.get("Tags"))):
                yield template
