"""EKS add-ons. Their pods are not simulated; whether they could run is."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from simulators.aws.context import current_fault
from simulators.aws.eks import versions
from simulators.aws.eks.pod_identity import PodIdentities
from simulators.aws.eks.records import ClusterRecord, Document, forbidden_now, in_use, invalid, not_found
from simulators.aws.eks.surroundings import Surroundings
from simulators.aws.eks.updates import Updates
from simulators.aws.eks.versions import ADD_ONS, AddOnRelease
from simulators.aws.scope import Scope
from simulators.faults import Fault

_SCHEMA = {
    "$schema": "http://json-schema.org/draft-06/schema#",
    "type": "object",
    "additionalProperties": True,
}
"""What every add-on accepts: the simulator does not interpret configuration."""


class AddOns:
    """The operations on add-ons."""

    def __init__(self, surroundings: Surroundings, updates: Updates, identities: PodIdentities) -> None:
        self._has = surroundings
        self._updates = updates
        self._identities = identities

    def create_addon(self, here: Scope, parameters: Document) -> Document:
        """CreateAddon. One whose pods need machines ends DEGRADED as long as there are none."""
        cluster = self._has.clusters.get(here, parameters["name"])
        name = parameters["addonName"]
        where = {"clusterName": cluster.name, "addonName": name}
        if cluster.status not in ("ACTIVE", "UPDATING"):
            raise forbidden_now(f"Cluster '{cluster.name}' is not in ACTIVE status", **where)
        if name in cluster.add_ons:
            raise in_use("Addon already exists.", **where)
        release = ADD_ONS.get(name)
        if release is None:
            raise invalid("Addon specified is not supported in this cluster's Kubernetes version", **where)
        version = self._validated_version(cluster, release, parameters.get("addonVersion"))
        _validate_configuration(parameters.get("configurationValues"), where)
        now = self._has.clock.time()
        add_on: Document = {
            "addonName": name,
            "clusterName": cluster.name,
            "status": "CREATING",
            "addonVersion": version,
            "health": {"issues": []},
            "addonArn": here.arn("eks", f"addon/{cluster.name}/{name}/{uuid4()}"),
            "createdAt": now,
            "modifiedAt": now,
            "serviceAccountRoleArn": parameters.get("serviceAccountRoleArn"),
            "tags": dict(parameters.get("tags") or {}),
            "configurationValues": parameters.get("configurationValues"),
            "podIdentityAssociations": self._associate(here, cluster, release, parameters),
        }
        cluster.add_ons[name] = add_on

        def fail(fault: Fault) -> None:
            message = fault.message or "The add-on's resources could not be applied to the cluster"
            issue = {"code": fault.code or "InternalFailure", "message": message, "resourceIds": []}
            add_on.update(status="CREATE_FAILED", health={"issues": [issue]})

        self._has.work.start(self._has.durations.add_on, lambda: self._become_healthy(cluster, add_on), fail)
        return {"addon": add_on}

    def _become_healthy(self, cluster: ClusterRecord, add_on: Document) -> None:
        """Let the add-on be ACTIVE, or DEGRADED until its pods find machines."""
        has_nodes = any(group.instances for group in cluster.node_groups.values())
        if ADD_ONS[add_on["addonName"]].needs_nodes and not has_nodes:
            message = "The add-on is unhealthy because it doesn't have the desired number of replicas."
            issue = {"code": "InsufficientNumberOfReplicas", "message": message, "resourceIds": []}
            add_on.update(status="DEGRADED", health={"issues": [issue]})
        else:
            add_on.update(status="ACTIVE", health={"issues": []})

    def _associate(self, here: Scope, cluster: ClusterRecord, release: AddOnRelease, parameters: Document) -> list[str]:
        """Make the pod identity associations that belong to the add-on, and return their ARNs."""
        return [
            self._identities.associate(
                here,
                cluster,
                namespace=release.namespace,
                service_account=wanted["serviceAccount"],
                role_arn=wanted["roleArn"],
                tags={},
                owner=f"addon/{release.name}",
            )["associationArn"]
            for wanted in parameters.get("podIdentityAssociations") or ()
        ]

    def _validated_version(self, cluster: ClusterRecord, release: AddOnRelease, version: str | None) -> str:
        offered = release.versions_for(cluster.version)
        if version is not None and version not in offered:
            message = f"Addon version specified is not supported (supported: {', '.join(offered)})"
            raise invalid(message, clusterName=cluster.name, addonName=release.name)
        return version or release.default_for(cluster.version)

    def describe_addon(self, here: Scope, parameters: Document) -> Document:
        """DescribeAddon; a degraded one recovers as soon as there are machines."""
        cluster, add_on = self._add_on(here, parameters)
        if add_on["status"] == "DEGRADED":
            self._become_healthy(cluster, add_on)
        return {"addon": add_on}

    def list_addons(self, here: Scope, parameters: Document) -> Document:
        """ListAddons."""
        return {"addons": sorted(self._has.clusters.get(here, parameters["name"]).add_ons)}

    def delete_addon(self, here: Scope, parameters: Document) -> Document:
        """DeleteAddon, with the pod identity associations that belong to it."""
        cluster, add_on = self._add_on(here, parameters)
        self._require_idle(cluster, add_on)
        add_on["status"] = "DELETING"

        def finish() -> None:
            cluster.add_ons.pop(add_on["addonName"], None)
            for id_, association in list(cluster.pod_identities.items()):
                if association["associationArn"] in add_on["podIdentityAssociations"]:
                    del cluster.pod_identities[id_]
            self._has.tokens.forget(add_on)

        def fail(_fault: Fault) -> None:
            add_on["status"] = "DELETE_FAILED"

        self._has.work.start(self._has.durations.add_on_deletion, finish, fail)
        return {"addon": add_on}

    def update_addon(self, here: Scope, parameters: Document) -> Document:
        """UpdateAddon: version, configuration, roles."""
        cluster, add_on = self._add_on(here, parameters)
        self._require_idle(cluster, add_on)
        name = add_on["addonName"]
        _validate_configuration(parameters.get("configurationValues"), {"clusterName": cluster.name, "addonName": name})
        changes: dict[str, Any] = {
            key: parameters[key] for key in ("configurationValues", "serviceAccountRoleArn") if key in parameters
        }
        # One that stays need not be on offer for what the cluster has become since.
        asked = parameters.get("addonVersion")
        changes["addonVersion"] = (
            self._validated_version(cluster, ADD_ONS[name], asked) if asked else add_on["addonVersion"]
        )
        if "podIdentityAssociations" in parameters:
            for id_, association in list(cluster.pod_identities.items()):
                if association["associationArn"] in add_on["podIdentityAssociations"]:
                    del cluster.pod_identities[id_]
            changes["podIdentityAssociations"] = self._associate(here, cluster, ADD_ONS[name], parameters)
        add_on["status"] = "UPDATING"

        def apply() -> None:
            add_on.update(changes, modifiedAt=self._has.clock.time())
            self._become_healthy(cluster, add_on)

        details = [(key[0].upper() + key[1:], value) for key, value in changes.items()]
        return self._updates.begin(
            cluster,
            "AddonUpdate",
            details,
            self._has.durations.add_on,
            apply=apply,
            revert=lambda: add_on.update(status="UPDATE_FAILED" if current_fault.get() else "ACTIVE"),
            add_on=name,
        )

    def describe_addon_versions(self, _here: Scope, parameters: Document) -> Document:
        """DescribeAddonVersions: per add-on its versions, the newest first, with the Kubernetes versions they suit."""
        wanted = parameters.get("addonName")
        if wanted is not None and wanted not in ADD_ONS:
            raise not_found(f"Addon {wanted} not found", addonName=wanted)
        asked = parameters.get("kubernetesVersion")
        kubernetes = [asked] if asked else list(versions.KUBERNETES_VERSIONS)
        return {
            "addons": [_offer(release, kubernetes) for release in ADD_ONS.values() if wanted in (None, release.name)]
        }

    def describe_addon_configuration(self, _here: Scope, parameters: Document) -> Document:
        """DescribeAddonConfiguration."""
        release = ADD_ONS.get(parameters["addonName"])
        if release is None:
            raise not_found(f"Addon {parameters['addonName']} not found", addonName=parameters["addonName"])
        recommended = {
            "serviceAccount": release.service_account,
            "recommendedManagedPolicies": release.managed_policies,
        }
        return {
            "addonName": release.name,
            "addonVersion": parameters["addonVersion"],
            "configurationSchema": json.dumps(_SCHEMA),
            "podIdentityConfiguration": [recommended] if release.service_account else [],
        }

    def _add_on(self, here: Scope, parameters: Document) -> tuple[ClusterRecord, Document]:
        cluster = self._has.clusters.get(here, parameters["name"])
        name = parameters["addonName"]
        if name not in cluster.add_ons:
            raise not_found(
                f"No addon: {name} found in cluster: {cluster.name}", clusterName=cluster.name, addonName=name
            )
        return cluster, cluster.add_ons[name]

    def _require_idle(self, cluster: ClusterRecord, add_on: Document) -> None:
        if add_on["status"] in ("CREATING", "UPDATING", "DELETING"):
            message = f"Addon cannot be changed as it is currently in {add_on['status']} state"
            raise in_use(message, clusterName=cluster.name, addonName=add_on["addonName"])


def _offer(release: AddOnRelease, kubernetes: list[str]) -> Document:
    offered: dict[str, list[Document]] = {}
    for version in kubernetes:
        default = release.default_for(version)
        for add_on_version in release.versions_for(version):
            suits = {"clusterVersion": version, "platformVersions": ["*"], "defaultVersion": add_on_version == default}
            offered.setdefault(add_on_version, []).append(suits)
    return {
        "addonName": release.name,
        "type": release.kind,
        "publisher": "eks",
        "owner": "aws",
        "defaultNamespace": release.namespace,
        "addonVersions": [
            {
                "addonVersion": version,
                "architecture": ["amd64", "arm64"],
                "computeTypes": ["ec2"],
                "compatibilities": suits,
                "requiresConfiguration": False,
                "requiresIamPermissions": bool(release.service_account),
            }
            for version, suits in offered.items()
        ],
    }


def _validate_configuration(values: str | None, where: dict[str, str]) -> None:
    if not values:
        return
    try:
        json.loads(values)
    except ValueError:
        # The real service takes YAML too; a plain scalar is neither.
        if ":" not in values:
            raise invalid("ConfigurationValue provided in request is not supported", **where) from None
