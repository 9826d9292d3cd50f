"""Which address ranges a network's subnets have: pure arithmetic on IPv4 networks."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

from domain.clouds import Cloud
from domain.facts import AddressPlan

LARGEST = 16
"""Prefix length of the largest network that clouds make (an AWS VPC)."""
SMALLEST = 20
"""Prefix length of the smallest network: its public subnets are /28, the smallest subnet that clouds make."""

_PRIVATE_BITS = 3
"""A private subnet is an eighth of the network: pods have addresses of their own, so nodes' subnets must be large."""
_PUBLIC_BITS = 8
"""A public subnet is a 256th of the network: only load balancers and gateways live there."""

_PROXIES = 24
"""Prefix length of a regional load balancer's proxies: 64 addresses are the least, and 256 need never be widened."""

REGIONAL = frozenset({Cloud.GCP, Cloud.AZURE})
"""Clouds in which one subnet spans all zones of a region."""
SECONDARY_RANGES = frozenset({Cloud.GCP})
"""Those of them in which that subnet has ranges of its own for pods and services."""

_OVERLAYS = tuple(
    IPv4Network(each) for each in ("10.244.0.0/16", "10.245.0.0/16", "172.20.0.0/16", "172.21.0.0/16", "100.64.0.0/16")
)
"""Ranges for pods and services that no network has to know, the preferred ones first. AKS keeps 172.30.0.0/15 and
169.254.0.0/16 for itself (AKS, "Azure CNI Overlay")."""


class AddressesUnusableError(ValueError):
    """The range cannot be divided as a deployment needs it; the message says why."""


def plan_ranges(cloud: Cloud, cidr: IPv4Network, zones: int) -> AddressPlan:
    """Return the ranges of a network that we make in a cloud, over this number of zones.

    Raises:
        AddressesUnusableError: the range is too large, too small or not private.
    """
    if cloud in SECONDARY_RANGES:
        return plan_regional_subnets(cidr)
    return plan_overlaid_subnets(cidr) if cloud in REGIONAL else plan_subnets(cidr, zones)


def plan_subnets(cidr: IPv4Network, zones: int) -> AddressPlan:
    """Return one private and one public range for each of `zones` (2 or 3) zones, none of which overlap.

    The first eighths are private, the last eighth holds the public ranges; the eighths between stay free, for the pools
    of a later generation. A /16 gives private /19 and public /24; a /20 gives private /23 and public /28.

    Raises:
        AddressesUnusableError: the range is too large, too small or not private.
    """
    _require_usable(cidr)
    eighths = list(cidr.subnets(prefixlen_diff=_PRIVATE_BITS))
    public = eighths[-1].subnets(prefixlen_diff=_PUBLIC_BITS - _PRIVATE_BITS)
    return AddressPlan(
        cidr=str(cidr),
        private_cidrs=tuple(str(subnet) for subnet in eighths[:zones]),
        public_cidrs=tuple(str(subnet) for subnet, _ in zip(public, range(zones), strict=False)),
    )


def plan_regional_subnets(cidr: IPv4Network) -> AddressPlan:
    """Return the ranges of subnets that span all zones of a region, none of which overlap; all lie in `cidr`.

    The second half is the pods', since every node takes a block of it. Of the first half, the first quarter (an eighth
    of the network) is the nodes', the second the services'; the third begins with the proxies' /24, and the rest stays
    free. A /16 gives pods /17, nodes and services /19; a /20 gives pods /21, nodes and services /23.

    Raises:
        AddressesUnusableError: the range is too large, too small or not private.
    """
    _require_usable(cidr)
    nodes, services, third, *_ = cidr.subnets(prefixlen_diff=3)
    _, pods = cidr.subnets()
    return AddressPlan(
        cidr=str(cidr),
        private_cidrs=(str(nodes),),
        public_cidrs=(f"{third.network_address}/{_PROXIES}",),
        pod_cidr=str(pods),
        service_cidr=str(services),
    )


def plan_overlaid_subnets(cidr: IPv4Network) -> AddressPlan:
    """Return the ranges of subnets that span all zones of a region, beside which pods and services lie elsewhere.

    The first eighth is the nodes', the first part of the last one that of the API server, which is the one public
    range; the rest stays free. A /16 gives nodes /19 and the API server /24; a /20 gives /23 and /28.

    Raises:
        AddressesUnusableError: the range is too large, too small or not private.
    """
    plan = plan_subnets(cidr, 1)
    pods, services = overlay_ranges([cidr])
    return plan.model_copy(update={"pod_cidr": str(pods), "service_cidr": str(services)})


def overlay_ranges(taken: Iterable[IPv4Network]) -> tuple[IPv4Network, IPv4Network]:
    """Return the ranges of pods and services where they are known in the cluster alone, apart from what is `taken`.

    Raises:
        AddressesUnusableError: so much is taken that none are left.
    """
    others = list(taken)
    free = [each for each in _OVERLAYS if first_overlap(each, others) is None]
    if len(free) < 2:
        raise AddressesUnusableError(
            f"{', '.join(map(str, others))} leave no two of {', '.join(map(str, _OVERLAYS))} for pods and services"
        )
    return free[0], free[1]


def first_overlap(cidr: IPv4Network, others: Iterable[IPv4Network]) -> IPv4Network | None:
    """Return the first of `others` that shares an address with `cidr`, None if there is none."""
    return next((other for other in others if cidr.overlaps(other)), None)


def _require_usable(cidr: IPv4Network) -> None:
    if not LARGEST <= cidr.prefixlen <= SMALLEST:
        raise AddressesUnusableError(f"{cidr} must be a range between /{LARGEST} and /{SMALLEST}")
    if not cidr.is_private:
        raise AddressesUnusableError(f"{cidr} is not a private range (RFC 1918)")
