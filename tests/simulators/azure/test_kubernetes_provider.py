"""What clusters ask of Azure: identities, load balancers, disks, blobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.storage import StorageManagementClient
from kubernetes import client as kubernetes_client
from kubernetes.client.exceptions import ApiException

from simulators.kubernetes import kinds
from simulators.kubernetes.simulator import Cluster
from tests.simulators.azure.clusters import (
    CLUSTER,
    ENTRA_APPLICATION,
    NAME,
    NODE_GROUP,
    RBAC_CLUSTER_ADMIN,
    assign,
    containers,
    get,
    kinds_of,
    kube_client,
    make_cluster,
    make_encryption_set,
    make_identity,
    make_surroundings,
    pass_time,
    pool,
    put,
    wanted,
)
from tests.simulators.azure.conftest import GROUP, REGION, SUBSCRIPTION, Account
from tests.simulators.serving import on_loop

NAMESPACE = "byoc"
POD = "system:serviceaccount:byoc:store"
BUCKET = "byocbackup/backups"
BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"


def service(name: str = "endpoint", **annotations: str) -> dict[str, Any]:
    """Return a Service that wants a load balancer."""
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": str(uuid4()),
            "annotations": {f"service.beta.kubernetes.io/{key}": value for key, value in annotations.items()},
        },
        "spec": {"type": "LoadBalancer", "ports": [{"name": "api", "port": 443, "nodePort": 30443}]},
    }


def claim(gibibytes: int = 20, uid: str = "") -> dict[str, Any]:
    """Return a claim for a volume."""
    return {
        "metadata": {"name": "data-store-0", "namespace": NAMESPACE, "uid": uid or str(uuid4())},
        "spec": {"resources": {"requests": {"storage": f"{gibibytes}Gi"}}},
    }


def storage_class(**parameters: str) -> dict[str, Any]:
    """Return a storage class of Azure's driver."""
    return {"provisioner": "disk.csi.azure.com", "parameters": {"skuName": "Premium_LRS", **parameters}}


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, at most ten seconds."""
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come to hold")


def token_of(account: Account, *, audience: str = ENTRA_APPLICATION, role: str = "") -> str:
    """Return a token of a new application, which has a role on the cluster if one is named."""
    application, credential = account.application()
    if role:
        assign(account, role, account.principal(application), CLUSTER)
    return str(credential.get_token(f"{audience}/.default").token)


class TestIdentities:
    """Who may do what in a cluster."""

    def test_follow_from_roles_on_the_cluster(self, account: Account) -> None:
        """A token for Kubernetes opens what the data actions of its roles contain."""
        make_cluster(account)
        token = token_of(account, role=RBAC_CLUSTER_ADMIN)
        core = kubernetes_client.CoreV1Api(kube_client(account, token))

        core.create_namespace({"metadata": {"name": NAMESPACE}})

        assert NAMESPACE in [entry.metadata.name for entry in core.list_namespace().items]

    def test_are_limited_verb_by_verb(self, account: Account) -> None:
        """A custom role may hold single data actions."""
        make_cluster(account)
        client = account.client(AuthorizationManagementClient)
        scope, role = f"/subscriptions/{SUBSCRIPTION}", str(uuid4())
        actions = ["Microsoft.ContainerService/managedClusters/namespaces/read"]
        permission = {"actions": [], "dataActions": actions}
        properties = {"roleName": "reader", "assignableScopes": [scope], "permissions": [permission]}
        client.role_definitions.create_or_update(scope, role, {"properties": properties})
        core = kubernetes_client.CoreV1Api(kube_client(account, token_of(account, role=role)))

        listed = core.list_namespace().items
        with pytest.raises(ApiException) as caught:
            core.create_namespace({"metadata": {"name": NAMESPACE}})

        assert listed
        assert caught.value.status == 403

    def test_without_a_role_may_do_nothing(self, account: Account) -> None:
        """They are known, and refused."""
        make_cluster(account)

        with pytest.raises(ApiException) as caught:
            kubernetes_client.CoreV1Api(kube_client(account, token_of(account))).list_namespace()

        assert caught.value.status == 403

    def test_need_a_token_for_kubernetes(self, account: Account) -> None:
        """One for Resource Manager, or one that nobody gave, is no identity here."""
        make_cluster(account)
        other = token_of(account, audience="https://management.azure.com", role=RBAC_CLUSTER_ADMIN)

        for token in (other, "made-up"):
            with pytest.raises(ApiException) as caught:
                kubernetes_client.CoreV1Api(kube_client(account, token)).list_namespace()
            assert caught.value.status == 401


class TestLoadBalancers:
    """Services of type LoadBalancer."""

    def test_have_an_address_after_their_time(self, slow_account: Account) -> None:
        """All of a cluster's are one, with an address, rules and a probe for each."""
        cluster = make_cluster(slow_account)
        provider = slow_account.azure.provider
        annotations = {
            "azure-pip-tags": "byoc=managed,team=a",
            "port_443_health-probe_protocol": "http",
            "port_443_health-probe_request-path": "/ready",
        }
        mine, other = service(**annotations), service("other")

        before = [provider.ensure_load_balancer(cluster.id, each) for each in (mine, other)]
        pass_time(slow_account, 60)
        addresses = [provider.ensure_load_balancer(cluster.id, each) for each in (mine, other)]

        network = slow_account.network()
        (balancer,) = [each for each in network.load_balancers.list(NODE_GROUP) if each.name == "kubernetes"]
        public = {each.ip_address: each for each in network.public_ip_addresses.list(NODE_GROUP)}
        assert before == [None, None]
        assert set(addresses) == set(public)
        assert public[addresses[0]].tags["team"] == "a"
        assert public[addresses[0]].tags["k8s-azure-service"] == "byoc/endpoint"
        assert len(balancer.frontend_ip_configurations) == len(balancer.load_balancing_rules) == 2
        probe = next(each for each in balancer.probes if each.protocol == "Http")
        assert (probe.port, probe.request_path) == (30443, "/ready")

    def test_are_taken_away_with_everything_around_them(self, account: Account) -> None:
        """The load balancer itself goes with the last Service."""
        cluster = make_cluster(account)
        provider, before = account.azure.provider, kinds_of(account)
        both = [service("one"), service("two")]
        for each in both:
            provider.ensure_load_balancer(cluster.id, each)
        during = kinds_of(account)

        provider.delete_load_balancer(cluster.id, both[0])
        one_left = kinds_of(account)
        provider.delete_load_balancer(cluster.id, both[1])

        assert during["public-ip-address"] == before["public-ip-address"] + 2
        assert one_left["load-balancer"] == during["load-balancer"] == before["load-balancer"] + 1
        assert kinds_of(account) == before

    def test_go_with_their_cluster(self, account: Account) -> None:
        """Nothing of them is left behind, and their addresses lead nowhere."""
        cluster = make_cluster(account)
        provider = account.azure.provider
        provider.ensure_load_balancer(cluster.id, service())
        pass_time(account, 60)
        address = provider.ensure_load_balancer(cluster.id, service())

        containers(account).managed_clusters.begin_delete("byoc", NAME).result()

        assert address is not None
        assert provider.destination_at(address, 443) is None
        assert "load-balancer" not in kinds_of(account)


