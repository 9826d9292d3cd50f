"""EKS managed node groups: machines in EC2 that are nodes in the Kubernetes simulator."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from ministack.services import ec2

from simulators.aws import fabric, identities
from simulators.aws.eks import versions
from simulators.aws.eks.access import Access
from simulators.aws.eks.records import (
    ClusterRecord,
    Document,
    NodeGroupRecord,
    forbidden_now,
    in_use,
    invalid,
    not_found,
)
from simulators.aws.eks.replacement import Replacement
from simulators.aws.eks.surroundings import Surroundings
from simulators.aws.eks.updates import Errors, Updates
from simulators.aws.instance_types import INSTANCE_TYPES, offered_in
from simulators.aws.refusals import Refusal
from simulators.aws.scope import Scope
from simulators.faults import Fault, FaultKind
from simulators.kubernetes.simulator import NodeShape

_NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,62}")
_TAINT_EFFECTS = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}
_DEFAULT_TYPE = "t3.medium"
_BUSY = ("CREATING", "UPDATING", "DELETING")
_MANAGED_IMAGE = "ami-0ec5eb0ec5eb0ec5e"


class NodeGroups:
    """The operations on node groups."""

    def __init__(self, surroundings: Surroundings, updates: Updates, access: Access) -> None:
        self._has = surroundings
        self._updates = updates
        self._access = access

    def create_nodegroup(self, here: Scope, parameters: Document) -> Document:
        """CreateNodegroup."""
        cluster = self._has.clusters.get(here, parameters["name"])
        name = parameters["nodegroupName"]
        if name in cluster.node_groups:
            message = f"NodeGroup already exists with name {name} and cluster name {cluster.name}"
            raise in_use(message, clusterName=cluster.name, nodegroupName=name)
        if cluster.status not in ("ACTIVE", "UPDATING"):
            message = f"Cluster '{cluster.name}' is not in ACTIVE status"
            raise forbidden_now(message, clusterName=cluster.name, nodegroupName=name)
        self._has.quotas.require(
            here,
            "eks",
            "L-6D54EA21",
            len(cluster.node_groups) + 1,
            lambda limit: Refusal(
                "ResourceLimitExceededException",
                f"You have reached the limit of {limit:.0f} managed node groups for cluster {cluster.name}.",
                clusterName=cluster.name,
                nodegroupName=name,
            ),
        )
        group = NodeGroupRecord(self._description(cluster, parameters))
        cluster.node_groups[name] = group
        self._access.admit_nodes(cluster, parameters["nodeRole"])

        def finish() -> None:
            problem = self._problem(cluster, group, group.description["scalingConfig"]["desiredSize"])
            if problem is None:
                self._scale(cluster, group)
                group.description["status"] = "ACTIVE"
            else:
                _fail_creation(group, problem)

        self._has.work.start(
            self._has.durations.node_group, finish, lambda fault: _fail_creation(group, _issue(group, fault))
        )
        return {"nodegroup": group.description}

    def _description(self, cluster: ClusterRecord, parameters: Document) -> Document:
        name = parameters["nodegroupName"]
        where = {"clusterName": cluster.name, "nodegroupName": name}
        _validate_place_and_role(cluster, parameters, where)
        version = parameters.get("version", cluster.version)
        if version not in versions.KUBERNETES_VERSIONS or versions.distance(cluster.version, version) > 0:
            message = f"Nodegroup Kubernetes version {version} is unsupported with cluster version {cluster.version}"
            raise invalid(message, **where)
        template, template_data = _launch_template(parameters.get("launchTemplate"), where)
        _require_what_eks_does_for_the_caller(parameters["nodeRole"])
        if template is not None:
            identities.require_caller("ec2:DescribeLaunchTemplateVersions", "*")
            _require_launch_permission(cluster.scope, template, template_data, where)
        types = _validated_types(parameters, template_data, where)
        if template and parameters.get("diskSize"):
            raise invalid("Disk size must be specified within the launch template.", **where)
        now = self._has.clock.time()
        identifier = str(uuid4())
        return {
            "nodegroupName": name,
            "nodegroupArn": cluster.scope.arn("eks", f"nodegroup/{cluster.name}/{name}/{identifier}"),
            "clusterName": cluster.name,
            "version": version,
            "releaseVersion": parameters.get("releaseVersion") or versions.release_of(version),
            "createdAt": now,
            "modifiedAt": now,
            "status": "CREATING",
            "capacityType": parameters.get("capacityType", "ON_DEMAND"),
            "scalingConfig": _validated_scaling(
                {"minSize": 1, "maxSize": 2, "desiredSize": 2} | (parameters.get("scalingConfig") or {}), where
            ),
            "instanceTypes": types,
            "subnets": parameters["subnets"],
            "amiType": parameters.get("amiType", "AL2023_x86_64_STANDARD"),
            "nodeRole": parameters["nodeRole"],
            "labels": dict(parameters.get("labels") or {}),
            "taints": list(parameters.get("taints") or []),
            "resources": {"autoScalingGroups": [{"name": f"eks-{name}-{identifier}"}]},
            **({"launchTemplate": template} if template else {"diskSize": parameters.get("diskSize", 20)}),
            "health": {"issues": []},
            "updateConfig": parameters.get("updateConfig") or {"maxUnavailable": 1},
            "nodeRepairConfig": parameters.get("nodeRepairConfig") or {"enabled": False},
            "tags": dict(parameters.get("tags") or {}),
        }

    def _problem(self, cluster: ClusterRecord, group: NodeGroupRecord, desired: int) -> Document | None:
        """Return why the group's nodes cannot come up, if they cannot, as an issue of the group's health."""
        description = group.description
        role = identities.role_of(description["nodeRole"])
        if role is None:
            return _problem("IamNodeRoleNotFound", f"The role {description['nodeRole']} was not found.", description)
        allowed = identities.has_managed_policy(role, "AmazonEKSWorkerNodePolicy") or identities.role_allows(
            role, "ec2:DescribeInstances", "*"
        )
        networked = cluster.bootstraps_network or "vpc-cni" in cluster.add_ons
        if not (allowed and networked):
            return _problem("NodeCreationFailure", "Instances failed to join the kubernetes cluster", description)
        wanted = INSTANCE_TYPES[description["instanceTypes"][0]].cpu * (desired - len(group.instances))
        if not self._has.quotas.allows(cluster.scope, "ec2", "L-1216C47A", vcpus_in_use() + wanted):
            message = (
                "Could not launch On-Demand Instances. VcpuLimitExceeded - You have requested more vCPU capacity than"
                " your current vCPU limit allows for the instance bucket that the specified instance type belongs to."
            )
            return _problem("InstanceLimitExceeded", message, description)
        return None

    def _scale(self, cluster: ClusterRecord, group: NodeGroupRecord) -> None:
        """Start or end machines until the desired number runs, spread over the subnets' zones."""
        wanted = group.description["scalingConfig"]["desiredSize"]
        while len(group.instances) > wanted:
            self._end(cluster, group, next(reversed(group.instances)))
        while len(group.instances) < wanted:
            self._launch(cluster, group)

    def _launch_next(
        self, cluster: ClusterRecord, group: NodeGroupRecord, version: str, template: Document | None
    ) -> str | None:
        """Start one machine of another version beside the present ones; return why that is not possible."""
        if problem := self._problem(cluster, group, len(group.instances) + 1):
            return str(problem["message"])
        self._launch(cluster, group, {"version": version, **({"launchTemplate": template} if template else {})})
        return None

    def _launch(self, cluster: ClusterRecord, group: NodeGroupRecord, changed: Document | None = None) -> None:
        """Start a machine as the group is described, but for what has `changed`."""
        description = {**group.description, **(changed or {})}
        type_ = INSTANCE_TYPES[description["instanceTypes"][0]]
        subnets = [subnet for subnet in description["subnets"] if type_.name in offered_in(fabric.zone_of(subnet))]
        subnet = subnets[group.next_subnet % len(subnets)]
        group.next_subnet += 1
        _, template = _launch_template(description.get("launchTemplate"), {})
        groups = _security_groups(template) or [cluster.description["resourcesVpcConfig"]["clusterSecurityGroupId"]]
        instance = fabric.add_instance(
            subnet,
            type_.name,
            groups=groups,
            image=template.get("ImageId") or _MANAGED_IMAGE,
            volume=_root_volume(template, description.get("diskSize", 20)),
            tags=_template_tags(template, "instance")
            | {
                "eks:cluster-name": cluster.name,
                "eks:nodegroup-name": description["nodegroupName"],
                f"kubernetes.io/cluster/{cluster.name}": "owned",
                "aws:autoscaling:groupName": description["resources"]["autoScalingGroups"][0]["name"],
            },
            volume_tags=_template_tags(template, "volume"),
            profile_arn=description["nodeRole"].replace(":role/", ":instance-profile/"),
            launched=datetime.fromtimestamp(self._has.clock.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        )
        node = str(instance["PrivateDnsName"])
        group.instances[instance["InstanceId"]] = node
        zone = instance["Placement"]["AvailabilityZone"]
        if (running := self._has.kubernetes.cluster(cluster.id)) is not None:
            shape = NodeShape(
                name=node,
                zone=zone,
                region=cluster.scope.region,
                instance_type=type_.name,
                pool=description["nodegroupName"],
                cpu=type_.cpu,
                memory_bytes=type_.memory_mib * 2**20,
                version=versions.patch_of(description["version"]),
                provider_id=f"aws:///{zone}/{instance['InstanceId']}",
                labels={
                    "eks.amazonaws.com/nodegroup-image": instance["ImageId"],
                    "eks.amazonaws.com/capacityType": description["capacityType"],
                    **description["labels"],
                },
                taints=tuple(_taint(taint) for taint in description["taints"]),
            )
            running.add_node(shape)

    def _end(self, cluster: ClusterRecord, group: NodeGroupRecord, instance_id: str) -> None:
        node = group.instances.pop(instance_id)
        if (running := self._has.kubernetes.cluster(cluster.id)) is not None:
            running.remove_node(node)
        fabric.terminate_instance(instance_id)

    def describe_nodegroup(self, here: Scope, parameters: Document) -> Document:
        """DescribeNodegroup."""
        return {"nodegroup": self._group(here, parameters)[1].description}

    def list_nodegroups(self, here: Scope, parameters: Document) -> Document:
        """ListNodegroups."""
        return {"nodegroups": sorted(self._has.clusters.get(here, parameters["name"]).node_groups)}

    def delete_nodegroup(self, here: Scope, parameters: Document) -> Document:
        """DeleteNodegroup: its machines go with it."""
        cluster, group = self._group(here, parameters)
        description = group.description
        self._require_idle(cluster, group)
        description["status"] = "DELETING"

        def finish() -> None:
            for instance_id in list(group.instances):
                self._end(cluster, group, instance_id)
            cluster.node_groups.pop(description["nodegroupName"], None)
            self._has.tokens.forget(description)

        def fail(_fault: Fault) -> None:
            message = "Failed to delete the security groups of the node group"
            issue = _problem("Ec2SecurityGroupDeletionFailure", message, description)
            description.update(status="DELETE_FAILED", health={"issues": [issue]})

        self._has.work.start(self._has.durations.node_group_deletion, finish, fail)
        return {"nodegroup": description}

    def update_nodegroup_config(self, here: Scope, parameters: Document) -> Document:
        """UpdateNodegroupConfig: scaling, labels, taints, update and repair settings."""
        cluster, group = self._group(here, parameters)
        self._require_active(cluster, group)
        description = group.description
        where = {"clusterName": cluster.name, "nodegroupName": description["nodegroupName"]}
        scaling = _validated_scaling({**description["scalingConfig"], **(parameters.get("scalingConfig") or {})}, where)
        changes = {
            "scalingConfig": scaling,
            "labels": _changed_labels(description["labels"], parameters.get("labels") or {}),
            "taints": _changed_taints(description["taints"], parameters.get("taints") or {}),
            "updateConfig": parameters.get("updateConfig") or description["updateConfig"],
            "nodeRepairConfig": parameters.get("nodeRepairConfig") or description["nodeRepairConfig"],
        }
        details = [
            (name, scaling[key])
            for name, key in (("MinSize", "minSize"), ("MaxSize", "maxSize"), ("DesiredSize", "desiredSize"))
        ]

        def apply() -> list[Document] | None:
            grows = scaling["desiredSize"] > len(group.instances)
            if grows and (problem := self._problem(cluster, group, scaling["desiredSize"])):
                return [{"errorCode": "NodeCreationFailure", "errorMessage": problem["message"], "resourceIds": []}]
            description.update(changes, status="ACTIVE", modifiedAt=self._has.clock.time())
            self._scale(cluster, group)
            return None

        description["status"] = "UPDATING"
        seconds = self._has.durations.node_group_configuration_update
        return self._updates.begin(
            cluster,
            "ConfigUpdate",
            details,
            seconds,
            apply=apply,
            revert=lambda: description.update(status="ACTIVE"),
            node_group=description["nodegroupName"],
        )

    def update_nodegroup_version(self, here: Scope, parameters: Document) -> Document:
        """UpdateNodegroupVersion: every machine is replaced; a pod that may not be evicted stops it, unless forced."""
        cluster, group = self._group(here, parameters)
        self._require_active(cluster, group)
        description = group.description
        where = {"clusterName": cluster.name, "nodegroupName": description["nodegroupName"]}
        target = parameters.get("version", description["version"])
        if target not in versions.KUBERNETES_VERSIONS or versions.distance(cluster.version, target) > 0:
            message = f"Nodegroup Kubernetes version {target} cannot be newer than cluster version {cluster.version}"
            raise invalid(message, **where)
        if versions.distance(description["version"], target) < 0:
            raise invalid(f"Nodegroup cannot be downgraded from {description['version']} to {target}", **where)
        release = parameters.get("releaseVersion") or versions.release_of(target)
        template, template_data = _launch_template(parameters.get("launchTemplate"), where)
        if template is not None:
            if template["id"] != (description.get("launchTemplate") or {}).get("id"):
                raise invalid("The launch template must be the one that the node group was made with", **where)
            identities.require_caller("ec2:DescribeLaunchTemplateVersions", "*")
            _require_launch_permission(cluster.scope, template, template_data, where)
        replacement = Replacement(
            self._has.kubernetes.cluster(cluster.id),
            self._has.clock,
            self._has.durations,
            group,
            launch=lambda: self._launch_next(cluster, group, target, template),
            end=lambda instance_id: self._end(cluster, group, instance_id),
            force=bool(parameters.get("force")),
        )

        def apply() -> Errors | None:
            errors = replacement.go_on()
            if errors is None:
                description.update(
                    version=target, releaseVersion=release, status="ACTIVE", modifiedAt=self._has.clock.time()
                )
                if template:
                    description["launchTemplate"] = template
            return errors

        def revert() -> None:
            description.update(status="ACTIVE")
            replacement.give_up()
            self._scale(cluster, group)

        description["status"] = "UPDATING"
        return self._updates.begin(
            cluster,
            "VersionUpdate",
            [("Version", target), ("ReleaseVersion", release)],
            self._has.durations.node_group_version_update,
            apply=apply,
            revert=revert,
            node_group=description["nodegroupName"],
        )

    def lose_instance(self, here: Scope, instance_id: str) -> None:
        """React to a machine that somebody has ended: its node goes, and the group starts another."""
        for cluster in self._has.clusters.of(here):
            for group in cluster.node_groups.values():
                if instance_id in group.instances:
                    self._end(cluster, group, instance_id)
                    if group.description["status"] in ("ACTIVE", "UPDATING"):
                        self._has.work.start(
                            self._has.durations.node_group, functools.partial(self._scale, cluster, group)
                        )
                    return

    def _group(self, here: Scope, parameters: Document) -> tuple[ClusterRecord, NodeGroupRecord]:
        cluster = self._has.clusters.get(here, parameters["name"])
        name = parameters["nodegroupName"]
        if name not in cluster.node_groups:
            raise not_found(f"No node group found for name: {name}.", clusterName=cluster.name, nodegroupName=name)
        return cluster, cluster.node_groups[name]

    def _require_idle(self, cluster: ClusterRecord, group: NodeGroupRecord) -> None:
        status, name = group.description["status"], group.description["nodegroupName"]
        if status in _BUSY:
            message = f"Nodegroup cannot be changed as it is currently {status}"
            raise in_use(message, clusterName=cluster.name, nodegroupName=name)

    def _require_active(self, cluster: ClusterRecord, group: NodeGroupRecord) -> None:
        self._require_idle(cluster, group)
        status, name = group.description["status"], group.description["nodegroupName"]
        if status not in ("ACTIVE", "DEGRADED"):
            message = f"Nodegroup cannot be updated as it is currently {status}"
            raise forbidden_now(message, clusterName=cluster.name, nodegroupName=name)


_NO_CAPACITY = (
    "Could not launch On-Demand Instances. InsufficientInstanceCapacity - We currently do not have sufficient"
    " {type} capacity in the Availability Zone you requested. Our system will be working on provisioning additional"
    " capacity. Launching EC2 instance failed."
)


def _problem(code: str, message: str, description: Document) -> Document:
    resources = [group["name"] for group in description["resources"]["autoScalingGroups"]]
    return {"code": code, "message": message, "resourceIds": resources}


def _issue(group: NodeGroupRecord, fault: Fault) -> Document:
    """Return how a fault shows in the group's health."""
    if fault.kind is FaultKind.CAPACITY:
        message = _NO_CAPACITY.format(type=group.description["instanceTypes"][0])
        return _problem(fault.code or "AsgInstanceLaunchFailures", fault.message or message, group.description)
    message = fault.message or "Instances failed to join the kubernetes cluster"
    return _problem(fault.code or "NodeCreationFailure", message, group.description)


def _fail_creation(group: NodeGroupRecord, issue: Document) -> None:
    group.description.update(status="CREATE_FAILED", health={"issues": [issue]})


def _validate_place_and_role(cluster: ClusterRecord, parameters: Document, where: Mapping[str, Any]) -> None:
    """Refuse a bad name, subnets outside the cluster's VPC, and a role that machines cannot have."""
    name = parameters["nodegroupName"]
    if not _NAME.fullmatch(name):
        raise invalid(f"The node group name '{name}' does not match {_NAME.pattern}", **where)
    subnets = parameters["subnets"]
    for subnet in subnets:
        record = fabric.subnet(subnet)
        if record is None or record["VpcId"] != cluster.description["resourcesVpcConfig"]["vpcId"]:
            raise invalid(f"Subnets are not in the cluster's VPC or do not exist: {subnet}", **where)
    role = identities.role_of(parameters["nodeRole"])
    if role is None or not identities.service_may_assume(role, "ec2.amazonaws.com"):
        message = (
            f"Role with arn: {parameters['nodeRole']}, could not be assumed because it does not exist"
            " or the trusted entity is not correct"
        )
        raise invalid(message, **where)


def _validated_types(parameters: Document, template: Document, where: Mapping[str, Any]) -> list[str]:
    """Return the machine types, from the request or the template; each must be offered in one of the zones."""
    types = parameters.get("instanceTypes")
    if types and template.get("InstanceType"):
        raise invalid("Instance types must be given in the request or in the launch template, not in both", **where)
    types = types or [template.get("InstanceType") or _DEFAULT_TYPE]
    offered = frozenset().union(*(offered_in(fabric.zone_of(subnet)) for subnet in parameters["subnets"]))
    if unknown := sorted(set(types) - offered):
        raise invalid(f"{unknown} are not valid instance types, or are not offered in the zones", **where)
    return list(types)


def _validated_scaling(scaling: dict[str, int], where: Mapping[str, Any]) -> dict[str, int]:
    low, desired, high = scaling["minSize"], scaling["desiredSize"], scaling["maxSize"]
    if high < 1:
        raise invalid("Maximum capacity must be at least 1", **where)
    if not low <= desired <= high:
        message = f"Desired capacity {desired} must be between minSize {low} and maxSize {high}"
        raise invalid(message, **where)
    return scaling


def _launch_template(asked: Document | None, where: Mapping[str, Any]) -> tuple[Document | None, Document]:
    """Return the template as the node group refers to it, and its data; refuse one that does not exist."""
    if not asked:
        return None, {}
    for id_, template in ec2._launch_templates.items():
        if id_ != asked.get("id") and template["LaunchTemplateName"] != asked.get("name"):
            continue
        version = asked.get("version") or str(template["DefaultVersionNumber"])
        number = {"$Latest": template["LatestVersionNumber"], "$Default": template["DefaultVersionNumber"]}.get(version)
        for entry in template["Versions"]:
            if entry["VersionNumber"] == (number or int(version)):
                reference = {"id": id_, "name": template["LaunchTemplateName"], "version": str(entry["VersionNumber"])}
                return reference, entry["LaunchTemplateData"]
    raise forbidden_now(f"Launch template {asked} could not be found", **where)


def _require_what_eks_does_for_the_caller(role: str) -> None:
    """Refuse a caller in whose name EKS could not look at subnets and role, or make the roles of the services."""
    identities.require_caller("ec2:DescribeSubnets", "*")
    identities.require_caller("iam:GetRole", role)
    identities.require_caller("iam:ListAttachedRolePolicies", role)
    for service in ("eks-nodegroup.amazonaws.com", "autoscaling.amazonaws.com"):
        identities.require_service_linked_role(service)


def _require_launch_permission(here: Scope, template: Document, data: Document, where: Mapping[str, Any]) -> None:
    """Refuse a caller who may not start machines from the template: EKS tries it in the caller's name."""
    tags = {f"aws:RequestTag/{key}": value for key, value in _template_tags(data, "instance").items()}
    context = {**tags, "ec2:LaunchTemplate": here.arn("ec2", f"launch-template/{template['id']}")}
    if not identities.caller_allows("ec2:RunInstances", here.arn("ec2", "instance/*"), context):
        raise forbidden_now("You are not authorized to launch instances with this launch template.", **where)


def _security_groups(template: Document) -> list[str]:
    groups = list(template.get("SecurityGroupIds") or ())
    for interface in template.get("NetworkInterfaces") or ():
        groups += interface.get("Groups") or interface.get("SecurityGroupIds") or ()
    return groups


def _root_volume(template: Document, size: int) -> Document:
    for mapping in template.get("BlockDeviceMappings") or ():
        if volume := mapping.get("Ebs"):
            return {"VolumeSize": size, **volume}
    return {"VolumeSize": size, "VolumeType": "gp3"}


def _template_tags(template: Document, kind: str) -> dict[str, str]:
    return {
        tag["Key"]: tag["Value"]
        for specification in template.get("TagSpecifications") or ()
        if specification.get("ResourceType") == kind
        for tag in specification.get("Tags") or ()
    }


def _taint(taint: Document) -> dict[str, Any]:
    value = {"value": taint["value"]} if taint.get("value") else {}
    return {"key": taint["key"], **value, "effect": _TAINT_EFFECTS[taint["effect"]]}


def _changed_labels(labels: Mapping[str, str], change: Document) -> dict[str, str]:
    removed = change.get("removeLabels") or ()
    return {
        key: value for key, value in {**labels, **(change.get("addOrUpdateLabels") or {})}.items() if key not in removed
    }


def _changed_taints(taints: list[Document], change: Document) -> list[Document]:
    def place(taint: Document) -> tuple[str, str]:
        return taint["key"], taint["effect"]

    added = change.get("addOrUpdateTaints") or []
    replaced = {place(taint) for taint in (*added, *(change.get("removeTaints") or ()))}
    return [taint for taint in taints if place(taint) not in replaced] + added


def vcpus_in_use() -> int:
    """Return the virtual processors of all running machines of the current account and region."""
    return sum(
        INSTANCE_TYPES[record["InstanceType"]].cpu if record["InstanceType"] in INSTANCE_TYPES else 2
        for record in ec2._instances.values()
        if record["State"]["Name"] in ("pending", "running")
    )
