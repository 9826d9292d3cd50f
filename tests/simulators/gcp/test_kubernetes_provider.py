"""What clusters ask of Google Cloud: identities, load balancers, disks, objects; and the way in from outside."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.api_core.exceptions import BadRequest
from google.auth.transport.requests import AuthorizedSession
from google.cloud import compute_v1, iam_admin_v1, resourcemanager_v3
from kubernetes import client as kubernetes_client
from kubernetes.client.exceptions import ApiException

from simulators.gcp.kubernetes_provider import GcpProvider
from simulators.kubernetes import kinds
from simulators.kubernetes.simulator import Cluster
from tests.simulators.gcp.customers import CLUSTER, PROJECT, REGION, ZONES, Customer, refused
from tests.simulators.serving import on_loop

POD = "system:serviceaccount:byoc:store"
BUCKET = "byoc-backups"
HOST = "acme-prod.db.acme.example"


def service(name: str = "endpoint", **annotations: str) -> dict[str, Any]:
    """Return a Service that wants a load balancer."""
    return {
        "metadata": {
            "name": name,
            "namespace": "byoc",
            "uid": str(uuid4()),
            "annotations": {key.replace("__", "/").replace("_", "."): value for key, value in annotations.items()},
        },
        "spec": {"type": "LoadBalancer", "ports": [{"name": "api", "port": 443, "nodePort": 30443}]},
    }


def claim(gibibytes: int = 20, uid: str = "") -> dict[str, Any]:
    """Return a claim for a volume."""
    return {
        "metadata": {"name": "data-store-0", "namespace": "byoc", "uid": uid or str(uuid4())},
        "spec": {"resources": {"requests": {"storage": f"{gibibytes}Gi"}}},
    }


def storage_class(**parameters: str) -> dict[str, Any]:
    """Return a storage class of Google's driver."""
    return {"provisioner": "pd.csi.storage.gke.io", "parameters": {"type": "pd-ssd", **parameters}}


def provider_of(account: Customer) -> tuple[Cluster, GcpProvider]:
    """Return the cluster and what serves it."""
    (cluster,) = account.kubernetes.clusters()
    return cluster, account.google.provider


