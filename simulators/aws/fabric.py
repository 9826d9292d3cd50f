"""What managed services put into a customer's network: interfaces, security groups, machines.

The records are ministack's, so that every EC2 call sees them; what is in use through them cannot be deleted.
All functions act in the account and region of the current scope.
"""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ministack.services import ec2

from simulators.aws import scope
from simulators.aws.identifiers import new_id
from simulators.aws.instance_types import INSTANCE_TYPES

Record = dict[str, Any]

_RESERVED_ADDRESSES = 4
"""AWS keeps the first four addresses of each subnet, and the last."""


def subnet(subnet_id: str) -> Record | None:
    """Return the subnet's record."""
    record: Record | None = ec2._subnets.get(subnet_id)
    return record


def vpc_of(subnet_id: str) -> str:
    """Return the VPC of an existing subnet."""
    return str(ec2._subnets[subnet_id]["VpcId"])


def zone_of(subnet_id: str) -> str:
    """Return the zone of an existing subnet."""
    return str(ec2._subnets[subnet_id]["AvailabilityZone"])


def security_group(group_id: str) -> Record | None:
    """Return the security group's record."""
    record: Record | None = ec2._security_groups.get(group_id)
    return record


def interfaces() -> list[Record]:
    """Return every network interface."""
    return list(ec2._network_interfaces.values())


def addresses_left(subnet_id: str) -> int:
    """Return how many addresses of the subnet are free."""
    network = ipaddress.ip_network(ec2._subnets[subnet_id]["CidrBlock"], strict=False)
    return network.num_addresses - _RESERVED_ADDRESSES - 1 - len(_used_addresses(subnet_id))


def _used_addresses(subnet_id: str) -> set[str]:
    return {record["PrivateIpAddress"] for record in interfaces() if record["SubnetId"] == subnet_id}


def free_address(subnet_id: str) -> str:
    """Return the lowest free address of the subnet; a full subnet raises ValueError."""
    network = ipaddress.ip_network(ec2._subnets[subnet_id]["CidrBlock"], strict=False)
    used = _used_addresses(subnet_id)
    for number in range(int(network.network_address) + _RESERVED_ADDRESSES, int(network.broadcast_address)):
        if (address := str(ipaddress.ip_address(number))) not in used:
            return address
    raise ValueError(f"subnet {subnet_id} has no free address")


def add_interface(
    subnet_id: str,
    description: str,
    *,
    groups: Iterable[str] = (),
    kind: str = "interface",
    instance: str = "",
    owner: str = "amazon-aws",
    tags: Mapping[str, str] | None = None,
) -> Record:
    """Put a network interface in use into the subnet; `owner` is the service or `instance` that it belongs to."""
    interface_id = new_id("eni")
    home = ec2._subnets[subnet_id]
    attachment = {
        "AttachmentId": new_id("eni-attach"),
        "Status": "attached",
        "DeviceIndex": 0,
        "DeleteOnTermination": True,
    }
    record: Record = {
        "NetworkInterfaceId": interface_id,
        "SubnetId": subnet_id,
        "VpcId": home["VpcId"],
        "AvailabilityZone": home["AvailabilityZone"],
        "Description": description,
        "OwnerId": scope.current().account,
        "Status": "in-use",
        "PrivateIpAddress": free_address(subnet_id),
        "InterfaceType": kind,
        "RequesterManaged": not instance,
        "RequesterId": owner,
        "SourceDestCheck": True,
        "MacAddress": ":".join(f"{octet:02x}" for octet in b"\x02" + secrets.token_bytes(5)),
        "Groups": [{"GroupId": group, "GroupName": ec2._security_groups[group]["GroupName"]} for group in groups],
        "Attachment": {**attachment, "InstanceId": instance} if instance else {**attachment, "InstanceOwnerId": owner},
    }
    ec2._network_interfaces[interface_id] = record
    set_tags(interface_id, tags or {})
    return record


def remove_interfaces(interface_ids: Iterable[str]) -> None:
    """Take interfaces away; unknown ones are ignored."""
    for interface_id in interface_ids:
        ec2._network_interfaces.pop(interface_id, None)
        ec2._tags.pop(interface_id, None)


