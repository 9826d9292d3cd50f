"""Upgrades of the control plane and of the add-ons of EKS."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from temporalio import activity

from activities.aws.add_ons import UNDER_WAY as ADD_ON_UNDER_WAY
from activities.aws.add_ons import AwsAddOnPart, configuration, suitable_versions
from activities.aws.cluster import UNDER_WAY, as_facts, find_cluster
from activities.aws.connection import AwsClient
from activities.aws.errors import failures_named
from activities.aws.existence import if_exists
from activities.aws.health import health_failure
from activities.aws.ownership import require_ours
from activities.aws.part import AwsPart
from activities.aws.updates import tell, untold_failure
from activities.barrier import changes_are_barred
from activities.contracts import AddOn
from activities.failures import refused
from activities.needs import needs
from activities.upgrade_contracts import ControlPlaneUpgrade, UpgradeContract
from domain.clouds import Purpose
from domain.facts import Cluster
from domain.failure import FailureClass
from domain.version import version_order


class AwsControlPlaneUpgrades(AwsPart, UpgradeContract):
    """Moves the control plane."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "eks:DescribeCluster", "eks:UpdateClusterVersion", "eks:ListUpdates", "eks:DescribeUpdate", "eks:TagResource",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def upgrade_control_plane(self, request: ControlPlaneUpgrade) -> Cluster:
        """The control plane runs the asked minor version, or a newer one.

        EKS replaces it machine by machine while the API answers; an update cannot be stopped. One that failed is told
        once and begun anew by the next run. It is never forced: what EKS's insights call an error keeps it from
        beginning.

        Raises:
            CONFIG: it would skip a version, or nodes are not level with the control plane.
        """
        site, name, target = request.site, request.cluster.name, request.kubernetes
        with failures_named(resource=name):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            cluster = find_cluster(eks, name)
            if cluster is None:
                raise refused(FailureClass.CONFIG, f"There is no EKS cluster {name} to upgrade", resource=name)
            require_ours(site, cluster.get("tags", {}), f"EKS cluster {name}")
            if cluster["status"] in UNDER_WAY:
                raise self._look_again(f"EKS reports {name} as {cluster['status']}")
            if cluster["status"] != "ACTIVE":
                raise health_failure(cluster.get("health", {}).get("issues", []), f"EKS cluster {name}", deed="run")
            if version_order(cluster["version"]) < version_order(target):
                self._begin_control_plane(eks, cluster, target)
                raise self._look_again(f"EKS is moving {name} to Kubernetes {target}")
        return as_facts(cluster)

    def _begin_control_plane(self, eks: AwsClient, cluster: Mapping[str, Any], target: str) -> None:
        name, present = cluster["name"], cluster["version"]
        major, minor = version_order(present)
        if version_order(target) != (major, minor + 1) and not changes_are_barred():
            message = f"{name} runs Kubernetes {present}; {target} is more than one minor version further"
            raise refused(FailureClass.CONFIG, message, resource=name)
        if failed := untold_failure(eks, name, cluster, {"Version": target}):
            raise tell(eks, cluster["arn"], failed, f"the control plane of {name} to Kubernetes {target}")
        eks.update_cluster_version(name=name, version=target)


class AwsAddOnUpgrades(AwsAddOnPart, UpgradeContract):
    """Moves add-ons."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "eks:DescribeCluster", "eks:DescribeAddon", "eks:DescribeAddonVersions", "eks:UpdateAddon", "eks:ListUpdates",
        "eks:DescribeUpdate", "eks:TagResource",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def upgrade_add_on(self, request: AddOn) -> None:
        """The add-on works, in the version that AWS recommends for the cluster as it is now, or in a newer one.

        Its configuration goes with it, and what somebody changed by hand in the cluster is overwritten, as when it was
        installed. An update that failed is told once and begun anew by the next run.

        Raises:
            CONFIG: the add-on is not installed: converging the deployment installs it.
        """
        site, cluster, name = request.site, request.cluster.name, self._eks_name(request.name)
        with failures_named(resource=name):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            found = if_exists(eks.describe_addon, clusterName=cluster, addonName=name)
            if found is None:
                raise refused(FailureClass.CONFIG, f"The add-on {name} is not installed in {cluster}", resource=name)
            add_on = found["addon"]
            require_ours(site, add_on.get("tags", {}), f"EKS add-on {name} of {cluster}")
            if add_on["status"] in ADD_ON_UNDER_WAY:
                raise self._look_again(f"EKS reports the add-on {name} as {add_on['status']}")
            present = eks.describe_cluster(name=cluster)["cluster"]["version"]
            suitable = suitable_versions(eks, name, present)
            if not _is_level(add_on["addonVersion"], suitable):
                self._begin_add_on(eks, request, add_on, suitable[0])
                raise self._look_again(f"EKS is moving the add-on {name} to {suitable[0]}")
            self._require_working(add_on)

    def _begin_add_on(self, eks: AwsClient, request: AddOn, add_on: Mapping[str, Any], target: str) -> None:
        cluster, name = request.cluster.name, add_on["addonName"]
        if failed := untold_failure(eks, cluster, add_on, {"AddonVersion": target}, addonName=name):
            raise tell(eks, add_on["addonArn"], failed, f"the add-on {name} of {cluster} to {target}")
        values = configuration(request.site, request.name)
        eks.update_addon(
            clusterName=cluster,
            addonName=name,
            addonVersion=target,
            resolveConflicts="OVERWRITE",
            **({"configurationValues": json.dumps(values)} if values else {}),
        )


def _is_level(version: str, suitable: list[str]) -> bool:
    """Return whether the version suits the cluster and is not behind the first of the suitable ones, AWS's default."""
    return version in suitable and _numbers(version) >= _numbers(suitable[0])


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of `v1.34.2-eksbuild.4`, in order."""
    return tuple(int(number) for number in re.findall(r"\d+", version))
