"""Looking before anything is made: permissions, quotas, zones and machine types, address ranges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network

from temporalio import activity

import catalog
from activities.access_report import access_report, require_everything
from activities.aws.connection import AwsClient, AwsConnections
from activities.aws.ec2 import SUBNET, VPC, DeploymentEc2, Description, Ec2Part
from activities.aws.errors import failures_named
from activities.aws.quotas import UsedByOthers, limit_of
from activities.aws.settings import AwsSettings
from activities.aws.verification import SIMULATE, checked_actions, missing_permissions, withheld_roles
from activities.contracts import AddressQuestion, CapacityQuestion, PreflightContract
from activities.failures import refused
from activities.needs import Need, needs
from activities.placement import MachineFamilies, place, pools_of
from domain.account import AccessReport, access_to
from domain.addresses import AddressesUnusableError, first_overlap, plan_subnets
from domain.clouds import Cloud, Purpose
from domain.deployment import ExistingNetwork, Site
from domain.facts import AddressPlan, Placement
from domain.failure import FailureClass
from domain.sizing import quota_needs

_ZONES_WITHOUT_EKS = frozenset({"use1-az3", "usw1-az2", "cac1-az3"})
"""Zone ids in which EKS places no control plane (EKS user guide, "VPC and subnet considerations")."""

_FAMILIES = MachineFamilies(
    names={
        2: ("c7i.*", "c6i.*", "c7a.*", "c6a.*", "c5.*"),
        4: ("m7i.*", "m6i.*", "m7a.*", "m6a.*", "m5.*"),
        8: ("r7i.*", "r6i.*", "r7a.*", "r6a.*", "r5.*"),
    },
    sizes={
        2: "large",
        4: "xlarge",
        8: "2xlarge",
        16: "4xlarge",
        32: "8xlarge",
        48: "12xlarge",
        64: "16xlarge",
        96: "24xlarge",
    },
)

machine_types = _FAMILIES.machine_types
"""Return the machine types that have at least a size, the preferred one first."""


def vcpus_of_type(instance_type: str) -> int:
    """Return the virtual processors of a machine type that `machine_types` can return."""
    size = instance_type.partition(".")[2]
    return next(count for count, name in _FAMILIES.sizes.items() if name == size)


class AwsPreflight(Ec2Part, PreflightContract):
    """Looks, and changes nothing."""

    def __init__(
        self, settings: AwsSettings, connections: AwsConnections, declared_needs: Callable[[], tuple[Need, ...]]
    ) -> None:
        """Take the needs of all AWS activities, which include these: so they are asked for when they are wanted."""
        super().__init__(settings, connections)
        self._declared_needs = declared_needs

    @activity.defn(no_thread_cancel_exception=True)
    @needs(SIMULATE, purpose=Purpose.OBSERVE, why="Verify that everything is granted")
    def check_permissions(self, site: Site) -> AccessReport:
        """Everything that the activities declare is permitted in the deployment's region.

        Raises:
            PERMISSION: something is not; the first missing action is named, and how many more there are.
            AUTH: the role that makes deployments is withheld. Without the one that deletes they can be made.
        """
        with failures_named():
            self._connections.try_to_assume(site, Purpose.OPERATE)
            withheld = withheld_roles(self._connections, site)
            principal = self._connections.client("sts", site, Purpose.OBSERVE).get_caller_identity()["Arn"]
            iam = self._connections.client("iam", site, Purpose.OBSERVE)
            declared = self._declared_needs()
            missing = missing_permissions(iam, access_to(site), (site.region,), declared, withheld=withheld)
        require_everything(missing, "role")
        return access_report(principal, checked=checked_actions(declared, withheld), withheld=withheld)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "ec2:DescribeAddresses", "ec2:DescribeInstances", "ec2:DescribeInternetGateways", "ec2:DescribeNatGateways",
        "ec2:DescribeSubnets", "ec2:DescribeVolumes", "ec2:DescribeVpcs", "eks:ListClusters",
        "servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota",
        purpose=Purpose.OBSERVE, why="Compare the deployment's needs with quotas and their use",
    )  # fmt: skip
    def check_quotas(self, question: CapacityQuestion) -> None:
        """Each quota has room for the deployment scaled to its maximum, beside what others use.

        Raises:
            QUOTA: some have not; each is named with need, use and limit.
        """
        site = question.site
        with failures_named():
            quotas = self._connections.client("service-quotas", site, Purpose.OBSERVE)
            used = UsedByOthers(
                self._ec2(site, Purpose.OBSERVE), self._connections.client("eks", site, Purpose.OBSERVE)
            )
            offer = catalog.load().clouds[Cloud.AWS]
            exceeded = []
            for need in quota_needs(
                offer.quotas,
                question.shape,
                high_availability=question.high_availability,
                our_network=question.network.existing is None,
            ):
                quota = need.quota
                in_use, limit = used.of(quota), limit_of(quotas, quota)
                if in_use + need.needed > limit:
                    text = (
                        f"{quota.name} ({quota.service} {quota.code}): needs {need.needed}, {in_use} of {limit} in use"
                    )
                    exceeded.append((quota.code, text))
        if exceeded:
            message = f"Quotas in {site.region} are too small: {'; '.join(text for _, text in exceeded)}"
            raise refused(FailureClass.QUOTA, message, quota=exceeded[0][0])

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "ec2:DescribeAvailabilityZones", "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeSubnets",
        purpose=Purpose.OBSERVE, why="Choose zones and machine types",
    )  # fmt: skip
    def choose_placement(self, question: CapacityQuestion) -> Placement:
        """Three zones (two, where there are no three) and for each pool a machine type that all of them offer.

        A network that exists already, the customer's or ours, decides the zones, so that a repeat answers the same.

        Raises:
            CONFIG: no two zones of the region (or of the customer's network) offer what the shape needs.
        """
        site = question.site
        with failures_named():
            ec2 = self._ec2(site, Purpose.OBSERVE)
            zones = _usable_zones(ec2.client)
            settled = _zones_of(_existing_subnets(ec2, question.network.existing))
            offers = _offers_by_type(ec2.client)
        candidates = [zone for zone in zones if zone in settled] if settled else zones
        return place(pools_of(question), candidates, offers, machine_types, region=site.region)

    @activity.defn(no_thread_cancel_exception=True)
    @needs("ec2:DescribeSubnets", "ec2:DescribeVpcs", purpose=Purpose.OBSERVE, why="Find free address ranges")
    def plan_addresses(self, question: AddressQuestion) -> AddressPlan:
        """Ranges for a private and a public subnet in each zone, or those of the customer's own subnets.

        Raises:
            CONFIG: the range is unusable, or a network in the region has some of its addresses already.
        """
        site, existing = question.site, question.network.existing
        with failures_named():
            ec2 = self._ec2(site, Purpose.OBSERVE)
            if existing is not None:
                return _plan_of_existing(ec2, existing)
            others = [each for each in ec2.matching(VPC, {}) if not ec2.is_ours(each)]
        try:
            plan = plan_subnets(question.network.cidr, len(question.placement.zones))
        except AddressesUnusableError as error:
            raise refused(FailureClass.CONFIG, f"network.cidr: {error}", resource=str(question.network.cidr)) from error
        for other in others:
            if overlap := first_overlap(question.network.cidr, _ranges(other)):
                message = (
                    f"network.cidr: {question.network.cidr} overlaps {overlap} of {other['VpcId']} in {site.region};"
                    " networks that overlap can never be connected"
                )
                raise refused(FailureClass.CONFIG, message, resource=other["VpcId"])
        return plan


def _usable_zones(client: AwsClient) -> list[str]:
    """Return the names of the region's zones in which EKS works, in order."""
    zones = client.describe_availability_zones()["AvailabilityZones"]
    return sorted(
        zone["ZoneName"]
        for zone in zones
        if zone["State"] == "available"
        # Local and wavelength zones have to be opted into, and EKS puts no control plane there.
        and zone.get("ZoneType", "availability-zone") == "availability-zone"
        and zone.get("ZoneId") not in _ZONES_WITHOUT_EKS
    )


def _offers_by_type(client: AwsClient) -> dict[str, set[str]]:
    """Return in which zones each machine type that we may choose is offered, keyed by machine type."""
    families = [family for names in _FAMILIES.names.values() for family in names]
    pages = client.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": families}]
    )
    offers: dict[str, set[str]] = defaultdict(set)
    for page in pages:
        for offer in page["InstanceTypeOfferings"]:
            offers[offer["InstanceType"]].add(offer["Location"])
    return offers


