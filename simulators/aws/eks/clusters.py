"""EKS control planes."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Mapping, Sequence

from ministack.services import cloudwatch_logs, kms

from simulators.aws import fabric, identities
from simulators.aws.context import current_fault, report_no_effect
from simulators.aws.eks import versions
from simulators.aws.eks.access import Access
from simulators.aws.eks.records import ClusterRecord, Document, forbidden_now, in_use, invalid
from simulators.aws.eks.surroundings import Surroundings
from simulators.aws.eks.updates import Updates
from simulators.aws.instance_types import zones_of
from simulators.aws.refusals import Refusal
from simulators.aws.scope import Scope
from simulators.faults import Fault, FaultKind
from simulators.kubernetes.provider import CloudProvider

_NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")
_LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
_CONFIGURATION_UPDATES: Mapping[str, tuple[str, str]] = {
    "logging": ("LoggingUpdate", "ClusterLogging"),
    "deletionProtection": ("DeletionProtectionUpdate", "DeletionProtection"),
    "accessConfig": ("AccessConfigUpdate", "AuthenticationMode"),
    "upgradePolicy": ("UpgradePolicyUpdate", "UpgradePolicy"),
    "zonalShiftConfig": ("ZonalShiftConfigUpdate", "ZonalShiftConfig"),
}
"""Kind and parameter of the update, keyed by what UpdateClusterConfig is given; exactly one of them each time."""


_DAY = 86_400.0
_HEALTHY = frozenset({"ACTIVE", "CREATING", "UPDATING", "DELETING"})
_ADVICE = {
    "Kubelet version skew": "Update the node groups to the version of the control plane.",
    "Cluster health issues": "Let every add-on become healthy before the version changes.",
}
"""What is recommended where an insight is not passing; keyed by its name."""


class ControlPlanes:
    """The operations on clusters themselves."""

    def __init__(self, surroundings: Surroundings, updates: Updates, access: Access) -> None:
        self._has = surroundings
        self._updates = updates
        self._access = access
        self.provider: CloudProvider | None = None
        """What the clusters ask of the cloud; set once it exists, before the first call."""

    def create_cluster(self, here: Scope, parameters: Document) -> Document:
        """CreateCluster."""
        name = parameters["name"]
        if not _NAME.fullmatch(name):
            raise invalid(f"The cluster name '{name}' does not match {_NAME.pattern}", clusterName=name)
        if self._has.clusters.find(here, name) is not None:
            raise in_use(f"Cluster already exists with name: {name}", clusterName=name)
        self._has.quotas.require(
            here,
            "eks",
            "L-1194D53C",
            len(self._has.clusters.of(here)) + 1,
            lambda limit: Refusal(
                "ResourceLimitExceededException",
                f"You have reached your account's limit of {limit:.0f} clusters in {here.region}.",
                clusterName=name,
            ),
        )
        self._validate(here, parameters)
        network = self._validated_network(name, parameters["resourcesVpcConfig"])
        cluster = ClusterRecord(
            here,
            f"{name.lower()}-{secrets.token_hex(4)}",
            self._description(here, parameters, network),
            bootstraps_network=parameters.get("bootstrapSelfManagedAddons", True),
        )
        cluster.interfaces = [
            fabric.add_interface(subnet, f"Amazon EKS {name}", groups=_control_plane_groups(network))[
                "NetworkInterfaceId"
            ]
            for subnet in network["subnetIds"]
        ]
        self._has.clusters.add(cluster)
        if cluster.description["accessConfig"]["bootstrapClusterCreatorAdminPermissions"]:
            self._access.admit_creator(cluster)
        self._has.work.start(
            self._has.durations.cluster,
            lambda: self._become_active(cluster),
            lambda fault: _become_failed(cluster, fault),
        )
        return {"cluster": cluster.description}

    def _validated_network(self, name: str, network: Document) -> Document:
        """Return the network configuration with VPC and cluster security group, or refuse it."""
        subnets = network.get("subnetIds") or []
        for subnet in subnets:
            if fabric.subnet(subnet) is None:
                raise invalid(f"The subnet ID '{subnet}' does not exist", clusterName=name)
        if len({fabric.zone_of(subnet) for subnet in subnets}) < 2:
            raise invalid("Subnets specified must be in at least two different AZs", clusterName=name)
        vpcs = {fabric.vpc_of(subnet) for subnet in subnets}
        if len(vpcs) > 1:
            raise invalid("Subnets specified must belong to the same VPC", clusterName=name)
        for group in network.get("securityGroupIds") or []:
            record = fabric.security_group(group)
            if record is None or record["VpcId"] not in vpcs:
                raise invalid(f"The security group '{group}' does not exist in the VPC", clusterName=name)
        if not (network.get("endpointPublicAccess", True) or network.get("endpointPrivateAccess", False)):
            raise invalid("Private and public endpoint access cannot be false", clusterName=name)
        vpc = vpcs.pop()
        group = fabric.add_security_group(
            f"eks-cluster-sg-{name}-{secrets.randbelow(10**9)}",
            "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes,"
            " as well as any managed workloads.",
            vpc,
            {"Name": f"eks-cluster-sg-{name}", f"kubernetes.io/cluster/{name}": "owned", "aws:eks:cluster-name": name},
        )
        return {
            "subnetIds": subnets,
            "securityGroupIds": network.get("securityGroupIds") or [],
            "clusterSecurityGroupId": group,
            "vpcId": vpc,
            "endpointPublicAccess": network.get("endpointPublicAccess", True),
            "endpointPrivateAccess": network.get("endpointPrivateAccess", False),
            "publicAccessCidrs": network.get("publicAccessCidrs") or ["0.0.0.0/0"],
        }

    def _validate(self, here: Scope, parameters: Document) -> None:
        name = parameters["name"]
        version = parameters.get("version", versions.DEFAULT_VERSION)
        if version not in versions.KUBERNETES_VERSIONS:
            raise invalid(f"unsupported Kubernetes version {version}", clusterName=name)
        role = identities.role_of(parameters["roleArn"])
        arn = here.arn("eks", f"cluster/{name}")
        if role is None or not identities.service_may_assume(role, "eks.amazonaws.com", source_arn=arn):
            message = (
                f"Role with arn: {parameters['roleArn']}, could not be assumed because it does not exist"
                " or the trusted entity is not correct"
            )
            raise invalid(message, clusterName=name)
        # EKS looks at the network, and makes its own role where there is none yet, in the caller's name.
        for action in ("ec2:DescribeSubnets", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcs"):
            identities.require_caller(action, "*")
        identities.require_service_linked_role("eks.amazonaws.com")
        for encryption in parameters.get("encryptionConfig") or ():
            _validate_key(name, encryption)
        fault = current_fault.get()
        if fault is not None and fault.kind is FaultKind.CAPACITY:
            zones = list(zones_of(here.region))
            message = fault.message or f"Cannot create cluster '{name}' because a targeted zone has no capacity."
            raise Refusal("UnsupportedAvailabilityZoneException", message, 400, clusterName=name, validZones=zones)

    def _description(self, here: Scope, parameters: Document, network: Document) -> Document:
        name = parameters["name"]
        access = parameters.get("accessConfig") or {}
        issuer = f"https://oidc.eks.{here.region}.amazonaws.com/id/{secrets.token_hex(16).upper()}"
        cidr = (parameters.get("kubernetesNetworkConfig") or {}).get("serviceIpv4Cidr", "172.20.0.0/16")
        return {
            "name": name,
            "arn": here.arn("eks", f"cluster/{name}"),
            "createdAt": self._has.clock.time(),
            "version": parameters.get("version", versions.DEFAULT_VERSION),
            "roleArn": parameters["roleArn"],
            "resourcesVpcConfig": network,
            "kubernetesNetworkConfig": {"serviceIpv4Cidr": cidr, "ipFamily": "ipv4"},
            "logging": _logging(parameters.get("logging")),
            "identity": {"oidc": {"issuer": issuer}},
            "status": "CREATING",
            "certificateAuthority": {},
            "clientRequestToken": parameters.get("clientRequestToken"),
            "platformVersion": versions.PLATFORM_VERSION,
            "tags": dict(parameters.get("tags") or {}),
            "encryptionConfig": parameters.get("encryptionConfig") or [],
            "health": {"issues": []},
            "accessConfig": {
                "bootstrapClusterCreatorAdminPermissions": access.get("bootstrapClusterCreatorAdminPermissions", True),
                "authenticationMode": access.get("authenticationMode", "CONFIG_MAP"),
            },
            "upgradePolicy": parameters.get("upgradePolicy") or {"supportType": "EXTENDED"},
            "zonalShiftConfig": parameters.get("zonalShiftConfig") or {"enabled": False},
            "deletionProtection": parameters.get("deletionProtection", False),
        }

    def _become_active(self, cluster: ClusterRecord) -> None:
        assert self.provider is not None
        made = self._has.kubernetes.create_cluster(
            cluster.id,
            version=cluster.version,
            provider=self.provider,
            account=cluster.scope.account,
            region=cluster.scope.region,
        )
        authority = base64.b64encode(self._has.kubernetes.ca_pem).decode()
        cluster.description.update(status="ACTIVE", endpoint=made.url, certificateAuthority={"data": authority})
        _write_logs(cluster)

    def describe_cluster(self, here: Scope, parameters: Document) -> Document:
        """DescribeCluster."""
        return {"cluster": self._has.clusters.get(here, parameters["name"]).description}

    def list_clusters(self, here: Scope, _parameters: Document) -> Document:
        """ListClusters."""
        return {"clusters": sorted(cluster.name for cluster in self._has.clusters.of(here))}

    def delete_cluster(self, here: Scope, parameters: Document) -> Document:
        """DeleteCluster: refused while it is protected, changing, or has node groups."""
        cluster = self._has.clusters.get(here, parameters["name"])
        name = cluster.name
        if cluster.status in ("CREATING", "UPDATING", "DELETING"):
            raise in_use(f"Cluster has an operation in progress (status {cluster.status})", clusterName=name)
        # What never came up is not protected: its settings cannot be changed any more.
        if cluster.description["deletionProtection"] and cluster.status != "FAILED":
            message = f"Cluster {name} cannot be deleted because deletion protection is enabled."
            raise forbidden_now(message, clusterName=name)
        if cluster.node_groups:
            raise in_use("Cluster has nodegroups attached", clusterName=name)
        before = cluster.status
        cluster.description["status"] = "DELETING"
        self._has.work.start(
            self._has.durations.cluster_deletion,
            lambda: self.remove(cluster),
            lambda _fault: cluster.description.update(status=before),
        )
        return {"cluster": cluster.description}

    def remove(self, cluster: ClusterRecord) -> None:
        """Let a cluster be gone, with what EKS put into the network."""
        self._has.kubernetes.delete_cluster(cluster.id)
        fabric.remove_interfaces(cluster.interfaces)
        fabric.remove_security_group(cluster.description["resourcesVpcConfig"]["clusterSecurityGroupId"])
        self._has.clusters.remove(cluster)
        self._has.tokens.forget(cluster.description)

    def update_cluster_version(self, here: Scope, parameters: Document) -> Document:
        """UpdateClusterVersion: one minor forward, with nodes that will still be supported."""
        cluster = self._has.clusters.get(here, parameters["name"])
        cluster.require_active()
        target = parameters["version"]
        if target not in versions.KUBERNETES_VERSIONS or versions.distance(cluster.version, target) != 1:
            message = f"Unsupported Kubernetes minor version update from {cluster.version} to {target}"
            raise invalid(message, clusterName=cluster.name)
        for name, group in cluster.node_groups.items():
            if versions.distance(group.description["version"], cluster.version) > 0:
                message = (
                    f"Nodegroups {name} must be updated to match cluster version {cluster.version}"
                    " before updating cluster version"
                )
                raise invalid(message, clusterName=cluster.name, nodegroupName=name)

        def apply() -> None:
            cluster.description.update(version=target, status="ACTIVE")
            if (running := self._has.kubernetes.cluster(cluster.id)) is not None:
                running.version = target

        details = [("Version", target), ("PlatformVersion", versions.PLATFORM_VERSION)]
        return self._begin(cluster, "VersionUpdate", details, self._has.durations.cluster_version_update, apply)

    def update_cluster_config(self, here: Scope, parameters: Document) -> Document:
        """UpdateClusterConfig: one kind of setting at a time, and only a change is accepted."""
        cluster = self._has.clusters.get(here, parameters["name"])
        cluster.require_active()
        asked = [key for key in ("resourcesVpcConfig", *_CONFIGURATION_UPDATES) if parameters.get(key) is not None]
        if len(asked) != 1:
            message = "Exactly one type of configuration update must be requested at a time"
            raise invalid(message, clusterName=cluster.name)
        setting = asked[0]
        if setting == "resourcesVpcConfig":
            return self._update_network(cluster, parameters[setting])
        present, wanted = cluster.description[setting], parameters[setting]
        if setting == "logging":
            wanted = _logging(wanted, present)
        elif isinstance(present, dict):
            wanted = {**present, **wanted}
        if wanted == present:
            raise invalid("No changes needed for the cluster configuration provided", clusterName=cluster.name)
        kind, parameter = _CONFIGURATION_UPDATES[setting]

        def apply() -> None:
            cluster.description.update({setting: wanted, "status": "ACTIVE"})
            _write_logs(cluster)

        seconds = self._has.durations.cluster_configuration_update
        return self._begin(cluster, kind, [(parameter, wanted)], seconds, apply)

    def _update_network(self, cluster: ClusterRecord, wanted: Document) -> Document:
        present = cluster.description["resourcesVpcConfig"]
        changed = {**present, **wanted}
        if changed == present:
            raise invalid("Cluster is already at the desired configuration", clusterName=cluster.name)
        if not (changed["endpointPublicAccess"] or changed["endpointPrivateAccess"]):
            raise invalid("Private and public endpoint access cannot be false", clusterName=cluster.name)
        endpoint_settings = {"endpointPublicAccess", "endpointPrivateAccess", "publicAccessCidrs"}
        kind = "EndpointAccessUpdate" if wanted.keys() <= endpoint_settings else "VpcConfigUpdate"
        details = [(name[0].upper() + name[1:], value) for name, value in wanted.items()]

        def apply() -> None:
            cluster.description.update(resourcesVpcConfig=changed, status="ACTIVE")

        return self._begin(cluster, kind, details, self._has.durations.cluster_configuration_update, apply)

    def _begin(
        self,
        cluster: ClusterRecord,
        kind: str,
        details: Sequence[tuple[str, object]],
        seconds: float,
        apply: Callable[[], None],
    ) -> Document:
        cluster.description["status"] = "UPDATING"
        return self._updates.begin(
            cluster,
            kind,
            details,
            seconds,
            apply=apply,
            revert=lambda: cluster.description.update(status="ACTIVE"),
        )

    def describe_cluster_versions(self, _here: Scope, parameters: Document) -> Document:
        """DescribeClusterVersions."""
        wanted = parameters.get("clusterVersions") or versions.KUBERNETES_VERSIONS
        described = [versions.describe_version(version) for version in reversed(versions.KUBERNETES_VERSIONS)]
        only_default = str(parameters.get("defaultOnly", "")).lower() == "true"
        return {
            "clusterVersions": [
                entry
                for entry in described
                if entry["clusterVersion"] in wanted
                and (entry["defaultVersion"] or not only_default)
                and parameters.get("versionStatus") in (None, entry["versionStatus"])
                and parameters.get("status") in (None, entry["status"])
            ]
        }

    def list_insights(self, here: Scope, parameters: Document) -> Document:
        """ListInsights: what would stand in the way of the next Kubernetes version."""
        cluster = self._has.clusters.get(here, parameters["name"])
        wanted = parameters.get("filter") or {}
        return {
            "insights": [
                entry
                for entry in self._insights(cluster)
                if entry["category"] in (wanted.get("categories") or ["UPGRADE_READINESS"])
                and entry["kubernetesVersion"] in (wanted.get("kubernetesVersions") or [entry["kubernetesVersion"]])
                and entry["insightStatus"]["status"] in (wanted.get("statuses") or [entry["insightStatus"]["status"]])
            ]
        }

    def describe_insight(self, here: Scope, parameters: Document) -> Document:
        """DescribeInsight."""
        cluster = self._has.clusters.get(here, parameters["name"])
        for entry in self._insights(cluster):
            if entry["id"] == parameters["id"]:
                advice = "" if entry["insightStatus"]["status"] == "PASSING" else _ADVICE[entry["name"]]
                return {"insight": {**entry, "recommendation": advice, "additionalInfo": {}, "resources": []}}
        raise Refusal("ResourceNotFoundException", f"No insight found for id: {parameters['id']}.", 404)

    def _insights(self, cluster: ClusterRecord) -> list[Document]:
        newest = versions.KUBERNETES_VERSIONS[-1]
        position = versions.KUBERNETES_VERSIONS.index(cluster.version)
        following = versions.KUBERNETES_VERSIONS[position + 1] if cluster.version != newest else newest
        lagging = [
            name
            for name, group in cluster.node_groups.items()
            if versions.distance(group.description["version"], cluster.version) > 0
        ]
        made = cluster.description["createdAt"]
        # EKS looks once a day.
        refreshed = made + (self._has.clock.time() - made) // _DAY * _DAY
        unhealthy = [name for name, add_on in cluster.add_ons.items() if add_on["status"] not in _HEALTHY]

        def insight(number: int, name: str, problem: str = "", status: str = "ERROR") -> Document:
            return {
                "id": f"{cluster.id}-{number}",
                "name": name,
                "category": "UPGRADE_READINESS",
                "kubernetesVersion": following,
                "lastRefreshTime": refreshed,
                "lastTransitionTime": made,
                "description": name,
                "insightStatus": {"status": status if problem else "PASSING", "reason": problem or "No issue found."},
            }

        skew = f"Node groups behind the control plane: {', '.join(lagging)}" if lagging else ""
        ailing = f"Add-ons that are not healthy: {', '.join(unhealthy)}" if unhealthy else ""
        return [
            insight(1, f"Deprecated APIs removed in Kubernetes v{following}"),
            insight(2, "Kubelet version skew", skew),
            insight(3, "EKS add-on version compatibility"),
            insight(4, "Cluster health issues", ailing, "WARNING"),
        ]

    def tag_resource(self, here: Scope, parameters: Document) -> Document:
        """TagResource, for every kind of resource of EKS."""
        tags = self._tags_of(here, parameters["resourceArn"])
        before = dict(tags)
        tags.update(parameters.get("tags") or {})
        if tags == before:
            report_no_effect()
        return {}

    def untag_resource(self, here: Scope, parameters: Document) -> Document:
        """UntagResource."""
        tags = self._tags_of(here, parameters["resourceArn"])
        for key in parameters.get("tagKeys") or ():
            tags.pop(key, None)
        return {}

    def list_tags_for_resource(self, here: Scope, parameters: Document) -> Document:
        """ListTagsForResource."""
        return {"tags": self._tags_of(here, parameters["resourceArn"])}

    def _tags_of(self, here: Scope, arn: str) -> dict[str, str]:
        for found, tags in self.tagged(here):
            if found == arn:
                return tags
        raise Refusal("NotFoundException", f"Resource not found for arn: {arn}", 404)

    def tagged(self, here: Scope) -> list[tuple[str, dict[str, str]]]:
        """Return ARN and (live) tags of every resource of EKS in one account and region."""
        found: list[tuple[str, dict[str, str]]] = []
        for cluster in self._has.clusters.of(here):
            found.append((cluster.description["arn"], cluster.description["tags"]))
            groups = (group.description for group in cluster.node_groups.values())
            found += [(group["nodegroupArn"], group["tags"]) for group in groups]
            found += [(add_on["addonArn"], add_on["tags"]) for add_on in cluster.add_ons.values()]
            found += [(entry["accessEntryArn"], entry["tags"]) for entry in cluster.access_entries.values()]
            found += [(identity["associationArn"], identity["tags"]) for identity in cluster.pod_identities.values()]
        return found

    def forget(self) -> None:
        """Take every cluster away at once, in every account."""
        for cluster in self._has.clusters.all():
            self._has.kubernetes.delete_cluster(cluster.id)
        self._has.clusters.clear()
        self._has.tokens.clear()


def _become_failed(cluster: ClusterRecord, fault: Fault) -> None:
    message = fault.message or "An internal failure occurred while the control plane was being created."
    issue = {"code": fault.code or "InternalFailure", "message": message, "resourceIds": [cluster.name]}
    cluster.description.update(status="FAILED", health={"issues": [issue]})


def _control_plane_groups(network: Document) -> list[str]:
    return [network["clusterSecurityGroupId"], *network["securityGroupIds"]]


def _validate_key(cluster: str, encryption: Document) -> None:
    if encryption.get("resources") != ["secrets"]:
        raise invalid("The only resource that can be encrypted is 'secrets'", clusterName=cluster)
    arn = (encryption.get("provider") or {}).get("keyArn", "")
    key = kms._resolve_key(arn)
    if key is None or not arn.startswith("arn:"):
        raise invalid(f"Failed to retrieve key {arn}: the key does not exist", clusterName=cluster)
    for action in ("kms:DescribeKey", "kms:CreateGrant"):
        identities.require_caller(action, arn, {"kms:GrantIsForAWSResource": "true"})
    if key.get("KeyState") != "Enabled":
        raise invalid(f"The key {arn} is not enabled (state {key.get('KeyState')})", clusterName=cluster)


def _write_logs(cluster: ClusterRecord) -> None:
    """Let the control plane write its logs: without a log group of the right name it makes one, which stays behind."""
    name = f"/aws/eks/{cluster.name}/cluster"
    enabled = any(entry["enabled"] for entry in cluster.description["logging"]["clusterLogging"])
    if enabled and name not in cloudwatch_logs._log_groups:
        cloudwatch_logs._create_log_group({"logGroupName": name})


def _logging(asked: Document | None, present: Document | None = None) -> Document:
    """Return the complete logging configuration: each type is enabled or disabled, as asked or else as at present."""
    enabled = {
        log_type
        for entry in (present or {}).get("clusterLogging", ())
        if entry["enabled"]
        for log_type in entry["types"]
    }
    for entry in (asked or {}).get("clusterLogging") or ():
        types = set(entry.get("types") or ())
        if unknown := types - set(_LOG_TYPES):
            raise invalid(f"Unknown log types: {', '.join(sorted(unknown))}")
        enabled = enabled | types if entry.get("enabled") else enabled - types
    groups = [
        {"types": [log_type for log_type in _LOG_TYPES if (log_type in enabled) is state], "enabled": state}
        for state in (True, False)
    ]
    return {"clusterLogging": [group for group in groups if group["types"]]}
