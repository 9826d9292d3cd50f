"""EKS as the real SDK meets it."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.signers import RequestSigner

from simulators.aws.scope import Scope
from simulators.kubernetes import kinds
from simulators.kubernetes.provider import ADMINISTRATORS
from tests.simulators.aws.customers import ACCOUNT, REGION, Customer, allow, refused

CLUSTER = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/byoc-1"
IN_THE_CALLERS_NAME = (
    "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs",
    "iam:CreateServiceLinkedRole", "iam:GetRole", "iam:ListAttachedRolePolicies",
)  # fmt: skip
"""What EKS does in the name of whoever makes clusters and node groups."""


def cluster_request(account: Customer, **changes: Any) -> dict[str, Any]:
    """Return a valid request for a cluster in a new network."""
    _, subnets = account.make_network()
    role = account.make_role("control-plane", "eks.amazonaws.com")
    account.pass_time(30)
    return {"name": "byoc-1", "roleArn": role, "resourcesVpcConfig": {"subnetIds": subnets}, **changes}


def cluster_token(name: str, access_key: str, secret: str = "unchecked", session_token: str | None = None) -> str:
    """Return a bearer token as `aws eks get-token` makes it."""
    session = boto3.Session(access_key, secret, session_token, region_name=REGION)
    sts = session.client("sts")
    signer = RequestSigner(
        sts.meta.service_model.service_id, REGION, "sts", "v4", session.get_credentials(), session.events
    )
    request = {
        "method": "GET",
        "url": f"https://sts.{REGION}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
        "body": {},
        "headers": {"x-k8s-aws-id": name},
        "context": {},
    }
    url = signer.generate_presigned_url(request, region_name=REGION, expires_in=60, operation_name="")
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).rstrip(b"=").decode()


def the_cluster(account: Customer) -> Any:
    """Return the one cluster of the Kubernetes simulator."""
    (cluster,) = account.kubernetes.clusters()
    return cluster


class TestCreatingClusters:
    """CreateCluster and what it leads to."""

    def test_becomes_active_with_an_endpoint_after_its_time(self, slow_account: Customer) -> None:
        """A cluster is CREATING without an endpoint, and ACTIVE with one that its authority signed."""
        eks = slow_account.client("eks")
        request = cluster_request(slow_account)

        created = eks.create_cluster(**request)["cluster"]
        slow_account.pass_time(500)
        later = eks.describe_cluster(name="byoc-1")["cluster"]
        slow_account.pass_time(200)
        ready = eks.describe_cluster(name="byoc-1")["cluster"]

        assert created["status"] == later["status"] == "CREATING"
        assert "endpoint" not in later
        assert ready["status"] == "ACTIVE"
        assert ready["endpoint"] == the_cluster(slow_account).url
        assert base64.b64decode(ready["certificateAuthority"]["data"]) == slow_account.kubernetes.ca_pem

    def test_takes_addresses_and_makes_a_group_in_the_network(self, account: Customer) -> None:
        """The control plane has an interface in each subnet and a security group; both go when it goes."""
        eks, ec2 = account.client("eks"), account.client("ec2")
        subnets = account.make_cluster()
        group = eks.describe_cluster(name="byoc-1")["cluster"]["resourcesVpcConfig"]["clusterSecurityGroupId"]

        with refused("DependencyViolation"):
            ec2.delete_subnet(SubnetId=subnets[0])
        eks.delete_cluster(name="byoc-1")

        with refused("ResourceNotFoundException"):
            eks.describe_cluster(name="byoc-1")
        with refused("InvalidGroup.NotFound"):
            ec2.describe_security_groups(GroupIds=[group])
        ec2.delete_subnet(SubnetId=subnets[0])
        assert account.kubernetes.clusters() == []

    def test_wants_two_zones(self, account: Customer) -> None:
        """Subnets in one zone are refused."""
        _, subnets = account.make_network(zones=1)
        role = account.make_role("control-plane", "eks.amazonaws.com")

        with refused("InvalidParameterException", "two different AZs"):
            account.client("eks").create_cluster(name="byoc-1", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})

    def test_wants_subnets_that_exist(self, account: Customer) -> None:
        """An unknown subnet is named."""
        request = cluster_request(account, resourcesVpcConfig={"subnetIds": ["subnet-0123456789abcdef0"]})

        with refused("InvalidParameterException", "subnet-0123456789abcdef0"):
            account.client("eks").create_cluster(**request)

    def test_wants_a_version_on_offer(self, account: Customer) -> None:
        """An unknown Kubernetes version is refused."""
        with refused("InvalidParameterException", "1.12"):
            account.client("eks").create_cluster(**cluster_request(account, version="1.12"))

    @pytest.mark.parametrize(
        ("service", "condition"),
        [
            ("ec2.amazonaws.com", None),
            ("eks.amazonaws.com", {"ArnLike": {"aws:SourceArn": CLUSTER.replace("byoc-1", "another")}}),
            ("eks.amazonaws.com", {"StringEquals": {"aws:SourceAccount": "999999999999"}}),
        ],
    )
    def test_wants_a_role_that_trusts_it(
        self, account: Customer, service: str, condition: dict[str, Any] | None
    ) -> None:
        """A role for another service, cluster or account cannot be used."""
        role = account.make_role("wrong", service, condition=condition)

        with refused("InvalidParameterException", "could not be assumed"):
            account.client("eks").create_cluster(**cluster_request(account, roleArn=role))

    def test_accepts_a_role_for_exactly_this_cluster(self, account: Customer) -> None:
        """A role whose trust names the cluster's ARN and the account can be used."""
        condition = {"StringEquals": {"aws:SourceAccount": ACCOUNT}, "ArnLike": {"aws:SourceArn": CLUSTER}}
        role = account.make_role("right", "eks.amazonaws.com", condition=condition)

        created = account.client("eks").create_cluster(**cluster_request(account, roleArn=role))

        assert created["cluster"]["roleArn"] == role

    def test_wants_a_key_that_works(self, account: Customer) -> None:
        """A key that is being deleted cannot encrypt secrets."""
        kms = account.client("kms")
        key = kms.create_key()["KeyMetadata"]
        kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
        encryption = [{"resources": ["secrets"], "provider": {"keyArn": key["Arn"]}}]

        with refused("InvalidParameterException", "not enabled"):
            account.client("eks").create_cluster(**cluster_request(account, encryptionConfig=encryption))

    def test_a_repeated_call_makes_nothing_twice(self, account: Customer) -> None:
        """The same token and parameters find the cluster; another token or other parameters are refused."""
        eks = account.client("eks")
        request = cluster_request(account, clientRequestToken="token-1")
        eks.create_cluster(**request)
        position = account.world.journal.position

        repeated = eks.create_cluster(**request)["cluster"]

        assert repeated["status"] == "ACTIVE"
        assert [call.changed for call in account.world.journal.calls(after=position, service="eks")] == [False]
        with refused("InvalidParameterException"):
            eks.create_cluster(**{**request, "version": "1.32"})
        with refused("ResourceInUseException", "already exists"):
            eks.create_cluster(**{**request, "clientRequestToken": "token-2"})

    def test_a_token_is_free_again_once_its_cluster_is_gone(self, account: Customer) -> None:
        """After the deletion the same request makes a new cluster."""
        eks = account.client("eks")
        request = cluster_request(account, clientRequestToken="token-1")
        eks.create_cluster(**request)
        eks.describe_cluster(name="byoc-1")
        eks.delete_cluster(name="byoc-1")

        again = eks.create_cluster(**request)["cluster"]

        assert again["status"] == "CREATING"

    def test_stops_at_the_quota(self, account: Customer) -> None:
        """One cluster more than allowed is refused."""
        account.overlay.quotas.set_limit(Scope(ACCOUNT, REGION), "eks", "L-1194D53C", 1)
        account.make_cluster()

        with refused("ResourceLimitExceededException"):
            account.client("eks").create_cluster(**cluster_request(account, name="byoc-2"))

    def test_crashes_on_request(self, account: Customer) -> None:
        """After a crash fault the cluster is FAILED, and can be deleted."""
        eks = account.client("eks")
        account.inject(kind="crash", service="eks", operation="CreateCluster")
        eks.create_cluster(**cluster_request(account))

        failed = eks.describe_cluster(name="byoc-1")["cluster"]
        eks.delete_cluster(name="byoc-1")

        assert failed["status"] == "FAILED"
        assert failed["health"]["issues"][0]["code"] == "InternalFailure"
        assert eks.list_clusters()["clusters"] == []

    def test_is_stuck_until_the_fault_is_removed(self, account: Customer) -> None:
        """Under a stuck fault the cluster stays CREATING, and becomes ACTIVE when the rule is gone."""
        eks = account.client("eks")
        fault = account.inject(kind="stuck", service="eks", operation="CreateCluster")
        eks.create_cluster(**cluster_request(account))

        stuck = eks.describe_cluster(name="byoc-1")["cluster"]["status"]
        account.world.faults.remove(fault.id)
        freed = eks.describe_cluster(name="byoc-1")["cluster"]["status"]

        assert (stuck, freed) == ("CREATING", "ACTIVE")

    def test_names_the_zones_that_have_room(self, account: Customer) -> None:
        """Under a capacity fault the call is refused with the zones that could be used."""
        account.inject(kind="capacity", service="eks", operation="CreateCluster")
        request = cluster_request(account)

        with pytest.raises(ClientError) as refusal:
            account.client("eks").create_cluster(**request)

        assert refusal.value.response["Error"]["Code"] == "UnsupportedAvailabilityZoneException"
        assert refusal.value.response["validZones"] == [f"{REGION}{zone}" for zone in "abc"]

    def test_writes_logs_into_a_group_of_its_own(self, account: Customer) -> None:
        """With logging EKS makes the log group, and leaves it behind when the cluster is deleted."""
        logging = {"clusterLogging": [{"types": ["audit"], "enabled": True}]}
        account.make_cluster(logging=logging)
        account.client("eks").delete_cluster(name="byoc-1")

        groups = account.client("logs").describe_log_groups(logGroupNamePrefix="/aws/eks/")["logGroups"]

        assert [group["logGroupName"] for group in groups] == ["/aws/eks/byoc-1/cluster"]

    def test_needs_permission_for_its_key(self, account: Customer) -> None:
        """The caller must be allowed to let EKS use the key."""
        key = account.client("kms").create_key()["KeyMetadata"]["Arn"]
        encryption = [{"resources": ["secrets"], "provider": {"keyArn": key}}]
        user = account.make_user("one", allow("eks:*", "iam:PassRole", "kms:DescribeKey", *IN_THE_CALLERS_NAME))

        with refused("AccessDeniedException", "kms:CreateGrant"):
            account.client("eks", credentials=user).create_cluster(
                **cluster_request(account, encryptionConfig=encryption)
            )

    def test_needs_permission_for_cluster_and_role(self, account: Customer) -> None:
        """eks:CreateCluster holds for the names in the policy, and the role must be passable."""
        request = cluster_request(account)
        create = allow("eks:CreateCluster", resource=CLUSTER)
        passing = allow("iam:PassRole", StringEquals={"iam:PassedToService": "eks.amazonaws.com"})
        without_pass = account.client("eks", credentials=account.make_user("one", create))
        beside = allow(*IN_THE_CALLERS_NAME)
        with_pass = account.client("eks", credentials=account.make_user("two", create, passing, beside))
        without_looking = account.client("eks", credentials=account.make_user("three", create, passing))

        with refused("AccessDeniedException", "iam:PassRole"):
            without_pass.create_cluster(**request)
        with refused("AccessDeniedException", "eks:CreateCluster"):
            with_pass.create_cluster(**{**request, "name": "other"})
        with refused("AccessDeniedException", "ec2:DescribeSubnets"):
            without_looking.create_cluster(**request)
        assert with_pass.create_cluster(**request)["cluster"]["status"] == "CREATING"