class TestVolumes:
    """Disks for claims."""

    def test_are_what_the_storage_class_asks_for(self, account: Account) -> None:
        """Kind, tags and key, in the zone of the pod and in the group of the nodes; and they grow."""
        make_surroundings(account)
        encryption = make_encryption_set(account)
        put(account, wanted(diskEncryptionSetID=encryption))
        pass_time(account, 600)
        (cluster,) = account.azure.kubernetes.clusters()
        provider, needed = account.azure.provider, claim()
        kind = storage_class(diskEncryptionSetID=encryption, tags="byoc=managed,team=a")

        provider.ensure_volume(cluster.id, needed, kind, f"{REGION}-2")
        pass_time(account, 30)
        volume = provider.ensure_volume(cluster.id, claim(30, needed["metadata"]["uid"]), kind, f"{REGION}-2")

        name = f"pvc-{needed['metadata']['uid']}"
        disk = account.client(ComputeManagementClient).disks.get(NODE_GROUP, name)
        assert volume == disk.id
        assert (disk.disk_size_gb, disk.sku.name, disk.zones) == (30, "Premium_LRS", ["2"])
        assert disk.encryption.disk_encryption_set_id == encryption
        assert (disk.tags["byoc"], disk.tags["team"]) == ("managed", "a")
        assert disk.tags["kubernetes.io-created-for-pvc-name"] == "data-store-0"

    def test_wait_for_a_key_that_may_be_used(self, account: Account) -> None:
        """The cluster's identity has to see the encryption set, and says so while it does not."""
        cluster = make_cluster(account)
        encryption = make_encryption_set(account)
        client = account.client(AuthorizationManagementClient)
        for assignment in list(client.role_assignments.list_for_scope(encryption)):
            client.role_assignments.delete_by_id(assignment.id)
        account.azure.cloud.access.settle_now()
        provider = account.azure.provider

        kind = storage_class(diskEncryptionSetID=encryption)
        assert provider.ensure_volume(cluster.id, claim(), kind, f"{REGION}-1") is None

        complaint = provider.complaints[cluster.id, "persistentvolumeclaim/byoc/data-store-0"]
        assert "Microsoft.Compute/diskEncryptionSets/read" in complaint

    def test_go_with_their_claim_and_with_their_cluster(self, account: Account) -> None:
        """Whichever is first."""
        cluster = make_cluster(account)
        provider, before = account.azure.provider, kinds_of(account)["disk"]
        needed, names = [claim(), claim()], []
        for each in needed:
            provider.ensure_volume(cluster.id, each, storage_class(), f"{REGION}-1")
            pass_time(account, 30)
            names.append(provider.ensure_volume(cluster.id, each, storage_class(), f"{REGION}-1"))
        during = kinds_of(account)["disk"]

        assert names[0] is not None
        provider.delete_volume(cluster.id, names[0])
        one_left = kinds_of(account)["disk"]
        containers(account).managed_clusters.begin_delete("byoc", NAME).result()

        assert (during, one_left) == (before + 2, before + 1)
        assert "disk" not in kinds_of(account)


