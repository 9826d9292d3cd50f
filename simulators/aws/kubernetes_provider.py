"""What AWS does for its Kubernetes clusters: identities, load balancers, volumes, and the pods' way to S3.

The EBS CSI driver acts with the role that its service account has by EKS Pod Identity, the service controller with the
cluster's own, so that a role which lacks a permission keeps them from their work here too.
"""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ministack.services import alb, ec2, kms, s3

from simulators.aws import fabric, identities, scope, service_controller
from simulators.aws.durations import Durations
from simulators.aws.eks.records import ClusterRecord
from simulators.aws.eks.service import EksService
from simulators.aws.identifiers import new_id
from simulators.aws.load_balancers import LoadBalancers, interfaces_of, remove_target_groups, target_groups_of
from simulators.aws.service_controller import NotPermitted
from simulators.aws.work import Work
from simulators.clock import Clock
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.quantities import amount
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object, name_of, namespace_of
from simulators.kubernetes.provider import Entrance, User
from simulators.kubernetes.simulator import KubernetesSimulator

_ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"


@dataclass
class _Balancer:
    """The load balancer of one service."""

    arn: str
    hostname: str
    target_groups: list[str]
    deleting: bool = False


class AwsProvider:
    """Fulfils `CloudProvider` for every cluster of EKS."""

    def __init__(
        self,
        eks: EksService,
        balancers: LoadBalancers,
        *,
        work: Work,
        clock: Clock,
        kubernetes: KubernetesSimulator,
        durations: Durations,
    ) -> None:
        self._eks = eks
        self._load_balancers = balancers
        self._work = work
        self._clock = clock
        self._kubernetes = kubernetes
        self._durations = durations
        self._balancers: dict[tuple[str, str, str], _Balancer] = {}
        """Keyed by cluster id, namespace and name of the service."""
        self._volumes: dict[tuple[str, str], str] = {}
        """Volume ids, keyed by cluster id and the claim's uid."""
        self.complaints: dict[tuple[str, str], str] = {}
        """Why something cannot be made yet, keyed by cluster id and the object's `kind/namespace/name`."""

    def authenticate(self, cluster_id: str, token: str) -> User | None:
        """Return whom a presigned token of STS stands for at this cluster."""
        return self._eks.access.authenticate(cluster_id, token)

    def service_at(self, hostname: str) -> tuple[str, str, str] | None:
        """Return cluster id, namespace and name of the service behind a load balancer's hostname."""
        for key, balancer in self._balancers.items():
            if balancer.hostname == hostname and not balancer.deleting:
                return key
        return None

    def ensure_load_balancer(self, cluster_id: str, service: Object) -> str | None:
        """Make the service's load balancer, or bring its targets up to date.

        Like the service controller of EKS it returns the hostname at once: nothing answers there for some minutes.
        """
        cluster = self._eks.clusters.by_id(cluster_id)
        if cluster is None:
            return None
        key = (cluster_id, namespace_of(service), name_of(service))
        subject = (cluster_id, f"service/{namespace_of(service)}/{name_of(service)}")
        with scope.inside(cluster.scope):
            self._work.settle()
            balancer = self._balancers.get(key)
            if balancer is None or (balancer.arn not in alb._lbs and not balancer.deleting):
                try:
                    balancer = self._balancers[key] = self._balance(cluster, service)
                except NotPermitted as refusal:
                    self.complaints[subject] = str(refusal)
                    return None
            record = alb._lbs.get(balancer.arn)
            if record is None:
                return None
            try:
                service_controller.lead_to_nodes(cluster, record, balancer.target_groups)
            except NotPermitted as refusal:
                self.complaints[subject] = str(refusal)
                return None
            self.complaints.pop(subject, None)
            return balancer.hostname

    def _balance(self, cluster: ClusterRecord, service: Object) -> _Balancer:
        """Start making a load balancer as the service's annotations ask for it."""
        wish = service_controller.wish_of(cluster, service)
        if not identities.has_managed_policy(_role_of_cluster(cluster), "AmazonEKSClusterPolicy"):
            context = {f"aws:RequestTag/{key}": value for key, value in wish.tags.items()}
            resource = cluster.scope.arn("elasticloadbalancing", f"loadbalancer/net/{wish.name}/*")
            _require(_role_of_cluster(cluster), "elasticloadbalancing:CreateLoadBalancer", resource, context)
        record = self._load_balancers.create(
            wish.name,
            scheme=wish.scheme,
            subnets=wish.subnets,
            listeners=wish.listeners,
            tags=wish.tags,
            attributes=wish.attributes,
        )
        arn = record["LoadBalancerArn"]
        return _Balancer(arn, record["DNSName"], target_groups_of(arn))

    def delete_load_balancer(self, cluster_id: str, service: Object) -> bool:
        """Take the service's load balancer away with what the controller made around it; return whether all is gone."""
        key = (cluster_id, namespace_of(service), name_of(service))
        balancer, cluster = self._balancers.get(key), self._eks.clusters.by_id(cluster_id)
        if balancer is None or cluster is None:
            return True
        with scope.inside(cluster.scope):
            self._work.settle()
            if not balancer.deleting:
                balancer.deleting = True
                self._load_balancers.delete(balancer.arn)
                remove_target_groups(balancer.target_groups)
                service_controller.close_nodes(cluster, balancer.arn)
            if interfaces_of(balancer.arn):
                return False
        del self._balancers[key]
        return True

    def custom_kinds(self, cluster_id: str) -> Collection[Kind]:  # noqa: ARG002 - the same for every cluster
        """Return none: nobody has installed a controller that would bring any."""
        return ()

    def ensure_gateway(self, cluster_id: str, entrance: Entrance) -> str | None:  # noqa: ARG002 - there are none
        """Make nothing: there are no Gateways."""
        return None

    def delete_gateway(self, cluster_id: str, gateway: Object) -> bool:  # noqa: ARG002 - there are none
        """Find nothing to take away."""
        return True

    def ensure_volume(self, cluster_id: str, claim: Object, storage_class: Object, zone: str) -> str | None:
        """Make the claim's volume, or grow it to what the claim asks for; return its id once it is available."""
        cluster = self._eks.clusters.by_id(cluster_id)
        if cluster is None:
            return None
        key = (cluster_id, claim["metadata"]["uid"])
        subject = (cluster_id, f"persistentvolumeclaim/{namespace_of(claim)}/{name_of(claim)}")
        size = -(-amount(claim["spec"]["resources"]["requests"]["storage"]) // 2**30)
        with scope.inside(cluster.scope):
            self._work.settle()
            volume_id = self._volumes.get(key)
            if volume_id is None or volume_id not in ec2._volumes:
                try:
                    volume_id = self._volumes[key] = self._provision(cluster, claim, storage_class, zone, int(size))
                except NotPermitted as refusal:
                    self.complaints[subject] = str(refusal)
                    return None
            self.complaints.pop(subject, None)
            record = ec2._volumes[volume_id]
            record["Size"] = max(record["Size"], int(size))
            return volume_id if record["State"] == "available" else None

    def _provision(self, cluster: ClusterRecord, claim: Object, storage_class: Object, zone: str, size: int) -> str:
        parameters = storage_class.get("parameters") or {}
        role = self._storage_role(cluster)
        name = f"pvc-{claim['metadata']['uid']}"
        tags = {
            "Name": f"{cluster.name}-dynamic-{name}",
            "CSIVolumeName": name,
            "ebs.csi.aws.com/cluster": "true",
            "KubernetesCluster": cluster.name,
            f"kubernetes.io/cluster/{cluster.name}": "owned",
            "kubernetes.io/created-for/pvc/name": name_of(claim),
            "kubernetes.io/created-for/pvc/namespace": namespace_of(claim),
            "kubernetes.io/created-for/pv/name": name,
            **_tag_specifications(parameters, claim),
        }
        context = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        volumes = cluster.scope.arn("ec2", "volume/*")
        _require(role, "ec2:CreateVolume", volumes, context)
        _require(role, "ec2:CreateTags", volumes, {**context, "ec2:CreateAction": "CreateVolume"})
        encrypted = parameters.get("encrypted", "false").lower() == "true"
        key = self._volume_key(role, parameters.get("kmsKeyId", "")) if encrypted else None
        volume_id = new_id("vol")
        record = {
            "VolumeId": volume_id,
            "Size": size,
            "AvailabilityZone": zone,
            "State": "creating",
            "VolumeType": parameters.get("type", "gp3"),
            "SnapshotId": "",
            "Iops": int(parameters.get("iops", 3000)),
            "Throughput": int(parameters.get("throughput", 125)),
            "Encrypted": encrypted,
            "KmsKeyId": key,
            "CreateTime": datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "Attachments": [],
            "MultiAttachEnabled": False,
        }
        ec2._volumes[volume_id] = record
        fabric.set_tags(volume_id, tags)
        self._work.start(self._durations.volume, lambda: record.update(State="available"))
        return volume_id

    def _storage_role(self, cluster: ClusterRecord) -> dict[str, Any]:
        """Return the role with which the EBS CSI driver acts; without the driver there are no volumes."""
        add_on = cluster.add_ons.get("aws-ebs-csi-driver")
        if add_on is None or add_on["status"] in ("CREATING", "CREATE_FAILED", "DELETING"):
            raise NotPermitted("the add-on aws-ebs-csi-driver is not installed")
        role = self._role_of(cluster, "kube-system", "ebs-csi-controller-sa")
        if role is None:
            role = identities.role_of(add_on.get("serviceAccountRoleArn") or "")
        if role is None:
            raise NotPermitted("the service account kube-system/ebs-csi-controller-sa has no role")
        return role

    def _volume_key(self, role: dict[str, Any], wanted: str) -> str | None:
        """Return the ARN of the key that encrypts a volume, after proving that the driver may use it."""
        if not wanted:
            return None
        key = kms._resolve_key(wanted)
        if key is None or key["KeyState"] != "Enabled":
            raise NotPermitted(f"the key {wanted} does not exist or is not enabled")
        _require(role, "kms:GenerateDataKeyWithoutPlaintext", key["Arn"], {})
        _require(role, "kms:CreateGrant", key["Arn"], {"kms:GrantIsForAWSResource": "true"})
        return str(key["Arn"])

    def delete_volume(self, cluster_id: str, volume_id: str) -> bool:
        """Take a volume away; it is gone at once."""
        cluster = self._eks.clusters.by_id(cluster_id)
        if cluster is not None:
            with scope.inside(cluster.scope):
                ec2._volumes.pop(volume_id, None)
                ec2._tags.pop(volume_id, None)
        self._volumes = {key: id_ for key, id_ in self._volumes.items() if id_ != volume_id}
        return True

    def put_object(self, cluster_id: str, service_account: str, bucket: str, key: str, body: bytes) -> str | None:
        """Write as the pod's role; `service_account` is as in tokens, `system:serviceaccount:<namespace>:<name>`."""
        cluster = self._eks.clusters.by_id(cluster_id)
        if cluster is None:
            return "the cluster is gone"
        with scope.inside(cluster.scope):
            try:
                role = self._pod_role(cluster, service_account)
                _require(role, "s3:PutObject", f"arn:aws:s3:::{bucket}/{key}", {})
                _require_bucket_key(role, bucket, "kms:GenerateDataKey")
            except NotPermitted as refusal:
                return f"{refusal.code}: {refusal}"
            status, _, reply = s3._put_object(bucket, key, body, {})
        return None if status == 200 else _code_of(reply)

    def get_object(self, cluster_id: str, service_account: str, bucket: str, key: str) -> bytes | str:
        """Read as the pod's role."""
        cluster = self._eks.clusters.by_id(cluster_id)
        if cluster is None:
            return "the cluster is gone"
        with scope.inside(cluster.scope):
            try:
                role = self._pod_role(cluster, service_account)
                _require(role, "s3:GetObject", f"arn:aws:s3:::{bucket}/{key}", {})
                _require_bucket_key(role, bucket, "kms:Decrypt")
            except NotPermitted as refusal:
                return f"{refusal.code}: {refusal}"
            body = s3._get_object_data(bucket, key)
        return bytes(body) if body is not None else f"NoSuchKey: The specified key does not exist: {bucket}/{key}"

    def _pod_role(self, cluster: ClusterRecord, subject: str) -> dict[str, Any]:
        namespace, _, name = subject.removeprefix("system:serviceaccount:").partition(":")
        role = self._role_of(cluster, namespace, name)
        if role is None:
            raise NotPermitted(f"no credentials: the service account {namespace}/{name} has no role")
        return role

    def _role_of(self, cluster: ClusterRecord, namespace: str, service_account: str) -> dict[str, Any] | None:
        """Return the role of a service account, by pod identity or by the annotation of IRSA."""
        association = self._eks.pod_identities.find(cluster, namespace, service_account)
        if association is not None:
            return identities.role_of(association["roleArn"])
        running = self._kubernetes.cluster(cluster.id)
        account = running.store.get(kinds.SERVICE_ACCOUNTS, namespace, service_account) if running is not None else None
        annotations = (account or {}).get("metadata", {}).get("annotations") or {}
        return identities.role_of(annotations.get(_ROLE_ANNOTATION, ""))

    def forget(self) -> None:
        """Forget every load balancer and volume."""
        self._balancers.clear()
        self._volumes.clear()
        self.complaints.clear()


def _role_of_cluster(cluster: ClusterRecord) -> dict[str, Any]:
    role = identities.role_of(cluster.description["roleArn"])
    if role is None:
        raise NotPermitted(f"the role {cluster.description['roleArn']} does not exist")
    return role


def _require(role: Mapping[str, Any], action: str, resource: str, context: Mapping[str, Any]) -> None:
    """Raise NotPermitted unless the role allows the action."""
    if not identities.role_allows(dict(role), action, resource, context):
        raise NotPermitted(f"{role['Arn']} is not authorized to perform: {action} on resource: {resource}")


def _require_bucket_key(role: Mapping[str, Any], bucket: str, action: str) -> None:
    """Raise NotPermitted unless the role may use the key that encrypts the bucket, through S3."""
    configuration = str(s3._bucket_encryption.get(bucket) or "")
    found = re.search(r"<KMSMasterKeyID>([^<]+)</KMSMasterKeyID>", configuration)
    if found is None:
        return
    key = kms._resolve_key(found[1])
    if key is None:
        raise NotPermitted(f"Key '{found[1]}' does not exist", code="KMS.NotFoundException")
    if key["KeyState"] == "Disabled":
        raise NotPermitted(f"{key['Arn']} is disabled.", code="KMS.DisabledException")
    if key["KeyState"] != "Enabled":
        raise NotPermitted(f"{key['Arn']} is {key['KeyState']}.", code="KMS.KMSInvalidStateException")
    _require(role, action, key["Arn"], {"kms:ViaService": f"s3.{scope.current().region}.amazonaws.com"})


def _code_of(reply: bytes | str) -> str:
    text = reply.decode() if isinstance(reply, bytes) else reply
    found = re.search(r"<Code>([^<]+)</Code>.*<Message>([^<]*)", text, re.DOTALL)
    return f"{found[1]}: {found[2]}" if found else text


def _tag_specifications(parameters: Mapping[str, str], claim: Object) -> dict[str, str]:
    """Read `tagSpecification_1: key=value`, with the driver's template for the claim's names."""
    tags = {}
    for name, text in parameters.items():
        if name.startswith("tagSpecification_"):
            key, _, value = text.partition("=")
            value = value.replace("{{ .PVCNamespace }}", namespace_of(claim)).replace("{{ .PVCName }}", name_of(claim))
            tags[key.strip()] = value.strip()
    return tags
