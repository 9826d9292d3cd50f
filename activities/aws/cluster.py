"""The EKS control plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError
from temporalio import activity

from activities.aws.cluster_logs import converge_log_group, delete_log_group
from activities.aws.connection import AwsClient
from activities.aws.errors import code_of, failures_named
from activities.aws.existence import gone_is_success, if_exists
from activities.aws.health import health_failure
from activities.aws.ownership import lacking, require_ours
from activities.aws.part import AwsPart
from activities.contracts import (
    ClusterContract,
    ClusterRequest,
    MaintenanceRequest,
)
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Cluster
from domain.naming import base_name, owner_tags, token

LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
"""Every kind of log that EKS offers."""

UNDER_WAY = frozenset({"PENDING", "CREATING", "UPDATING", "DELETING"})
"""States of a cluster in which EKS works on it."""


class AwsCluster(AwsPart, ClusterContract):
    """Makes, converges and deletes the control plane."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "logs:DescribeLogGroups", "logs:CreateLogGroup", "logs:TagResource", "logs:PutRetentionPolicy",
        "logs:ListTagsForResource",
        purpose=Purpose.OPERATE,
        why="Keep the logs of the Kubernetes control plane, encrypted, for a limited time",
    )  # fmt: skip
    @needs(
        "eks:DescribeCluster", "eks:CreateCluster", "eks:TagResource", "eks:UpdateClusterConfig", "eks:ListNodegroups",
        "eks:DeleteCluster",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_cluster(self, request: ClusterRequest) -> Cluster:
        """The control plane is active and set up as `_creation` says; settings that differ are put back one by one.

        Its Kubernetes version is left as it is: moving that is an upgrade. A control plane that EKS failed to make is
        deleted, as long as it has no nodes, so that the next look makes it again.
        """
        site, name = request.site, base_name(request.site)
        with failures_named(resource=name):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            cluster = find_cluster(eks, name)
            if cluster is None:
                converge_log_group(self._connections.client("logs", site, Purpose.OPERATE), site, request.key)
                self._create_cluster(eks, request)
                raise self._look_again(f"EKS is creating {name}")
            require_ours(site, cluster.get("tags", {}), f"EKS cluster {name}")
            if cluster["status"] in UNDER_WAY:
                raise self._look_again(f"EKS reports {name} as {cluster['status']}")
            if cluster["status"] == "FAILED":
                raise self._give_up_on_failed_cluster(eks, cluster)
            # First, because EKS makes the group itself, without key and tags, as soon as logging is switched on.
            converge_log_group(self._connections.client("logs", site, Purpose.OPERATE), site, request.key)
            self._converge_cluster(eks, request, cluster)
        return as_facts(cluster)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "eks:DescribeCluster", "eks:ListNodegroups", "eks:ListAddons", "eks:DescribeAddon", "eks:DeleteAddon",
        "eks:UpdateClusterConfig", "eks:DeleteCluster", "logs:DescribeLogGroups", "logs:ListTagsForResource",
        "logs:DeleteLogGroup",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_cluster(self, site: Site) -> None:
        """The control plane is gone, with its add-ons before it and its logs after it."""
        name = base_name(site)
        with failures_named(resource=name):
            eks = self._connections.client("eks", site, Purpose.DELETE)
            cluster = find_cluster(eks, name)
            if cluster is not None:
                require_ours(site, cluster.get("tags", {}), f"EKS cluster {name}")
                raise self._delete_cluster_further(eks, cluster)
            # Last, because EKS writes until its end and would make the group again.
            delete_log_group(self._connections.client("logs", site, Purpose.DELETE), site)

    @activity.defn(no_thread_cancel_exception=True)
    @needs("eks:DescribeCluster", "eks:UpdateClusterConfig", purpose=Purpose.OPERATE)
    def set_maintenance_policy(self, request: MaintenanceRequest) -> None:
        """EKS upgrades nothing by itself as long as the version has standard support.

        Managed node groups and add-ons never change unasked. The control plane does when its version's support ends:
        with the policy STANDARD it moves to the next minor version then, instead of into extended support at six times
        the price; our own upgrades come long before.
        """
        site, name = request.site, request.cluster.name
        with failures_named(resource=name):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            cluster = find_cluster(eks, name)
            if cluster is None or cluster["status"] in UNDER_WAY:
                raise self._look_again(f"EKS cluster {name} is not active")
            require_ours(site, cluster.get("tags", {}), f"EKS cluster {name}")
            if cluster.get("upgradePolicy", {}).get("supportType") != "STANDARD":
                eks.update_cluster_config(name=name, upgradePolicy={"supportType": "STANDARD"})
                raise self._look_again(f"EKS is changing the upgrade policy of {name}")

    def _create_cluster(self, eks: AwsClient, request: ClusterRequest) -> None:
        try:
            eks.create_cluster(**_creation(request, self._settings.egress_cidrs))
        except ClientError as error:
            if code_of(error) == "ResourceInUseException":
                raise self._look_again(f"EKS cluster {base_name(request.site)} is not visible yet") from error
            if is_role_not_usable_yet(error):
                raise self._look_again(f"the role {request.roles.control_plane} cannot be used yet") from error
            raise

    def _converge_cluster(self, eks: AwsClient, request: ClusterRequest, cluster: Mapping[str, Any]) -> None:
        """Put back the first setting that differs and raise `NotReadyYet`; EKS takes one change at a time."""
        if missing := lacking(owner_tags(request.site, "cluster"), cluster.get("tags", {})):
            eks.tag_resource(resourceArn=cluster["arn"], tags=missing)
        for change in _changes(request, cluster, self._settings.egress_cidrs):
            eks.update_cluster_config(name=cluster["name"], **change)
            raise self._look_again(f"EKS is changing {', '.join(change)} of {cluster['name']}")

    def _give_up_on_failed_cluster(self, eks: AwsClient, cluster: Mapping[str, Any]) -> Exception:
        """Delete a control plane that never came up and return the failure that says why it did not."""
        if not _node_groups(eks, cluster["name"]):
            # Its deletion protection does not matter: EKS changes no settings of a cluster that never came up.
            with gone_is_success():
                eks.delete_cluster(name=cluster["name"])
        return health_failure(cluster.get("health", {}).get("issues", []), f"EKS cluster {cluster['name']}")

    def _delete_cluster_further(self, eks: AwsClient, cluster: Mapping[str, Any]) -> Exception:
        """Do what can be done now to delete the control plane, and return the `NotReadyYet` that says what that was."""
        name = cluster["name"]
        if cluster["status"] in UNDER_WAY:
            return self._look_again(f"EKS reports {name} as {cluster['status']}")
        if _node_groups(eks, name):
            return self._look_again(f"EKS cluster {name} still has node groups")
        if add_ons := [add_on for page in _pages(eks, "list_addons", name) for add_on in page["addons"]]:
            for add_on in add_ons:
                _delete_add_on(eks, name, add_on)
            return self._look_again(f"EKS is deleting the add-ons of {name}")
        if cluster.get("deletionProtection") and cluster["status"] != "FAILED":
            eks.update_cluster_config(name=name, deletionProtection=False)
            return self._look_again(f"EKS is lifting the deletion protection of {name}")
        with gone_is_success():
            eks.delete_cluster(name=name)
        return self._look_again(f"EKS is deleting {name}")


def find_cluster(eks: AwsClient, name: str) -> Mapping[str, Any] | None:
    """Return the cluster as EKS describes it, None if there is none."""
    found = if_exists(eks.describe_cluster, name=name)
    return found["cluster"] if found else None


def as_facts(cluster: Mapping[str, Any]) -> Cluster:
    """Return the facts of a cluster that has been active."""
    return Cluster(
        name=cluster["name"],
        endpoint=cluster["endpoint"],
        certificate_authority=cluster["certificateAuthority"]["data"],
        version=cluster["version"],
        oidc_issuer=cluster.get("identity", {}).get("oidc", {}).get("issuer", ""),
    )


def is_role_not_usable_yet(error: ClientError) -> bool:
    """Return whether a service refuses a role because IAM has not spread its creation yet; that takes some seconds."""
    message = str(error.response.get("Error", {}).get("Message", ""))
    return "could not be assumed" in message or "cannot be assumed" in message


def _creation(request: ClusterRequest, egress_cidrs: Sequence[str]) -> dict[str, Any]:
    site = request.site
    return {
        "name": base_name(site),
        "version": request.kubernetes,
        "roleArn": request.roles.control_plane,
        "resourcesVpcConfig": {
            "subnetIds": list(request.network.private_subnet_ids),
            "securityGroupIds": [request.firewall.control_plane_group_id],
            **_endpoints(egress_cidrs),
        },
        "kubernetesNetworkConfig": {"ipFamily": "ipv4"},
        "logging": {"clusterLogging": [{"types": list(LOG_TYPES), "enabled": True}]},
        # Once it is on, EKS never switches the encryption of secrets off: there is nothing to put back later.
        "encryptionConfig": [{"resources": ["secrets"], "provider": {"keyArn": request.key.key_id}}],
        "accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False},
        "upgradePolicy": {"supportType": "STANDARD"},
        # Add-ons are EKS's own, installed one by one, so that they can be versioned, configured and taken away.
        "bootstrapSelfManagedAddons": False,
        "deletionProtection": True,
        "tags": owner_tags(site, "cluster"),
        "clientRequestToken": token(site, "cluster"),
    }


def _endpoints(egress_cidrs: Sequence[str]) -> dict[str, Any]:
    """Return who reaches the Kubernetes API: the network itself, and from outside the control plane alone.

    Without known egress addresses there is no public endpoint: an empty list would mean "everybody" to EKS.
    """
    if not egress_cidrs:
        return {"endpointPrivateAccess": True, "endpointPublicAccess": False}
    return {"endpointPrivateAccess": True, "endpointPublicAccess": True, "publicAccessCidrs": list(egress_cidrs)}


def _changes(
    request: ClusterRequest, cluster: Mapping[str, Any], egress_cidrs: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield what has to change of a cluster's settings, each as the parameters of one UpdateClusterConfig."""
    wanted = _creation(request, egress_cidrs)
    endpoints = _endpoints(egress_cidrs)
    present = cluster["resourcesVpcConfig"]
    if any(_as_set(present.get(name)) != _as_set(value) for name, value in endpoints.items()):
        yield {"resourcesVpcConfig": endpoints}
    if not set(LOG_TYPES) <= _enabled_logs(cluster):
        yield {"logging": wanted["logging"]}
    if cluster.get("accessConfig", {}).get("authenticationMode") != "API":
        yield {"accessConfig": {"authenticationMode": "API"}}
    if cluster.get("upgradePolicy", {}).get("supportType") != "STANDARD":
        yield {"upgradePolicy": wanted["upgradePolicy"]}
    if not cluster.get("deletionProtection"):
        yield {"deletionProtection": True}


def _as_set(value: object) -> object:
    return frozenset(value) if isinstance(value, list) else value


def _enabled_logs(cluster: Mapping[str, Any]) -> set[str]:
    groups = cluster.get("logging", {}).get("clusterLogging", ())
    return {kind for group in groups if group.get("enabled") for kind in group.get("types", ())}


def _pages(eks: AwsClient, operation: str, cluster: str) -> Iterator[Mapping[str, Any]]:
    yield from eks.get_paginator(operation).paginate(clusterName=cluster)


def _node_groups(eks: AwsClient, cluster: str) -> list[str]:
    return [name for page in _pages(eks, "list_nodegroups", cluster) for name in page["nodegroups"]]


def _delete_add_on(eks: AwsClient, cluster: str, name: str) -> None:
    """Begin to delete an add-on unless that is under way."""
    found = if_exists(eks.describe_addon, clusterName=cluster, addonName=name)
    if found is not None and found["addon"]["status"] not in {"CREATING", "UPDATING", "DELETING"}:
        with gone_is_success():
            eks.delete_addon(clusterName=cluster, addonName=name)