class TestBlobs:
    """Blobs that pods write and read by workload identity."""

    def make(self, account: Account, *, annotated: bool = True, labelled: bool = True) -> tuple[Cluster, Any]:
        """Make an account of storage, a cluster, and a pod with its service account and identity."""
        cluster = make_cluster(account)
        storage = account.client(StorageManagementClient)
        wanted_account = {"location": REGION, "sku": {"name": "Standard_ZRS"}, "kind": "StorageV2", "properties": {}}
        storage.storage_accounts.begin_create("byoc", "byocbackup", wanted_account, polling=False)
        pass_time(account, 60)
        storage.blob_containers.create("byoc", "byocbackup", "backups", {})
        identity = make_identity(account, "store")
        pass_time(account, 60)
        annotations = {"azure.workload.identity/client-id": identity.client_id} if annotated else {}
        metadata = {"name": "store", "namespace": NAMESPACE, "annotations": annotations}
        labels = {"azure.workload.identity/use": "true"} if labelled else {}
        specification = {"serviceAccountName": "store", "containers": [{"name": "backup", "image": "store:1"}]}
        on_loop(cluster.store.create, kinds.NAMESPACES, {"metadata": {"name": NAMESPACE}})
        on_loop(cluster.store.create, kinds.SERVICE_ACCOUNTS, {"metadata": metadata})
        pod = {"metadata": {"name": "backup", "namespace": NAMESPACE, "labels": labels}, "spec": specification}
        on_loop(cluster.store.create, kinds.PODS, pod)
        return cluster, identity

    def trust(self, account: Account, subject: str = POD) -> None:
        """Let the identity trust a service account."""
        issuer = get(account).properties.oidc_issuer_profile.issuer_url
        trusted = {"issuer": issuer, "subject": subject, "audiences": ["api://AzureADTokenExchange"]}
        client = account.client(ManagedServiceIdentityClient).federated_identity_credentials
        client.create_or_update("byoc", "store", "store", {"properties": trusted})

    def test_as_an_identity_that_trusts_them_and_may(self, account: Account) -> None:
        """Both the credential and the role are needed."""
        cluster, identity = self.make(account)
        provider = account.azure.provider
        scope = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/byocbackup"

        untrusted = provider.put_object(cluster.id, POD, BUCKET, "backup", b"first")
        self.trust(account)
        forbidden = provider.put_object(cluster.id, POD, BUCKET, "backup", b"first")
        assign(account, BLOB_CONTRIBUTOR, identity.principal_id, scope)
        written = provider.put_object(cluster.id, POD, BUCKET, "backup", b"first")

        assert "AADSTS700213" in str(untrusted)
        assert "AuthorizationPermissionMismatch" in str(forbidden)
        assert (written, provider.get_object(cluster.id, POD, BUCKET, "backup")) == (None, b"first")

    def test_not_as_one_that_trusts_another_subject(self, account: Account) -> None:
        """The subject is the service account's, letter by letter."""
        cluster, _ = self.make(account)
        self.trust(account, "system:serviceaccount:other:store")

        assert "AADSTS700213" in str(account.azure.provider.get_object(cluster.id, POD, BUCKET, "backup"))

    @pytest.mark.parametrize(
        ("options", "text"), [({"annotated": False}, "client-id"), ({"labelled": False}, "pods need the label")]
    )
    def test_not_without_annotation_or_label(self, account: Account, options: dict[str, bool], text: str) -> None:
        """The pods get no token then."""
        cluster, _ = self.make(account, **options)
        self.trust(account)

        assert text in str(account.azure.provider.put_object(cluster.id, POD, BUCKET, "backup", b"first"))


