"""Load balancers, volumes and objects that clusters ask AWS for."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.simulators.aws.customers import ACCOUNT, REGION, Customer, allow, refused

NODE_PORT = 30_443
STORE = "system:serviceaccount:byoc:store"


def service(**annotations: str) -> dict[str, Any]:
    """Return a service that wants a network load balancer."""
    prefix = "service.beta.kubernetes.io/aws-load-balancer-"
    wanted = {"type": "nlb", **{name.replace("_", "-"): value for name, value in annotations.items()}}
    return {
        "metadata": {
            "name": "endpoint",
            "namespace": "byoc",
            "uid": str(uuid4()),
            "annotations": {prefix + name: value for name, value in wanted.items()},
        },
        "spec": {
            "type": "LoadBalancer",
            "ports": [{"name": "api", "port": 443, "targetPort": 8080, "nodePort": NODE_PORT}],
        },
    }


def claim(gibibytes: int = 20) -> dict[str, Any]:
    """Return a claim for a volume."""
    return {
        "metadata": {"name": "data-store-0", "namespace": "byoc", "uid": str(uuid4())},
        "spec": {"resources": {"requests": {"storage": f"{gibibytes}Gi"}}},
    }


def described(account: Customer) -> list[dict[str, Any]]:
    """Return the load balancers as the API describes them."""
    found: list[dict[str, Any]] = account.client("elbv2").describe_load_balancers()["LoadBalancers"]
    return found


class TestLoadBalancers:
    """Services of type LoadBalancer."""

    def test_are_active_after_their_time(self, slow_account: Customer) -> None:
        """The service has the hostname at once; the load balancer behind it is still provisioning."""
        slow_account.make_cluster()
        (cluster,) = slow_account.kubernetes.clusters()
        wanted = service()

        hostname = cluster.provider.ensure_load_balancer(cluster.id, wanted)
        (before,) = described(slow_account)
        slow_account.pass_time(100)
        (after,) = described(slow_account)

        assert (before["State"]["Code"], after["State"]["Code"]) == ("provisioning", "active")
        assert (before["Scheme"], before["Type"]) == ("internet-facing", "network")
        assert hostname is not None
        assert hostname == after["DNSName"]
        assert hostname.startswith(f"a{wanted['metadata']['uid'].replace('-', '')}"[:32])
        assert hostname.endswith(f".elb.{REGION}.amazonaws.com")

    def test_carry_the_tags_of_cluster_service_and_owner(self, account: Customer) -> None:
        """The controller's tags and those of the annotation are on the load balancer and its targets."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        cluster.provider.ensure_load_balancer(cluster.id, service(additional_resource_tags="byoc=managed,team=a"))
        arn = described(account)[0]["LoadBalancerArn"]
        group = account.client("elbv2").describe_target_groups(LoadBalancerArn=arn)["TargetGroups"][0]["TargetGroupArn"]

        described_tags = account.client("elbv2").describe_tags(ResourceArns=[arn, group])["TagDescriptions"]

        for entry in described_tags:
            assert {tag["Key"]: tag["Value"] for tag in entry["Tags"]} == {
                "kubernetes.io/service-name": "byoc/endpoint",
                "kubernetes.io/cluster/byoc-1": "owned",
                "byoc": "managed",
                "team": "a",
            }

    def test_lead_to_every_node(self, account: Customer) -> None:
        """Every node is a target; the nodes' group lets clients and health checks in, until the end."""
        account.make_node_group(account.make_cluster())
        (cluster,) = account.kubernetes.clusters()
        checked = {"healthcheck_protocol": "http", "healthcheck_port": "10256", "healthcheck_path": "/healthz"}
        wanted = service(**checked)
        elb = account.client("elbv2")

        cluster.provider.ensure_load_balancer(cluster.id, wanted)
        (group,) = elb.describe_target_groups()["TargetGroups"]
        health = elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
        opened, subnets = open_ports(account), subnet_ranges(account)
        cluster.provider.delete_load_balancer(cluster.id, wanted)

        assert (group["TargetType"], group["Port"]) == ("instance", NODE_PORT)
        assert (group["HealthCheckProtocol"], group["HealthCheckPath"]) == ("HTTP", "/healthz")
        assert {entry["Target"]["Id"] for entry in health} == instance_ids(account)
        assert {entry["Target"]["Port"] for entry in health} == {NODE_PORT}
        assert opened == {NODE_PORT: {"0.0.0.0/0"}, 10256: subnets}
        assert open_ports(account) == {}

    def test_need_one_group_of_the_cluster_on_each_node(self, account: Customer) -> None:
        """With two groups that carry the cluster's tag the controller does not know which one to open."""
        subnets = account.make_cluster()
        ec2 = account.client("ec2")
        vpc = ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"]
        groups = [
            ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"] for name in ("one", "two")
        ]
        ec2.create_tags(Resources=groups, Tags=[{"Key": "kubernetes.io/cluster/byoc-1", "Value": "owned"}])
        template = ec2.create_launch_template(
            LaunchTemplateName="nodes", LaunchTemplateData={"SecurityGroupIds": groups}
        )["LaunchTemplate"]["LaunchTemplateId"]
        account.make_node_group(subnets, launchTemplate={"id": template, "version": "1"})
        (cluster,) = account.kubernetes.clusters()

        hostname = cluster.provider.ensure_load_balancer(cluster.id, service())

        assert hostname is None
        (complaint,) = account.overlay.provider.complaints.values()
        assert complaint.startswith("Multiple tagged security groups found for instance")

    def test_have_no_listener_without_a_node_port(self, account: Customer) -> None:
        """The controller ignores such a port, so that nothing answers there."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        wanted = service()
        del wanted["spec"]["ports"][0]["nodePort"]

        cluster.provider.ensure_load_balancer(cluster.id, wanted)

        arn = described(account)[0]["LoadBalancerArn"]
        assert account.client("elbv2").describe_listeners(LoadBalancerArn=arn)["Listeners"] == []

    @pytest.mark.parametrize("external", ["class", "type"])
    def test_are_not_made_for_a_controller_that_nobody_installed(self, account: Customer, external: str) -> None:
        """A service for the AWS Load Balancer Controller waits for ever."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        wanted = service(**({"type": "external"} if external == "type" else {}))
        if external == "class":
            wanted["spec"]["loadBalancerClass"] = "service.k8s.aws/nlb"

        assert cluster.provider.ensure_load_balancer(cluster.id, wanted) is None
        assert described(account) == []

    def test_keep_the_network_until_they_are_gone(self, slow_account: Customer) -> None:
        """Their interfaces keep the subnets until the service's deletion is complete."""
        account = slow_account
        subnets = account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        ec2, wanted = account.client("ec2"), service()
        cluster.provider.ensure_load_balancer(cluster.id, wanted)
        account.pass_time(100)
        interfaces = [{"Name": "interface-type", "Values": ["network_load_balancer"]}]

        assert len(ec2.describe_network_interfaces(Filters=interfaces)["NetworkInterfaces"]) == len(subnets)
        with refused("DependencyViolation"):
            ec2.delete_subnet(SubnetId=subnets[0])
        first = cluster.provider.delete_load_balancer(cluster.id, wanted)
        account.pass_time(60)
        second = cluster.provider.delete_load_balancer(cluster.id, wanted)

        assert (first, second) == (False, True)
        assert ec2.describe_network_interfaces(Filters=interfaces)["NetworkInterfaces"] == []
        assert described(account) == []
        assert account.client("elbv2").describe_target_groups()["TargetGroups"] == []

    def test_can_be_deleted_by_whoever_cleans_up(self, account: Customer) -> None:
        """DeleteLoadBalancer frees the subnets; the target groups stay behind."""
        subnets = account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        cluster.provider.ensure_load_balancer(cluster.id, service())
        account.client("eks").delete_cluster(name="byoc-1")
        elb, ec2 = account.client("elbv2"), account.client("ec2")

        elb.delete_load_balancer(LoadBalancerArn=described(account)[0]["LoadBalancerArn"])
        ec2.delete_subnet(SubnetId=subnets[0])

        assert len(elb.describe_target_groups()["TargetGroups"]) == 1

    def test_need_a_tagged_subnet(self, account: Customer) -> None:
        """Without subnets for internal load balancers there is none, and the reason is known."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()

        hostname = cluster.provider.ensure_load_balancer(cluster.id, service(internal="true"))

        assert hostname is None
        (complaint,) = account.overlay.provider.complaints.values()
        assert "kubernetes.io/role/internal-elb" in complaint

    def test_need_permission_of_the_clusters_role(self, account: Customer) -> None:
        """Without the policy that AWS keeps for clusters the controller may not make any, and the reason is known."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        policy = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
        account.client("iam").detach_role_policy(RoleName="byoc-1-control-plane", PolicyArn=policy)

        cluster.provider.ensure_load_balancer(cluster.id, service())

        assert described(account) == []
        (complaint,) = account.overlay.provider.complaints.values()
        assert "not authorized to perform: elasticloadbalancing:CreateLoadBalancer" in complaint


