"""What AWS does for its Kubernetes clusters: identities, load balancers, volumes, and the pods' way to S3.

The controllers that ask (the AWS Load Balancer Controller, the EBS CSI driver) act with the role that their service
account has by EKS Pod Identity, so that a role which lacks a permission keeps them from their work here too.
"""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ministack.services import acm, alb, ec2, kms, s3

from simulators.aws import fabric, identities, scope
from simulators.aws.durations import Durations
from simulators.aws.eks.records import ClusterRecord
from simulators.aws.eks.service import EksService
from simulators.aws.identifiers import new_id
from simulators.aws.load_balancers import (
    Listener,
    LoadBalancers,
    interfaces_of,
    remove_target_groups,
    target_groups_of,
)
from simulators.aws.work import Work
from simulators.clock import Clock
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.quantities import amount
from simulators.kubernetes.objects import Object, name_of, namespace_of
from simulators.kubernetes.provider import User
from simulators.kubernetes.simulator import KubernetesSimulator

_ANNOTATION = "service.beta.kubernetes.io/aws-load-balancer-"
_ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"
_SUBNET_ROLE = {"internet-facing": "kubernetes.io/role/elb", "internal": "kubernetes.io/role/internal-elb"}
_CLUSTER_TAG = "elbv2.k8s.aws/cluster"


class NotPermitted(Exception):  # noqa: N818 - named by what is the matter
    """A controller or a pod may not do what it has to; the text says what."""


@dataclass
class _Balancer:
    """The load balancer of one service."""

    arn: str
    hostname: str
    group: str
    """Id of its security group."""
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
        """Make the service's load balancer, or bring its targets up to date; return its hostname once it is active."""
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
            self.complaints.pop(subject, None)
            for group in balancer.target_groups:
                alb._targets[group] = self._targets(cluster)
            record = alb._lbs.get(balancer.arn)
            return balancer.hostname if record is not None and record["State"] == "active" else None

    def _balance(self, cluster: ClusterRecord, service: Object) -> _Balancer:
        """Start making a load balancer as the service's annotations ask for it."""
        annotations = {
            key.removeprefix(_ANNOTATION): value
            for key, value in (service["metadata"].get("annotations") or {}).items()
            if key.startswith(_ANNOTATION)
        }
        external = bool(service["spec"].get("loadBalancerClass")) or annotations.get("type") == "external"
        scheme = annotations.get("scheme") or ("internal" if external else "internet-facing")
        subnets = _subnets(cluster, scheme, annotations)
        name = _balancer_name(cluster, service)
        tags = _balancer_tags(cluster, service, annotations)
        self._require_permission(cluster, "elasticloadbalancing:CreateLoadBalancer", f"loadbalancer/net/{name}/*", tags)
        listeners = _listeners(service, annotations)
        group = _frontend_group(cluster, service, name, tags, [listener.port for listener in listeners])
        record = self._load_balancers.create(
            name,
            scheme=scheme,
            subnets=subnets,
            groups=[group],
            listeners=listeners,
            targets=self._targets(cluster),
            tags=tags,
            attributes=_pairs(annotations.get("attributes", "")),
        )
        arn = record["LoadBalancerArn"]
        return _Balancer(arn, record["DNSName"], group, target_groups_of(arn))

    def _require_permission(self, cluster: ClusterRecord, action: str, resource: str, tags: Mapping[str, str]) -> None:
        """Raise NotPermitted unless the load balancer controller (or else the cluster's role) may do `action`."""
        role = self._role_of(cluster, "kube-system", "aws-load-balancer-controller")
        if role is None:
            role = identities.role_of(cluster.description["roleArn"])
            if role is not None and identities.has_managed_policy(role, "AmazonEKSClusterPolicy"):
                return
        context = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        arn = cluster.scope.arn("elasticloadbalancing", resource)
        if role is None or not identities.role_allows(role, action, arn, context):
            raise NotPermitted(f"the load balancer controller's role is not authorized to perform: {action} on {arn}")

    def _targets(self, cluster: ClusterRecord) -> list[dict[str, Any]]:
        """Return the machines behind a load balancer; which pods answer is the internet simulator's matter."""
        instances = [ec2._instances.get(id_) for group in cluster.node_groups.values() for id_ in group.instances]
        return [{"Id": record["PrivateIpAddress"], "Port": 443} for record in instances if record is not None]

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
            if interfaces_of(balancer.arn):
                return False
            _close_to(cluster, balancer.group)
            fabric.remove_security_group(balancer.group)
        del self._balancers[key]
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
                return f"AccessDenied: {refusal}"
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
                return f"AccessDenied: {refusal}"
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
    if key is None or key["KeyState"] != "Enabled":
        raise NotPermitted(f"the key of bucket {bucket} does not exist or is not enabled")
    _require(role, action, key["Arn"], {"kms:ViaService": f"s3.{scope.current().region}.amazonaws.com"})


def _code_of(reply: bytes | str) -> str:
    text = reply.decode() if isinstance(reply, bytes) else reply
    found = re.search(r"<Code>([^<]+)</Code>.*<Message>([^<]*)", text, re.DOTALL)
    return f"{found[1]}: {found[2]}" if found else text


