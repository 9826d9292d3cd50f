"""Pools of nodes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from activities.aws.node_groups import node_groups
from activities.contracts import NodePoolRequest
from domain.facts import Cluster
from domain.failure import FailureClass
from domain.naming import base_name, owner_tags
from domain.shape import PoolName
from simulators.faults import FaultKind
from tests.activities.aws.conftest import Account, Ground

Order = Callable[[PoolName], NodePoolRequest]


def _groups(account: Account) -> list[str]:
    return sorted(account.customer("eks").list_nodegroups(clusterName=base_name(account.site))["nodegroups"])


def test_the_store_has_a_group_in_each_zone(account: Account, ground: Ground, pool_request: Order) -> None:
    """Each group has one subnet, the label, the taint that keeps others off, and its share of the nodes."""
    pool = account.run("create_node_pool", pool_request(PoolName.STORE))

    name = f"{base_name(account.site)}-store"
    assert (pool.name, pool.instance_type) == (name, "m6i.xlarge")
    assert _groups(account) == [f"{name}-{zone}" for zone in ground.placement.zones]
    eks = account.customer("eks")
    for number, zone in enumerate(ground.placement.zones):
        group = eks.describe_nodegroup(clusterName=base_name(account.site), nodegroupName=f"{name}-{zone}")["nodegroup"]
        assert group["subnets"] == [ground.network.private_subnet_ids[number]]
        assert group["scalingConfig"] == {"minSize": 1, "maxSize": 2, "desiredSize": 1}
        assert group["labels"] == {"byoc.dev/pool": "store"}
        assert group["taints"] == [{"key": "byoc.dev/pool", "value": "store", "effect": "NO_SCHEDULE"}]
        assert (group["amiType"], group["nodeRepairConfig"]) == ("AL2023_x86_64_STANDARD", {"enabled": True})


def test_the_services_share_one_group(account: Account, ground: Ground, pool_request: Order) -> None:
    """What keeps no state has one group over all zones, without a taint."""
    account.run("create_node_pool", pool_request(PoolName.SERVICES))

    group = account.customer("eks").describe_nodegroup(
        clusterName=base_name(account.site), nodegroupName=f"{base_name(account.site)}-services"
    )["nodegroup"]
    assert group["subnets"] == list(ground.network.private_subnet_ids)
    assert group.get("taints", []) == []
    assert group["scalingConfig"] == {"minSize": 2, "maxSize": 8, "desiredSize": 2}


def test_a_store_of_one_node_stays_in_one_zone(pool_request: Order, ground: Ground) -> None:
    """The only node of a small store could not reach its volume from another zone."""
    request = pool_request(PoolName.STORE)
    machines = tuple(machine.model_copy(update={"minimum": 1, "maximum": 1}) for machine in ground.placement.machines)
    small = request.model_copy(update={"placement": ground.placement.model_copy(update={"machines": machines})})

    (group,) = node_groups(small)

    assert group.subnet_ids == ground.network.private_subnet_ids[:1]
    assert (group.minimum, group.maximum) == (1, 1)


def test_machines_start_encrypted_and_keep_their_credentials(
    account: Account, ground: Ground, pool_request: Order
) -> None:
    """The launch template asks for an encrypted root volume, IMDSv2 one hop away, and tags on what it starts."""
    account.run("create_node_pool", pool_request(PoolName.SERVICES))

    ec2 = account.customer("ec2")
    (template,) = ec2.describe_launch_templates()["LaunchTemplates"]
    version = ec2.describe_launch_template_versions(LaunchTemplateId=template["LaunchTemplateId"], Versions=["1"])
    data = version["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    disk = data["BlockDeviceMappings"][0]["Ebs"]
    assert (disk["Encrypted"], disk["KmsKeyId"], disk["VolumeType"]) == (True, ground.key.key_id, "gp3")
    metadata = data["MetadataOptions"]
    assert (metadata["HttpTokens"], metadata["HttpPutResponseHopLimit"]) == ("required", 1)
    assert data["SecurityGroupIds"] == [ground.firewall.node_group_id]
    for specification in data["TagSpecifications"]:
        tags = {tag["Key"]: tag["Value"] for tag in specification["Tags"]}
        assert owner_tags(account.site, "node-services").items() <= tags.items()


def test_changed_sizes_and_taints_are_put_back(account: Account, pool_request: Order) -> None:
    """Limits, labels, taints, settings and tags are as before; the number of nodes stays the autoscaler's."""
    account.run("create_node_pool", pool_request(PoolName.STORE))
    eks, name = account.customer("eks"), _groups(account)[0]
    which = {"clusterName": base_name(account.site), "nodegroupName": name}
    eks.update_nodegroup_config(
        **which,
        scalingConfig={"minSize": 0, "maxSize": 9, "desiredSize": 2},
        labels={"removeLabels": ["byoc.dev/pool"]},
        taints={"removeTaints": [{"key": "byoc.dev/pool", "value": "store", "effect": "NO_SCHEDULE"}]},
        updateConfig={"maxUnavailable": 5},
        nodeRepairConfig={"enabled": False},
    )
    eks.get_waiter("nodegroup_active").wait(**which, WaiterConfig={"Delay": 0, "MaxAttempts": 100})
    arn = eks.describe_nodegroup(**which)["nodegroup"]["nodegroupArn"]
    eks.untag_resource(resourceArn=arn, tagKeys=["byoc:resource"])

    account.run("create_node_pool", pool_request(PoolName.STORE))

    group = eks.describe_nodegroup(**which)["nodegroup"]
    assert group["scalingConfig"] == {"minSize": 1, "maxSize": 2, "desiredSize": 2}
    assert group["labels"] == {"byoc.dev/pool": "store"}
    assert group["taints"] == [{"key": "byoc.dev/pool", "value": "store", "effect": "NO_SCHEDULE"}]
    assert (group["updateConfig"], group["nodeRepairConfig"]) == ({"maxUnavailable": 1}, {"enabled": True})
    assert "byoc:resource" in group["tags"]


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (
            "AsgInstanceLaunchFailures",
            "Could not launch On-Demand Instances. InsufficientInstanceCapacity - We do not have sufficient capacity.",
            FailureClass.CAPACITY,
        ),
        (
            "AsgInstanceLaunchFailures",
            "Could not launch On-Demand Instances. VcpuLimitExceeded - You have requested more vCPU capacity.",
            FailureClass.QUOTA,
        ),
        (
            "AsgInstanceLaunchFailures",
            "Could not launch On-Demand Instances. UnauthorizedOperation - You are not authorized to use the key.",
            FailureClass.PERMISSION,
        ),
        ("InstanceLimitExceeded", "Your account has reached its limit", FailureClass.QUOTA),
        ("NodeCreationFailure", "Instances failed to join the kubernetes cluster", FailureClass.UNKNOWN),
    ],
)
def test_a_failed_group_says_why_and_is_made_again(
    account: Account, pool_request: Order, code: str, message: str, expected: FailureClass
) -> None:
    """EC2's code inside EKS's message decides who must act; the next probe makes the group again."""
    account.inject(FaultKind.CRASH, "CreateNodegroup", times=1, code=code, message=message)

    failure = account.failure("create_node_pool", pool_request(PoolName.SERVICES))
    account.run("create_node_pool", pool_request(PoolName.SERVICES))

    assert failure.failure is expected
    assert message in failure.message
    assert _groups(account) == [f"{base_name(account.site)}-services"]


def test_without_a_cluster_the_templates_go_all_the_same(
    account: Account, cluster: Cluster, pool_request: Order
) -> None:
    """An abort may come when the cluster is gone already."""
    account.run("create_node_pool", pool_request(PoolName.SERVICES))
    eks, name = account.customer("eks"), base_name(account.site)
    eks.delete_nodegroup(clusterName=name, nodegroupName=f"{name}-services")
    account.run("delete_cluster", account.site)

    account.run("delete_node_pools", account.site)

    assert account.customer("ec2").describe_launch_templates()["LaunchTemplates"] == []