def instance_ids(account: Customer) -> set[str]:
    """Return the ids of all machines."""
    reservations = account.client("ec2").describe_instances()["Reservations"]
    return {instance["InstanceId"] for reservation in reservations for instance in reservation["Instances"]}


def subnet_ranges(account: Customer) -> set[str]:
    """Return the address ranges of the subnets of the account's load balancers."""
    subnets = [zone["SubnetId"] for zone in described(account)[0]["AvailabilityZones"]]
    return {subnet["CidrBlock"] for subnet in account.client("ec2").describe_subnets(SubnetIds=subnets)["Subnets"]}


def open_ports(account: Customer) -> dict[int, set[str]]:
    """Return from which addresses the nodes accept TCP, keyed by port, as far as a load balancer has it so."""
    return {
        rule["FromPort"]: {source["CidrIp"] for source in rule["IpRanges"]}
        for group in account.client("ec2").describe_security_groups()["SecurityGroups"]
        for rule in group["IpPermissions"]
        if any("kubernetes.io/rule/nlb" in source.get("Description", "") for source in rule["IpRanges"])
    }


def install_driver(account: Customer, *statements: dict[str, Any]) -> None:
    """Install the EBS CSI driver with a role that may do what `statements` say."""
    role = account.make_role("driver", "pods.eks.amazonaws.com", statements=statements)
    account.client("eks").create_addon(
        clusterName="byoc-1",
        addonName="aws-ebs-csi-driver",
        podIdentityAssociations=[{"serviceAccount": "ebs-csi-controller-sa", "roleArn": role}],
    )
    account.pass_time(60)