def types(account: Customer) -> dict[str, int]:
    """Return how many of each type the project holds."""
    counts: dict[str, int] = {}
    for entry in account.google.inventory(PROJECT):
        counts[entry.type] = counts.get(entry.type, 0) + 1
    return counts


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, at most ten seconds."""
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come to hold")


Connect = Callable[[Customer, str], kubernetes_client.CoreV1Api]


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    """Return how to make a client of the cluster from what GKE says about it, and a token."""

    def made(account: Customer, token: str) -> kubernetes_client.CoreV1Api:
        described = account.containers.get_cluster(name=CLUSTER)
        authority = tmp_path / "ca.pem"
        authority.write_bytes(base64.b64decode(described.master_auth.cluster_ca_certificate))
        configuration = kubernetes_client.Configuration()
        configuration.host = f"https://{described.endpoint}"
        configuration.ssl_ca_cert = str(authority)
        configuration.api_key = {"authorization": f"Bearer {token}"}
        return kubernetes_client.CoreV1Api(kubernetes_client.ApiClient(configuration))

    return made


class TestIdentities:
    """Who may do what in a cluster."""

    def test_follow_from_permissions_of_iam(self, account: Customer, connect: Connect) -> None:
        """An OAuth token opens what its roles contain, verb by verb."""
        account.make_cluster()
        credentials = account.member("byoc-operate", "container.configMaps.list", "container.namespaces.create")
        api = connect(account, credentials.token)

        listed = api.list_namespaced_config_map("default").items
        api.create_namespace({"metadata": {"name": "byoc"}})
        with pytest.raises(ApiException) as caught:
            api.create_namespaced_config_map("byoc", {"metadata": {"name": "settings"}})

        assert [entry.metadata.name for entry in listed] == ["kube-root-ca.crt"]
        assert caught.value.status == 403
        assert f"byoc-operate@{PROJECT}" in caught.value.body

    def test_need_a_token_that_google_knows(self, account: Customer, connect: Connect) -> None:
        """Any other is no identity."""
        account.make_cluster()

        with pytest.raises(ApiException) as caught:
            connect(account, "made-up").list_namespace()

        assert caught.value.status == 401

    def test_of_an_administrator_may_do_everything(self, account: Customer, connect: Connect) -> None:
        """Whoever has all permissions of GKE."""
        account.make_cluster()
        email = account.make_account("byoc-operate")
        account.bind("roles/container.admin", f"serviceAccount:{email}")

        api = connect(account, account.credentials(email).token)

        assert "kube-system" in [entry.metadata.name for entry in api.list_namespace().items]

    def test_need_to_connect_where_there_is_no_address(self, account: Customer, connect: Connect) -> None:
        """The endpoint that is reached by a name asks IAM itself."""
        endpoints = {
            "ip_endpoints_config": {"enabled": False},
            "dns_endpoint_config": {"allow_external_traffic": True},
        }
        account.make_cluster(control_plane_endpoints_config=endpoints)
        stranger = account.member("byoc-stranger", "container.namespaces.list")
        known = account.member("byoc-operate", "container.namespaces.list", "container.clusters.connect")

        with pytest.raises(ApiException) as caught:
            connect(account, stranger.token).list_namespace()

        assert caught.value.status == 401
        assert connect(account, known.token).list_namespace().items


class TestLoadBalancers:
    """Services of type LoadBalancer."""

    def test_have_an_address_after_their_time(self, slow_account: Customer) -> None:
        """Forwarding rule, target pool, firewalls and health check are there at once."""
        slow_account.make_cluster()
        cluster, provider = provider_of(slow_account)
        wanted = service()

        before = provider.ensure_load_balancer(cluster.id, wanted)
        slow_account.pass_time(60)
        address = provider.ensure_load_balancer(cluster.id, wanted)

        rules = slow_account.rest(compute_v1.ForwardingRulesClient)
        (rule,) = rules.list(project=PROJECT, region=REGION)
        assert (before, address) == (None, rule.I_p_address)
        assert rule.name == f"a{wanted['metadata']['uid'].replace('-', '')}"[:32]
        assert "byoc/endpoint" in rule.description
        pools = slow_account.rest(compute_v1.TargetPoolsClient)
        (pool,) = pools.list(project=PROJECT, region=REGION)
        assert len(pool.instances) == 3
        firewalls = [entry.name for entry in slow_account.rest(compute_v1.FirewallsClient).list(project=PROJECT)]
        assert f"k8s-fw-{rule.name}" in firewalls

    def test_are_taken_away_with_everything_around_them(self, account: Customer) -> None:
        """The health check goes with the last one."""
        account.make_cluster()
        cluster, provider = provider_of(account)
        before = types(account)
        wanted = [service("one", cloud_google_com__neg='{"exposed_ports": {"443": {}}}'), service("two")]

        for entry in wanted:
            provider.ensure_load_balancer(cluster.id, entry)
        during = types(account)
        for entry in wanted:
            assert provider.delete_load_balancer(cluster.id, entry)

        assert during["network-endpoint-group"] == len(ZONES)
        assert (during["forwarding-rule"], during["http-health-check"]) == (2, 1)
        assert types(account) == before

    def test_are_left_behind_by_a_cluster(self, account: Customer) -> None:
        """And keep the network from being deleted until somebody finds and deletes them."""
        account.make_cluster()
        cluster, provider = provider_of(account)
        provider.ensure_load_balancer(cluster.id, service())

        account.containers.delete_cluster(name=CLUSTER)
        account.pass_time(600)

        assert types(account) == {
            "network": 1,
            "subnetwork": 1,
            "forwarding-rule": 1,
            "target-pool": 1,
            "http-health-check": 1,
            "firewall": 2,
        }
        with refused(BadRequest, "already being used"):
            account.rest(compute_v1.NetworksClient).delete_unary(project=PROJECT, network="byoc")

    def test_stand_at_a_reserved_address(self, account: Customer) -> None:
        """Which must exist and be free."""
        account.make_cluster()
        cluster, provider = provider_of(account)
        addresses = account.rest(compute_v1.AddressesClient)
        wanted = compute_v1.Address(name="endpoint")
        account.done(addresses.insert_unary(project=PROJECT, region=REGION, address_resource=wanted))
        reserved = addresses.get(project=PROJECT, region=REGION, address="endpoint")
        mine, other = service(), service("other")
        mine["spec"]["loadBalancerIP"] = reserved.address
        other["spec"]["loadBalancerIP"] = reserved.address

        provider.ensure_load_balancer(cluster.id, mine)
        account.pass_time(60)
        refusal = provider.ensure_load_balancer(cluster.id, other)

        assert provider.ensure_load_balancer(cluster.id, mine) == reserved.address
        assert addresses.get(project=PROJECT, region=REGION, address="endpoint").status == "IN_USE"
        assert refusal is None
        assert "in use already" in provider.complaints[cluster.id, "service/byoc/other"]

    def test_need_the_service_agent(self, account: Customer) -> None:
        """A policy without GKE's agent keeps the controller from its work."""
        account.make_cluster()
        cluster, provider = provider_of(account)
        projects = account.rpc(resourcemanager_v3.ProjectsClient)
        policy = projects.get_iam_policy(request={"resource": f"projects/{PROJECT}"})
        kept = [binding for binding in policy.bindings if binding.role != "roles/container.serviceAgent"]
        del policy.bindings[:]
        policy.bindings.extend(kept)
        projects.set_iam_policy(request={"resource": f"projects/{PROJECT}", "policy": policy})

        assert provider.ensure_load_balancer(cluster.id, service()) is None
        assert "compute.forwardingRules.create" in provider.complaints[cluster.id, "service/byoc/endpoint"]