def _existing_subnets(ec2: DeploymentEc2, existing: ExistingNetwork | None) -> list[Description]:
    if existing is None:
        return ec2.ours(SUBNET)
    subnets = ec2.matching(SUBNET, {"vpc-id": existing.network_id})
    return [subnet for subnet in subnets if subnet["SubnetId"] in existing.private_subnet_ids]


def _zones_of(subnets: Iterable[Description]) -> set[str]:
    return {str(subnet["AvailabilityZone"]) for subnet in subnets}


def _plan_of_existing(ec2: DeploymentEc2, existing: ExistingNetwork) -> AddressPlan:
    network = next(iter(ec2.matching(VPC, {"vpc-id": existing.network_id})), None)
    ranges = {
        str(subnet["SubnetId"]): str(subnet["CidrBlock"])
        for subnet in ec2.matching(SUBNET, {"vpc-id": existing.network_id})
    }
    missing = [subnet for subnet in (*existing.private_subnet_ids, *existing.public_subnet_ids) if subnet not in ranges]
    if network is None or missing:
        absent = ", ".join(missing) if network is not None else existing.network_id
        message = f"network.existing: {absent} does not exist in {ec2.site.region}"
        raise refused(FailureClass.CONFIG, message, resource=existing.network_id)
    return AddressPlan(
        cidr=str(network["CidrBlock"]),
        private_cidrs=tuple(ranges[subnet] for subnet in existing.private_subnet_ids),
        public_cidrs=tuple(ranges[subnet] for subnet in existing.public_subnet_ids),
    )


def _ranges(network: Description) -> list[IPv4Network]:
    associated = [block["CidrBlock"] for block in network.get("CidrBlockAssociationSet", ())]
    return [IPv4Network(block) for block in {network["CidrBlock"], *associated}]
