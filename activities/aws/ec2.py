"""What a deployment has in EC2: found by tag, made once, also when the reply to a creation was lost.

EC2 knows no unique names, and idempotency tokens for some creations only. So everything is made with our tags, and
looked for by them first. After a first attempt that may have been cut off, what is not found is looked for again until
the cloud's eventual consistency has passed (`AwsSettings.consistency_wait`): a second creation comes only after that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from botocore.exceptions import ClientError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.aws.connection import AwsClient
from activities.aws.errors import code_of, is_not_found
from activities.aws.ownership import as_tag_list, from_tag_list, is_ours, lacking
from activities.aws.part import AwsPart
from activities.failures import not_ready
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import OWNER_VALUE, TAG_DEPLOYMENT, TAG_OWNER, TAG_RESOURCE, owner_tags, resource_name

Description = dict[str, Any]
"""One resource as EC2 describes it."""

Found = TypeVar("Found")

_LOOKS = 20
"""How often is looked within the consistency wait: often enough that it ends soon after the resource is seen."""

_GONE = frozenset({"deleted", "deleting", "terminated"})


@dataclass(frozen=True)
class Kind:
    """One type of EC2 resource, and how the SDK spells it."""

    describe: str
    """The client's paginated operation."""
    listing: str
    """Key of the reply that holds the descriptions."""
    id: str
    """Key of a description that holds the id; the parameter that names the resource is spelled the same."""
    type: str
    """The type in a tag specification."""


VPC = Kind("describe_vpcs", "Vpcs", "VpcId", "vpc")
SUBNET = Kind("describe_subnets", "Subnets", "SubnetId", "subnet")
ROUTE_TABLE = Kind("describe_route_tables", "RouteTables", "RouteTableId", "route-table")
INTERNET_GATEWAY = Kind("describe_internet_gateways", "InternetGateways", "InternetGatewayId", "internet-gateway")
ADDRESS = Kind("describe_addresses", "Addresses", "AllocationId", "elastic-ip")
NAT_GATEWAY = Kind("describe_nat_gateways", "NatGateways", "NatGatewayId", "natgateway")
ENDPOINT = Kind("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", "vpc-endpoint")
SECURITY_GROUP = Kind("describe_security_groups", "SecurityGroups", "GroupId", "security-group")
NETWORK_INTERFACE = Kind("describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId", "network-interface")


