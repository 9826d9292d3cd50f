"""The proof that nothing is left: every kind of thing that we make is looked for where it lives.

Google Cloud has a search over all kinds of resources (Cloud Asset Inventory), and it is minutes behind: what was just
deleted is still there, and what a lost creation made is not. So each API is asked itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from google.cloud import (
    certificate_manager_v1,
    compute_v1,
    container_v1,
    dns,
    iam_admin_v1,
    kms_v1,
    resourcemanager_v3,
    storage,
)
from google.cloud.logging_v2.services.config_service_v2 import ConfigServiceV2Client
from google.cloud.monitoring_v3 import AlertPolicyServiceClient
from temporalio import activity

from activities.contracts import ClusterContract, Retention
from activities.gcp.alarms import our_alarms
from activities.gcp.bucket import backup_bucket
from activities.gcp.compute import DeploymentCompute, if_exists, last_part, path_of
from activities.gcp.controller_made import is_of_cluster, load_balancer_parts
from activities.gcp.egress import is_our_address
from activities.gcp.encryption import DESTROYED, LABEL_RETAINED_UNTIL, SCHEDULED
from activities.gcp.errors import failures_named
from activities.gcp.firewall import belongs_to, own_network
from activities.gcp.gke import location_name
from activities.gcp.keys import ring_name
from activities.gcp.logs import PERMISSIONS_TO_FIND, left_logs
from activities.gcp.ownership import is_described_as_ours, is_ours
from activities.gcp.part import GcpPart
from activities.gcp.policies import POLICY_VERSION, email_of
from activities.gcp.roles import our_emails
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Leftover

_NAMES_STAY = "Google keeps the names of keys; "


class GcpLeftovers(GcpPart, ClusterContract):
    """Looks for what is left of a deployment."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "certificatemanager.certs.list", "certificatemanager.dnsauthorizations.list",
        "cloudkms.cryptoKeyVersions.list", "cloudkms.cryptoKeys.list", "cloudkms.keyRings.get",
        "compute.addresses.list", "compute.disks.list", "compute.firewalls.list", "compute.forwardingRules.list",
        "compute.instances.list", "compute.networkEndpointGroups.list", "compute.networks.get",
        "compute.networks.list",
        "compute.regionBackendServices.list", "compute.regionHealthChecks.list",
        "compute.regionSslPolicies.list", "compute.regionTargetHttpsProxies.list", "compute.regionUrlMaps.list",
        "compute.routers.list", "compute.subnetworks.list", "compute.targetPools.list", "container.clusters.list",
        "dns.managedZones.list",
        "iam.serviceAccounts.get", "monitoring.alertPolicies.list", "resourcemanager.projects.getIamPolicy",
        "storage.buckets.get", *PERMISSIONS_TO_FIND,
        purpose=Purpose.OBSERVE, why="Look for anything that is left of the deployment",
    )  # fmt: skip
    def find_leftovers(self, retention: Retention) -> tuple[Leftover, ...]:
        """Return everything of the deployment that exists, ordered by id, each once; what may stay says why.

        Keys without a version that encrypts may always stay: Google deletes the name of none. So may a log bucket whose
        deletion was requested. Bucket and key may stay as long as they keep backups.
        """
        site = retention.site
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, site, Purpose.OBSERVE)
            found = [
                *_left_in_network(compute),
                *_left_of_machines(compute),
                *self._left_of_cluster(site),
                *self._left_of_domain(site),
                *self._left_accounts(site),
                *self._left_keys(retention),
                *self._left_bucket(retention),
            ]
        return tuple(sorted({left.resource_id: left for left in found}.values(), key=lambda left: left.resource_id))

    def _observing(self, site: Site, kind: type[Any]) -> Any:  # noqa: ANN401 - whatever client is asked for
        return self._connections.client(kind, site, Purpose.OBSERVE)

    def _left_of_cluster(self, site: Site) -> Iterator[Leftover]:
        # Node pools live and die with their cluster.
        gke = self._observing(site, container_v1.ClusterManagerClient)
        for cluster in gke.list_clusters(parent=location_name(site)).clusters:
            if is_ours(cluster.resource_labels, site):
                yield _left("container", f"{location_name(site)}/clusters/{cluster.name}")
        for policy in our_alarms(self._observing(site, AlertPolicyServiceClient), site):
            yield _left("monitoring", policy.name)
        for left in left_logs(self._observing(site, ConfigServiceV2Client), site):
            yield _left("logging", left.name, left.kept_because)

    def _left_of_domain(self, site: Site) -> Iterator[Leftover]:
        for zone in self._observing(site, dns.Client).list_zones():
            if is_described_as_ours(zone.description or "", site):
                yield _left("dns", f"projects/{site.cloud_account_id}/managedZones/{zone.name}")
        manager = self._observing(site, certificate_manager_v1.CertificateManagerClient)
        parent = location_name(site)
        for proof in (*manager.list_certificates(parent=parent), *manager.list_dns_authorizations(parent=parent)):
            if is_ours(proof.labels, site):
                yield _left("certificatemanager", proof.name)

    def _left_accounts(self, site: Site) -> Iterator[Leftover]:
        """Yield the service accounts, and the roles in the project that outlived theirs."""
        iam = self._observing(site, iam_admin_v1.IAMClient)
        project = f"projects/{site.cloud_account_id}"
        ours_or_gone = set()
        for email in our_emails(site):
            name = f"{project}/serviceAccounts/{email}"
            account = if_exists(lambda name=name: iam.get_service_account(name=name))  # type: ignore[misc]
            if account is None or is_described_as_ours(account.description, site):
                ours_or_gone.add(email)
            if account is not None and is_described_as_ours(account.description, site):
                yield _left("iam", name)
        asked = {"resource": project, "options": {"requested_policy_version": POLICY_VERSION}}
        policy = self._observing(site, resourcemanager_v3.ProjectsClient).get_iam_policy(request=asked)
        for binding in policy.bindings:
            for member in binding.members:
                if email_of(member) in ours_or_gone:
                    identifier = f"{project}/bindings/{binding.role}/{member}"
                    yield Leftover(resource_id=identifier, kind="resourcemanager:bindings")

    def _left_keys(self, retention: Retention) -> Iterator[Leftover]:
        site = retention.site
        kms = self._observing(site, kms_v1.KeyManagementServiceClient)
        if if_exists(lambda: kms.get_key_ring(name=ring_name(site))) is None:
            return
        for key in kms.list_crypto_keys(parent=ring_name(site)):
            if is_ours(key.labels, site):
                versions = list(kms.list_crypto_key_versions(parent=key.name))
                yield _left("kms", key.name, _why_key_stays(key, versions, keep_backups=retention.keep_backups))

    def _left_bucket(self, retention: Retention) -> Iterator[Leftover]:
        site, name = retention.site, backup_bucket(retention.site)
        bucket = self._observing(site, storage.Client).bucket(name)
        if if_exists(lambda: bucket.reload(retry=None) or bucket) is None or not is_ours(bucket.labels, site):
            return
        until = bucket.labels.get(LABEL_RETAINED_UNTIL)
        kept = f"holds backups that are locked until {until}" if until and retention.keep_backups else ""
        yield _left("storage", f"projects/_/buckets/{name}", kept)