class TestDeletingClusters:
    """DeleteCluster."""

    def test_is_refused_under_protection(self, account: Customer) -> None:
        """Deletion protection must be switched off first."""
        eks = account.client("eks")
        account.make_cluster(deletionProtection=True)

        with refused("InvalidRequestException", "deletion protection"):
            eks.delete_cluster(name="byoc-1")
        eks.update_cluster_config(name="byoc-1", deletionProtection=False)
        eks.delete_cluster(name="byoc-1")

        assert eks.list_clusters()["clusters"] == []

    def test_is_refused_while_node_groups_are_attached(self, account: Customer) -> None:
        """Node groups go first."""
        eks = account.client("eks")
        account.make_node_group(account.make_cluster())

        with refused("ResourceInUseException", "nodegroups attached"):
            eks.delete_cluster(name="byoc-1")


class TestUpdatingClusters:
    """UpdateClusterConfig and UpdateClusterVersion."""

    def test_follows_an_update_to_its_end(self, slow_account: Customer) -> None:
        """The cluster is UPDATING while the update is in progress; a second change has to wait."""
        eks = slow_account.client("eks")
        slow_account.make_cluster()
        change = {"endpointPrivateAccess": True, "publicAccessCidrs": ["198.51.100.0/24"]}

        update = eks.update_cluster_config(name="byoc-1", resourcesVpcConfig=change)["update"]
        during = eks.describe_cluster(name="byoc-1")["cluster"]
        with refused("ResourceInUseException"):
            eks.update_cluster_config(name="byoc-1", deletionProtection=True)
        slow_account.pass_time(200)
        after = eks.describe_cluster(name="byoc-1")["cluster"]

        assert (update["status"], update["type"]) == ("InProgress", "EndpointAccessUpdate")
        assert during["status"] == "UPDATING"
        assert eks.describe_update(name="byoc-1", updateId=update["id"])["update"]["status"] == "Successful"
        assert eks.list_updates(name="byoc-1")["updateIds"] == [update["id"]]
        assert after["status"] == "ACTIVE"
        assert after["resourcesVpcConfig"]["publicAccessCidrs"] == ["198.51.100.0/24"]

    @pytest.mark.parametrize(
        "change",
        [
            {"deletionProtection": False},
            {"resourcesVpcConfig": {"endpointPublicAccess": True}},
            {"logging": {"clusterLogging": [{"types": ["audit"], "enabled": False}]}},
        ],
    )
    def test_refuses_a_change_that_changes_nothing(self, account: Customer, change: dict[str, Any]) -> None:
        """What is as asked for already is an error."""
        account.make_cluster()

        with refused("InvalidParameterException"):
            account.client("eks").update_cluster_config(name="byoc-1", **change)

    def test_moves_one_minor_version_at_a_time(self, account: Customer) -> None:
        """A skipped minor is refused; one step is followed by the Kubernetes simulator."""
        eks = account.client("eks")
        account.make_cluster(version="1.32")

        with refused("InvalidParameterException", "1.34"):
            eks.update_cluster_version(name="byoc-1", version="1.34")
        eks.update_cluster_version(name="byoc-1", version="1.33")

        assert eks.describe_cluster(name="byoc-1")["cluster"]["version"] == "1.33"
        assert the_cluster(account).version == "1.33"

    def test_wants_nodes_level_before_the_next_version(self, account: Customer) -> None:
        """A node group behind the control plane blocks the next step, and an insight says so."""
        eks = account.client("eks")
        account.make_node_group(account.make_cluster(version="1.32"))
        eks.update_cluster_version(name="byoc-1", version="1.33")

        with refused("InvalidParameterException", "store"):
            eks.update_cluster_version(name="byoc-1", version="1.34")

        statuses = {entry["name"]: entry["insightStatus"]["status"] for entry in insights(eks)}
        assert statuses["Kubelet version skew"] == "ERROR"