class DeploymentEc2:
    """The EC2 resources of one deployment, through one client."""

    def __init__(self, client: AwsClient, site: Site, consistency_wait: timedelta, poll_interval: timedelta) -> None:
        self.client = client
        self.site = site
        self._consistency_wait = consistency_wait.total_seconds()
        self._settled_at = time.monotonic() + self._consistency_wait
        self._poll_interval = poll_interval

    def ours(self, kind: Kind) -> list[Description]:
        """Return every resource of `kind` that carries this deployment's tags and is not gone, in order of ids."""
        filters = {f"tag:{TAG_DEPLOYMENT}": self.site.deployment, f"tag:{TAG_OWNER}": OWNER_VALUE}
        found = [each for each in self.matching(kind, filters) if state_of(each) not in _GONE]
        return sorted(found, key=lambda each: str(each[kind.id]))

    def by_resource(self, kind: Kind) -> dict[str, Description]:
        """Return the same, keyed by the part that each plays (`private-eu-west-1a`); of several, the first by id."""
        found: dict[str, Description] = {}
        for each in self.ours(kind):
            found.setdefault(tags_of(each).get(TAG_RESOURCE, ""), each)
        return found

    def matching(self, kind: Kind, filters: Mapping[str, str]) -> list[Description]:
        """Return every resource of `kind` that passes all `filters` (EC2's filter names)."""
        wanted = [{"Name": name, "Values": [value]} for name, value in filters.items()]
        if not self.client.can_paginate(kind.describe):
            return list(getattr(self.client, kind.describe)(Filters=wanted)[kind.listing])
        pages = self.client.get_paginator(kind.describe).paginate(Filters=wanted)
        return [each for page in pages for each in page[kind.listing]]

    def parts(self, kind: Kind, resources: Collection[str]) -> dict[str, Description]:
        """Return what `by_resource` does once all of `resources`, which an earlier step has made, are listed.

        Raises:
            NotReadyYet: they are not, after the consistency wait.
        """
        return self._once_complete(lambda: self.by_resource(kind), resources)

    def by_id(self, kind: Kind, ids: Collection[str]) -> dict[str, Description]:
        """Return our resources of `kind`, keyed by id, once all of `ids`, which an earlier step has made, are listed.

        Raises:
            NotReadyYet: they are not, after the consistency wait.
        """
        return self._once_complete(lambda: {str(each[kind.id]): each for each in self.ours(kind)}, ids)

    def _once_complete(
        self, look: Callable[[], dict[str, Description]], wanted: Collection[str]
    ) -> dict[str, Description]:
        found = self.eventually(lambda: found if set(wanted) <= set(found := look()) else None)
        if found is None:
            raise self.look_again(f"EC2 does not list yet: {', '.join(wanted)}")
        return found

    def found_or_made(
        self, kind: Kind, resource: str, make: Callable[..., Description], known: Mapping[str, Description]
    ) -> Description:
        """Return the one resource of `kind` that plays the part `resource`.

        `known` is what `by_resource` returned a moment ago. `make` is called at most once, with the tag specification
        to pass on, and returns the description.
        """
        found = known.get(resource)
        if found is None and _may_follow_a_lost_reply():
            found = self.eventually(lambda: self.by_resource(kind).get(resource))
        return found if found is not None else make(TagSpecifications=[self.tag_specification(kind, resource)])

    def tag_specification(self, kind: Kind, resource: str) -> Description:
        """Return the tags to make a resource with."""
        return {"ResourceType": kind.type, "Tags": as_tag_list(self.tags(resource))}

    def tags(self, resource: str) -> dict[str, str]:
        """Return our tags, with the name that consoles show."""
        return {"Name": resource_name(self.site, resource), **owner_tags(self.site, resource)}

    def ensure_tags(self, kind: Kind, description: Description, wanted: Mapping[str, str]) -> None:
        """Put back those of `wanted` that are missing or changed."""
        missing = lacking(wanted, tags_of(description))
        if missing:
            self.client.create_tags(Resources=[description[kind.id]], Tags=as_tag_list(missing))

    def eventually(self, look: Callable[[], Found | None]) -> Found | None:
        """Return what `look` finds, None if it finds nothing until everything made before this attempt must be seen.

        That is one consistency wait after this object was made, however many things are looked for.
        """
        while (found := look()) is None and (left := self._settled_at - time.monotonic()) > 0:
            time.sleep(min(left, self._consistency_wait / _LOOKS))
        return found

    def once_found(self, call: Callable[[], Found]) -> Found:
        """Return the result of a call on something that was just made, tried again while EC2 does not find it.

        Raises:
            NotReadyYet: it is still not found after the consistency wait.
        """
        for _ in range(_LOOKS):
            try:
                return call()
            except ClientError as error:
                if not is_not_found(error):
                    raise
            time.sleep(self._consistency_wait / _LOOKS)
        raise self.look_again("EC2 does not find yet what was just made")

    def look_again(self, message: str) -> ApplicationError:
        """Return the error that means "not yet", to be looked at again at the poll interval."""
        return not_ready(message, look_again_in=self._poll_interval)

    def is_ours(self, description: Description) -> bool:
        """Return whether a resource carries this deployment's tags."""
        return is_ours(self.site, tags_of(description))


class Ec2Part(AwsPart):
    """A part of the AWS implementation that lives in EC2."""

    def _ec2(self, site: Site, purpose: Purpose) -> DeploymentEc2:
        client = self._connections.client("ec2", site, purpose)
        return DeploymentEc2(client, site, self._settings.consistency_wait, self._settings.poll_interval)

    @contextmanager
    def _unless_not_listed_yet(self, what: str, *signs: str) -> Iterator[None]:
        """Look again where EC2 refuses a second `what`: the first one, made without a reply, shows itself in a moment.

        `signs` are codes, or parts of the message, by which EC2 says that there is one already.
        """
        try:
            yield
        except ClientError as error:
            if any(sign in str(error) for sign in signs):
                raise self._look_again(f"{what} exists and is not listed yet") from error
            raise


@contextmanager
def already_done(*codes: str) -> Iterator[None]:
    """Let a call in the block succeed that EC2 answers with one of `codes`: an attempt before has done the deed."""
    try:
        yield
    except ClientError as error:
        if code_of(error) not in codes:
            raise


def tags_of(description: Description) -> dict[str, str]:
    """Return the tags of a resource, keyed by tag name."""
    return from_tag_list(description.get("Tags") or description.get("TagSet"))


def state_of(description: Description) -> str:
    """Return the state that EC2 reports, empty for what has none."""
    return str(description.get("State", "")).lower()


def _may_follow_a_lost_reply() -> bool:
    """Return whether an earlier attempt of this activity may have made something without learning of it."""
    return activity.in_activity() and activity.info().attempt > 1
