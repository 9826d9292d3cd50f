"""EKS add-ons: the parts of Kubernetes that AWS builds, versions and supports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError
from temporalio import activity

from activities.aws.cluster import is_role_not_usable_yet
from activities.aws.connection import AwsClient
from activities.aws.errors import code_of, failures_named
from activities.aws.existence import gone_is_success, if_exists
from activities.aws.health import health_failure
from activities.aws.ownership import lacking, require_ours
from activities.aws.part import AwsPart
from activities.contracts import AddOn, ClusterContract
from activities.failures import refused
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import base_name, owner_tags, token

ADD_ONS: Mapping[str, str] = {
    "network": "vpc-cni",
    "dns": "coredns",
    "proxy": "kube-proxy",
    "storage": "aws-ebs-csi-driver",
    "identity": "eks-pod-identity-agent",
    "metrics": "metrics-server",
}
"""EKS's name of each add-on, keyed by the contract's."""

UNDER_WAY = frozenset({"CREATING", "UPDATING", "DELETING"})
"""States of an add-on in which EKS works on it."""


class AwsAddOnPart(AwsPart):
    """What installing and upgrading add-ons have in common."""

    def _eks_name(self, name: str) -> str:
        if name not in ADD_ONS:
            message = f"There is no add-on {name!r} on AWS; there are {', '.join(ADD_ONS)}"
            raise refused(FailureClass.CONFIG, message, resource=name)
        return ADD_ONS[name]

    def _require_working(self, add_on: Mapping[str, Any]) -> None:
        """Raise the failure of an add-on that is installed and does not work (yet)."""
        if add_on["status"] == "ACTIVE":
            return
        issues = add_on.get("health", {}).get("issues", [])
        refusals = [issue for issue in issues if issue["code"] in {"AccessDenied", "AddonPermissionFailure"}]
        if refusals:
            raise health_failure(refusals, f"the add-on {add_on['addonName']}")
        reasons = "; ".join(str(issue.get("message", issue["code"])) for issue in issues) or add_on["status"]
        raise self._look_again(f"the add-on {add_on['addonName']} does not work yet: {reasons}")


class AwsAddOns(AwsAddOnPart, ClusterContract):
    """Installs add-ons."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "eks:DescribeAddon", "eks:DescribeAddonVersions", "eks:CreateAddon", "eks:UpdateAddon", "eks:TagResource",
        "eks:DeleteAddon",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def install_add_on(self, request: AddOn) -> None:
        """The add-on is active and configured as we want it.

        What is made has the version that AWS recommends for the cluster's. What exists keeps its own, also when the
        control plane has been upgraded since: moving it is an upgrade. An installation that failed is deleted, so that
        the next look installs the add-on again.
        """
        site, cluster, name = request.site, request.cluster.name, self._eks_name(request.name)
        with failures_named(resource=name):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            found = if_exists(eks.describe_addon, clusterName=cluster, addonName=name)
            if found is None:
                self._create_add_on(eks, request, name)
                raise self._look_again(f"EKS is installing the add-on {name}")
            add_on = found["addon"]
            require_ours(site, add_on.get("tags", {}), f"EKS add-on {name} of {cluster}")
            if add_on["status"] in UNDER_WAY:
                raise self._look_again(f"EKS reports the add-on {name} as {add_on['status']}")
            if add_on["status"] == "CREATE_FAILED":
                with gone_is_success():
                    eks.delete_addon(clusterName=cluster, addonName=name)
                raise health_failure(add_on.get("health", {}).get("issues", []), f"the add-on {name} of {cluster}")
            self._converge_add_on(eks, request, add_on)
            self._require_working(add_on)

    def _create_add_on(self, eks: AwsClient, request: AddOn, name: str) -> None:
        resource = f"add-on-{request.name}"
        values = configuration(request.site, request.name)
        try:
            eks.create_addon(
                clusterName=request.cluster.name,
                addonName=name,
                addonVersion=suitable_versions(eks, name, request.cluster.version)[0],
                resolveConflicts="OVERWRITE",
                tags=owner_tags(request.site, resource),
                clientRequestToken=token(request.site, resource),
                **({"configurationValues": json.dumps(values)} if values else {}),
            )
        except ClientError as error:
            if code_of(error) == "ResourceInUseException":
                raise self._look_again(f"the add-on {name} is not visible yet") from error
            if is_role_not_usable_yet(error):
                raise self._look_again(f"the role of the add-on {name} cannot be used yet") from error
            raise

    def _converge_add_on(self, eks: AwsClient, request: AddOn, add_on: Mapping[str, Any]) -> None:
        """Put back what differs and raise `NotReadyYet` if EKS has to work on it."""
        name, cluster = add_on["addonName"], request.cluster
        if missing := lacking(owner_tags(request.site, f"add-on-{request.name}"), add_on.get("tags", {})):
            eks.tag_resource(resourceArn=add_on["addonArn"], tags=missing)
        wanted = configuration(request.site, request.name)
        if json.loads(add_on.get("configurationValues") or "{}") != wanted:
            values = json.dumps(wanted)
            eks.update_addon(
                clusterName=cluster.name, addonName=name, resolveConflicts="OVERWRITE", configurationValues=values
            )
            raise self._look_again(f"EKS is updating the add-on {name}")


def configuration(site: Site, name: str) -> dict[str, Any]:
    """Return the add-on's configuration values, empty where its defaults are right."""
    match name:
        case "storage":
            # The storage class names the tags too; what the driver makes without it (snapshots) has them from here.
            return {
                "controller": {
                    "extraVolumeTags": owner_tags(site, "volume"),
                    "k8sTagClusterId": base_name(site),
                }
            }
        case "network":
            # The network plug-in enforces the network policies; without this they would be words.
            return {"enableNetworkPolicy": "true"}
        case _:
            return {}


def suitable_versions(eks: AwsClient, name: str, kubernetes: str) -> list[str]:
    """Return the add-on's versions for a Kubernetes version, AWS's default first."""
    pages = eks.get_paginator("describe_addon_versions").paginate(addonName=name, kubernetesVersion=kubernetes)
    offered = [version for page in pages for add_on in page["addons"] for version in add_on["addonVersions"]]
    suitable = [version for version in offered if _compatibility(version, kubernetes) is not None]
    if not suitable:
        message = f"AWS offers no version of the add-on {name} for Kubernetes {kubernetes}"
        raise refused(FailureClass.CONFIG, message, resource=name)
    # The sort is stable: behind the default the order is AWS's own, the newest first.
    suitable.sort(key=lambda version: not (_compatibility(version, kubernetes) or {}).get("defaultVersion"))
    return [version["addonVersion"] for version in suitable]


def _compatibility(version: Mapping[str, Any], kubernetes: str) -> Mapping[str, Any] | None:
    for compatibility in version.get("compatibilities", ()):
        if compatibility["clusterVersion"] == kubernetes:
            found: Mapping[str, Any] = compatibility
            return found
    return None