def _left(service: str, name: str, kept_because: str = "") -> Leftover:
    """Return the leftover of a full name, `projects/p/…/clusters/c`, whose collection is its kind."""
    return Leftover(resource_id=name, kind=f"{service}:{name.split('/')[-2]}", kept_because=kept_because)


def _left_in_network(compute: DeploymentCompute) -> Iterator[Leftover]:
    """Yield networks and what is in them, by our descriptions or labels or by what made them for our cluster."""
    site, where = compute.site, {"project": compute.project, "region": compute.region}
    network = own_network(compute)
    described = (
        *compute.client(compute_v1.NetworksClient).list(project=compute.project),
        *compute.client(compute_v1.SubnetworksClient).list(**where),
        *compute.client(compute_v1.RoutersClient).list(**where),
        *compute.client(compute_v1.RegionSslPoliciesClient).list(**where),
    )
    ours = [
        *(each for each in described if is_described_as_ours(each.description, site)),
        *(each for each in compute.client(compute_v1.AddressesClient).list(**where) if is_our_address(each, site)),
        *(
            rule
            for rule in compute.client(compute_v1.FirewallsClient).list(project=compute.project)
            if belongs_to(rule, site, network)
        ),
    ]
    for each in ours:
        yield _left("compute", path_of(each.self_link))
    for parts in load_balancer_parts(compute).values():
        for part in parts:
            yield _left("compute", part.path)


def _left_of_machines(compute: DeploymentCompute) -> Iterator[Leftover]:
    """Yield machines and disks, those of volumes and those from which nodes start."""
    for client, collection in ((compute_v1.InstancesClient, "instances"), (compute_v1.DisksClient, "disks")):
        for place, listed in compute.client(client).aggregated_list(project=compute.project):
            if last_part(place).startswith(f"{compute.region}-"):
                for path in _of_cluster(getattr(listed, collection), compute.site):
                    yield _left("compute", path)


def _of_cluster(things: Iterable[Any], site: Site) -> Iterator[str]:
    for thing in things:
        labels: Mapping[str, str] = dict(thing.labels)
        if is_of_cluster(labels, site):
            yield path_of(thing.self_link)


def _why_key_stays(key: kms_v1.CryptoKey, versions: Sequence[kms_v1.CryptoKeyVersion], *, keep_backups: bool) -> str:
    """Return why a key may stay, nothing if it could still decrypt for no reason."""
    alive = [version for version in versions if version.state not in DESTROYED]
    if not alive:
        dates = [version.destroy_time for version in versions if version.state == SCHEDULED]
        if dates:
            return f"{_NAMES_STAY}the last version is destroyed on {max(dates).date().isoformat()}"
        return f"{_NAMES_STAY}every version is destroyed"
    until = key.labels.get(LABEL_RETAINED_UNTIL)
    return f"the backups that are kept until {until} cannot be read without it" if until and keep_backups else ""