class TestVolumes:
    """Persistent volumes."""

    def test_are_encrypted_and_tagged_as_the_class_says(self, account: Customer) -> None:
        """The volume has the class's type and key, and the driver's tags and the class's own."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        key = account.client("kms").create_key()["KeyMetadata"]["Arn"]
        install_driver(account, allow("ec2:CreateVolume", "ec2:CreateTags", "kms:*"))
        parameters = {"type": "gp3", "encrypted": "true", "kmsKeyId": key, "tagSpecification_1": "byoc=managed"}
        wanted = claim()
        cluster.provider.ensure_volume(cluster.id, wanted, {"parameters": parameters}, f"{REGION}b")
        account.pass_time(10)

        volume_id = cluster.provider.ensure_volume(cluster.id, wanted, {"parameters": parameters}, f"{REGION}b")

        (volume,) = account.client("ec2").describe_volumes(VolumeIds=[volume_id])["Volumes"]
        tags = {tag["Key"]: tag["Value"] for tag in volume["Tags"]}
        assert (volume["Encrypted"], volume["KmsKeyId"], volume["Size"]) == (True, key, 20)
        assert volume["AvailabilityZone"] == f"{REGION}b"
        assert tags["byoc"] == "managed"
        assert tags["kubernetes.io/cluster/byoc-1"] == "owned"
        assert tags["CSIVolumeName"] == f"pvc-{wanted['metadata']['uid']}"

    def test_grow_and_go(self, account: Customer) -> None:
        """A claim that asks for more has its volume grown; the volume goes on request."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        install_driver(account, allow("ec2:CreateVolume", "ec2:CreateTags"))
        wanted = claim(20)
        cluster.provider.ensure_volume(cluster.id, wanted, {}, f"{REGION}a")
        account.pass_time(10)
        wanted["spec"]["resources"]["requests"]["storage"] = "30Gi"

        volume_id = cluster.provider.ensure_volume(cluster.id, wanted, {}, f"{REGION}a")
        size = account.client("ec2").describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["Size"]
        assert volume_id is not None
        gone = cluster.provider.delete_volume(cluster.id, volume_id)

        assert (size, gone) == (30, True)
        with refused("InvalidVolume.NotFound"):
            account.client("ec2").describe_volumes(VolumeIds=[volume_id])

    @pytest.mark.parametrize("installed", [False, True])
    def test_need_the_driver_and_its_permission(self, account: Customer, installed: bool) -> None:
        """Without the add-on, or with a role that may not tag, there is no volume, and the reason is known."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        if installed:
            install_driver(account, allow("ec2:CreateVolume"))

        volume_id = cluster.provider.ensure_volume(cluster.id, claim(), {}, f"{REGION}a")

        assert volume_id is None
        (complaint,) = account.overlay.provider.complaints.values()
        assert ("ec2:CreateTags" if installed else "aws-ebs-csi-driver") in complaint


class TestObjects:
    """Pods that write to S3."""

    def make_bucket(self, account: Customer, key: str) -> None:
        """Make an encrypted bucket."""
        s3 = account.client("s3")
        s3.create_bucket(Bucket="byoc-backups", CreateBucketConfiguration={"LocationConstraint": REGION})
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
        s3.put_bucket_encryption(Bucket="byoc-backups", ServerSideEncryptionConfiguration={"Rules": [rule]})

    def associate(self, account: Customer, *statements: dict[str, Any]) -> None:
        """Give the store a role."""
        role = account.make_role("store", "pods.eks.amazonaws.com", statements=statements)
        account.client("eks").create_pod_identity_association(
            clusterName="byoc-1", namespace="byoc", serviceAccount="store", roleArn=role
        )

    def test_act_as_the_role_of_their_service_account(self, account: Customer) -> None:
        """What the role allows happens in the account's bucket; another service account has no credentials."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        key = account.client("kms").create_key()["KeyMetadata"]["Arn"]
        self.make_bucket(account, key)
        via = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
        self.associate(
            account,
            allow("s3:PutObject", "s3:GetObject", resource="arn:aws:s3:::byoc-backups/*"),
            allow("kms:GenerateDataKey", "kms:Decrypt", resource=key, StringEquals=via),
        )

        error = cluster.provider.put_object(cluster.id, STORE, "byoc-backups", "one", b"documents")
        other = cluster.provider.put_object(cluster.id, STORE.replace("store", "api"), "byoc-backups", "two", b"")

        assert error is None
        assert other is not None
        assert "no credentials" in other
        assert account.client("s3").get_object(Bucket="byoc-backups", Key="one")["Body"].read() == b"documents"
        assert cluster.provider.get_object(cluster.id, STORE, "byoc-backups", "one") == b"documents"
        assert "NoSuchKey" in cluster.provider.get_object(cluster.id, STORE, "byoc-backups", "two")

    @pytest.mark.parametrize(
        ("action", "missing"), [("s3:PutObject", "kms:GenerateDataKey"), ("kms:GenerateDataKey", "s3:PutObject")]
    )
    def test_need_permission_for_object_and_key(self, account: Customer, action: str, missing: str) -> None:
        """A role that may not write, or not use the bucket's key, is refused with the action named."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        self.make_bucket(account, account.client("kms").create_key()["KeyMetadata"]["Arn"])
        self.associate(account, allow(action))

        error = cluster.provider.put_object(cluster.id, STORE, "byoc-backups", "one", b"documents")

        assert error is not None
        assert missing in error

    @pytest.mark.parametrize(
        ("take_away", "code"),
        [("disable_key", "KMS.DisabledException"), ("schedule_key_deletion", "KMS.KMSInvalidStateException")],
    )
    def test_need_a_key_that_is_enabled(self, account: Customer, take_away: str, code: str) -> None:
        """A key that is disabled, or about to be deleted, keeps pods from the bucket; S3 says why."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        kms = account.client("kms")
        key = kms.create_key()["KeyMetadata"]
        self.make_bucket(account, key["Arn"])
        self.associate(account, allow("s3:*"), allow("kms:*", resource=key["Arn"]))
        getattr(kms, take_away)(KeyId=key["KeyId"])

        error = cluster.provider.put_object(cluster.id, STORE, "byoc-backups", "one", b"documents")
        body = cluster.provider.get_object(cluster.id, STORE, "byoc-backups", "one")

        assert error is not None
        assert error.startswith(f"{code}: {key['Arn']}")
        assert body == error

    def test_are_bound_by_the_boundary(self, account: Customer) -> None:
        """A permissions boundary that does not allow S3 keeps the role from it."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        account.client("s3").create_bucket(
            Bucket="byoc-backups", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        self.associate(account, allow("s3:*"))
        iam = account.client("iam")
        document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}'
        boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=document)["Policy"]["Arn"]
        allowed = cluster.provider.put_object(cluster.id, STORE, "byoc-backups", "one", b"")
        iam.put_role_permissions_boundary(RoleName="store", PermissionsBoundary=boundary)

        denied = cluster.provider.put_object(cluster.id, STORE, "byoc-backups", "two", b"")

        assert allowed is None
        assert denied is not None
        assert ACCOUNT in denied