def add_security_group(name: str, description: str, vpc_id: str, tags: Mapping[str, str]) -> str:
    """Make a security group that lets everything out, and return its id."""
    group_id = new_id("sg")
    everything = {"IpProtocol": "-1", "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": []}
    ec2._security_groups[group_id] = {
        "GroupId": group_id,
        "GroupName": name,
        "Description": description,
        "VpcId": vpc_id,
        "OwnerId": scope.current().account,
        "IpPermissions": [],
        "IpPermissionsEgress": [{**everything, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    }
    set_tags(group_id, tags)
    return group_id


def remove_security_group(group_id: str) -> None:
    """Take a security group away if nothing uses it any more."""
    if not any(group["GroupId"] == group_id for record in interfaces() for group in record["Groups"]):
        ec2._security_groups.pop(group_id, None)
        ec2._tags.pop(group_id, None)


def add_instance(
    subnet_id: str,
    instance_type: str,
    *,
    groups: Sequence[str],
    image: str,
    volume: Mapping[str, Any],
    tags: Mapping[str, str],
    volume_tags: Mapping[str, str],
    profile_arn: str = "",
    launched: str,
) -> Record:
    """Start a machine with a root volume (`Encrypted`, `KmsKeyId`, `VolumeSize`, `VolumeType`) and one interface."""
    instance_id = new_id("i")
    interface = add_interface(
        subnet_id, "", groups=groups, instance=instance_id, owner=scope.current().account, tags=tags
    )
    zone, address = interface["AvailabilityZone"], interface["PrivateIpAddress"]
    disk = _add_root_volume(instance_id, zone, volume, volume_tags, launched)
    record: Record = {
        "InstanceId": instance_id,
        "ImageId": image,
        "InstanceType": instance_type,
        "CpuOptions": {"CoreCount": max(1, _virtual_cpus(instance_type) // 2), "ThreadsPerCore": 2},
        "KeyName": None,
        "State": {"Code": 16, "Name": "running"},
        "SubnetId": subnet_id,
        "VpcId": interface["VpcId"],
        "PrivateIpAddress": address,
        "PublicIpAddress": None,
        "PrivateDnsName": f"ip-{address.replace('.', '-')}.{scope.current().region}.compute.internal",
        "PublicDnsName": "",
        "SourceDestCheck": True,
        "SecurityGroups": interface["Groups"],
        "Architecture": "x86_64",
        "RootDeviceType": "ebs",
        "RootDeviceName": "/dev/xvda",
        "Hypervisor": "xen",
        "Virtualization": "hvm",
        "VirtualizationType": "hvm",
        "Placement": {"AvailabilityZone": zone, "Tenancy": "default"},
        "Monitoring": {"State": "disabled"},
        "AmiLaunchIndex": 0,
        "LaunchTime": launched,
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"VolumeId": disk, "Status": "attached", "AttachTime": launched, "DeleteOnTermination": True},
            }
        ],
        "IamInstanceProfile": {"Arn": profile_arn} if profile_arn else None,
    }
    ec2._instances[instance_id] = record
    set_tags(instance_id, tags)
    return record


def _add_root_volume(
    instance_id: str, zone: str, volume: Mapping[str, Any], tags: Mapping[str, str], created: str
) -> str:
    volume_id = new_id("vol")
    ec2._volumes[volume_id] = {
        "VolumeId": volume_id,
        "Size": int(volume.get("VolumeSize", 20)),
        "AvailabilityZone": zone,
        "State": "in-use",
        "VolumeType": volume.get("VolumeType", "gp3"),
        "SnapshotId": "",
        "Iops": int(volume.get("Iops", 3000)),
        "Throughput": int(volume.get("Throughput", 125)),
        "Encrypted": bool(volume.get("Encrypted")),
        "KmsKeyId": volume.get("KmsKeyId"),
        "CreateTime": created,
        "MultiAttachEnabled": False,
        "Attachments": [
            {
                "VolumeId": volume_id,
                "InstanceId": instance_id,
                "Device": "/dev/xvda",
                "State": "attached",
                "AttachTime": created,
                "DeleteOnTermination": True,
            }
        ],
    }
    set_tags(volume_id, tags)
    return volume_id


def terminate_instance(instance_id: str) -> None:
    """End a machine: its interfaces and root volume go, its record stays `terminated`."""
    record = ec2._instances.get(instance_id)
    if record is None or record["State"]["Name"] == "terminated":
        return
    record["State"] = {"Code": 48, "Name": "terminated"}
    record["_terminated_at"] = float("inf")
    remove_interfaces(
        [
            entry["NetworkInterfaceId"]
            for entry in interfaces()
            if (entry["Attachment"] or {}).get("InstanceId") == instance_id
        ]
    )
    for mapping in record["BlockDeviceMappings"]:
        ec2._volumes.pop(mapping["Ebs"]["VolumeId"], None)
        ec2._tags.pop(mapping["Ebs"]["VolumeId"], None)


def set_tags(resource_id: str, tags: Mapping[str, str]) -> None:
    """Give an EC2 resource exactly these tags."""
    ec2._tags[resource_id] = [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_of(resource_id: str) -> dict[str, str]:
    """Return the tags of an EC2 resource."""
    return {tag["Key"]: tag["Value"] for tag in ec2._tags.get(resource_id) or ()}


def _virtual_cpus(instance_type: str) -> int:
    known = INSTANCE_TYPES.get(instance_type)
    return known.cpu if known else 2