class TestVolumes:
    """Disks for claims."""

    def test_are_what_the_storage_class_asks_for(self, account: Customer) -> None:
        """Kind, labels and key, in the zone of the pod; and they grow."""
        key = account.make_key()
        account.make_cluster()
        cluster, provider = provider_of(account)
        wanted = claim()
        kind = storage_class(labels="byoc=managed,team=a", **{"disk-encryption-kms-key": key})

        provider.ensure_volume(cluster.id, wanted, kind, ZONES[1])
        account.pass_time(30)
        volume = provider.ensure_volume(cluster.id, claim(30, wanted["metadata"]["uid"]), kind, ZONES[1])

        name = f"pvc-{wanted['metadata']['uid']}"
        assert volume == f"projects/{PROJECT}/zones/{ZONES[1]}/disks/{name}"
        disk = account.rest(compute_v1.DisksClient).get(project=PROJECT, zone=ZONES[1], disk=name)
        assert (disk.size_gb, disk.type_.rpartition("/")[2]) == (30, "pd-ssd")
        assert disk.disk_encryption_key.kms_key_name == f"{key}/cryptoKeyVersions/1"
        assert (disk.labels["byoc"], disk.labels["team"]) == ("managed", "a")

    def test_wait_for_a_key_that_may_be_used(self, account: Customer) -> None:
        """Until then there is no disk, and the reason is known."""
        key = account.make_key("byoc", "storage")
        account.make_cluster()
        cluster, provider = provider_of(account)

        kind = storage_class(**{"disk-encryption-kms-key": key})
        assert provider.ensure_volume(cluster.id, claim(), kind, ZONES[0]) is None

        assert "Cloud KMS error" in provider.complaints[cluster.id, "persistentvolumeclaim/byoc/data-store-0"]

    def test_go_with_their_claim_and_stay_without_their_cluster(self, account: Customer) -> None:
        """A disk whose cluster is gone is found by its labels."""
        account.make_cluster()
        cluster, provider = provider_of(account)
        kind = storage_class(labels="byoc=managed")
        names = []
        for _ in range(2):
            wanted = claim()
            provider.ensure_volume(cluster.id, wanted, kind, ZONES[0])
            account.pass_time(30)
            names.append(provider.ensure_volume(cluster.id, wanted, kind, ZONES[0]))

        assert names[0] is not None
        provider.delete_volume(cluster.id, names[0])
        account.containers.delete_cluster(name=CLUSTER)
        account.pass_time(600)

        disks = [entry for entry in account.google.inventory(PROJECT) if entry.type == "disk"]
        assert [(entry.id, entry.tags["byoc"]) for entry in disks] == [(names[1], "managed")]


class TestObjects:
    """Objects that pods write and read by workload identity."""

    def make(self, account: Customer, *, annotated: str = "") -> tuple[Cluster, GcpProvider]:
        """Make a bucket, a cluster, and the pods' service account."""
        account.make_cluster()
        account.storage().create_bucket(BUCKET, location=REGION)
        cluster, provider = provider_of(account)
        annotations = {"iam.gke.io/gcp-service-account": annotated} if annotated else {}
        metadata = {"name": "store", "namespace": "byoc", "annotations": annotations}
        on_loop(cluster.store.create, kinds.NAMESPACES, {"metadata": {"name": "byoc"}})
        on_loop(cluster.store.create, kinds.SERVICE_ACCOUNTS, {"metadata": metadata})
        return cluster, provider

    def grant(self, account: Customer, member: str) -> None:
        """Let somebody use the bucket's objects."""
        bucket = account.storage().bucket(BUCKET)
        policy = bucket.get_iam_policy(requested_policy_version=3)
        policy.bindings.append({"role": "roles/storage.objectUser", "members": {member}})
        account.google.cloud.policies.set(
            f"projects/_/buckets/{BUCKET}",
            {"bindings": [{**binding, "members": sorted(binding["members"])} for binding in policy.bindings]},
        )

    def test_as_themselves(self, account: Customer) -> None:
        """The principal of the Kubernetes service account needs the role on the bucket."""
        cluster, provider = self.make(account)

        refusal = provider.put_object(cluster.id, POD, BUCKET, "backup", b"first")
        pools = f"projects/{account.project.number}/locations/global/workloadIdentityPools/{PROJECT}.svc.id.goog"
        self.grant(account, f"principal://iam.googleapis.com/{pools}/subject/ns/byoc/sa/store")
        written = provider.put_object(cluster.id, POD, BUCKET, "backup", b"first")

        assert refusal is not None
        assert "storage.objects.create" in refusal
        assert (written, provider.get_object(cluster.id, POD, BUCKET, "backup")) == (None, b"first")

    def test_as_a_service_account_that_they_may_act_as(self, account: Customer) -> None:
        """Which has to trust the Kubernetes service account."""
        email = account.make_account("byoc-store")
        cluster, provider = self.make(account, annotated=email)
        self.grant(account, f"serviceAccount:{email}")

        refusal = provider.put_object(cluster.id, POD, BUCKET, "backup", b"first")
        iam, resource = account.rpc(iam_admin_v1.IAMClient), f"projects/{PROJECT}/serviceAccounts/{email}"
        policy = iam.get_iam_policy(request={"resource": resource})
        member = f"serviceAccount:{PROJECT}.svc.id.goog[byoc/store]"
        account.google.cloud.policies.set(
            resource, {"bindings": [{"role": "roles/iam.workloadIdentityUser", "members": [member]}]}
        )

        assert policy.bindings == []
        assert refusal is not None
        assert "may not act as" in refusal
        assert provider.put_object(cluster.id, POD, BUCKET, "backup", b"first") is None


