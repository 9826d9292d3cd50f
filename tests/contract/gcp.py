"""Google Cloud, as the contract suite sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from google.cloud import certificate_manager_v1, compute_v1, container_v1, dns, iam_admin_v1, kms_v1, storage

from activities.cloud import Activity
from activities.gcp.bucket import backup_bucket
from activities.gcp.certificate import authorization_name
from activities.gcp.cloud import GcpCloud
from activities.gcp.encryption import ring_name
from activities.gcp.errors import classify
from activities.gcp.gke import cluster_name, location_name, pool_path
from activities.gcp.identity import control_account
from activities.gcp.roles import RoleName
from activities.gcp.settings import GcpSettings
from activities.kubernetes.manifests.gcp import GcpManifests, account_email
from activities.kubernetes.manifests.identity import canary_of
from activities.needs import Need
from domain.clouds import Cloud, Purpose
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import base_name, owner_labels, resource_name
from domain.shape import PoolName
from tests.activities.gcp.conftest import REGION, Account, open_account, settings_for
from tests.contract.life import Facts
from tests.contract.under_test import Stranger, World, registered


def _someones_account(account: Account, facts: Facts) -> None:
    email = account_email(facts.site, RoleName.STORE)
    request = {"name": f"projects/{account.project}", "account_id": email.partition("@")[0]}
    account.customer(iam_admin_v1.IAMClient).create_service_account(request=request)


def _someones_key(account: Account, facts: Facts) -> None:
    kms, ring = account.customer(kms_v1.KeyManagementServiceClient), ring_name(facts.site)
    place, _, name = ring.rpartition("/keyRings/")
    kms.create_key_ring(parent=place, key_ring_id=name, key_ring={})
    key = kms_v1.CryptoKey(purpose="ENCRYPT_DECRYPT")
    kms.create_crypto_key(parent=ring, crypto_key_id=f"generation-{facts.site.generation}", crypto_key=key)


def _someones_bucket(account: Account, facts: Facts) -> None:
    account.customer(storage.Client).bucket(backup_bucket(facts.site)).create(location=REGION)


def _someones_zone(account: Account, facts: Facts) -> None:
    account.customer(dns.Client).zone(base_name(facts.site), f"{facts.domain_name}.", "mine").create()


def _someones_other_zone(account: Account, facts: Facts) -> None:
    zone = account.customer(dns.Client).zone("theirs", "theirs.example.", "mine")
    zone.create()
    facts.domain = facts.domain.model_copy(update={"zone_id": zone.name})


def _someones_certificate(account: Account, facts: Facts) -> None:
    manager = account.customer(certificate_manager_v1.CertificateManagerClient)
    place, _, name = authorization_name(facts.site).rpartition("/dnsAuthorizations/")
    theirs = {"domain": facts.domain_name, "type_": "PER_PROJECT_RECORD"}
    manager.create_dns_authorization(parent=place, dns_authorization_id=name, dns_authorization=theirs)


def _someones_network(account: Account, facts: Facts) -> None:
    theirs = compute_v1.Network(name=base_name(facts.site), auto_create_subnetworks=False)
    account.customer(compute_v1.NetworksClient).insert_unary(project=account.project, network_resource=theirs)


def _someones_rule(account: Account, facts: Facts) -> None:
    theirs = compute_v1.Firewall(
        name=resource_name(facts.site, "internal"),
        network=f"projects/{account.project}/global/networks/{facts.network.network_id}",
        source_ranges=["192.0.2.0/24"],
        allowed=[compute_v1.Allowed(I_p_protocol="tcp")],
    )
    account.customer(compute_v1.FirewallsClient).insert_unary(project=account.project, firewall_resource=theirs)


def _delete_rule(account: Account, facts: Facts) -> None:
    name = resource_name(facts.site, "internal")
    account.customer(compute_v1.FirewallsClient).delete_unary(project=account.project, firewall=name)


def _someones_address(account: Account, facts: Facts) -> None:
    theirs = compute_v1.Address(name=resource_name(facts.site, "egress"))
    account.customer(compute_v1.AddressesClient).insert_unary(
        project=account.project, region=REGION, address_resource=theirs
    )


def _someones_cluster(account: Account, facts: Facts) -> None:
    theirs = {
        "name": base_name(facts.site),
        "network": facts.network.network_id,
        "subnetwork": facts.network.private_subnet_ids[0],
        "node_pools": [{"name": "theirs", "initial_node_count": 1}],
    }
    _gke(account).create_cluster(parent=location_name(facts.site), cluster=theirs)


def _delete_cluster(account: Account, facts: Facts) -> None:
    _gke(account).delete_cluster(name=cluster_name(facts.site))


def _someones_canary(account: Account, facts: Facts) -> None:
    theirs = {"name": canary_of(PoolName.SERVICES), "initial_node_count": 1}
    _gke(account).create_node_pool(parent=cluster_name(facts.site), node_pool=theirs)


def _delete_canary(account: Account, facts: Facts) -> None:
    _gke(account).delete_node_pool(name=pool_path(facts.site, canary_of(PoolName.SERVICES)))


def _gke(account: Account) -> Any:
    return account.customer(container_v1.ClusterManagerClient)


def _label_pool(account: Account, facts: Facts, labels: Mapping[str, str]) -> None:
    name = pool_path(facts.site, PoolName.STORE)
    _gke(account).update_node_pool(request={"name": name, "resource_labels": {"labels": labels}})


def _disown_pool(account: Account, facts: Facts) -> None:
    _label_pool(account, facts, {"theirs": "yes"})


def _own_pool(account: Account, facts: Facts) -> None:
    _label_pool(account, facts, owner_labels(facts.site, f"pool-{PoolName.STORE}"))


CODES: Mapping[str, FailureClass] = {
    "UNAVAILABLE": FailureClass.TRANSIENT,
    "INTERNAL": FailureClass.TRANSIENT,
    "DEADLINE_EXCEEDED": FailureClass.TRANSIENT,
    "RATE_LIMIT_EXCEEDED": FailureClass.THROTTLE,
    "rateLimitExceeded": FailureClass.THROTTLE,
    "userRateLimitExceeded": FailureClass.THROTTLE,
    "ABORTED": FailureClass.CONFLICT,
    "ALREADY_EXISTS": FailureClass.CONFLICT,
    "FAILED_PRECONDITION": FailureClass.CONFLICT,
    "resourceInUseByAnotherResource": FailureClass.CONFLICT,
    "NOT_FOUND": FailureClass.CONFLICT,
    "resourceNotReady": FailureClass.NOT_READY,
    "QUOTA_EXCEEDED": FailureClass.QUOTA,
    "GCE_QUOTA_EXCEEDED": FailureClass.QUOTA,
    "RESOURCE_EXHAUSTED": FailureClass.QUOTA,
    "quotaExceeded": FailureClass.QUOTA,
    "ZONE_RESOURCE_POOL_EXHAUSTED": FailureClass.CAPACITY,
    "GCE_STOCKOUT": FailureClass.CAPACITY,
    "UNAUTHENTICATED": FailureClass.AUTH,
    "invalid_grant": FailureClass.AUTH,
    "PERMISSION_DENIED": FailureClass.PERMISSION,
    "IAM_PERMISSION_DENIED": FailureClass.PERMISSION,
    "forbidden": FailureClass.PERMISSION,
    "SERVICE_DISABLED": FailureClass.POLICY,
    "BILLING_DISABLED": FailureClass.POLICY,
    "conditionNotMet": FailureClass.POLICY,
    "INVALID_ARGUMENT": FailureClass.CONFIG,
    "NOBODY_KNOWS_THIS": FailureClass.UNKNOWN,
}
"""What each reason or status means. What is not found was just made, or has just gone."""

_OURS_AS_A_WHOLE = "it is a setting of a cluster that is ours"


class Gcp:
    """Google Cloud; its tenant is a project."""

    cloud = Cloud.GCP
    looks = "*"
    names: Mapping[FailureClass, str] = {
        FailureClass.AUTH: "UNAUTHENTICATED",
        FailureClass.CONFLICT: "ABORTED",
    }
    waits: Mapping[str, str] = {
        "create_certificate": "CreateCertificate",
        "create_network": "networks.insert",
        "create_firewall": "firewalls.insert",
        "create_cluster": "CreateCluster",
        "create_node_pool/store": "CreateNodePool",
        "create_node_pool/services": "CreateNodePool",
        "upgrade_control_plane": "UpdateCluster",
        "create_canary_node/services": "CreateNodePool",
        "delete_canary_nodes": "DeleteNodePool",
        "upgrade_node_pool/services": "UpdateNodePool",
        "upgrade_node_pool/store": "UpdateNodePool",
        "install_component/store": "patch statefulsets",
        "install_component/api": "patch deployments",
        "open_endpoint": "patch gateways",
        "back_up": "patch jobs",
        "prove_restore": "patch jobs",
        "delete_node_pools": "DeleteNodePool",
        "delete_cluster": "DeleteCluster",
        "delete_egress": "routers.delete",
        "delete_network": "networks.delete",
    }
    machines: Mapping[str, str] = {
        "create_cluster": "CreateCluster",
        "create_node_pool": "CreateNodePool",
        "create_canary_node": "CreateNodePool",
        "upgrade_node_pool": "UpdateNodePool",
    }
    strangers = (
        Stranger("create_roles", "delete_roles", _someones_account),
        Stranger("create_encryption_key", "delete_encryption_key", _someones_key),
        Stranger("create_backup_bucket", "delete_backup_bucket", _someones_bucket),
        Stranger("create_domain", "delete_domain", _someones_zone),
        Stranger("create_certificate", "delete_certificate", _someones_certificate),
        Stranger("create_network", "delete_network", _someones_network),
        Stranger("create_firewall", "delete_firewall", _someones_rule, _delete_rule),
        Stranger("create_egress", "delete_egress", _someones_address),
        Stranger("create_cluster", "delete_cluster", _someones_cluster, _delete_cluster),
        Stranger("publish_endpoint", "delete_domain", _someones_other_zone),
        Stranger(
            "create_node_pool", "delete_node_pools", _disown_pool, _own_pool, namesake=False, about=PoolName.STORE
        ),
        Stranger(
            "create_canary_node",
            "delete_canary_nodes",
            _someones_canary,
            _delete_canary,
            namesake=False,
            about=PoolName.SERVICES,
        ),
        Stranger("upgrade_node_pool", "", _disown_pool, _own_pool, namesake=False, about=PoolName.STORE),
    )
    nameless: Mapping[str, str] = {
        "create_private_endpoints": "nothing is made: it is a property of the subnetwork",
        "create_alarms": "Google makes the names of alert policies; they are ours by their labels",
        "install_add_on": _OURS_AS_A_WHOLE,
        "upgrade_add_on": _OURS_AS_A_WHOLE,
        "upgrade_control_plane": _OURS_AS_A_WHOLE,
        "grant_cluster_access": _OURS_AS_A_WHOLE,
        "create_workload_identity": "it is a part of the policies of accounts and a bucket that are ours",
        "set_maintenance_policy": _OURS_AS_A_WHOLE,
    }
    unasked = re.compile(r"$")
    codes: Mapping[str, FailureClass] = CODES
    kept = ("kms:cryptoKeys", "logging:buckets")
    restorable = ("logging:buckets",)

    def tenant(self, world: World, number: int) -> Account:
        """Return a fresh project whose customer has applied our template."""
        settings = settings_for(world.endpoints, world.control, world.folder)
        cloud = GcpCloud(settings)
        account = open_account(world.endpoints, world.control, cloud, settings, number)
        return replace(account, activities=registered(world, cloud, GcpManifests()))

    def activities(self, world: World) -> Mapping[str, Activity]:
        """Return what another worker registers, keyed by name."""
        settings = settings_for(world.endpoints, world.control, world.folder)
        return registered(world, GcpCloud(settings), GcpManifests())

    def implementation(self) -> GcpCloud:
        """Return the implementation of the contracts, connected to nothing."""
        return GcpCloud(GcpSettings(principal="control-plane@byoc-vendor.iam.gserviceaccount.com"))

    def leave(self, tenant: Account) -> None:
        """Let the customer take back everything that the script made."""
        tenant.control.project(tenant.project).delete_template()

    def purpose(self, site: Site, principal: str) -> Purpose | None:
        """Return for which purpose a service account is impersonated."""
        return next((each for each in Purpose if control_account(site, each) in principal), None)

    def classify(self, code: str) -> FailureClass:
        """Return what a reason or status means."""
        return classify(code)

    def granted(self, needs: Iterable[Need]) -> Iterable[Need]:
        """Return the needs: Google checks nothing beside what is declared."""
        return needs

    def action(self, service: str, operation: str) -> str:
        """Return nothing: a call does not tell its permissions, and the simulator records every one that it checks."""
        return ""


CLOUD = Gcp()