def _subnets(cluster: ClusterRecord, scheme: str, annotations: Mapping[str, str]) -> list[str]:
    """Return the subnets of a load balancer: those annotated, else those tagged for its role, one a zone."""
    vpc = cluster.description["resourcesVpcConfig"]["vpcId"]
    if annotations.get("subnets"):
        chosen = [subnet.strip() for subnet in annotations["subnets"].split(",")]
        unknown = [subnet for subnet in chosen if (fabric.subnet(subnet) or {}).get("VpcId") != vpc]
        if unknown:
            raise NotPermitted(f"subnets {unknown} are not in the cluster's VPC")
        return chosen
    candidates: dict[str, str] = {}
    for subnet_id, record in sorted(ec2._subnets.items()):
        tagged = fabric.tags_of(subnet_id).get(_SUBNET_ROLE[scheme]) in ("", "1")
        if record["VpcId"] == vpc and tagged and fabric.addresses_left(subnet_id) >= 8:
            candidates.setdefault(record["AvailabilityZone"], subnet_id)
    if not candidates:
        raise NotPermitted(f"unable to resolve at least one subnet: none is tagged {_SUBNET_ROLE[scheme]}=1")
    return list(candidates.values())


def _balancer_name(cluster: ClusterRecord, service: Object) -> str:
    digest = hashlib.sha256(f"{cluster.id}/{service['metadata']['uid']}".encode()).hexdigest()[:10]
    parts = (re.sub(r"[^a-z0-9]", "", part)[:8] for part in (namespace_of(service), name_of(service)))
    return f"k8s-{'-'.join(parts)}-{digest}"


def _balancer_tags(cluster: ClusterRecord, service: Object, annotations: Mapping[str, str]) -> dict[str, str]:
    stack = f"{namespace_of(service)}/{name_of(service)}"
    return {
        _CLUSTER_TAG: cluster.name,
        "service.k8s.aws/stack": stack,
        "service.k8s.aws/resource": "LoadBalancer",
        f"kubernetes.io/cluster/{cluster.name}": "owned",
        "kubernetes.io/service-name": stack,
        **_pairs(annotations.get("additional-resource-tags", "")),
    }


def _pairs(text: str) -> dict[str, str]:
    """Read `key=value,key=value`."""
    pairs = (entry.partition("=") for entry in text.split(",") if "=" in entry)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _listeners(service: Object, annotations: Mapping[str, str]) -> Sequence[Listener]:
    certificates = tuple(arn.strip() for arn in annotations.get("ssl-cert", "").split(",") if arn.strip())
    for arn in certificates:
        certificate = acm._certificates.get(arn)
        if certificate is None or certificate["Status"] != "ISSUED":
            raise NotPermitted(f"UnsupportedCertificate: The certificate '{arn}' does not exist or is not issued")
    secured = {port.strip() for port in annotations.get("ssl-ports", "*").split(",")}
    listeners = []
    for port in service["spec"].get("ports") or ():
        ends_tls = bool(secured & {"*", str(port["port"]), port.get("name", "*")})
        target = port.get("targetPort", port["port"])
        listeners.append(
            Listener(
                port["port"],
                target if isinstance(target, int) else port["port"],
                certificates if ends_tls else (),
                annotations.get("ssl-negotiation-policy", ""),
            )
        )
    return listeners


def _frontend_group(
    cluster: ClusterRecord, service: Object, name: str, tags: Mapping[str, str], ports: Sequence[int]
) -> str:
    """Make the load balancer's security group and let the cluster's group accept traffic from it."""
    network = cluster.description["resourcesVpcConfig"]
    group = fabric.add_security_group(
        name,
        f"[k8s] Managed SecurityGroup for LoadBalancer {namespace_of(service)}/{name_of(service)}",
        network["vpcId"],
        {**tags, "service.k8s.aws/resource": "ManagedLBSecurityGroup"},
    )
    record = fabric.security_group(group) or {}
    record["IpPermissions"] = [_permission(port, source="0.0.0.0/0") for port in ports]
    shared = fabric.security_group(network["clusterSecurityGroupId"])
    if shared is not None:
        shared["IpPermissions"].append(_permission(0, 65535, group=group))
    return group


def _permission(first: int, last: int | None = None, *, source: str = "", group: str = "") -> dict[str, Any]:
    return {
        "IpProtocol": "tcp",
        "FromPort": first,
        "ToPort": last if last is not None else first,
        "IpRanges": [{"CidrIp": source}] if source else [],
        "Ipv6Ranges": [],
        "PrefixListIds": [],
        "UserIdGroupPairs": [{"GroupId": group, "UserId": scope.current().account}] if group else [],
    }


def _close_to(cluster: ClusterRecord, group: str) -> None:
    """Let the cluster's group no longer accept traffic from a load balancer's."""
    shared = fabric.security_group(cluster.description["resourcesVpcConfig"]["clusterSecurityGroupId"])
    if shared is not None:
        shared["IpPermissions"] = [
            permission
            for permission in shared["IpPermissions"]
            if all(pair.get("GroupId") != group for pair in permission["UserIdGroupPairs"])
        ]


def _tag_specifications(parameters: Mapping[str, str], claim: Object) -> dict[str, str]:
    """Read `tagSpecification_1: key=value`, with the driver's template for the claim's names."""
    tags = {}
    for name, text in parameters.items():
        if name.startswith("tagSpecification_"):
            key, _, value = text.partition("=")
            value = value.replace("{{ .PVCNamespace }}", namespace_of(claim)).replace("{{ .PVCName }}", name_of(claim))
            tags[key.strip()] = value.strip()
    return tags
