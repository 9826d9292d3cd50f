"""What EKS's own service controller wants for a Service: a network load balancer that leads to every node.

It is the one of the cloud controller manager, of which it has the names, tags, rules and refusals (source:
cloud-provider-aws, `pkg/providers/v1`). A Service with a class is not for it, and no other controller is simulated.
"""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ministack.services import acm, alb, ec2

from simulators.aws import fabric
from simulators.aws.eks.records import ClusterRecord
from simulators.aws.load_balancers import Listener
from simulators.kubernetes.objects import Object, name_of, namespace_of

Record = dict[str, Any]
_ANNOTATION = "service.beta.kubernetes.io/aws-load-balancer-"
_SUBNET_ROLE = {"internet-facing": "kubernetes.io/role/elb", "internal": "kubernetes.io/role/internal-elb"}
_LEAST_ADDRESSES = 8
"""Free addresses that a subnet needs for a load balancer."""
_LONGEST_NAME = 32
_CLIENT_RULE = "kubernetes.io/rule/nlb/client"
_HEALTH_RULE = "kubernetes.io/rule/nlb/health"


class NotPermitted(Exception):  # noqa: N818 - named by what is the matter
    """A controller or a pod may not do what it has to; the text says what."""

    def __init__(self, text: str, *, code: str = "AccessDenied") -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Wish:
    """A load balancer as a Service asks for it."""

    name: str
    scheme: str
    subnets: tuple[str, ...]
    tags: Mapping[str, str]
    listeners: tuple[Listener, ...]
    attributes: Mapping[str, str]


def wish_of(cluster: ClusterRecord, service: Object) -> Wish:
    """Return what the Service's annotations ask for.

    Raises:
        NotPermitted: It is for another controller, or names what there is not.
    """
    annotations = {
        key.removeprefix(_ANNOTATION): value
        for key, value in (service["metadata"].get("annotations") or {}).items()
        if key.startswith(_ANNOTATION)
    }
    if service["spec"].get("loadBalancerClass") or annotations.get("type") in ("external", "nlb-ip"):
        raise NotPermitted("the service is for the AWS Load Balancer Controller, which is not installed")
    if annotations.get("type") != "nlb":
        raise NotPermitted("classic load balancers are not simulated: the annotation of the type has to be nlb")
    internal = annotations.get("internal", "false") != "false"
    cross_zone = annotations.get("cross-zone-load-balancing-enabled", "false")
    return Wish(
        name=f"a{service['metadata']['uid'].replace('-', '')}"[:_LONGEST_NAME],
        scheme="internal" if internal else "internet-facing",
        subnets=tuple(_subnets(cluster, "internal" if internal else "internet-facing", annotations)),
        tags={
            **_pairs(annotations.get("additional-resource-tags", "")),
            "kubernetes.io/service-name": f"{namespace_of(service)}/{name_of(service)}",
            _cluster_tag(cluster): "owned",
        },
        listeners=tuple(_listeners(service, annotations)),
        attributes={"load_balancing.cross_zone.enabled": cross_zone},
    )


def lead_to_nodes(cluster: ClusterRecord, balancer: Record, target_groups: Sequence[str]) -> None:
    """Register every node with the load balancer's target groups, and let the nodes accept what comes from it.

    Raises:
        NotPermitted: A node has several security groups of which not exactly one belongs to the cluster.
    """
    nodes = [ec2._instances.get(id_) for group in cluster.node_groups.values() for id_ in group.instances]
    running = [node for node in nodes if node is not None]
    groups = {_group_of(cluster, node) for node in running}
    wanted = list(_rules(balancer, [alb._tgs[arn] for arn in target_groups if arn in alb._tgs]))
    for group_id in groups:
        group = fabric.security_group(group_id)
        if group is not None:
            group["IpPermissions"] += [rule for rule in wanted if rule not in group["IpPermissions"]]
    for arn in target_groups:
        if arn in alb._tgs:
            port = alb._tgs[arn]["Port"]
            alb._targets[arn] = [{"Id": node["InstanceId"], "Port": port} for node in running]


def close_nodes(cluster: ClusterRecord, balancer_arn: str) -> None:
    """Let the nodes no longer accept what comes from a load balancer."""
    name = balancer_arn.split("/")[2]
    marks = {f"{rule}={name}" for rule in (_CLIENT_RULE, _HEALTH_RULE)}
    for group in ec2._security_groups.values():
        if group["VpcId"] == cluster.description["resourcesVpcConfig"]["vpcId"]:
            group["IpPermissions"] = [
                rule
                for rule in group["IpPermissions"]
                if not any(source.get("Description") in marks for source in rule.get("IpRanges") or ())
            ]


