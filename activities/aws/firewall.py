"""The security groups of a deployment's control plane and nodes."""

from __future__ import annotations

from temporalio import activity

from activities.aws.ec2 import NETWORK_INTERFACE, SECURITY_GROUP, DeploymentEc2, Description, Ec2Part, tags_of
from activities.aws.errors import failures_named
from activities.aws.existence import gone_is_success
from activities.aws.security_groups import ensure_group, ensure_ingress, revoke_references, tcp
from activities.contracts import InNetwork, NetworkContract
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Firewall
from domain.naming import TAG_RESOURCE, base_name

CONTROL_PLANE = "control-plane"
NODES = "nodes"
"""The parts that the two groups play."""

CLUSTER_OF_INTERFACE = "cluster.k8s.amazonaws.com/name"
"""Tag of the network interfaces that the network plug-in makes; it leaks some when a node goes away in a hurry."""
CLUSTER_OF_GROUP = "elbv2.k8s.aws/cluster"
"""Tag of the `k8s-*` security groups that the load balancer controller makes."""


class AwsFirewall(Ec2Part, NetworkContract):
    """Makes the security groups with their rules, and takes them away with what the cluster's controllers leaked."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateSecurityGroup", "ec2:CreateTags",
        "ec2:DescribeSecurityGroups",
        purpose=Purpose.OPERATE, why="Make the security groups of control plane and nodes",
    )  # fmt: skip
    def create_firewall(self, request: InNetwork) -> Firewall:
        """The security groups of control plane and nodes exist with the rules that EKS needs, and no others of ours.

        Source of the rules: EKS best practices guide, "VPC and subnet considerations": the API server reaches kubelets
        and webhooks, nodes reach the API server and each other.
        """
        site, network = request.site, request.network.network_id
        with failures_named():
            ec2 = self._ec2(site, Purpose.OPERATE)
            control_plane = ensure_group(ec2, network, CONTROL_PLANE, "Kubernetes API server")
            nodes = ensure_group(ec2, network, NODES, "Nodes")
            # EKS's service controller opens the one group of each node that has this tag to its load balancers.
            ec2.ensure_tags(SECURITY_GROUP, nodes, {f"kubernetes.io/cluster/{base_name(site)}": "owned"})
            from_nodes = {"UserIdGroupPairs": [{"GroupId": nodes["GroupId"]}]}
            from_control_plane = {"UserIdGroupPairs": [{"GroupId": control_plane["GroupId"]}]}
            ensure_ingress(ec2, control_plane, [tcp(443, 443, **from_nodes)])
            ensure_ingress(
                ec2,
                nodes,
                [
                    {"IpProtocol": "-1", **from_nodes},
                    tcp(443, 443, **from_control_plane),
                    tcp(1025, 65535, **from_control_plane),
                ],
            )
        return Firewall(control_plane_group_id=control_plane["GroupId"], node_group_id=nodes["GroupId"])

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "ec2:DeleteNetworkInterface", "ec2:DeleteSecurityGroup", "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups", "ec2:RevokeSecurityGroupIngress",
        purpose=Purpose.DELETE, why="Delete security groups and what the cluster's controllers leaked",
    )  # fmt: skip
    def delete_firewall(self, site: Site) -> None:
        """No security group of control plane and nodes is left, nor what the cluster's controllers made and left."""
        with failures_named():
            ec2 = self._ec2(site, Purpose.DELETE)
            cluster = base_name(site)
            for interface in ec2.matching(NETWORK_INTERFACE, {f"tag:{CLUSTER_OF_INTERFACE}": cluster}):
                if interface["Status"] != "available":
                    raise self._look_again(f"{interface['NetworkInterfaceId']} is still attached to a node")
                with gone_is_success():
                    ec2.client.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
            # An aborted creation may have made groups that are not seen yet.
            own = ec2.eventually(lambda: self._own_groups(ec2) or None) or []
            made_by_controller = ec2.matching(SECURITY_GROUP, {f"tag:{CLUSTER_OF_GROUP}": cluster})
            groups = {group["GroupId"]: group for group in (*made_by_controller, *own)}
            # Groups whose rules name each other cannot be deleted one by one.
            for group in own:
                revoke_references(ec2, group)
            for group_id in groups:
                with gone_is_success():
                    ec2.client.delete_security_group(GroupId=group_id)

    @staticmethod
    def _own_groups(ec2: DeploymentEc2) -> list[Description]:
        """Return the groups of control plane and nodes; that of the private endpoints goes with these."""
        return [
            group for group in ec2.ours(SECURITY_GROUP) if tags_of(group).get(TAG_RESOURCE) in (CONTROL_PLANE, NODES)
        ]
