"""What may be ordered: the rules of a deployment and of an account, each answered with a problem that can be acted on.

A model says what has the right form (`domain.deployment`); this module says what can be had: in the catalogue, in the
customer's account, in high availability. All problems are reported, not only the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from ipaddress import IPv4Network, ip_address
from urllib.parse import SplitResult, urlsplit

from domain.account import AccountSpec
from domain.addresses import REGIONAL, SECONDARY_RANGES
from domain.approval import unfulfillable
from domain.catalogue import Catalogue, CloudOffer, Region, VersionStatus
from domain.clouds import Cloud
from domain.deployment import DeploymentSpec, ExistingNetwork
from domain.maintenance import MaintenancePolicy
from domain.problem import Problem, nearest
from domain.shape import SCALABLE, Component, Scale, Shape
from domain.sizing import ZONES
from domain.window_rules import window_problems

PRIVATE_RANGES = (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"))
"""RFC 1918."""
LARGEST_NETWORK, SMALLEST_NETWORK = 16, 20
"""Prefix lengths: a VPC on AWS has at most a /16; the six subnets of a /20 have some 500 addresses each for pods."""
LONGEST_DOMAIN = 64
"""The common name of a certificate has at most 64 characters (RFC 5280, ub-common-name)."""

_DNS_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_EMAIL = re.compile(r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$")
_INSIDE_HOSTS = ("localhost", "cluster.local", "metadata.google.internal")
"""Names that lead from the server back into itself, its cluster or its cloud's metadata instead of to the customer."""

