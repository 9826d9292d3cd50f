"""EKS add-ons."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from activities.aws.add_ons import ADD_ONS
from activities.contracts import AddOn, NodePoolRequest
from domain.facts import Cluster
from domain.failure import FailureClass
from domain.naming import owner_tags
from domain.shape import PoolName
from simulators.faults import FaultKind
from tests.activities.aws.conftest import Account, Ground

Order = Callable[[str], AddOn]


@pytest.fixture
def order(account: Account, ground: Ground, cluster: Cluster) -> Order:
    """The order for an add-on, by the contract's name."""
    return lambda name: AddOn(site=account.site, cluster=cluster, roles=ground.roles, name=name)


def test_every_add_on_becomes_active(
    account: Account, cluster: Cluster, order: Order, pool_request: Callable[[PoolName], NodePoolRequest]
) -> None:
    """Each is installed in AWS's default version for the cluster, with our tags; a repeat changes nothing."""
    account.run("create_node_pool", pool_request(PoolName.SERVICES))

    for name in ADD_ONS:
        account.run("install_add_on", order(name))

    eks = account.customer("eks")
    for name, eks_name in ADD_ONS.items():
        add_on = eks.describe_addon(clusterName=cluster.name, addonName=eks_name)["addon"]
        assert add_on["status"] == "ACTIVE"
        assert add_on["tags"] == owner_tags(account.site, f"add-on-{name}")
    before = account.control.position()
    for name in ADD_ONS:
        account.run("install_add_on", order(name))
    assert account.changes(before) == []


def test_volumes_and_policies_are_configured(account: Account, cluster: Cluster, order: Order) -> None:
    """The storage driver tags what it makes as ours, and the network plug-in enforces network policies."""
    account.run("install_add_on", order("network"))
    account.attempt_once("install_add_on", order("storage"))

    eks = account.customer("eks")
    network = eks.describe_addon(clusterName=cluster.name, addonName="vpc-cni")["addon"]
    assert json.loads(network["configurationValues"]) == {"enableNetworkPolicy": "true"}
    storage = eks.describe_addon(clusterName=cluster.name, addonName="aws-ebs-csi-driver")["addon"]
    controller = json.loads(storage["configurationValues"])["controller"]
    assert controller["extraVolumeTags"] == owner_tags(account.site, "volume")
    assert controller["k8sTagClusterId"] == cluster.name


def test_a_changed_configuration_is_put_back(account: Account, cluster: Cluster, order: Order) -> None:
    """Configuration and tags that somebody changed are as before after the next run."""
    account.run("install_add_on", order("network"))
    eks, which = account.customer("eks"), {"clusterName": cluster.name, "addonName": "vpc-cni"}
    eks.update_addon(**which, configurationValues=json.dumps({"enableNetworkPolicy": "false"}))
    eks.get_waiter("addon_active").wait(**which, WaiterConfig={"Delay": 0, "MaxAttempts": 100})
    eks.untag_resource(resourceArn=eks.describe_addon(**which)["addon"]["addonArn"], tagKeys=["byoc:resource"])

    account.run("install_add_on", order("network"))

    add_on = eks.describe_addon(**which)["addon"]
    assert json.loads(add_on["configurationValues"]) == {"enableNetworkPolicy": "true"}
    assert add_on["tags"] == owner_tags(account.site, "add-on-network")


def test_one_that_waits_for_machines_is_not_ready(account: Account, order: Order) -> None:
    """The DNS add-on has no node to run on yet: that is a reason to look again, not a failure."""
    account.attempt_once("install_add_on", order("dns"))

    failure = account.attempt_once("install_add_on", order("dns"))

    assert failure is not None
    assert failure.failure is FailureClass.NOT_READY
    assert "replicas" in failure.message


def test_a_failed_installation_says_why_and_is_made_again(account: Account, cluster: Cluster, order: Order) -> None:
    """What EKS could not install is deleted with its reason told, and the next probe installs it."""
    account.inject(FaultKind.CRASH, "CreateAddon", times=1, code="AccessDenied", message="The role may not do this")

    failure = account.failure("install_add_on", order("network"))
    account.run("install_add_on", order("network"))

    assert failure.failure is FailureClass.PERMISSION
    assert "may not do this" in failure.message
    add_on = account.customer("eks").describe_addon(clusterName=cluster.name, addonName="vpc-cni")["addon"]
    assert add_on["status"] == "ACTIVE"


def test_an_unknown_add_on_is_our_mistake(account: Account, order: Order) -> None:
    """The failure lists what there is."""
    failure = account.failure("install_add_on", order("mesh"))

    assert failure.failure is FailureClass.CONFIG
    assert "metrics" in failure.message
