"""Machines: describing and terminating them."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Callable

from ministack.services import ec2

from simulators.aws import fabric, scope
from simulators.aws.ec2.listing import Document, Guard, Listing, Operation
from simulators.aws.refusals import Refusal
from simulators.aws.scope import Scope


class Instances:
    """The operations on machines; `lose` is told of each that the customer terminates."""

    def __init__(self, lose: Callable[[Scope, str], None]) -> None:
        self._lose = lose

    def operations(self) -> dict[str, Operation]:
        """Return the operations, keyed by name."""
        return {"DescribeInstances": _describe, "TerminateInstances": self._terminate}

    def guards(self) -> dict[str, Guard]:
        """Nothing is guarded here."""
        return {}

    def _terminate(self, parameters: Document) -> Document:
        ids = parameters.get("InstanceIds") or []
        for id_ in ids:
            if id_ not in ec2._instances:
                raise Refusal("InvalidInstanceID.NotFound", f"The instance ID '{id_}' does not exist")
        changes = []
        for id_ in ids:
            before = dict(ec2._instances[id_]["State"])
            self._lose(scope.current(), id_)
            fabric.terminate_instance(id_)
            changes.append({"InstanceId": id_, "PreviousState": before, "CurrentState": ec2._instances[id_]["State"]})
        return {"TerminatingInstances": changes}


_INSTANCES = Listing(
    "Instances", "InstanceId", "InstanceIds", "InvalidInstanceID.NotFound", "instance",
    ec2._instances.values,
    filters={"instance-id": "InstanceId", "instance-state-name": "State.Name", "instance-state-code": "State.Code",
             "instance-type": "InstanceType", "image-id": "ImageId", "vpc-id": "VpcId", "subnet-id": "SubnetId",
             "availability-zone": "Placement.AvailabilityZone", "private-dns-name": "PrivateDnsName",
             "private-ip-address": "PrivateIpAddress", "instance.group-id": "SecurityGroups.GroupId",
             "iam-instance-profile.arn": "IamInstanceProfile.Arn"},
)  # fmt: skip


def _describe(parameters: Document) -> Document:
    """DescribeInstances: each machine in a reservation of its own."""
    page = _INSTANCES.describe(parameters)
    account = scope.current().account
    reservations = [
        {"ReservationId": f"r-{entry['InstanceId'][2:]}", "OwnerId": account, "Groups": [], "Instances": [entry]}
        for entry in page.pop("Instances")
    ]
    return {**page, "Reservations": reservations}
