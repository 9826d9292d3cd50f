"""Load balancers, volumes and objects that clusters ask AWS for."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.simulators.aws.customers import ACCOUNT, REGION, Customer, allow, refused

HOSTNAME = "acme.example.com"
STORE = "system:serviceaccount:byoc:store"


def service(**annotations: str) -> dict[str, Any]:
    """Return a service that wants a network load balancer."""
    prefix = "service.beta.kubernetes.io/aws-load-balancer-"
    wanted = {"scheme": "internet-facing", **{name.replace("_", "-"): value for name, value in annotations.items()}}
    return {
        "metadata": {
            "name": "endpoint",
            "namespace": "byoc",
            "uid": str(uuid4()),
            "annotations": {prefix + name: value for name, value in wanted.items()},
        },
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "service.k8s.aws/nlb",
            "ports": [{"name": "api", "port": 443, "targetPort": 8080}],
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
        """A load balancer is provisioning, and has no hostname for the service before it is active."""
        slow_account.make_cluster()
        (cluster,) = slow_account.kubernetes.clusters()
        wanted = service()

        before = cluster.provider.ensure_load_balancer(cluster.id, wanted)
        state = described(slow_account)[0]["State"]["Code"]
        slow_account.pass_time(100)
        after = cluster.provider.ensure_load_balancer(cluster.id, wanted)

        assert (before, state) == (None, "provisioning")
        (balancer,) = described(slow_account)
        assert balancer["State"]["Code"] == "active"
        assert after == balancer["DNSName"]
        assert after.startswith("k8s-byoc-endpoint-")
        assert after.endswith(f".elb.{REGION}.amazonaws.com")

    def test_carry_the_tags_of_cluster_service_and_owner(self, account: Customer) -> None:
        """The controller's tags and those of the annotation are on the load balancer, its targets and its group."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        cluster.provider.ensure_load_balancer(cluster.id, service(additional_resource_tags="byoc=managed,team=a"))
        arn = described(account)[0]["LoadBalancerArn"]
        group = account.client("elbv2").describe_target_groups(LoadBalancerArn=arn)["TargetGroups"][0]["TargetGroupArn"]

        described_tags = account.client("elbv2").describe_tags(ResourceArns=[arn, group])["TagDescriptions"]
        security_group = account.client("ec2").describe_security_groups(
            Filters=[{"Name": "tag:elbv2.k8s.aws/cluster", "Values": ["byoc-1"]}]
        )["SecurityGroups"]

        for entry in described_tags:
            tags = {tag["Key"]: tag["Value"] for tag in entry["Tags"]}
            assert tags["elbv2.k8s.aws/cluster"] == "byoc-1"
            assert tags["kubernetes.io/service-name"] == "byoc/endpoint"
            assert tags["kubernetes.io/cluster/byoc-1"] == "owned"
            assert tags["byoc"] == "managed"
        assert [entry["GroupName"][:4] for entry in security_group] == ["k8s-"]

    def test_keep_the_network_until_they_are_gone(self, slow_account: Customer) -> None:
        """Their interfaces keep the subnets, and their group, until the service's deletion is complete."""
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
        group = [{"Name": "tag:elbv2.k8s.aws/cluster", "Values": ["byoc-1"]}]
        assert ec2.describe_security_groups(Filters=group)["SecurityGroups"] == []

    def test_can_be_deleted_by_whoever_cleans_up(self, account: Customer) -> None:
        """DeleteLoadBalancer frees the subnets; the security group of the controller stays behind."""
        subnets = account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        cluster.provider.ensure_load_balancer(cluster.id, service())
        account.client("eks").delete_cluster(name="byoc-1")
        elb, ec2 = account.client("elbv2"), account.client("ec2")

        elb.delete_load_balancer(LoadBalancerArn=described(account)[0]["LoadBalancerArn"])
        ec2.delete_subnet(SubnetId=subnets[0])

        group = [{"Name": "tag:elbv2.k8s.aws/cluster", "Values": ["byoc-1"]}]
        assert len(ec2.describe_security_groups(Filters=group)["SecurityGroups"]) == 1

    def test_need_a_tagged_subnet(self, account: Customer) -> None:
        """Without subnets for internal load balancers there is none, and the reason is known."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()

        hostname = cluster.provider.ensure_load_balancer(cluster.id, service(scheme="internal"))

        assert hostname is None
        (complaint,) = account.overlay.provider.complaints.values()
        assert "kubernetes.io/role/internal-elb" in complaint

    def test_need_permission_of_the_controllers_role(self, account: Customer) -> None:
        """The controller's role decides, with a condition on the tags that it gives."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        condition = {"aws:RequestTag/elbv2.k8s.aws/cluster": "byoc-1"}
        statement = allow("elasticloadbalancing:CreateLoadBalancer", StringEquals=condition)
        wrong = account.make_role("wrong", "pods.eks.amazonaws.com")
        right = account.make_role("right", "pods.eks.amazonaws.com", statements=[statement])
        eks = account.client("eks")
        association = eks.create_pod_identity_association(
            clusterName="byoc-1", namespace="kube-system", serviceAccount="aws-load-balancer-controller", roleArn=wrong
        )["association"]
        wanted = service()

        cluster.provider.ensure_load_balancer(cluster.id, wanted)
        without = described(account)
        eks.update_pod_identity_association(
            clusterName="byoc-1", associationId=association["associationId"], roleArn=right
        )
        cluster.provider.ensure_load_balancer(cluster.id, wanted)

        assert without == []
        assert len(described(account)) == 1


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
