"""Node groups of EKS: what each has to be like, and how one and the launch template behind it are made.

A pool is one node group over all zones, except where state lives: the store's volumes stay in their zone for ever, so
its pool is one node group for each zone in which it has a node. A group that spans zones could replace a lost node in a
zone from which its volume cannot be reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from activities.aws.cluster import is_role_not_usable_yet
from activities.aws.connection import AwsClient
from activities.aws.errors import code_of
from activities.aws.existence import gone_is_success, if_exists
from activities.aws.health import health_failure
from activities.aws.ownership import as_tag_list, from_tag_list, is_ours, require_ours
from activities.aws.part import AwsPart
from activities.contracts import NodePoolRequest
from activities.kubernetes.manifests.identity import POOL_LABEL, canary_of
from activities.upgrade_contracts import NodePoolUpgrade
from domain.deployment import Site
from domain.facts import Machine, Network, Placement
from domain.naming import TAG_DEPLOYMENT, base_name, owner_tags, resource_name, token
from domain.shape import PoolName

ROOT_VOLUME_GIB = 50
_IMAGE = "AL2023_x86_64_STANDARD"
UNDER_WAY = frozenset({"CREATING", "UPDATING", "DELETING"})
"""States of a group in which EKS works on it."""
UPDATE = {"maxUnavailable": 1}
"""How many machines of a group an update takes away at a time; the new ones come first."""
REPAIR = {"enabled": True}


@dataclass(frozen=True)
class NodeGroup:
    """One node group as it has to be."""

    name: str
    resource: str
    """What its tags and its token call it."""
    subnet_ids: tuple[str, ...]
    minimum: int
    maximum: int
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, str], ...] = ()
    version: str = ""
    """Kubernetes minor version in which it is made; empty for that of the control plane."""


class AwsNodeGroups(AwsPart):
    """Makes groups, and takes away what EKS failed to make."""

    def _launch_template(self, ec2: AwsClient, request: NodePoolRequest) -> str:
        """Return the id of the pool's launch template, which is made if there is none."""
        name = resource_name(request.site, request.pool)
        resource = f"launch-template-{request.pool}"
        for template in launch_templates(ec2, request.site):
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
        """Begin to make a group; in the version of the control plane, unless the group has one of its own."""
        try:
            eks.create_nodegroup(
                clusterName=request.cluster.name,
                nodegroupName=group.name,
                subnets=list(group.subnet_ids),
                scalingConfig={"minSize": group.minimum, "maxSize": group.maximum, "desiredSize": group.minimum},
                instanceTypes=[machine_of(request).instance_type],
                amiType=_IMAGE,
                capacityType="ON_DEMAND",
                nodeRole=request.roles.nodes,
                launchTemplate={"id": template_id, "version": "1"},
                labels=group.labels,
                taints=list(group.taints),
                updateConfig=UPDATE,
                nodeRepairConfig=REPAIR,
                tags=owner_tags(request.site, group.resource),
                # Of a canary there is another one for each version.
                clientRequestToken=token(request.site, f"{group.resource}{group.version}"),
                **({"version": group.version} if group.version else {}),
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


def node_groups(request: NodePoolRequest) -> tuple[NodeGroup, ...]:
    """Return the node groups of a pool."""
    return groups_of(request.site, request.network, request.placement, machine_of(request))


def groups_of(site: Site, network: Network, placement: Placement, machine: Machine) -> tuple[NodeGroup, ...]:
    """Return the node groups of the machine's pool; the zones' shares of its limits are as even as they can be."""
    pool, name = machine.pool, resource_name(site, machine.pool)
    subnets, labels = network.private_subnet_ids, {POOL_LABEL: pool.value}
    if pool is not PoolName.STORE:
        return (
            NodeGroup(
                name=name,
                resource=f"pool-{pool}",
                subnet_ids=subnets,
                minimum=machine.minimum,
                maximum=machine.maximum,
                labels=labels,
            ),
        )
    zones = placement.zones[: max(1, machine.minimum)]
    return tuple(
        NodeGroup(
            name=f"{name}-{zone}",
            resource=f"pool-{pool}-{zone}",
            subnet_ids=(subnets[number],),
            minimum=_share(machine.minimum, number, len(zones)),
            maximum=_share(machine.maximum, number, len(zones)),
            labels=labels,
            # Nothing but the store runs on the store's nodes.
            taints=(taint(pool.value),),
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


def machine_of(request: NodePoolRequest) -> Machine:
    """Return the machines of the pool."""
    return next(machine for machine in request.placement.machines if machine.pool is request.pool)


def _share(total: int, number: int, of: int) -> int:
    """Return the part of `total` for one of `of` zones, at least 1; the first zones get what does not divide."""
    return max(1, total // of + (1 if number < total % of else 0))


def canary_group(request: NodePoolUpgrade) -> NodeGroup:
    """Return the group of one machine on which a new version is tried for a pool."""
    value = canary_of(request.pool)
    subnets = request.network.private_subnet_ids
    return NodeGroup(
        name=resource_name(request.site, value),
        resource=f"pool-{value}",
        subnet_ids=subnets[:1] if request.pool is PoolName.STORE else subnets,
        minimum=1,
        maximum=1,
        labels={POOL_LABEL: value},
        taints=(taint(value),),
        version=request.kubernetes,
    )


def taint(value: str) -> dict[str, str]:
    """Return the taint that lets nothing onto a node but what tolerates this value of the pool label."""
    return {"key": POOL_LABEL, "value": value, "effect": "NO_SCHEDULE"}


def find_group(eks: AwsClient, cluster: str, name: str) -> Mapping[str, Any] | None:
    """Return the node group as EKS describes it, None if there is none."""
    found = if_exists(eks.describe_nodegroup, clusterName=cluster, nodegroupName=name)
    return found["nodegroup"] if found else None


def delete_group(eks: AwsClient, site: Site, name: str) -> bool:
    """Begin to delete a node group of the deployment's cluster; return whether it is still there.

    Raises:
        NotOurs: It has our name without our tags.
    """
    cluster = base_name(site)
    present = find_group(eks, cluster, name)
    if present is None:
        return False
    require_ours(site, present.get("tags", {}), f"EKS node group {name}")
    if present["status"] not in UNDER_WAY:
        with gone_is_success():
            eks.delete_nodegroup(clusterName=cluster, nodegroupName=name)
    return True


def launch_templates(ec2: AwsClient, site: Site) -> Iterator[Mapping[str, Any]]:
    """Yield the deployment's launch templates."""
    by_tag = [{"Name": f"tag:{TAG_DEPLOYMENT}", "Values": [site.deployment]}]
    for page in ec2.get_paginator("describe_launch_templates").paginate(Filters=by_tag):
        for template in page["LaunchTemplates"]:
            if is_ours(site, from_tag_list(template.get("Tags"))):
                yield template