def insights(eks: Any) -> list[dict[str, Any]]:
    """Return the upgrade insights."""
    found: list[dict[str, Any]] = eks.list_insights(clusterName="byoc-1")["insights"]
    return found


class TestNodeGroups:
    """Managed node groups."""

    def test_spreads_machines_that_are_nodes_over_the_zones(self, account: Customer) -> None:
        """Three machines run in three zones, are tagged as the group's, and are nodes with its labels and taints."""
        taint = {"key": "store", "value": "yes", "effect": "NO_SCHEDULE"}
        account.make_node_group(account.make_cluster(), labels={"pool": "store"}, taints=[taint])

        group = account.client("eks").describe_nodegroup(clusterName="byoc-1", nodegroupName="store")["nodegroup"]
        machines = running_machines(account)
        nodes = the_cluster(account).store.list(kinds.NODES)

        assert group["status"] == "ACTIVE"
        assert {machine["Placement"]["AvailabilityZone"] for machine in machines} == {f"{REGION}{z}" for z in "abc"}
        assert {machine["PrivateDnsName"] for machine in machines} == {node["metadata"]["name"] for node in nodes}
        assert tags(machines[0])["eks:nodegroup-name"] == "store"
        assert nodes[0]["metadata"]["labels"]["pool"] == "store"
        assert nodes[0]["spec"]["taints"] == [{"key": "store", "value": "yes", "effect": "NoSchedule"}]

    def test_takes_disks_tags_and_groups_from_the_launch_template(self, account: Customer) -> None:
        """Root volumes are encrypted with the template's key, machines carry its tags and groups."""
        subnets = account.make_cluster()
        ec2 = account.client("ec2")
        key = account.client("kms").create_key()["KeyMetadata"]["Arn"]
        vpc = ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=vpc)["GroupId"]
        disk = {"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "KmsKeyId": key, "VolumeSize": 50}}
        template = ec2.create_launch_template(
            LaunchTemplateName="nodes",
            LaunchTemplateData={
                "BlockDeviceMappings": [disk],
                "SecurityGroupIds": [group],
                "MetadataOptions": {"HttpTokens": "required"},
                "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "byoc", "Value": "managed"}]}],
            },
        )["LaunchTemplate"]

        account.make_node_group(subnets, launchTemplate={"id": template["LaunchTemplateId"], "version": "1"})

        machine = running_machines(account)[0]
        volume_id = machine["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        (volume,) = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
        assert (volume["Encrypted"], volume["KmsKeyId"], volume["Size"]) == (True, key, 50)
        assert [entry["GroupId"] for entry in machine["SecurityGroups"]] == [group]
        assert tags(machine)["byoc"] == "managed"

    def test_needs_permission_to_launch_from_a_template(self, account: Customer) -> None:
        """With a launch template the caller must be allowed to run instances from it."""
        subnets = account.make_cluster()
        role = account.make_role("nodes", "ec2.amazonaws.com", managed=["AmazonEKSWorkerNodePolicy"])
        account.client("ec2").create_launch_template(
            LaunchTemplateName="nodes", LaunchTemplateData={"MetadataOptions": {"HttpTokens": "required"}}
        )
        may_create = allow("eks:*", "iam:PassRole", *IN_THE_CALLERS_NAME)
        templates = f"arn:aws:ec2:*:{ACCOUNT}:launch-template/*"
        may_launch = allow("ec2:RunInstances", ArnLike={"ec2:LaunchTemplate": templates})
        request = {"clusterName": "byoc-1", "subnets": subnets, "nodeRole": role, "launchTemplate": {"name": "nodes"}}
        without = account.client("eks", credentials=account.make_user("one", may_create))
        permitted = account.client("eks", credentials=account.make_user("two", may_create, may_launch))

        with refused("InvalidRequestException", "not authorized to launch instances"):
            without.create_nodegroup(nodegroupName="store", **request)
        created = permitted.create_nodegroup(nodegroupName="store", **request)["nodegroup"]

        assert created["status"] == "CREATING"

    def test_does_not_grow_for_lack_of_capacity(self, account: Customer) -> None:
        """Under a capacity fault an update fails, and the group stays as it was."""
        eks = account.client("eks")
        account.make_node_group(account.make_cluster())
        account.inject(kind="capacity", service="eks", operation="UpdateNodegroupConfig")
        which = {"clusterName": "byoc-1", "nodegroupName": "store"}

        update = eks.update_nodegroup_config(**which, scalingConfig={"desiredSize": 5})["update"]

        outcome = eks.describe_update(name="byoc-1", updateId=update["id"], nodegroupName="store")["update"]
        assert outcome["status"] == "Failed"
        assert outcome["errors"][0]["errorCode"] == "NodeCreationFailure"
        assert len(running_machines(account)) == 3

    def test_goes_with_its_machines(self, account: Customer) -> None:
        """After the deletion no machine, interface, volume or node of the group is left."""
        eks, ec2 = account.client("eks"), account.client("ec2")
        account.make_node_group(account.make_cluster())

        eks.delete_nodegroup(clusterName="byoc-1", nodegroupName="store")

        with refused("ResourceNotFoundException"):
            eks.describe_nodegroup(clusterName="byoc-1", nodegroupName="store")
        assert running_machines(account) == []
        assert ec2.describe_volumes()["Volumes"] == []
        assert the_cluster(account).store.list(kinds.NODES) == []

    def test_fails_for_lack_of_capacity(self, account: Customer) -> None:
        """Under a capacity fault the group is CREATE_FAILED with the cloud's reason."""
        account.inject(kind="capacity", service="eks", operation="CreateNodegroup")
        account.make_node_group(account.make_cluster())

        group = account.client("eks").describe_nodegroup(clusterName="byoc-1", nodegroupName="store")["nodegroup"]

        assert group["status"] == "CREATE_FAILED"
        assert group["health"]["issues"][0]["code"] == "AsgInstanceLaunchFailures"
        assert "InsufficientInstanceCapacity" in group["health"]["issues"][0]["message"]

    def test_fails_beyond_the_quota_of_processors(self, account: Customer) -> None:
        """More virtual processors than allowed end in InstanceLimitExceeded."""
        account.overlay.quotas.set_limit(Scope(ACCOUNT, REGION), "ec2", "L-1216C47A", 4)
        account.make_node_group(account.make_cluster())

        group = account.client("eks").describe_nodegroup(clusterName="byoc-1", nodegroupName="store")["nodegroup"]

        assert group["health"]["issues"][0]["code"] == "InstanceLimitExceeded"

    def test_nodes_need_the_network_plug_in(self, account: Customer) -> None:
        """On a bare cluster nodes come up only once vpc-cni is installed."""
        eks = account.client("eks")
        subnets = account.make_cluster(bootstrapSelfManagedAddons=False)
        account.make_node_group(subnets, "early")
        eks.create_addon(clusterName="byoc-1", addonName="vpc-cni")
        account.make_node_group(subnets, "late")

        early, late = (
            eks.describe_nodegroup(clusterName="byoc-1", nodegroupName=name)["nodegroup"] for name in ("early", "late")
        )

        assert early["health"]["issues"][0]["code"] == "NodeCreationFailure"
        assert late["status"] == "ACTIVE"

    def test_scales_within_its_limits(self, account: Customer) -> None:
        """A new desired size starts machines; one outside the limits is refused."""
        eks = account.client("eks")
        account.make_node_group(account.make_cluster())
        which = {"clusterName": "byoc-1", "nodegroupName": "store"}

        with refused("InvalidParameterException", "between"):
            eks.update_nodegroup_config(**which, scalingConfig={"desiredSize": 7})
        update = eks.update_nodegroup_config(**which, scalingConfig={"desiredSize": 5})["update"]

        outcome = eks.describe_update(name="byoc-1", updateId=update["id"], nodegroupName="store")["update"]
        assert outcome["status"] == "Successful"
        assert len(running_machines(account)) == len(the_cluster(account).store.list(kinds.NODES)) == 5

    def test_replaces_every_machine_for_a_new_version(self, account: Customer) -> None:
        """After the update all nodes are new and run the new version."""
        eks = account.client("eks")
        account.make_node_group(account.make_cluster(version="1.32"))
        before = {machine["InstanceId"] for machine in running_machines(account)}
        eks.update_cluster_version(name="byoc-1", version="1.33")

        eks.update_nodegroup_version(clusterName="byoc-1", nodegroupName="store", version="1.33")

        group = eks.describe_nodegroup(clusterName="byoc-1", nodegroupName="store")["nodegroup"]
        versions = {
            node["status"]["nodeInfo"]["kubeletVersion"] for node in the_cluster(account).store.list(kinds.NODES)
        }
        assert group["version"] == "1.33"
        assert before.isdisjoint(machine["InstanceId"] for machine in running_machines(account))
        assert {version.rpartition(".")[0] for version in versions} == {"v1.33"}

    def test_a_lost_machine_is_replaced(self, account: Customer) -> None:
        """When somebody terminates a machine its node goes, and the group starts another one."""
        account.make_node_group(account.make_cluster())
        lost = running_machines(account)[0]["InstanceId"]

        account.client("ec2").terminate_instances(InstanceIds=[lost])

        machines = running_machines(account)
        assert len(machines) == len(the_cluster(account).store.list(kinds.NODES)) == 3
        assert lost not in {machine["InstanceId"] for machine in machines}


def running_machines(account: Customer) -> list[dict[str, Any]]:
    """Return the machines that run, as EC2 describes them."""
    states = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    reservations = account.client("ec2").describe_instances(Filters=states)["Reservations"]
    return [machine for reservation in reservations for machine in reservation["Instances"]]


def tags(resource: dict[str, Any]) -> dict[str, str]:
    """Return the tags of an EC2 resource."""
    return {tag["Key"]: tag["Value"] for tag in resource["Tags"]}


class TestAddOns:
    """EKS add-ons."""

    def test_offers_versions_for_each_kubernetes(self, account: Customer) -> None:
        """Every add-on has exactly one default version for a Kubernetes version."""
        eks = account.client("eks")

        offers = eks.describe_addon_versions(kubernetesVersion="1.33")["addons"]

        assert {offer["addonName"] for offer in offers} >= {"vpc-cni", "coredns", "kube-proxy", "aws-ebs-csi-driver"}
        for offer in offers:
            suits = [entry for version in offer["addonVersions"] for entry in version["compatibilities"]]
            assert [entry["defaultVersion"] for entry in suits].count(True) == 1

    def test_is_degraded_until_its_pods_find_machines(self, account: Customer) -> None:
        """CoreDNS without nodes is DEGRADED, and ACTIVE once there are some."""
        eks = account.client("eks")
        subnets = account.make_cluster()
        eks.create_addon(clusterName="byoc-1", addonName="coredns", tags={"byoc": "managed"})

        before = eks.describe_addon(clusterName="byoc-1", addonName="coredns")["addon"]
        account.make_node_group(subnets)
        after = eks.describe_addon(clusterName="byoc-1", addonName="coredns")["addon"]

        assert before["status"] == "DEGRADED"
        assert before["health"]["issues"][0]["code"] == "InsufficientNumberOfReplicas"
        assert after["status"] == "ACTIVE"

    def test_refuses_what_is_not_on_offer(self, account: Customer) -> None:
        """Unknown versions and add-ons, and a second installation, are refused."""
        eks = account.client("eks")
        account.make_cluster()
        eks.create_addon(clusterName="byoc-1", addonName="vpc-cni")

        with refused("InvalidParameterException"):
            eks.create_addon(clusterName="byoc-1", addonName="kube-proxy", addonVersion="v0.0.1-eksbuild.1")
        with refused("InvalidParameterException"):
            eks.create_addon(clusterName="byoc-1", addonName="unknown")
        with refused("ResourceInUseException"):
            eks.create_addon(clusterName="byoc-1", addonName="vpc-cni")


class TestAccess:
    """Access entries, and tokens of the authenticator."""

    def test_lets_in_whom_an_entry_names(self, account: Customer) -> None:
        """A user with an entry and the administrator's policy is an administrator; without an entry nobody."""
        account.make_cluster()
        eks, cluster = account.client("eks"), the_cluster(account)
        credentials = account.make_user("operator")
        arn = f"arn:aws:iam::{ACCOUNT}:user/operator"
        token = cluster_token("byoc-1", *credentials.values())

        before = cluster.provider.authenticate(cluster.id, token)
        eks.create_access_entry(clusterName="byoc-1", principalArn=arn, kubernetesGroups=["byoc:operators"])
        eks.associate_access_policy(
            clusterName="byoc-1",
            principalArn=arn,
            policyArn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
            accessScope={"type": "cluster"},
        )
        after = cluster.provider.authenticate(cluster.id, token)

        assert before is None
        assert after.name == arn
        assert set(after.groups) == {"system:authenticated", "byoc:operators", ADMINISTRATORS}

    def test_knows_a_role_by_its_sessions(self, account: Customer) -> None:
        """An entry for a role with a path holds for the sessions of that role."""
        account.make_cluster()
        statement = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam, cluster = account.client("iam"), the_cluster(account)
        arn = iam.create_role(RoleName="operate", Path="/byoc/", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        account.client("eks").create_access_entry(clusterName="byoc-1", principalArn=arn)
        session = account.client("sts").assume_role(RoleArn=arn, RoleSessionName="worker")["Credentials"]
        keys = (session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])

        user = cluster.provider.authenticate(cluster.id, cluster_token("byoc-1", *keys))

        assert user.name == f"arn:aws:sts::{ACCOUNT}:assumed-role/operate/worker"

    def test_refuses_tokens_that_prove_nothing(self, account: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A token for another cluster, with a wrong secret, or older than 15 minutes lets nobody in."""
        account.make_cluster()
        cluster = the_cluster(account)
        credentials = account.make_user("operator")
        account.client("eks").create_access_entry(
            clusterName="byoc-1", principalArn=f"arn:aws:iam::{ACCOUNT}:user/operator"
        )
        key, secret = credentials.values()
        long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=16)

        fresh = cluster_token("byoc-1", key, secret)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: long_ago.replace(tzinfo=None))
        old = cluster_token("byoc-1", key, secret)
        monkeypatch.undo()

        assert cluster.provider.authenticate(cluster.id, fresh) is not None
        for token in (old, cluster_token("byoc-2", key, secret), cluster_token("byoc-1", key, "wrong"), "nonsense"):
            assert cluster.provider.authenticate(cluster.id, token) is None

    def test_is_not_available_without_the_api_mode(self, account: Customer) -> None:
        """A cluster in the mode CONFIG_MAP has no access entries."""
        account.make_cluster(accessConfig={"authenticationMode": "CONFIG_MAP"})

        with refused("InvalidRequestException", "authentication mode"):
            account.client("eks").list_access_entries(clusterName="byoc-1")

    def test_the_creator_is_administrator_unless_told_otherwise(self, account: Customer) -> None:
        """Without the bootstrap permission a new cluster has no entries."""
        account.make_cluster()
        account.make_cluster(
            "byoc-2",
            accessConfig={"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False},
        )
        eks = account.client("eks")

        assert eks.list_access_entries(clusterName="byoc-1")["accessEntries"] == [f"arn:aws:iam::{ACCOUNT}:root"]
        assert eks.list_access_entries(clusterName="byoc-2")["accessEntries"] == []


class TestPodIdentities:
    """Pod identity associations."""

    def test_wants_a_role_that_trusts_pods(self, account: Customer) -> None:
        """A role for EC2 cannot be lent to pods; a second association for one account is refused."""
        account.make_cluster()
        eks = account.client("eks")
        right = account.make_role("store", "pods.eks.amazonaws.com")
        wrong = account.make_role("machine", "ec2.amazonaws.com")
        which = {"clusterName": "byoc-1", "namespace": "byoc", "serviceAccount": "store"}

        with refused("InvalidParameterException", "Trust policy"):
            eks.create_pod_identity_association(**which, roleArn=wrong)
        made = eks.create_pod_identity_association(**which, roleArn=right)["association"]
        with refused("ResourceInUseException"):
            eks.create_pod_identity_association(**which, roleArn=right)

        assert (
            eks.list_pod_identity_associations(clusterName="byoc-1")["associations"][0]["associationId"]
            == made["associationId"]
        )


class TestTags:
    """Tags, and permissions that depend on them."""

    def test_are_changed_and_read(self, account: Customer) -> None:
        """A cluster's tags are listed as they were given, added and taken away."""
        account.make_cluster(tags={"a": "1", "b": "2"})
        eks = account.client("eks")

        eks.tag_resource(resourceArn=CLUSTER, tags={"c": "3"})
        eks.untag_resource(resourceArn=CLUSTER, tagKeys=["a", "b"])

        assert eks.list_tags_for_resource(resourceArn=CLUSTER)["tags"] == {"c": "3"}

    def test_decide_about_permission(self, account: Customer) -> None:
        """A policy on aws:ResourceTag lets its holder delete what carries the tag, node groups included."""
        eks = account.client("eks")
        subnets = account.make_cluster(tags={"byoc": "managed"})
        account.make_node_group(subnets, "ours", tags={"byoc": "managed"})
        account.make_node_group(subnets, "theirs")
        statement = allow("eks:Delete*", StringEquals={"aws:ResourceTag/byoc": "managed"})
        deleter = account.client("eks", credentials=account.make_user("deleter", statement))

        deleter.delete_nodegroup(clusterName="byoc-1", nodegroupName="ours")
        with refused("AccessDeniedException"):
            deleter.delete_nodegroup(clusterName="byoc-1", nodegroupName="theirs")

        assert eks.list_nodegroups(clusterName="byoc-1")["nodegroups"] == ["theirs"]

    def test_lists_come_in_pages(self, account: Customer) -> None:
        """A paginator sees every page."""
        eks = account.client("eks")
        account.make_cluster("byoc-1")
        account.make_cluster("byoc-2")
        account.make_cluster("byoc-3")

        pages = eks.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 2})

        assert [page["clusters"] for page in pages] == [["byoc-1", "byoc-2"], ["byoc-3"]]