_NETWORK_IDS = {
    Cloud.AWS: ("vpc-0123456789abcdef0", re.compile(r"^vpc-[0-9a-f]{8,17}$")),
    Cloud.GCP: ("a network's name", re.compile(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")),
    Cloud.AZURE: ("/subscriptions/…/virtualNetworks/…", re.compile(r"^/subscriptions/.+/virtualNetworks/[^/]+$")),
}
_SUBNET_IDS = {
    Cloud.AWS: ("subnet-0123456789abcdef0", re.compile(r"^subnet-[0-9a-f]{8,17}$")),
    Cloud.GCP: ("a subnetwork's name", re.compile(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")),
    Cloud.AZURE: ("/subscriptions/…/subnets/…", re.compile(r"^/subscriptions/.+/virtualNetworks/[^/]+/subnets/[^/]+$")),
}
_ACCOUNT_IDS = {
    Cloud.AWS: ("12 digits", re.compile(r"^[0-9]{12}$")),
    Cloud.GCP: (
        "a project id of 6 to 30 lower-case letters, digits, hyphens",
        re.compile(r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$"),
    ),
    Cloud.AZURE: ("a subscription id (UUID)", re.compile(r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$")),
}


@dataclass(frozen=True)
class _Order:
    """What a rule looks at."""

    spec: DeploymentSpec
    catalogue: Catalogue
    account: AccountSpec | None
    today: date

    @property
    def offer(self) -> CloudOffer | None:
        """The cloud of the account, or without one the cloud that has the region; None when that is unknown."""
        cloud = self.account.cloud if self.account else self.catalogue.cloud_of_region(self.spec.region)
        return self.catalogue.clouds[cloud] if cloud else None

    @property
    def region(self) -> Region | None:
        return self.offer.region(self.spec.region) if self.offer else None

    @property
    def shape(self) -> Shape:
        return self.catalogue.shape(self.spec.shape)


@dataclass(frozen=True)
class _Rule:
    """One rule, and the fields of the specification without which it says nothing."""

    reads: frozenset[str]
    check: Callable[[_Order], Iterator[Problem]]


def check_order(
    spec: DeploymentSpec,
    catalogue: Catalogue,
    account: AccountSpec | None = None,
    *,
    unknown: frozenset[str] = frozenset(),
    today: date | None = None,
) -> tuple[Problem, ...]:
    """Return everything that keeps this specification from being ordered; nothing when it can be.

    Args:
        spec: the specification, of the right form.
        catalogue: what is offered.
        account: the account that the specification names; None when it is not at hand, which leaves its rules out.
        unknown: fields of `spec` that hold a stand-in because what was given has the wrong form. Rules that read one of
            them are left out, so that one mistake is reported once and the others all the same.
        today: exclusions that end before it are over and are not checked; None checks every one.
    """
    order = _Order(spec, catalogue, account, today or date.min)
    return tuple(problem for rule in _RULES if not rule.reads & unknown for problem in rule.check(order))


def check_account(spec: AccountSpec, catalogue: Catalogue) -> tuple[Problem, ...]:
    """Return everything that keeps this account from being connected; nothing when it can be."""
    offer = catalogue.clouds[spec.cloud]
    return (
        *_account_id_problems(spec),
        *_account_region_problems(spec, offer),
        *_contact_problems(spec),
        *_approval_problems(spec),
    )


def _account_is_the_named_one(order: _Order) -> Iterator[Problem]:
    if order.account and order.account.name != order.spec.account:
        yield Problem(
            path="spec.account",
            value=order.spec.account,
            message=f'"{order.spec.account}" is not the account "{order.account.name}"',
            allowed=order.account.name,
        )


def _region_is_offered(order: _Order) -> Iterator[Problem]:
    name, account = order.spec.region, order.account
    if account and name not in account.regions:
        known = order.region is not None
        why = f"is not among the regions of account {account.name}" if known else f"is not a region of {account.cloud}"
        yield Problem(
            path="spec.region",
            value=name,
            message=f'"{name}" {why}{nearest(name, account.regions)}',
            allowed=", ".join(account.regions),
        )
    elif order.region is None:
        offers = [order.offer] if order.offer else list(order.catalogue.clouds.values())
        names = [region.name for offer in offers for region in offer.regions]
        where = offers[0].cloud if len(offers) == 1 else "any cloud"
        yield Problem(
            path="spec.region",
            value=name,
            message=f'"{name}" is not a region of {where}{nearest(name, names)}',
            allowed=f"one of {len(names)} regions, such as {', '.join(offer.regions[0].name for offer in offers)}",
        )


def _shape_offers_high_availability(order: _Order) -> Iterator[Problem]:
    if order.spec.high_availability and not order.shape.high_availability_offered:
        offered = [shape.name.value for shape in order.catalogue.shapes if shape.high_availability_offered]
        yield Problem(
            path="spec.highAvailability",
            value="true",
            message=f"true is not offered with shape {order.shape.name}",
            allowed=f"false, or shape {' or '.join(offered)}",
        )


def _region_has_zones_for_high_availability(order: _Order) -> Iterator[Problem]:
    if order.spec.high_availability and order.offer and order.region and len(order.region.zones) < ZONES:
        regions = order.account.regions if order.account else [region.name for region in order.offer.regions]
        fitting = [
            region.name for region in order.offer.regions if region.name in regions and len(region.zones) >= ZONES
        ]
        yield Problem(
            path="spec.region",
            value=order.spec.region,
            message=f'"{order.spec.region}" has {len(order.region.zones)} zones, high availability needs {ZONES}',
            allowed=", ".join(fitting[:5]) or "highAvailability: false",
        )


def _release_is_offered(order: _Order) -> Iterator[Problem]:
    version = order.spec.release
    offered = [release.version for release in order.catalogue.orderable_releases()]
    known = order.catalogue.release(version)
    if known is None:
        message = f'"{version}" is not a release{nearest(version, offered)}'
    elif known.withdrawn:
        message = f'"{version}" is withdrawn: {known.withdrawn}'
    else:
        return
    yield Problem(path="spec.release", value=version, message=message, allowed=", ".join(offered))


def _kubernetes_is_supported(order: _Order) -> Iterator[Problem]:
    if order.offer is None:
        return
    version, offered = order.spec.kubernetes, order.offer.orderable_kubernetes()
    known = order.offer.kubernetes_version(version)
    if known is None:
        message = f'"{version}" is not a Kubernetes minor version on {order.offer.cloud}'
    elif known.status is not VersionStatus.SUPPORTED:
        message = f'"{version}" is {known.status} on {order.offer.cloud} and cannot be ordered'
    else:
        return
    yield Problem(path="spec.kubernetes", value=version, message=message, allowed=", ".join(offered))


def _release_runs_on_kubernetes(order: _Order) -> Iterator[Problem]:
    release = order.catalogue.release(order.spec.release)
    offered = order.offer.orderable_kubernetes() if order.offer else ()
    if release and order.spec.kubernetes in offered and not release.runs_on(order.spec.kubernetes):
        yield Problem(
            path="spec.kubernetes",
            value=order.spec.kubernetes,
            message=f'release {release.version} does not run on Kubernetes "{order.spec.kubernetes}"',
            allowed=", ".join(version for version in offered if release.runs_on(version)) or "another release",
        )


def _range_suits(order: _Order) -> Iterator[Problem]:
    cidr = order.spec.network.cidr
    if order.spec.network.existing:
        return
    if not any(cidr.subnet_of(private) for private in PRIVATE_RANGES):
        yield Problem(
            path="spec.network.cidr",
            value=str(cidr),
            message=f'"{cidr}" is not a private range (RFC 1918)',
            allowed="a range inside " + ", ".join(str(private) for private in PRIVATE_RANGES),
        )
    if not LARGEST_NETWORK <= cidr.prefixlen <= SMALLEST_NETWORK:
        yield Problem(
            path="spec.network.cidr",
            value=str(cidr),
            message=f'"{cidr}" is too {"large" if cidr.prefixlen < LARGEST_NETWORK else "small"}',
            allowed=f"/{LARGEST_NETWORK} to /{SMALLEST_NETWORK}",
        )


def _existing_network_suits(order: _Order) -> Iterator[Problem]:
    network = order.spec.network.existing
    if network is None:
        return
    if order.offer and order.offer.cloud in REGIONAL:
        yield from _regional_network_suits(network, order.offer.cloud)
    else:
        yield from _zonal_network_suits(network, ZONES if order.spec.high_availability else 2)
    every = (*network.private_subnet_ids, *network.public_subnet_ids)
    for twice in sorted({subnet for subnet in every if every.count(subnet) > 1}):
        yield Problem(
            path="spec.network.existing",
            value=twice,
            message=f'subnet "{twice}" is listed more than once',
            allowed="each subnet once, as private or as public",
        )
    if order.offer:
        yield from _existing_ids_have_the_form_of(order.offer.cloud, network)


def _regional_network_suits(network: ExistingNetwork, cloud: Cloud) -> Iterator[Problem]:
    """One subnetwork spans all zones; pods and services have secondary ranges of it, or the API server a subnet."""
    if len(network.private_subnet_ids) != 1:
        yield Problem(
            path="spec.network.existing.privateSubnetIds",
            value=", ".join(network.private_subnet_ids),
            message=f"{len(network.private_subnet_ids)} private subnetworks are given, and one spans all zones",
            allowed="exactly 1",
        )
    if cloud in SECONDARY_RANGES:
        yield from _secondary_ranges_are_named(network)
        return
    if len(network.public_subnet_ids) != 1:
        yield Problem(
            path="spec.network.existing.publicSubnetIds",
            value=", ".join(network.public_subnet_ids),
            message=f"{len(network.public_subnet_ids)} public subnets are given, and one is for the API server",
            allowed="exactly 1, delegated to Microsoft.ContainerService/managedClusters",
        )
    yield from _no_secondary_ranges(network)


def _secondary_ranges_are_named(network: ExistingNetwork) -> Iterator[Problem]:
    for field, name, what in (
        ("podRange", network.pod_range, "pods"),
        ("serviceRange", network.service_range, "services"),
    ):
        if not name:
            yield Problem(
                path=f"spec.network.existing.{field}",
                message=f"the secondary range of the {what} is not named",
                allowed="the name of a secondary range of the private subnetwork",
            )
    if network.pod_range and network.pod_range == network.service_range:
        yield Problem(
            path="spec.network.existing.serviceRange",
            value=network.service_range,
            message=f'"{network.service_range}" is the range of the pods already',
            allowed="another secondary range of the private subnetwork",
        )


def _zonal_network_suits(network: ExistingNetwork, zones: int) -> Iterator[Problem]:
    if len(network.private_subnet_ids) < zones:
        yield Problem(
            path="spec.network.existing.privateSubnetIds",
            value=", ".join(network.private_subnet_ids),
            message=f"{len(network.private_subnet_ids)} private subnets are too few",
            allowed=f"at least {zones}, each in a zone of its own",
        )
    yield from _no_secondary_ranges(network)


def _no_secondary_ranges(network: ExistingNetwork) -> Iterator[Problem]:
    for field, name in (("podRange", network.pod_range), ("serviceRange", network.service_range)):
        if name:
            yield Problem(
                path=f"spec.network.existing.{field}",
                value=name,
                message="only subnetworks of gcp have secondary ranges",
                allowed="nothing",
            )


def _existing_ids_have_the_form_of(cloud: Cloud, network: ExistingNetwork) -> Iterator[Problem]:
    example, form = _NETWORK_IDS[cloud]
    if not form.fullmatch(network.network_id):
        yield Problem(
            path="spec.network.existing.networkId",
            value=network.network_id,
            message=f'"{network.network_id}" is not the id of a network on {cloud}',
            allowed=example,
        )
    example, form = _SUBNET_IDS[cloud]
    for field, ids in (("private", network.private_subnet_ids), ("public", network.public_subnet_ids)):
        for number, subnet in enumerate(ids):
            if not form.fullmatch(subnet):
                yield Problem(
                    path=f"spec.network.existing.{field}SubnetIds[{number}]",
                    value=subnet,
                    message=f'"{subnet}" is not the id of a subnet on {cloud}',
                    allowed=example,
                )


def _domain_is_a_name(order: _Order) -> Iterator[Problem]:
    name = order.spec.endpoint.domain
    fault = dns_name_fault(name)
    if not fault and len(name) > LONGEST_DOMAIN:
        fault = f"has {len(name)} characters, a certificate's name at most {LONGEST_DOMAIN}"
    if fault:
        yield Problem(
            path="spec.endpoint.domain",
            value=name,
            message=f'"{name}" {fault}',
            allowed="a DNS name in lower case, such as prod.db.example.com",
        )


def _webhook_leads_to_the_customer(order: _Order) -> Iterator[Problem]:
    webhook = order.spec.auth_webhook
    if webhook is None:
        return
    try:
        url = urlsplit(webhook.url)
        fault = _webhook_fault(url)
        shown = _without_credentials(url)
    except ValueError:
        fault, shown = "is not a URL", webhook.url if "@" not in webhook.url else "***"
    if fault:
        yield Problem(
            path="spec.authWebhook.url",
            value=shown,
            message=f'"{shown}" {fault}',
            allowed="https://host.example.com/path, without credentials",
        )


def _webhook_fault(url: SplitResult) -> str:
    """Return what is wrong with the URL, or nothing.

    Raises:
        ValueError: its port is not a number of at most 65535.
    """
    if url.scheme != "https":
        return "does not start with https://"
    if url.username is not None or url.password is not None:
        return "contains credentials, which would be readable in the order"
    if url.port == 0 or not url.hostname:
        return "names no host or port"
    if url.fragment:
        return "has a fragment, which is never sent"
    return _webhook_host_fault(url.hostname.rstrip("."))


def _webhook_host_fault(host: str) -> str:
    if _is_address(host):
        return "leads to an address, not to a host name that a certificate can prove"
    if any(host == inside or host.endswith(f".{inside}") for inside in _INSIDE_HOSTS):
        return "leads back into the server's own machine, cluster or cloud"
    fault = dns_name_fault(host)
    return f"names a host that {fault}" if fault else ""


def _without_credentials(url: SplitResult) -> str:
    """Return the URL in a form that may be printed and logged."""
    host = url.netloc.rpartition("@")[2]
    netloc = f"***@{host}" if "@" in url.netloc else host
    return url._replace(netloc=netloc, query="***" if url.query else "").geturl()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def dns_name_fault(name: str) -> str:
    """Return why `name` is no DNS name of a host (RFC 1123, lower case, at least two labels), or nothing."""
    labels = name.split(".")
    if "*" in name:
        return "is a wildcard"
    if name != name.lower():
        return "is not in lower case"
    if _is_address(name) or labels[-1].isdigit():
        return "is an address, not a DNS name"
    if len(labels) < 2 or len(name) > 253:
        return "is not a full DNS name"
    if wrong := [label for label in labels if not _DNS_LABEL.fullmatch(label)]:
        return f'is not a DNS name: label "{wrong[0]}" is not 1 to 63 letters, digits and hyphens'
    return ""


def _limits_are_within_bounds(order: _Order) -> Iterator[Problem]:
    for component, scale in order.spec.scaling.items():
        path = f"spec.scaling.{component}"
        bounds = order.shape.scaling_bounds.get(component)
        shown = f"{scale.minimum} to {scale.maximum}"
        if component not in SCALABLE or bounds is None:
            yield Problem(
                path=path,
                value=shown,
                message=f'the limits of "{component}" cannot be set',
                allowed=", ".join(SCALABLE),
            )
        elif scale.minimum > scale.maximum:
            yield Problem(
                path=path,
                value=shown,
                message=f"minimum {scale.minimum} is greater than maximum {scale.maximum}",
                allowed="minimum <= maximum",
            )
        else:
            yield from _limits_within(path, scale, bounds, order)
            yield from _enough_for_high_availability(path, component, scale, order)


def _limits_within(path: str, scale: Scale, bounds: Scale, order: _Order) -> Iterator[Problem]:
    for field, given in (("minimum", scale.minimum), ("maximum", scale.maximum)):
        if not bounds.minimum <= given <= bounds.maximum:
            yield Problem(
                path=f"{path}.{field}",
                value=str(given),
                message=f"{given} is outside the bounds of shape {order.shape.name}",
                allowed=f"{bounds.minimum} to {bounds.maximum}",
            )


def _enough_for_high_availability(path: str, component: Component, scale: Scale, order: _Order) -> Iterator[Problem]:
    needed = order.shape.highly_available_replicas.get(component)
    if order.spec.high_availability and needed and scale.minimum < needed.minimum:
        yield Problem(
            path=f"{path}.minimum",
            value=str(scale.minimum),
            message=f"{scale.minimum} replicas of {component} are too few for high availability",
            allowed=f"at least {needed.minimum}",
        )


def _windows_are_usable(order: _Order) -> Iterator[Problem]:
    policy = MaintenancePolicy(windows=order.spec.windows, exclusions=order.spec.exclusions)
    yield from window_problems(policy, order.today, path="spec.")


_RULES = (
    _Rule(frozenset({"account"}), _account_is_the_named_one),
    _Rule(frozenset({"region"}), _region_is_offered),
    _Rule(frozenset({"shape", "high_availability"}), _shape_offers_high_availability),
    _Rule(frozenset({"region", "high_availability"}), _region_has_zones_for_high_availability),
    _Rule(frozenset({"release"}), _release_is_offered),
    _Rule(frozenset({"kubernetes"}), _kubernetes_is_supported),
    _Rule(frozenset({"release", "kubernetes"}), _release_runs_on_kubernetes),
    _Rule(frozenset({"network"}), _range_suits),
    _Rule(frozenset({"network"}), _existing_network_suits),
    _Rule(frozenset({"endpoint"}), _domain_is_a_name),
    _Rule(frozenset({"auth_webhook"}), _webhook_leads_to_the_customer),
    _Rule(frozenset({"shape", "high_availability", "scaling"}), _limits_are_within_bounds),
    _Rule(frozenset({"windows", "exclusions"}), _windows_are_usable),
)
"""In the order of the fields in a file. Rules that need the cloud say nothing while the region does not tell it."""


def _account_id_problems(spec: AccountSpec) -> Iterator[Problem]:
    form, pattern = _ACCOUNT_IDS[spec.cloud]
    if not pattern.fullmatch(spec.cloud_account_id):
        yield Problem(
            path="spec.cloudAccountId",
            value=spec.cloud_account_id,
            message=f'"{spec.cloud_account_id}" is not the id of an account on {spec.cloud}',
            allowed=form,
        )


def _account_region_problems(spec: AccountSpec, offer: CloudOffer) -> Iterator[Problem]:
    names = [region.name for region in offer.regions]
    if not spec.regions:
        yield Problem(path="spec.regions", message="no region is named", allowed=f"regions of {spec.cloud}")
    for number, name in enumerate(spec.regions):
        if name not in names:
            yield Problem(
                path=f"spec.regions[{number}]",
                value=name,
                message=f'"{name}" is not a region of {spec.cloud}{nearest(name, names)}',
                allowed=f"one of {len(names)} regions, such as {names[0]}",
            )
        elif name in spec.regions[:number]:
            yield Problem(path=f"spec.regions[{number}]", value=name, message=f'"{name}" is listed more than once')


def _contact_problems(spec: AccountSpec) -> Iterator[Problem]:
    if spec.contact and not _EMAIL.fullmatch(spec.contact):
        yield Problem(
            path="spec.contact",
            value=spec.contact,
            message=f'"{spec.contact}" is not an e-mail address',
            allowed="name@example.com",
        )


def _approval_problems(spec: AccountSpec) -> Iterator[Problem]:
    approvers = spec.approvals.approvers
    for risk in unfulfillable(spec.approvals):
        yield Problem(
            path=f"spec.approvals.{risk}",
            value=", ".join(spec.approvals.sides(risk)),
            message=f'"{approvers.vendor[0]}" alone would approve for both sides, which need two persons',
            allowed="two different approvers, or one side",
        )
