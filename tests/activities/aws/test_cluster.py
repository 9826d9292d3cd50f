"""The EKS control plane: made, converged, entered and deleted."""

from __future__ import annotations

import base64

from activities.aws.cluster import LOG_TYPES
from activities.aws.cluster_access import OPERATOR_POLICY
from activities.aws.cluster_logs import RETENTION_DAYS, log_group_name
from activities.aws.encryption import log_group_arn
from activities.aws.identity import control_role_arn
from activities.contracts import ClusterRequest, InCluster, WorkloadIdentityRequest
from domain.clouds import Purpose
from domain.facts import Cluster
from domain.failure import FailureClass
from domain.naming import base_name, owner_tags
from simulators.faults import FaultKind
from tests.activities.aws.conftest import EGRESS, REGION, Account, Ground


def test_the_control_plane_is_closed_and_encrypted(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Only the network and our own addresses reach the API, secrets are encrypted, and nobody is let in yet."""
    described = account.customer("eks").describe_cluster(name=cluster.name)["cluster"]

    endpoints = described["resourcesVpcConfig"]
    assert (endpoints["endpointPrivateAccess"], endpoints["endpointPublicAccess"]) == (True, True)
    assert endpoints["publicAccessCidrs"] == list(EGRESS)
    assert endpoints["securityGroupIds"] == [ground.firewall.control_plane_group_id]
    assert described["encryptionConfig"] == [{"resources": ["secrets"], "provider": {"keyArn": ground.key.key_id}}]
    assert described["accessConfig"]["authenticationMode"] == "API"
    assert described["upgradePolicy"] == {"supportType": "STANDARD"}
    assert described["deletionProtection"]
    assert described["tags"] == owner_tags(account.site, "cluster")
    logs = {kind for group in described["logging"]["clusterLogging"] if group["enabled"] for kind in group["types"]}
    assert logs == set(LOG_TYPES)
    assert account.customer("eks").list_access_entries(clusterName=cluster.name)["accessEntries"] == []
    assert (cluster.endpoint, cluster.version) == (described["endpoint"], "1.33")


def test_the_logs_are_encrypted_and_limited(account: Account, ground: Ground, cluster: Cluster) -> None:
    """The log group is there before EKS could make it, with key, retention and our tags."""
    logs = account.customer("logs")
    group = logs.describe_log_groups(logGroupNamePrefix=log_group_name(account.site))["logGroups"][0]

    assert (group["kmsKeyId"], group["retentionInDays"]) == (ground.key.key_id, RETENTION_DAYS)
    tags = logs.list_tags_for_resource(resourceArn=log_group_arn(account.site))["tags"]
    assert tags == owner_tags(account.site, "logs")


def test_changed_settings_are_put_back(account: Account, cluster_request: ClusterRequest, cluster: Cluster) -> None:
    """Whatever somebody changed of the control plane and its logs is as before after the next run."""
    eks, logs = account.customer("eks"), account.customer("logs")
    eks.update_cluster_config(name=cluster.name, resourcesVpcConfig={"publicAccessCidrs": ["0.0.0.0/0"]})
    _settle(account, cluster)
    eks.update_cluster_config(name=cluster.name, logging={"clusterLogging": [{"types": ["audit"], "enabled": False}]})
    _settle(account, cluster)
    eks.update_cluster_config(name=cluster.name, deletionProtection=False)
    _settle(account, cluster)
    eks.update_cluster_config(name=cluster.name, upgradePolicy={"supportType": "EXTENDED"})
    _settle(account, cluster)
    eks.untag_resource(resourceArn=_arn(account, cluster), tagKeys=["byoc:resource"])
    logs.put_retention_policy(logGroupName=log_group_name(account.site), retentionInDays=1)
    logs.untag_resource(resourceArn=log_group_arn(account.site), tagKeys=["byoc:resource"])

    account.run("create_cluster", cluster_request)

    described = eks.describe_cluster(name=cluster.name)["cluster"]
    assert described["resourcesVpcConfig"]["publicAccessCidrs"] == list(EGRESS)
    assert {"types": list(LOG_TYPES), "enabled": True} in described["logging"]["clusterLogging"]
    assert described["deletionProtection"]
    assert described["upgradePolicy"] == {"supportType": "STANDARD"}
    assert described["tags"] == owner_tags(account.site, "cluster")
    group = logs.describe_log_groups(logGroupNamePrefix=log_group_name(account.site))["logGroups"][0]
    assert group["retentionInDays"] == RETENTION_DAYS
    tags = logs.list_tags_for_resource(resourceArn=log_group_arn(account.site))["tags"]
    assert tags == owner_tags(account.site, "logs")


def test_a_cluster_with_other_settings_is_brought_to_ours(account: Account, cluster_request: ClusterRequest) -> None:
    """What carries our tags is adopted, whatever its settings were."""
    _foreign_cluster(account, cluster_request, tags=owner_tags(account.site, "cluster"))

    cluster = account.run("create_cluster", cluster_request)

    described = account.customer("eks").describe_cluster(name=cluster.name)["cluster"]
    assert described["accessConfig"]["authenticationMode"] == "API"
    assert described["resourcesVpcConfig"]["publicAccessCidrs"] == list(EGRESS)
    assert described["deletionProtection"]


def test_a_log_group_that_eks_made_is_adopted(
    account: Account, cluster_request: ClusterRequest, cluster: Cluster
) -> None:
    """EKS makes the group anew without tags if somebody deletes it; it gets tags and retention, and goes in the end."""
    logs, name = account.customer("logs"), log_group_name(account.site)
    logs.delete_log_group(logGroupName=name)
    logs.create_log_group(logGroupName=name)

    account.run("create_cluster", cluster_request)

    tags = logs.list_tags_for_resource(resourceArn=log_group_arn(account.site))["tags"]
    assert tags == owner_tags(account.site, "logs")
    assert logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]["retentionInDays"] == RETENTION_DAYS
    logs.delete_log_group(logGroupName=name)
    logs.create_log_group(logGroupName=name)
    account.run("delete_cluster", account.site)
    assert logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"] == []


def test_a_failed_cluster_is_made_again(account: Account, cluster_request: ClusterRequest) -> None:
    """What EKS failed to make is deleted with its reason told, and the next probe makes it again."""
    account.inject(FaultKind.CRASH, "CreateCluster", times=1, code="InsufficientFreeAddresses", message="No addresses")

    failure = account.failure("create_cluster", cluster_request)
    cluster = account.run("create_cluster", cluster_request)

    assert failure.failure is FailureClass.CONFIG
    assert "No addresses" in failure.message
    assert account.customer("eks").describe_cluster(name=cluster.name)["cluster"]["status"] == "ACTIVE"


def test_only_the_operating_role_is_let_in(account: Account, cluster: Cluster) -> None:
    """The access entry gives our role all of the cluster; granting it again changes nothing."""
    request = InCluster(site=account.site, cluster=cluster)
    for operation in ("CreateAccessEntry", "AssociateAccessPolicy"):
        account.inject(FaultKind.LOST_REPLY, operation, times=1)

    account.run_through("grant_cluster_access", request)

    eks, principal = account.customer("eks"), control_role_arn(account.site, Purpose.OPERATE)
    assert eks.list_access_entries(clusterName=cluster.name)["accessEntries"] == [principal]
    policies = eks.list_associated_access_policies(clusterName=cluster.name, principalArn=principal)
    assert [policy["policyArn"] for policy in policies["associatedAccessPolicies"]] == [OPERATOR_POLICY]
    before = account.control.position()
    account.run("grant_cluster_access", request)
    assert account.changes(before) == []


def test_pods_act_as_their_roles(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Each service account is tied to its role once; a changed role is put back."""
    request = WorkloadIdentityRequest(site=account.site, cluster=cluster, roles=ground.roles)
    account.inject(FaultKind.LOST_REPLY, "CreatePodIdentityAssociation", times=1)

    account.run_through("create_workload_identity", request)

    eks = account.customer("eks")
    associations = eks.list_pod_identity_associations(clusterName=cluster.name)["associations"]
    roles = {
        (found["namespace"], found["serviceAccount"]): eks.describe_pod_identity_association(
            clusterName=cluster.name, associationId=found["associationId"]
        )["association"]["roleArn"]
        for found in associations
    }
    assert roles == {
        ("byoc-server", "store"): ground.roles.store,
        ("byoc-restore", "restore"): ground.roles.restore,
        ("kube-system", "ebs-csi-controller-sa"): ground.roles.storage_driver,
    }
    before = account.control.position()
    account.run("create_workload_identity", request)
    assert account.changes(before) == []
    restore = next(found for found in associations if found["serviceAccount"] == "restore")
    eks.update_pod_identity_association(
        clusterName=cluster.name, associationId=restore["associationId"], roleArn=ground.roles.store
    )
    account.run("create_workload_identity", request)
    assert len(account.changes(before)) == 1


def test_eks_upgrades_nothing_by_itself(account: Account, cluster: Cluster) -> None:
    """The upgrade policy is put back to that without extended support, and only then."""
    request = InCluster(site=account.site, cluster=cluster)
    before = account.control.position()
    account.run("set_maintenance_policy", request)
    assert account.changes(before) == []
    eks = account.customer("eks")
    eks.update_cluster_config(name=cluster.name, upgradePolicy={"supportType": "EXTENDED"})
    _settle(account, cluster)

    account.run("set_maintenance_policy", request)

    assert eks.describe_cluster(name=cluster.name)["cluster"]["upgradePolicy"] == {"supportType": "STANDARD"}


def test_the_token_names_the_caller_to_this_cluster(account: Account, cluster: Cluster) -> None:
    """The bearer token is a request to the region's real STS, signed for this cluster's name and for a minute."""
    token = account.cloud.cluster_credentials.token(account.site, cluster)

    prefix, _, encoded = token.partition(".")
    url = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    assert prefix == "k8s-aws-v1"
    assert url.startswith(f"https://sts.{REGION}.amazonaws.com/?Action=GetCallerIdentity")
    assert "x-k8s-aws-id" in url
    assert "X-Amz-Expires=60" in url


def test_the_cluster_is_found_without_facts(account: Account, cluster: Cluster) -> None:
    """A deletion finds the cluster by the deployment alone; one that is gone is none."""
    found = account.cloud.cluster_credentials.find(account.site)
    account.run("delete_cluster", account.site)

    assert found == cluster
    assert account.cloud.cluster_credentials.find(account.site) is None


def _settle(account: Account, cluster: Cluster) -> None:
    """Wait until EKS has made the change that it was asked for."""
    account.customer("eks").get_waiter("cluster_active").wait(
        name=cluster.name, WaiterConfig={"Delay": 0, "MaxAttempts": 100}
    )


def _arn(account: Account, cluster: Cluster) -> str:
    return f"arn:aws:eks:{REGION}:{account.site.cloud_account_id}:cluster/{cluster.name}"


def _foreign_cluster(account: Account, request: ClusterRequest, *, tags: dict[str, str]) -> None:
    """Make a cluster of our name as the customer, with hardly any setting as we would make it."""
    eks = account.customer("eks")
    eks.create_cluster(
        name=base_name(account.site),
        version="1.33",
        roleArn=request.roles.control_plane,
        resourcesVpcConfig={"subnetIds": list(request.network.private_subnet_ids)},
        accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"},
        tags=tags,
    )
    eks.get_waiter("cluster_active").wait(name=base_name(account.site), WaiterConfig={"Delay": 0, "MaxAttempts": 100})
