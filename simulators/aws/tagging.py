"""Which resources carry which tags: for conditions on `aws:ResourceTag`, and for the Resource Groups Tagging API."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ministack.services import acm, alb, cloudwatch_logs, ec2, iam, kms, route53, s3, tagging

from simulators.aws import scope
from simulators.aws.eks.service import EksService
from simulators.aws.refusals import Refusal
from simulators.aws.work import Work

Tagged = Iterator[tuple[str, dict[str, str]]]

_EC2_STORES: Mapping[str, Any] = {
    "vpc": ec2._vpcs,
    "subnet": ec2._subnets,
    "route-table": ec2._route_tables,
    "internet-gateway": ec2._internet_gateways,
    "natgateway": ec2._nat_gateways,
    "elastic-ip": ec2._addresses,
    "security-group": ec2._security_groups,
    "network-interface": ec2._network_interfaces,
    "vpc-endpoint": ec2._vpc_endpoints,
    "volume": ec2._volumes,
    "snapshot": ec2._snapshots,
    "instance": ec2._instances,
    "launch-template": ec2._launch_templates,
    "network-acl": ec2._network_acls,
    "vpc-flow-log": ec2._flow_logs,
    "dhcp-options": ec2._dhcp_options,
    "key-pair": ec2._key_pairs,
}
"""Keyed by the resource type in the ARN."""


class Tags:
    """Finds the tags of everything in the current account and region."""

    def __init__(self, eks: EksService) -> None:
        self._eks = eks
        self._ministack_resource_tags = tagging.resource_tags
        self._finders: Mapping[str, Callable[[], Tagged]] = {
            "ec2": _ec2,
            "eks": lambda: iter(self._eks.control_planes.tagged(scope.current())),
            "kms": _kms,
            "s3": _s3,
            "elasticloadbalancing": _load_balancing,
            "acm": _acm,
            "route53": _route53,
            "logs": _logs,
            "iam": _iam,
        }

    def install(self) -> None:
        """Let ministack's evaluation of policies see all tags."""
        tagging.resource_tags = self.of

    def of(self, arn: str) -> dict[str, str] | None:
        """Return the tags of a resource; an ARN that ends in `/*`, as policies name node groups, is its first match."""
        service = arn.split(":")[2] if arn.count(":") >= 5 else ""
        if service not in self._finders:
            found: dict[str, str] | None = self._ministack_resource_tags(arn)
            return found
        for candidate, tags in self._finders[service]():
            if candidate == arn or (arn.endswith("/*") and candidate.startswith(arn[:-1])):
                return tags
        return None

    def all(self) -> Tagged:
        """Yield ARN and tags of every tagged resource that GetResources knows.

        Hosted zones belong to us-east-1 there, and IAM's roles and policies are not covered.
        """
        for service, finder in self._finders.items():
            if service != "iam" and (service != "route53" or scope.current().region == "us-east-1"):
                yield from ((arn, tags) for arn, tags in finder() if tags)


class TaggingApi:
    """GetResources over everything; the other operations stay ministack's."""

    def __init__(self, tags: Tags, work: Work) -> None:
        self._tags = tags
        self._work = work
        self._ministack = tagging.handle_request

    async def handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> object:
        """Answer one authorized request."""
        self._work.settle()
        if headers.get("x-amz-target", "").rpartition(".")[2] != "GetResources":
            return await self._ministack(method, path, headers, body, query)
        try:
            answer = self._get_resources(json.loads(body or b"{}"))
        except Refusal as refusal:
            return refusal.reply("json")
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(answer).encode()

    def _get_resources(self, parameters: dict[str, Any]) -> dict[str, Any]:
        filters = parameters.get("TagFilters") or []
        kinds = parameters.get("ResourceTypeFilters") or []
        arns = parameters.get("ResourceARNList") or []
        if arns and (filters or kinds):
            raise Refusal("InvalidParameterException", "ResourceARNList cannot be combined with filters")
        found = sorted(
            (arn, tags)
            for arn, tags in self._tags.all()
            if (not arns or arn in arns)
            and (not kinds or any(_is_of_type(arn, kind) for kind in kinds))
            and all(_passes(tags, tag_filter) for tag_filter in filters)
        )
        start, size = int(parameters.get("PaginationToken") or 0), int(parameters.get("ResourcesPerPage") or 100)
        listed = [
            {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            for arn, tags in found[start : start + size]
        ]
        following = str(start + size) if start + size < len(found) else ""
        return {"ResourceTagMappingList": listed, "PaginationToken": following}


def _is_of_type(arn: str, kind: str) -> bool:
    """Return whether an ARN is of a type such as `ec2:vpc`, or of a whole service."""
    service, _, resource_type = kind.partition(":")
    parts = arn.split(":", 5)
    own_type = parts[5].replace(":", "/").partition("/")[0]
    return parts[2] == service and (not resource_type or own_type == resource_type.partition("/")[0])


def _passes(tags: Mapping[str, str], tag_filter: Mapping[str, Any]) -> bool:
    key, values = tag_filter["Key"], tag_filter.get("Values") or ()
    return key in tags and (not values or tags[key] in values)


def _listed(tags: Iterable[Mapping[str, str]] | None, key: str = "Key", value: str = "Value") -> dict[str, str]:
    return {tag[key]: tag[value] for tag in tags or ()}


def _ec2() -> Tagged:
    here = scope.current()
    for resource_type, store in _EC2_STORES.items():
        for id_, record in store.items():
            state = record.get("State")
            gone = state == "deleted" or (isinstance(state, dict) and state.get("Name") == "terminated")
            if not gone:
                yield here.arn("ec2", f"{resource_type}/{id_}"), _listed(ec2._tags.get(id_))


def _kms() -> Tagged:
    for record in kms._keys.values():
        yield record["Arn"], _listed(record.get("Tags"), "TagKey", "TagValue")


def _s3() -> Tagged:
    for name in s3._buckets.keys():  # noqa: SIM118 - not a dict
        if s3.bucket_region(name) == scope.current().region:
            yield f"arn:aws:s3:::{name}", dict(s3._bucket_tags.get(name) or {})


def _load_balancing() -> Tagged:
    for store in (alb._lbs, alb._tgs, alb._listeners):
        for arn in store.keys():  # noqa: SIM118 - not a dict
            yield arn, _listed(alb._tags.get(arn))


def _acm() -> Tagged:
    for arn, record in acm._certificates.items():
        yield arn, _listed(record.get("Tags"))


def _route53() -> Tagged:
    for zone in route53._zones.keys():  # noqa: SIM118 - not a dict
        yield f"arn:aws:route53:::hostedzone/{zone}", dict(route53._tags.get(("hostedzone", zone)) or {})


def _logs() -> Tagged:
    here = scope.current()
    for name, record in cloudwatch_logs._log_groups.items():
        yield here.arn("logs", f"log-group:{name}"), dict(record.get("tags") or {})


def _iam() -> Tagged:
    for store in (iam._roles, iam._users, iam._policies, iam._instance_profiles):
        for record in store.values():
            yield record.get("Arn", ""), _listed(record.get("Tags"))
