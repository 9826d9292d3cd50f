"""Zones and machine types."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

from ministack.services import ec2

from simulators.aws import scope
from simulators.aws.ec2.listing import Document, Guard, Listing, Operation
from simulators.aws.instance_types import INSTANCE_TYPES, InstanceType, offered_in, zones_of
from simulators.aws.refusals import Refusal


class Offerings:
    """What a region has to offer."""

    def operations(self) -> dict[str, Operation]:
        """Return the operations, keyed by name."""
        return {
            "DescribeAvailabilityZones": _ZONES.describe,
            "DescribeInstanceTypes": _describe_types,
            "DescribeInstanceTypeOfferings": _describe_offerings,
        }

    def guards(self) -> dict[str, Guard]:
        """Nothing is guarded here."""
        return {}


def _zones() -> list[Document]:
    region = scope.current().region
    return [
        {
            "ZoneName": zone,
            "ZoneId": ec2._az_id_for_zone_name(zone),
            "State": "available",
            "RegionName": region,
            "GroupName": f"{region}-zg-1",
            "NetworkBorderGroup": region,
            "OptInStatus": "opt-in-not-required",
            "ZoneType": "availability-zone",
        }
        for zone in zones_of(region)
    ]


_ZONES = Listing(
    "AvailabilityZones", "ZoneName", "ZoneNames", "InvalidParameterValue", "availability zone", _zones,
    filters={"zone-name": "ZoneName", "zone-id": "ZoneId", "state": "State", "region-name": "RegionName",
             "group-name": "GroupName", "opt-in-status": "OptInStatus", "zone-type": "ZoneType"},
)  # fmt: skip


def _described(type_: InstanceType) -> Document:
    burstable = type_.family.startswith("t")
    return {
        "InstanceType": type_.name,
        "CurrentGeneration": True,
        "FreeTierEligible": False,
        "SupportedUsageClasses": ["on-demand", "spot"],
        "SupportedRootDeviceTypes": ["ebs"],
        "SupportedVirtualizationTypes": ["hvm"],
        "BareMetal": False,
        "Hypervisor": "nitro",
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"], "SustainedClockSpeedInGhz": 3.5},
        "VCpuInfo": {"DefaultVCpus": type_.cpu, "DefaultCores": type_.cpu // 2, "DefaultThreadsPerCore": 2},
        "MemoryInfo": {"SizeInMiB": type_.memory_mib},
        "InstanceStorageSupported": False,
        "EbsInfo": {"EbsOptimizedSupport": "default", "EncryptionSupport": "supported", "NvmeSupport": "required"},
        "NetworkInfo": {
            "NetworkPerformance": "Up to 12.5 Gigabit",
            "MaximumNetworkInterfaces": 4,
            "Ipv4AddressesPerInterface": 15,
            "Ipv6Supported": True,
            "EnaSupport": "required",
        },
        "PlacementGroupInfo": {"SupportedStrategies": ["cluster", "partition", "spread"]},
        "HibernationSupported": False,
        "BurstablePerformanceSupported": burstable,
        "DedicatedHostsSupported": not burstable,
        "AutoRecoverySupported": True,
        "SupportedBootModes": ["legacy-bios", "uefi"],
    }


_TYPES = Listing(
    "InstanceTypes", "InstanceType", "InstanceTypes", "InvalidInstanceType", "instance type",
    lambda: [_described(type_) for type_ in INSTANCE_TYPES.values()],
    filters={"instance-type": "InstanceType", "current-generation": "CurrentGeneration", "bare-metal": "BareMetal",
             "processor-info.supported-architecture": "ProcessorInfo.SupportedArchitectures",
             "vcpu-info.default-vcpus": "VCpuInfo.DefaultVCpus", "memory-info.size-in-mib": "MemoryInfo.SizeInMiB",
             "burstable-performance-supported": "BurstablePerformanceSupported", "hypervisor": "Hypervisor",
             "supported-usage-class": "SupportedUsageClasses"},
)  # fmt: skip


def _describe_types(parameters: Document) -> Document:
    """DescribeInstanceTypes."""
    unknown = [name for name in parameters.get("InstanceTypes") or () if name not in INSTANCE_TYPES]
    if unknown:
        raise Refusal(
            "InvalidInstanceType", f"The following supplied instance types do not exist: [{', '.join(unknown)}]"
        )
    return _TYPES.describe(parameters)


def _describe_offerings(parameters: Document) -> Document:
    """DescribeInstanceTypeOfferings: by region, or by zone."""
    kind, region = parameters.get("LocationType", "region"), scope.current().region
    places: dict[str, list[str]]
    match kind:
        case "region":
            places = {region: list(zones_of(region))}
        case "availability-zone":
            places = {zone: [zone] for zone in zones_of(region)}
        case "availability-zone-id":
            places = {ec2._az_id_for_zone_name(zone): [zone] for zone in zones_of(region)}
        case _:
            raise Refusal("InvalidParameterValue", f"Value ({kind}) for parameter locationType is invalid.")
    offerings = [
        {"InstanceType": type_, "LocationType": kind, "Location": place, "Key": f"{place}/{type_}"}
        for place, zones in places.items()
        for type_ in sorted(set().union(*(offered_in(zone) for zone in zones)))
    ]
    listing = Listing(
        "InstanceTypeOfferings", "Key", "Keys", "InvalidParameterValue", "offering", lambda: offerings,
        filters={"instance-type": "InstanceType", "location": "Location"},
    )  # fmt: skip
    return listing.describe(parameters)