class TestWholeClusters:
    """The controllers of a running cluster, with nothing called by hand."""

    def test_bring_volumes_and_load_balancers_up(self, account: Account) -> None:
        """A claim gets its disk, a Service its address; both are given back."""
        cluster = make_cluster(account, agentPoolProfiles=[{"name": "system", **pool(mode="System")}])
        before = kinds_of(account)
        requests = {"resources": {"requests": {"storage": "20Gi"}}, "accessModes": ["ReadWriteOnce"]}
        created = [
            (kinds.NAMESPACES, {"metadata": {"name": NAMESPACE}}),
            (
                kinds.STORAGE_CLASSES,
                {"metadata": {"name": "fast"}, **storage_class(), "volumeBindingMode": "Immediate"},
            ),
            (
                kinds.PERSISTENT_VOLUME_CLAIMS,
                {
                    "metadata": {"name": "data", "namespace": NAMESPACE},
                    "spec": {"storageClassName": "fast", **requests},
                },
            ),
            (
                kinds.SERVICES,
                {
                    "metadata": {"name": "endpoint", "namespace": NAMESPACE},
                    "spec": {"type": "LoadBalancer", "ports": [{"port": 443, "nodePort": 30443}]},
                },
            ),
        ]
        for kind, document in created:
            on_loop(cluster.store.create, kind, document)

        def ingress() -> list[dict[str, str]]:
            found = cluster.store.get(kinds.SERVICES, NAMESPACE, "endpoint")
            return (((found or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or []

        def phase() -> str:
            found = cluster.store.get(kinds.PERSISTENT_VOLUME_CLAIMS, NAMESPACE, "data")
            return str(((found or {}).get("status") or {}).get("phase"))

        until(lambda: bool(ingress()) and phase() == "Bound")
        (entry,) = ingress()
        (address,) = account.network().public_ip_addresses.list(NODE_GROUP)
        for kind, name in ((kinds.SERVICES, "endpoint"), (kinds.PERSISTENT_VOLUME_CLAIMS, "data")):
            found = cluster.store.get(kind, NAMESPACE, name)
            assert found is not None
            on_loop(cluster.store.delete, kind, found)

        assert entry == {"ip": address.ip_address}
        until(lambda: kinds_of(account) == before)