def _subnets(cluster: ClusterRecord, scheme: str, annotations: Mapping[str, str]) -> list[str]:
    """Return the subnets of a load balancer: those annotated, else those tagged for its role, one a zone."""
    vpc = cluster.description["resourcesVpcConfig"]["vpcId"]
    if annotations.get("subnets"):
        chosen = [subnet.strip() for subnet in annotations["subnets"].split(",")]
        unknown = [subnet for subnet in chosen if (fabric.subnet(subnet) or {}).get("VpcId") != vpc]
        if unknown:
            raise NotPermitted(f"subnets {unknown} are not in the cluster's VPC")
        return chosen
    candidates: dict[str, str] = {}
    for subnet_id, record in sorted(ec2._subnets.items()):
        tagged = fabric.tags_of(subnet_id).get(_SUBNET_ROLE[scheme]) in ("", "1")
        if record["VpcId"] == vpc and tagged and fabric.addresses_left(subnet_id) >= _LEAST_ADDRESSES:
            candidates.setdefault(record["AvailabilityZone"], subnet_id)
    if not candidates:
        raise NotPermitted(f"unable to resolve at least one subnet: none is tagged {_SUBNET_ROLE[scheme]}=1")
    return list(candidates.values())


def _listeners(service: Object, annotations: Mapping[str, str]) -> Iterator[Listener]:
    """Yield a listener for each port that the nodes have; the others are ignored, as the controller does."""
    certificate = annotations.get("ssl-cert", "")
    found = acm._certificates.get(certificate)
    if certificate and (found is None or found["Status"] != "ISSUED"):
        raise NotPermitted(f"UnsupportedCertificate: The certificate '{certificate}' does not exist or is not issued")
    secured = {port.strip() for port in annotations.get("ssl-ports", "*").split(",")}
    for port in service["spec"].get("ports") or ():
        if port.get("nodePort"):
            ends_tls = bool(certificate and secured & {"*", str(port["port"]), port.get("name", "*")})
            yield Listener(
                port["port"],
                port["nodePort"],
                (certificate,) if ends_tls else (),
                annotations.get("ssl-negotiation-policy", ""),
                _health_check(annotations),
            )


def _health_check(annotations: Mapping[str, str]) -> dict[str, str]:
    protocol = annotations.get("healthcheck-protocol", "tcp").upper()
    port = annotations.get("healthcheck-port", "traffic-port")
    path = {"HealthCheckPath": annotations.get("healthcheck-path", "/")} if protocol != "TCP" else {}
    return {"HealthCheckProtocol": protocol, "HealthCheckPort": port, **path}


def _rules(balancer: Record, target_groups: Sequence[Record]) -> Iterator[Record]:
    """Yield what the nodes have to let in: clients keep their addresses, health checks come from the subnets."""
    name = balancer["LoadBalancerName"]
    for port in sorted({group["Port"] for group in target_groups}):
        yield _permission(port, ["0.0.0.0/0"], f"{_CLIENT_RULE}={name}")
    homes = [(fabric.subnet(subnet) or {}).get("CidrBlock", "") for subnet in balancer["Subnets"]]
    health_ports = {group.get("HealthCheckPort", "traffic-port") for group in target_groups} - {"traffic-port"}
    for port in sorted(int(port) for port in health_ports):
        yield _permission(port, homes, f"{_HEALTH_RULE}={name}")


def _permission(port: int, sources: Sequence[str], description: str) -> Record:
    return {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "IpRanges": [{"CidrIp": source, "Description": description} for source in sources],
        "Ipv6Ranges": [],
        "PrefixListIds": [],
        "UserIdGroupPairs": [],
    }


def _group_of(cluster: ClusterRecord, node: Record) -> str:
    """Return the one security group of a node that the controller opens: that of the cluster, or its only one."""
    groups = [group["GroupId"] for group in node["SecurityGroups"]]
    tagged = [group for group in groups if _cluster_tag(cluster) in fabric.tags_of(group)]
    if len(tagged or groups) != 1:
        kind = "tagged" if tagged else "untagged"
        raise NotPermitted(f"Multiple {kind} security groups found for instance {node['InstanceId']}: {groups}")
    return str((tagged or groups)[0])


def _cluster_tag(cluster: ClusterRecord) -> str:
    return f"kubernetes.io/cluster/{cluster.name}"


def _pairs(text: str) -> dict[str, str]:
    """Read `key=value,key=value`."""
    pairs = (entry.partition("=") for entry in text.split(",") if "=" in entry)
    return {key.strip(): value.strip() for key, _, value in pairs}
