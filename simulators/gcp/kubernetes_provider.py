"""What Google does for its Kubernetes clusters: identities, load balancers, disks, and the pods' way to storage.

The controllers act as GKE's service agent, so that a project whose policy no longer lets the agent work keeps them from
their work here too. What they have made stays behind when a cluster is deleted before its Services and claims.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from simulators.gcp.api import Check, region_of
from simulators.gcp.certificates import CertificateManager
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.creation import require_labels
from simulators.gcp.compute.records import ROOT, Record
from simulators.gcp.compute.service import ComputeService
from simulators.gcp.container.records import ClusterRecord
from simulators.gcp.container.service import ContainerService
from simulators.gcp.gateways import Gateways
from simulators.gcp.refusals import Refusal
from simulators.gcp.storage.buckets import Buckets
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.quantities import amount
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object, name_of, namespace_of
from simulators.kubernetes.provider import ADMINISTRATORS, Destination, Entrance, HinderedError, User
from simulators.kubernetes.simulator import KubernetesSimulator

_ACCOUNT_ANNOTATION = "iam.gke.io/gcp-service-account"
_TYPE_ANNOTATION = "networking.gke.io/load-balancer-type"
_NEG_ANNOTATION = "cloud.google.com/neg"
_LONGEST_NAME = 32
_VERBS = {"watch": "list", "patch": "update", "deletecollection": "delete"}
"""Verbs of Kubernetes that have no permission of their own."""
_SUBRESOURCES = {
    ("get", "log"): "getLogs",
    ("get", "proxy"): "proxy",
    ("create", "eviction"): "evict",
    ("get", "status"): "getStatus",
    ("update", "status"): "updateStatus",
    ("get", "scale"): "getScale",
    ("update", "scale"): "updateScale",
}
_HEALTH_PORT = 10256
_HEALTH_SOURCES = ["35.191.0.0/16", "130.211.0.0/22", "209.85.152.0/22", "209.85.204.0/22"]


class NotPermitted(Exception):  # noqa: N818 - named by what is the matter
    """A controller or a pod may not do what it has to; the text says what."""


@dataclass
class _Balancer:
    """The load balancer of one Service."""

    project: str
    region: str
    name: str
    address: str
    groups: list[str]
    """Full names of its network endpoint groups."""
    active: bool = False


class GcpProvider:
    """Fulfils `CloudProvider` for every cluster of GKE."""

    def __init__(
        self,
        cloud: Cloud,
        compute: ComputeService,
        containers: ContainerService,
        buckets: Buckets,
        certificates: CertificateManager,
        kubernetes: KubernetesSimulator,
    ) -> None:
        self._cloud = cloud
        self._compute = compute
        self._containers = containers
        self._buckets = buckets
        self._kubernetes = kubernetes
        self.gateways = Gateways(cloud, compute, certificates, self._require_agent)
        self._balancers: dict[tuple[str, str, str], _Balancer] = {}
        """Keyed by cluster id, namespace and name of the Service."""
        self._volumes: dict[tuple[str, str], str] = {}
        """Full names of disks, keyed by cluster id and the claim's uid."""
        self.complaints: dict[tuple[str, str], str] = {}
        """Why something cannot be made yet, keyed by cluster id and the object's `kind/namespace/name`."""

    def authenticate(self, cluster_id: str, token: str) -> User | None:
        """Return whom an OAuth token stands for: every identity of Google, with what IAM lets it do in the cluster."""
        cluster = self._containers.clusters.by_id(cluster_id)
        principal = self._cloud.identities.principal_of(token)
        if cluster is None or principal is None or not self._may_connect(cluster, principal):
            return None
        name = principal.partition(":")[2]
        if self._allows(cluster, principal, "container.everything.do"):
            return User(name, (ADMINISTRATORS,))

        def may(verb: str, kind: Kind, subresource: str) -> bool:
            return self._allows(cluster, principal, _permission(verb, kind, subresource))

        return User(name, (), may)

    def _may_connect(self, cluster: ClusterRecord, principal: str) -> bool:
        """Return whether the endpoint lets the caller in: that of a name asks IAM itself."""
        endpoints = cluster.document.get("controlPlaneEndpointsConfig") or {}
        by_address = (endpoints.get("ipEndpointsConfig") or {}).get("enabled", True)
        return bool(by_address) or self._allows(cluster, principal, "container.clusters.connect")

    def _allows(self, cluster: ClusterRecord, principal: str, permission: str) -> bool:
        check = Check(permission, cluster.name, "container.googleapis.com/Cluster")
        return self._cloud.allows(principal, check, cluster.project)

    def destination_at(self, address: str, port: int) -> Destination | None:
        """Return what is behind a port of the load balancer at an address."""
        if found := self.gateways.listener_at(address, port):
            cluster_id, listener = found
            return Destination(cluster_id, listener.namespace, listener.service, listener.port)
        for key, balancer in self._balancers.items():
            if balancer.address == address and balancer.active:
                return Destination(*key, port)
        return None

    def ensure_load_balancer(self, cluster_id: str, service: Object) -> str | None:
        """Make the Service's load balancer, or bring its targets up to date; return its address once it is known."""
        cluster = self._containers.clusters.by_id(cluster_id)
        if cluster is None:
            return None
        key = (cluster_id, namespace_of(service), name_of(service))
        subject = (cluster_id, f"service/{key[1]}/{key[2]}")
        self._cloud.work.settle()
        try:
            balancer = self._balancers.get(key) or self._balance(cluster, service)
        except (NotPermitted, Refusal) as refusal:
            self.complaints[subject] = str(refusal)
            return None
        self._balancers[key] = balancer
        self.complaints.pop(subject, None)
        pool = self._compute.records.find(
            f"projects/{cluster.project}/regions/{balancer.region}/targetPools/{balancer.name}"
        )
        if pool is not None:
            pool.document["instances"] = [ROOT + instance for instance in _instances(cluster)]
        return balancer.address if balancer.active else None

    def _balance(self, cluster: ClusterRecord, service: Object) -> _Balancer:
        """Make a network load balancer in the manner of GKE's service controller."""
        annotations = service["metadata"].get("annotations") or {}
        if annotations.get(_TYPE_ANNOTATION, "External") != "External" or service["spec"].get("loadBalancerClass"):
            raise NotPermitted("internal load balancers, and those of a class, are not simulated")
        for kind in ("forwardingRules", "targetPools", "firewalls"):
            self._require_agent(cluster, f"compute.{kind}.create")
        project, region = cluster.project, region_of(cluster.location)
        name = f"a{service['metadata']['uid'].replace('-', '')}"[:_LONGEST_NAME]
        described = json.dumps({"kubernetes.io/service-name": f"{namespace_of(service)}/{name_of(service)}"})
        checks = self._health_checks(cluster)
        pool = self._compute.put(
            f"projects/{project}/regions/{region}/targetPools/{name}",
            {"description": described, "instances": [], "healthChecks": [checks], "sessionAffinity": "NONE"},
        )
        ports = [str(port["port"]) for port in service["spec"].get("ports") or ()]
        self._compute.put(
            f"projects/{project}/global/firewalls/k8s-fw-{name}",
            {
                "description": described,
                "network": cluster.document["networkConfig"]["network"],
                "allowed": [{"IPProtocol": "tcp", "ports": ports}],
                "sourceRanges": service["spec"].get("loadBalancerSourceRanges") or ["0.0.0.0/0"],
                "targetTags": [_tag(cluster)],
            },
        )
        rule = self._compute.put(
            f"projects/{project}/regions/{region}/forwardingRules/{name}",
            {
                "description": described,
                "IPProtocol": "TCP",
                "portRange": f"{min(ports, key=int)}-{max(ports, key=int)}" if ports else "1-65535",
                "target": pool.name,
                "IPAddress": self._reserved(cluster, service),
                "networkTier": "PREMIUM",
            },
        )
        groups = list(self._endpoint_groups(cluster, service)) if _NEG_ANNOTATION in annotations else []
        balancer = _Balancer(project, region, name, rule.document["IPAddress"], groups)

        def activate() -> None:
            balancer.active = True

        self._cloud.work.start(self._cloud.durations.service_load_balancer, activate)
        return balancer

    def _reserved(self, cluster: ClusterRecord, service: Object) -> str:
        """Return the reserved address that the Service asks for, empty if it takes any."""
        wanted = service["spec"].get("loadBalancerIP", "")
        if not wanted:
            return ""
        place = f"regions/{region_of(cluster.location)}"
        for record in self._compute.records.of(cluster.project, "addresses", place):
            if record.document["address"] == wanted:
                if self._compute.records.users_of(record.name):
                    raise NotPermitted(f"requested ip {wanted!r} is in use already")
                return str(wanted)
        raise NotPermitted(f"requested ip {wanted!r} is neither static nor assigned to the load balancer")

    def _health_checks(self, cluster: ClusterRecord) -> str:
        """Return the health check of the cluster's nodes, made with the first load balancer."""
        name = f"projects/{cluster.project}/global/httpHealthChecks/k8s-{cluster.hash}-node"
        if self._compute.records.find(name) is None:
            self._compute.put(name, {"requestPath": "/healthz", "port": _HEALTH_PORT, "checkIntervalSec": 8})
            self._compute.put(
                f"projects/{cluster.project}/global/firewalls/k8s-{cluster.hash}-node-http-hc",
                {
                    "network": cluster.document["networkConfig"]["network"],
                    "allowed": [{"IPProtocol": "tcp", "ports": [str(_HEALTH_PORT)]}],
                    "sourceRanges": _HEALTH_SOURCES,
                    "targetTags": [_tag(cluster)],
                },
            )
        return name

    def _endpoint_groups(self, cluster: ClusterRecord, service: Object) -> Iterator[str]:
        """Make a network endpoint group in every zone, as the NEG controller does for a Service that asks for it."""
        name = f"k8s1-{cluster.hash}-{namespace_of(service)}-{name_of(service)}"[:54].rstrip("-")
        for zone in cluster.zones:
            described = {
                "cluster-uid": cluster.id,
                "namespace": namespace_of(service),
                "service-name": name_of(service),
            }
            record = self._compute.put(
                f"projects/{cluster.project}/zones/{zone}/networkEndpointGroups/{name}",
                {
                    "description": json.dumps(described),
                    "networkEndpointType": "GCE_VM_IP_PORT",
                    "network": cluster.document["networkConfig"]["network"],
                    "subnetwork": cluster.document["networkConfig"]["subnetwork"],
                },
            )
            yield record.name

    def _require_agent(self, cluster: ClusterRecord, permission: str) -> None:
        """Refuse what GKE's service agent may not do in the cluster's project."""
        agent = self._cloud.identities.agent_of("container", cluster.project)
        if not self._allows(cluster, agent, permission):
            raise NotPermitted(f"googleapi: Error 403: Required '{permission}' permission for '{agent}', forbidden")

    def delete_load_balancer(self, cluster_id: str, service: Object) -> bool:
        """Take the Service's load balancer away with what the controller made around it."""
        key = (cluster_id, namespace_of(service), name_of(service))
        balancer, cluster = self._balancers.get(key), self._containers.clusters.by_id(cluster_id)
        if balancer is None or cluster is None:
            return True
        project = f"projects/{balancer.project}"
        records = self._compute.records
        for name in (
            f"{project}/regions/{balancer.region}/forwardingRules/{balancer.name}",
            f"{project}/regions/{balancer.region}/targetPools/{balancer.name}",
            f"{project}/global/firewalls/k8s-fw-{balancer.name}",
            *balancer.groups,
        ):
            records.remove(name)
        del self._balancers[key]
        if not any(other == cluster_id for other, _, _ in self._balancers):
            records.remove(f"{project}/global/httpHealthChecks/k8s-{cluster.hash}-node")
            records.remove(f"{project}/global/firewalls/k8s-{cluster.hash}-node-http-hc")
        return True

    def custom_kinds(self, cluster_id: str) -> Collection[Kind]:
        """Return the kinds of the Gateway API, with GKE's policies, where its channel is on."""
        cluster = self._containers.clusters.by_id(cluster_id)
        network = cluster.document.get("networkConfig") or {} if cluster is not None else {}
        is_on = (network.get("gatewayApiConfig") or {}).get("channel") == "CHANNEL_STANDARD"
        return (kinds.GATEWAYS, kinds.HTTP_ROUTES, *kinds.POLICIES_OF_GKE) if is_on else ()

    def ensure_gateway(self, cluster_id: str, entrance: Entrance) -> str | None:
        """Make the Gateway's load balancer, or bring it up to date; return its address once it is active."""
        cluster = self._containers.clusters.by_id(cluster_id)
        if cluster is None:
            return None
        try:
            return self.gateways.ensure(cluster, entrance)
        except NotPermitted as refusal:
            raise HinderedError(str(refusal)) from refusal

    def delete_gateway(self, cluster_id: str, gateway: Object) -> bool:
        """Take the Gateway's load balancer away with what the controller made around it."""
        return self.gateways.delete(cluster_id, gateway)

    def ensure_volume(self, cluster_id: str, claim: Object, storage_class: Object, zone: str) -> str | None:
        """Make the claim's disk, or grow it to what the claim asks for; return its id once it is ready."""
        cluster = self._containers.clusters.by_id(cluster_id)
        if cluster is None:
            return None
        key = (cluster_id, claim["metadata"]["uid"])
        subject = (cluster_id, f"persistentvolumeclaim/{namespace_of(claim)}/{name_of(claim)}")
        size = int(-(-amount(claim["spec"]["resources"]["requests"]["storage"]) // 2**30))
        self._cloud.work.settle()
        record = self._compute.records.find(self._volumes.get(key, ""))
        if record is None:
            try:
                record = self._provision(cluster, claim, storage_class, zone, size)
            except (NotPermitted, Refusal) as refusal:
                self.complaints[subject] = str(refusal)
                return None
            self._volumes[key] = record.name
        self.complaints.pop(subject, None)
        record.document["sizeGb"] = str(max(int(record.document["sizeGb"]), size))
        return record.name if record.ready else None

    def _provision(self, cluster: ClusterRecord, claim: Object, storage_class: Object, zone: str, size: int) -> Record:
        self._require_agent(cluster, "compute.disks.create")
        parameters = storage_class.get("parameters") or {}
        labels = dict(
            pair.strip().partition("=")[::2] for pair in parameters.get("labels", "").split(",") if pair.strip()
        )
        require_labels(labels)
        name = f"pvc-{claim['metadata']['uid']}"
        described = {
            "kubernetes.io/created-for/pv/name": name,
            "kubernetes.io/created-for/pvc/name": name_of(claim),
            "kubernetes.io/created-for/pvc/namespace": namespace_of(claim),
            "storage.gke.io/created-by": "pd.csi.storage.gke.io",
        }
        key = parameters.get("disk-encryption-kms-key")
        record = self._compute.put(
            f"projects/{cluster.project}/zones/{zone}/disks/{name}",
            {
                "description": json.dumps(described),
                "sizeGb": str(size),
                "type": parameters.get("type", "pd-standard"),
                "labels": {**labels, "goog-gke-volume": "", "goog-k8s-cluster-name": cluster.short_name},
                **({"diskEncryptionKey": {"kmsKeyName": key}} if key else {}),
            },
        )
        record.ready = False

        def ready() -> None:
            record.ready = True

        self._cloud.work.start(self._cloud.durations.disk, ready)
        return record

    def delete_volume(self, cluster_id: str, volume_id: str) -> bool:
        """Take a disk away; it is gone at once."""
        if self._containers.clusters.by_id(cluster_id) is not None:
            self._compute.records.remove(volume_id)
        self._volumes = {key: name for key, name in self._volumes.items() if name != volume_id}
        return True

    def put_object(self, cluster_id: str, service_account: str, bucket: str, key: str, body: bytes) -> str | None:
        """Write as the pod's identity; `service_account` is `system:serviceaccount:<namespace>:<name>`."""
        try:
            self._require_pod(cluster_id, service_account, bucket, key, "storage.objects.create")
            self._buckets.put(self._buckets.get(bucket), key, body, {})
        except (NotPermitted, Refusal) as refusal:
            return str(refusal)
        return None

    def get_object(self, cluster_id: str, service_account: str, bucket: str, key: str) -> bytes | str:
        """Read as the pod's identity."""
        try:
            self._require_pod(cluster_id, service_account, bucket, key, "storage.objects.get")
            home = self._buckets.get(bucket)
            return self._buckets.content(home, self._buckets.object(home, key))
        except (NotPermitted, Refusal) as refusal:
            return str(refusal)

    def _require_pod(self, cluster_id: str, subject: str, bucket: str, key: str, permission: str) -> None:
        cluster = self._containers.clusters.by_id(cluster_id)
        if cluster is None:
            raise NotPermitted("the cluster is gone")
        home = self._buckets.get(bucket).project
        principal = self._pod_principal(cluster, subject)
        check = Check(permission, f"projects/_/buckets/{bucket}/objects/{key}", "storage.googleapis.com/Object")
        if not self._cloud.allows(principal, check, home):
            raise NotPermitted(f"{principal} does not have {permission} access to {bucket}/{key}")

    def _pod_principal(self, cluster: ClusterRecord, subject: str) -> str:
        """Return as whom a pod calls: a service account that it may impersonate, or its own workload identity."""
        namespace, _, name = subject.removeprefix("system:serviceaccount:").partition(":")
        workloads = (cluster.document.get("workloadIdentityConfig") or {}).get("workloadPool")
        if not workloads:
            raise NotPermitted("the cluster has no workload identity pool")
        running = self._kubernetes.cluster(cluster.id)
        account = running.store.get(kinds.SERVICE_ACCOUNTS, namespace, name) if running is not None else None
        annotations = (account or {}).get("metadata", {}).get("annotations") or {}
        email = annotations.get(_ACCOUNT_ANNOTATION)
        if email is None:
            number = self._cloud.project(cluster.project).number
            pools = f"projects/{number}/locations/global/workloadIdentityPools/{workloads}"
            return f"principal://iam.googleapis.com/{pools}/subject/ns/{namespace}/sa/{name}"
        target = self._cloud.identities.find(email)
        member = f"serviceAccount:{workloads}[{namespace}/{name}]"
        check = Check("iam.serviceAccounts.getAccessToken", target["name"] if target else "")
        if target is None or not self._cloud.allows(member, check, target["projectId"]):
            raise NotPermitted(f"{member} may not act as {email}: it lacks iam.serviceAccounts.getAccessToken")
        return f"serviceAccount:{email}"

    def forget(self) -> None:
        """Forget every load balancer and volume."""
        self._balancers.clear()
        self.gateways.forget()
        self._volumes.clear()
        self.complaints.clear()


def _permission(verb: str, kind: Kind, subresource: str) -> str:
    """Return the IAM permission that stands for a verb on a kind: `container.statefulSets.update`."""
    known = _VERBS.get(verb, verb)
    last = _SUBRESOURCES.get((known, subresource), known) if subresource else known
    if kind.custom:
        return f"container.thirdPartyObjects.{known}"
    upper = {index for index, letter in enumerate(kind.kind) if letter.isupper() and index}
    plural = "".join(letter.upper() if index in upper else letter for index, letter in enumerate(kind.plural))
    return f"container.{plural}.{last}"


def _instances(cluster: ClusterRecord) -> list[str]:
    return [instance for pool in cluster.pools.values() for instance in pool.instances]


def _tag(cluster: ClusterRecord) -> str:
    """Return the network tag of the cluster's nodes."""
    return f"gke-{cluster.short_name}-{cluster.hash}-node"
