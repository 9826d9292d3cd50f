"""How much of the account's quotas is in use, and what the limits are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from activities.aws.connection import AwsClient
from activities.aws.ec2 import (
    ADDRESS,
    INTERNET_GATEWAY,
    NAT_GATEWAY,
    SUBNET,
    VPC,
    DeploymentEc2,
    Description,
    Kind,
    state_of,
    tags_of,
)
from activities.aws.existence import if_exists
from domain.catalogue import Quota, QuotaUnit
from domain.naming import TAG_DEPLOYMENT, base_name

_GIB_OF_A_TIB = 1024

_STANDARD_FAMILIES = frozenset("acdhimrtz")
"""First letters of the instance families that count against "Running On-Demand Standard instances" (EC2 user guide)."""

STANDARD_VCPUS = "L-1216C47A"
"""Code of that quota."""

_CLUSTER_OF_A_NODE = "eks:cluster-name"
"""Tag that EKS puts on the instances of a managed node group."""

INSTANCE = Kind("describe_instances", "Reservations", "InstanceId", "instance")
VOLUME = Kind("describe_volumes", "Volumes", "VolumeId", "volume")


@dataclass(frozen=True)
class UsedByOthers:
    """What everything in the account and region but this deployment uses: ours is counted as part of the need."""

    ec2: DeploymentEc2
    eks: AwsClient

    def of(self, quota: Quota) -> int:
        """Return the use of `quota`, in its unit.

        Raises:
            LookupError: it is not known how the use of this quota is counted.
        """
        counts: Mapping[str, Callable[[], int]] = {
            "L-1194D53C": self._clusters,
            # Counted for each cluster; this deployment's has node groups of its own alone.
            "L-6D54EA21": lambda: 0,
            STANDARD_VCPUS: self._standard_vcpus,
            "L-0263D0A3": lambda: len(self._others(ADDRESS)),
            "L-F678F1CE": lambda: len(self._others(VPC)),
            "L-A4707A72": lambda: len(self._others(INTERNET_GATEWAY)),
            "L-FE5A380F": self._nat_gateways_of_the_fullest_zone,
            "L-7A658B76": lambda: sum(
                volume["Size"] for volume in self._others(VOLUME) if volume.get("VolumeType") == "gp3"
            ),
        }
        return counts[quota.code]()

    def _others(self, kind: Kind) -> list[Description]:
        return [each for each in self.ec2.matching(kind, {}) if not self._is_ours(each)]

    def _is_ours(self, description: Description) -> bool:
        tags = tags_of(description)
        site = self.ec2.site
        return tags.get(TAG_DEPLOYMENT) == site.deployment or tags.get(_CLUSTER_OF_A_NODE) == base_name(site)

    def _clusters(self) -> int:
        pages = self.eks.get_paginator("list_clusters").paginate()
        return sum(name != base_name(self.ec2.site) for page in pages for name in page["clusters"])

    def _standard_vcpus(self) -> int:
        return sum(vcpus_of(instance) for instance in standard_machines(self.ec2) if not self._is_ours(instance))

    def _nat_gateways_of_the_fullest_zone(self) -> int:
        alive = [each for each in self._others(NAT_GATEWAY) if state_of(each) in ("pending", "available")]
        zones = {subnet["SubnetId"]: subnet["AvailabilityZone"] for subnet in self.ec2.matching(SUBNET, {})}
        by_zone = Counter(zones.get(each["SubnetId"], "") for each in alive)
        return max(by_zone.values(), default=0)


def standard_machines(ec2: DeploymentEc2) -> list[Description]:
    """Return the machines of everybody that count against "Running On-Demand Standard instances"."""
    instances = [instance for reservation in ec2.matching(INSTANCE, {}) for instance in reservation["Instances"]]
    return [
        instance
        for instance in instances
        if instance["State"]["Name"] in ("pending", "running")
        and instance["InstanceType"][0] in _STANDARD_FAMILIES
        and instance.get("InstanceLifecycle") != "spot"
    ]


def vcpus_of(instance: Description) -> int:
    """Return the virtual processors of a machine."""
    options = instance["CpuOptions"]
    return int(options["CoreCount"]) * int(options["ThreadsPerCore"])


def limit_of(service_quotas: AwsClient, quota: Quota) -> int:
    """Return the account's limit in the quota's unit: the applied value, or AWS's default where none was applied."""
    names = {"ServiceCode": quota.service, "QuotaCode": quota.code}
    applied = if_exists(service_quotas.get_service_quota, **names)
    reply = applied or service_quotas.get_aws_default_service_quota(**names)
    value = float(reply["Quota"]["Value"])
    return int(value * _GIB_OF_A_TIB) if quota.unit is QuotaUnit.VOLUME_GIB else int(value)