class TestPublicNames:
    """The way from a public name to a Service."""

    def test_lead_to_the_service_behind_the_address(self, account: Customer) -> None:
        """By the record in a public zone, once the load balancer is active."""
        account.make_cluster()
        cluster, provider = provider_of(account)
        wanted = service()
        provider.ensure_load_balancer(cluster.id, wanted)
        account.pass_time(60)
        address = provider.ensure_load_balancer(cluster.id, wanted)
        session = AuthorizedSession(account.owner)
        zones = f"{account.google.url}/dns/v1/projects/{PROJECT}/managedZones"
        session.post(zones, json={"name": "byoc", "dnsName": f"{HOST}."})
        record = {"name": f"{HOST}.", "type": "A", "ttl": 60, "rrdatas": [address]}

        before = account.google.names.resolve(HOST)
        session.post(f"{zones}/byoc/rrsets", json=record)

        assert before is None
        assert account.google.names.resolve(HOST) == (cluster.id, "byoc", "endpoint", 443)
        assert not account.google.names.has_certificate(HOST)


class TestWholeClusters:
    """The controllers of a running cluster, with nothing called by hand."""

    def test_bring_pods_volumes_and_load_balancers_up(self, account: Customer) -> None:
        """A StatefulSet gets its disks, a Service its address; both are given back."""
        account.make_cluster(node_pools=[account.pool("system", config={"machine_type": "n2-standard-8"})])
        cluster, _ = provider_of(account)
        before = types(account)
        created = [
            (kinds.NAMESPACES, {"metadata": {"name": "byoc"}}),
            (
                kinds.STORAGE_CLASSES,
                {"metadata": {"name": "fast"}, **storage_class(), "volumeBindingMode": "Immediate"},
            ),
            (
                kinds.PERSISTENT_VOLUME_CLAIMS,
                {
                    "metadata": {"name": "data", "namespace": "byoc"},
                    "spec": {
                        "storageClassName": "fast",
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "20Gi"}},
                    },
                },
            ),
            (
                kinds.SERVICES,
                {
                    "metadata": {"name": "endpoint", "namespace": "byoc"},
                    "spec": {"type": "LoadBalancer", "ports": [{"port": 443, "nodePort": 30443}]},
                },
            ),
        ]
        for kind, document in created:
            on_loop(cluster.store.create, kind, document)

        def ingress() -> list[dict[str, str]]:
            found = cluster.store.get(kinds.SERVICES, "byoc", "endpoint")
            return (((found or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or []

        def phase() -> str:
            found = cluster.store.get(kinds.PERSISTENT_VOLUME_CLAIMS, "byoc", "data")
            return str(((found or {}).get("status") or {}).get("phase"))

        until(lambda: bool(ingress()) and phase() == "Bound")
        (entry,) = ingress()
        (rule,) = account.rest(compute_v1.ForwardingRulesClient).list(project=PROJECT, region=REGION)
        for kind, name in ((kinds.SERVICES, "endpoint"), (kinds.PERSISTENT_VOLUME_CLAIMS, "data")):
            found = cluster.store.get(kind, "byoc", name)
            assert found is not None
            on_loop(cluster.store.delete, kind, found)

        assert entry == {"ip": rule.I_p_address}
        until(lambda: types(account) == before)
