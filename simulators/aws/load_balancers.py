"""Network load balancers over ministack's records: they take their time, and hold addresses in the network."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ministack.services import alb

from simulators.aws import fabric, scope
from simulators.aws.context import report_no_effect
from simulators.aws.durations import Durations
from simulators.aws.identifiers import short_hash
from simulators.aws.work import Work
from simulators.clock import Clock

Record = dict[str, Any]
_ANNOUNCED = "provisioning"


@dataclass(frozen=True)
class Listener:
    """One port that a load balancer listens on, and the port of the targets behind it."""

    port: int
    target_port: int
    certificates: tuple[str, ...] = ()
    """ARNs; with any, the listener ends TLS."""
    policy: str = ""
    health_check: Mapping[str, str] = field(default_factory=dict)
    """Protocol, port and path, as the target group describes them."""


class LoadBalancers:
    """Makes and deletes load balancers, for controllers in clusters and for the API."""

    def __init__(self, work: Work, clock: Clock, durations: Durations) -> None:
        self._work = work
        self._clock = clock
        self._durations = durations

    def install(self) -> None:
        """Let ministack's API of load balancers delete as the real one does."""
        alb._ACTION_MAP["DeleteLoadBalancer"] = self._delete_by_api
        alb._ACTION_MAP["DeleteTargetGroup"] = _delete_target_group

    def create(
        self,
        name: str,
        *,
        scheme: str,
        subnets: Sequence[str],
        listeners: Sequence[Listener],
        tags: Mapping[str, str],
        attributes: Mapping[str, str],
    ) -> Record:
        """Start making a load balancer in the current account and region; return its record.

        Behind it there is nothing yet: whoever asks registers the machines with its target groups.
        """
        here, hash_ = scope.current(), short_hash()
        arn = here.arn("elasticloadbalancing", f"loadbalancer/net/{name}/{hash_}")
        record: Record = {
            "LoadBalancerArn": arn,
            "LoadBalancerName": name,
            "DNSName": f"{name}-{hash_}.elb.{here.region}.amazonaws.com",
            "Scheme": scheme,
            "VpcId": fabric.vpc_of(subnets[0]),
            "State": _ANNOUNCED,
            "Type": "network",
            "Subnets": list(subnets),
            "SecurityGroups": [],
            "IpAddressType": "ipv4",
            "CreatedTime": datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        }
        alb._lbs[arn] = record
        alb._tags[arn] = _tag_list(tags)
        settings = {"deletion_protection.enabled": "false", "load_balancing.cross_zone.enabled": "false", **attributes}
        alb._lb_attrs[arn] = [{"Key": key, "Value": value} for key, value in settings.items()]
        for subnet in subnets:
            fabric.add_interface(subnet, f"ELB net/{name}/{hash_}", kind="network_load_balancer", owner="amazon-elb")
        for listener in listeners:
            _listen(record, listener, tags)

        def become_active() -> None:
            if arn in alb._lbs:
                record["State"] = "active"

        self._work.start(self._durations.load_balancer, become_active, lambda _fault: record.update(State="failed"))
        return record

    def delete(self, arn: str) -> None:
        """Take a load balancer and its listeners away; its addresses stay occupied for a while."""
        record = alb._lbs.pop(arn, None)
        if record is None:
            return
        alb._lb_attrs.pop(arn, None)
        alb._tags.pop(arn, None)
        for listener_arn, listener in list(alb._listeners.items()):
            if listener["LoadBalancerArn"] == arn:
                alb._listeners.pop(listener_arn, None)
                alb._listener_attrs.pop(listener_arn, None)
                alb._tags.pop(listener_arn, None)
        for group in alb._tgs.values():
            group["LoadBalancerArns"] = [owner for owner in group["LoadBalancerArns"] if owner != arn]
        occupied = [entry["NetworkInterfaceId"] for entry in interfaces_of(arn)]
        self._work.start(self._durations.load_balancer_deletion, lambda: fabric.remove_interfaces(occupied))

    def _delete_by_api(self, parameters: Mapping[str, Any]) -> object:
        arn = alb._p(parameters, "LoadBalancerArn")
        if arn not in alb._lbs:
            report_no_effect()
            return alb._empty("DeleteLoadBalancer")
        if {"Key": "deletion_protection.enabled", "Value": "true"} in alb._lb_attrs.get(arn, ()):
            return alb._error(
                "OperationNotPermitted",
                f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled",
            )
        self.delete(arn)
        return alb._empty("DeleteLoadBalancer")


def interfaces_of(arn: str) -> list[Record]:
    """Return the network interfaces of a load balancer, also of one that has just been deleted."""
    description = f"ELB {arn.partition('loadbalancer/')[2]}"
    return [entry for entry in fabric.interfaces() if entry["Description"] == description]


def target_groups_of(arn: str) -> list[str]:
    """Return the ARNs of the target groups that a load balancer forwards to."""
    return [group["TargetGroupArn"] for group in alb._tgs.values() if arn in group["LoadBalancerArns"]]


def remove_target_groups(arns: Sequence[str]) -> None:
    """Take target groups away; unknown ones are ignored."""
    for arn in arns:
        for store in (alb._tgs, alb._targets, alb._tg_attrs, alb._tags):
            store.pop(arn, None)


def _delete_target_group(parameters: Mapping[str, Any]) -> object:
    """Delete a target group; it may not be in use, and one that is gone is no error."""
    arn = alb._p(parameters, "TargetGroupArn")
    group = alb._tgs.get(arn)
    if group is None:
        report_no_effect()
        return alb._empty("DeleteTargetGroup")
    if group["LoadBalancerArns"]:
        return alb._error("ResourceInUse", f"Target group '{arn}' is currently in use by a listener or a rule")
    remove_target_groups([arn])
    return alb._empty("DeleteTargetGroup")


def _listen(balancer: Record, listener: Listener, tags: Mapping[str, str]) -> None:
    here, balancer_arn = scope.current(), balancer["LoadBalancerArn"]
    name = f"{balancer['LoadBalancerName'][:26]}-{listener.port}"[:32]
    group_arn = here.arn("elasticloadbalancing", f"targetgroup/{name}/{short_hash()}")
    alb._tgs[group_arn] = {
        "TargetGroupArn": group_arn,
        "TargetGroupName": name,
        "Protocol": "TCP",
        "Port": listener.target_port,
        "VpcId": balancer["VpcId"],
        "HealthCheckProtocol": "TCP",
        **listener.health_check,
        "LoadBalancerArns": [balancer_arn],
        "TargetType": "instance",
    }
    alb._targets[group_arn] = []
    alb._tg_attrs[group_arn] = [{"Key": "deregistration_delay.timeout_seconds", "Value": "300"}]
    alb._tags[group_arn] = _tag_list(tags)
    listener_arn = f"{balancer_arn.replace(':loadbalancer/', ':listener/')}/{short_hash()}"
    record: Record = {
        "ListenerArn": listener_arn,
        "LoadBalancerArn": balancer_arn,
        "Port": listener.port,
        "Protocol": "TLS" if listener.certificates else "TCP",
        "DefaultActions": [{"Type": "forward", "TargetGroupArn": group_arn}],
    }
    if listener.certificates:
        record |= {"Certificates": list(listener.certificates)}
        record |= {"SslPolicy": listener.policy or "ELBSecurityPolicy-TLS13-1-2-2021-06"}
    alb._listeners[listener_arn] = record
    alb._listener_attrs[listener_arn] = []
    alb._tags[listener_arn] = _tag_list(tags)


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
