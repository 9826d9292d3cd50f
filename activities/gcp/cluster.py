"""The control plane of a deployment: a regional cluster of GKE with private nodes."""

from __future__ import annotations

from typing import Any

from google.cloud import container_v1
from temporalio import activity

from activities.contracts import ClusterContract, ClusterRequest, InCluster
from activities.gcp.errors import failures_named
from activities.gcp.firewall import node_tag
from activities.gcp.gke import (
    UNDER_WAY,
    Gke,
    PoolState,
    State,
    as_facts,
    cluster_name,
    find_cluster,
    health_failure,
    location_name,
    one_at_a_time,
)
from activities.gcp.ownership import is_ours, owner_labels, require_ours
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Cluster
from domain.naming import base_name

FIRST_POOL = "first"
"""The pool that GKE wants of a new cluster. It is deleted as soon as there is one of ours."""
_FIRST_MACHINE = "e2-medium"
_DISK_GB = 50
_LOGGED = container_v1.LoggingComponentConfig.Component


class GcpCluster(GcpPart, ClusterContract):
    """Makes, converges and deletes the control plane."""

    @activity.defn
    @needs(
        "container.clusters.create", "container.clusters.delete", "container.clusters.get",
        "container.clusters.update", "iam.serviceAccounts.actAs",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_cluster(self, request: ClusterRequest) -> Cluster:
        """The control plane runs and is set up as `_creation` says; settings that differ are put back one by one.

        Its Kubernetes version is left as it is: moving that is an upgrade. A cluster that GKE failed to make is
        deleted, so that the next look makes it again.
        """
        site, name = request.site, base_name(request.site)
        with failures_named(resource=name), one_at_a_time(self._settings, name):
            gke = self._connections.client(Gke, site, Purpose.OPERATE)
            cluster = find_cluster(gke, site)
            if cluster is None:
                gke.create_cluster(parent=location_name(site), cluster=self._creation(request))
                raise self._look_again(f"GKE is creating {name}")
            require_ours(f"GKE cluster {name}", site, ours=is_ours(cluster.resource_labels, site))
            if cluster.status in UNDER_WAY:
                raise self._look_again(f"GKE reports {name} as {cluster.status.name}")
            if cluster.status == State.ERROR:
                gke.delete_cluster(name=cluster_name(site))
                raise health_failure(cluster.conditions, cluster.status_message, f"the cluster {name}")
            self._converge(gke, request, cluster)
        return as_facts(cluster)

    @activity.defn
    @needs("container.clusters.delete", "container.clusters.get", purpose=Purpose.DELETE)
    def delete_cluster(self, site: Site) -> None:
        """The control plane is gone, and what GKE made for it: firewall rules and the machines of its first pool."""
        name = base_name(site)
        with failures_named(resource=name), one_at_a_time(self._settings, f"the deletion of {name}"):
            gke = self._connections.client(Gke, site, Purpose.DELETE)
            cluster = find_cluster(gke, site)
            if cluster is None:
                return
            require_ours(f"GKE cluster {name}", site, ours=is_ours(cluster.resource_labels, site))
            if cluster.status != State.STOPPING:
                gke.delete_cluster(name=cluster_name(site))
            raise self._look_again(f"GKE is deleting {name}")

    @activity.defn
    @needs("container.clusters.get", "container.clusters.update", purpose=Purpose.OPERATE)
    def set_maintenance_policy(self, request: InCluster) -> None:
        """GKE moves neither control plane nor nodes to another version by itself: upgrades are ours to time."""
        site, name = request.site, request.cluster.name
        with failures_named(resource=name), one_at_a_time(self._settings, f"the maintenance policy of {name}"):
            gke = self._connections.client(Gke, site, Purpose.OPERATE)
            cluster = gke.get_cluster(name=cluster_name(site))
            if cluster.release_channel.channel != container_v1.ReleaseChannel.Channel.UNSPECIFIED:
                self._update(gke, site, desired_release_channel=container_v1.ReleaseChannel(channel="UNSPECIFIED"))
            for pool in cluster.node_pools:
                if pool.status == PoolState.RUNNING and pool.management.auto_upgrade:
                    kept = container_v1.NodeManagement(auto_upgrade=False, auto_repair=True)
                    gke.set_node_pool_management(
                        request={"name": f"{cluster_name(site)}/nodePools/{pool.name}", "management": kept}
                    )
                    raise self._look_again(f"GKE is changing the pool {pool.name}")

    def _creation(self, request: ClusterRequest) -> container_v1.Cluster:
        """Return the cluster as it has to be."""
        site, network = request.site, request.network
        project = f"projects/{site.cloud_account_id}"
        return container_v1.Cluster(
            name=base_name(site),
            network=f"{project}/global/networks/{network.network_id}",
            subnetwork=f"{project}/regions/{site.region}/subnetworks/{network.private_subnet_ids[0]}",
            initial_cluster_version=request.kubernetes,
            ip_allocation_policy=container_v1.IPAllocationPolicy(
                use_ip_aliases=True,
                cluster_secondary_range_name=network.pod_range,
                services_secondary_range_name=network.service_range,
            ),
            private_cluster_config=container_v1.PrivateClusterConfig(enable_private_nodes=True),
            release_channel=container_v1.ReleaseChannel(channel="UNSPECIFIED"),
            network_config=container_v1.NetworkConfig(
                # Dataplane V2 enforces network policies; the Gateway API is how the endpoint's load balancer is made.
                datapath_provider="ADVANCED_DATAPATH",
                gateway_api_config=container_v1.GatewayAPIConfig(channel="CHANNEL_STANDARD"),
            ),
            addons_config=container_v1.AddonsConfig(
                gce_persistent_disk_csi_driver_config=container_v1.GcePersistentDiskCsiDriverConfig(enabled=True),
                horizontal_pod_autoscaling=container_v1.HorizontalPodAutoscaling(disabled=False),
            ),
            legacy_abac=container_v1.LegacyAbac(enabled=False),
            master_auth=container_v1.MasterAuth(
                client_certificate_config=container_v1.ClientCertificateConfig(issue_client_certificate=False)
            ),
            logging_config=container_v1.LoggingConfig(
                component_config=container_v1.LoggingComponentConfig(
                    enable_components=[_LOGGED.SYSTEM_COMPONENTS, _LOGGED.APISERVER, _LOGGED.SCHEDULER]
                )
            ),
            resource_labels=owner_labels(site, "cluster"),
            node_pools=[_first_pool(request)],
            **self._settings_of(request),
        )

    def _settings_of(self, request: ClusterRequest) -> dict[str, Any]:
        """Return the settings that are put back where somebody changed them, keyed by field."""
        ranges = [
            container_v1.MasterAuthorizedNetworksConfig.CidrBlock(display_name="control plane", cidr_block=cidr)
            for cidr in self._settings.egress_cidrs
        ]
        by_address = container_v1.ControlPlaneEndpointsConfig.IPEndpointsConfig(
            enabled=True,
            enable_public_endpoint=True,
            authorized_networks_config=container_v1.MasterAuthorizedNetworksConfig(
                enabled=True, cidr_blocks=ranges, gcp_public_cidrs_access_enabled=False
            ),
        )
        return {
            "control_plane_endpoints_config": container_v1.ControlPlaneEndpointsConfig(ip_endpoints_config=by_address),
            "database_encryption": container_v1.DatabaseEncryption(state="ENCRYPTED", key_name=request.key.key_id),
            "workload_identity_config": container_v1.WorkloadIdentityConfig(
                workload_pool=f"{request.site.cloud_account_id}.svc.id.goog"
            ),
            "shielded_nodes": container_v1.ShieldedNodes(enabled=True),
        }

    def _converge(self, gke: Gke, request: ClusterRequest, cluster: container_v1.Cluster) -> None:
        """Put back one setting that differs, and raise `NotReadyYet` while GKE works on it."""
        site = request.site
        wanted_labels = {**cluster.resource_labels, **owner_labels(site, "cluster")}
        if dict(cluster.resource_labels) != wanted_labels:
            gke.set_labels(
                request={
                    "name": cluster_name(site),
                    "resource_labels": wanted_labels,
                    "label_fingerprint": cluster.label_fingerprint,
                }
            )
            raise self._look_again(f"GKE is labelling {cluster.name}")
        for field, wanted in self._settings_of(request).items():
            if not _contains(getattr(cluster, field), wanted):
                self._update(gke, site, **{f"desired_{field}": wanted})
        if cluster.status == State.DEGRADED:
            raise health_failure(cluster.conditions, cluster.status_message, f"the cluster {cluster.name}")

    def _update(self, gke: Gke, site: Site, **change: Any) -> None:  # noqa: ANN401 - any of GKE's messages
        (field,) = change
        gke.update_cluster(request={"name": cluster_name(site), "update": container_v1.ClusterUpdate(**change)})
        raise self._look_again(f"GKE is changing {field.removeprefix('desired_')} of {base_name(site)}")


def _first_pool(request: ClusterRequest) -> container_v1.NodePool:
    return container_v1.NodePool(
        name=FIRST_POOL,
        initial_node_count=1,
        config=node_config(request.site, request.roles.nodes, request.key.key_id, _FIRST_MACHINE, FIRST_POOL),
        management=container_v1.NodeManagement(auto_repair=True, auto_upgrade=False),
    )


def node_config(site: Site, account: str, key: str, machine_type: str, pool: str) -> container_v1.NodeConfig:
    """Return how the machines of a pool start: an encrypted disk, and no credentials of the node for its pods.

    The metadata server answers pods with the identity of their own service account alone.
    """
    return container_v1.NodeConfig(
        machine_type=machine_type,
        disk_type="pd-balanced",
        disk_size_gb=_DISK_GB,
        boot_disk_kms_key=key,
        image_type="COS_CONTAINERD",
        service_account=account,
        oauth_scopes=["https://www.googleapis.com/auth/cloud-platform"],
        shielded_instance_config=container_v1.ShieldedInstanceConfig(
            enable_secure_boot=True, enable_integrity_monitoring=True
        ),
        workload_metadata_config=container_v1.WorkloadMetadataConfig(mode="GKE_METADATA"),
        metadata={"disable-legacy-endpoints": "true"},
        tags=[node_tag(site)],
        resource_labels=owner_labels(site, f"pool-{pool}"),
    )


def _contains(present: Any, wanted: Any) -> bool:  # noqa: ANN401 - any of GKE's messages
    """Return whether a message has everything that is wanted of it; GKE fills in more."""
    shown, asked = type(present).to_dict(present), type(wanted).to_dict(wanted)
    return _includes(shown, asked)


def _includes(present: Any, wanted: Any) -> bool:  # noqa: ANN401 - JSON
    if isinstance(wanted, dict):
        return all(_includes((present or {}).get(key), value) for key, value in wanted.items() if value not in ("", []))
    if isinstance(wanted, list):
        return len(present or []) == len(wanted) and all(map(_includes, present, wanted))
    return bool((present or wanted == 0) and present == wanted) or (not present and not wanted)
