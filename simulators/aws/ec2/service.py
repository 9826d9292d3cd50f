"""The EC2 endpoint: dry runs, idempotency tokens and our operations in front of ministack's."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from ministack.services import ec2 as ministack_ec2

from simulators.aws import scope
from simulators.aws.context import report_no_effect
from simulators.aws.durations import Durations
from simulators.aws.ec2 import protocol
from simulators.aws.ec2.addresses import Addresses
from simulators.aws.ec2.endpoints import Endpoints
from simulators.aws.ec2.instances import Instances
from simulators.aws.ec2.launch_templates import LaunchTemplates
from simulators.aws.ec2.listing import Listings
from simulators.aws.ec2.networks import Networks
from simulators.aws.ec2.offerings import Offerings
from simulators.aws.ec2.security_groups import SecurityGroups
from simulators.aws.ec2.storage import Storage
from simulators.aws.quotas import Quotas
from simulators.aws.refusals import Refusal
from simulators.aws.scope import Scope
from simulators.aws.work import Work
from simulators.clock import Clock

Reply = tuple[int, dict[str, Any], bytes]
Operation = Callable[[dict[str, Any]], Mapping[str, Any]]
Guard = Callable[[dict[str, Any]], None]

_XML = {"Content-Type": "text/xml;charset=UTF-8"}
_DELETE_A_PART = frozenset({"DeleteRoute", "DeleteTags"})
"""Deletions of something in what they name, which stays."""
_NOT_COMPARED = frozenset({"ClientToken", "DryRun", "Action", "Version"})


class Ec2Service:
    """All of EC2, in every account and region.

    An operation is either ours (a function from the SDK's input to its output) or ministack's; before one of
    ministack's a guard may refuse the call.
    """

    def __init__(
        self,
        work: Work,
        clock: Clock,
        quotas: Quotas,
        durations: Durations,
        lose_instance: Callable[[Scope, str], None],
    ) -> None:
        self._work = work
        self._tokens: dict[tuple[Scope, str, str], tuple[str, Reply]] = {}
        addresses = Addresses(work, clock, quotas, durations)
        networks, groups = Networks(quotas), SecurityGroups(quotas)
        parts = (
            addresses,
            networks,
            groups,
            Endpoints(work, clock, quotas, durations),
            Instances(lose_instance),
            LaunchTemplates(clock),
            Listings(),
            Offerings(),
            Storage(work, clock, durations),
        )
        self._operations: dict[str, Operation] = {}
        self._guards: dict[str, Guard] = {}
        for part in parts:
            self._operations |= part.operations()
            self._guards |= part.guards()

    async def handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Reply:
        """Answer one request that has been authorized."""
        self._work.settle()
        ministack_ec2._ensure_defaults_initialized()
        flat = {name: value[0] if isinstance(value, list) else value for name, value in query.items()}
        flat |= dict(parse_qsl(body.decode(), keep_blank_values=True))
        name = flat.get("Action", "")
        if flat.get("DryRun", "").lower() == "true":
            refusal = Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
            return refusal.reply("ec2")
        http = (method, path, headers, body, query)
        try:
            return await self._once(name, flat, lambda: self._perform(name, flat, http))
        except Refusal as refusal:
            return refusal.reply("ec2")

    async def _once(self, name: str, flat: Mapping[str, str], perform: Callable[[], Any]) -> Reply:
        """Answer a repeated client token as before; refuse one that is used with other parameters."""
        token = flat.get("ClientToken")
        if not token:
            reply: Reply = await perform()
            return reply
        key = (scope.current(), name, token)
        asked = json.dumps(
            {field: value for field, value in flat.items() if field not in _NOT_COMPARED}, sort_keys=True
        )
        if key in self._tokens:
            first_asked, reply = self._tokens[key]
            if first_asked != asked:
                message = f"The client token {token} was used before, in a request with other parameters."
                raise Refusal("IdempotentParameterMismatch", message)
            report_no_effect()
            return reply
        reply = await perform()
        if reply[0] < 300:
            self._tokens[key] = (asked, reply)
        return reply

    async def _perform(self, name: str, flat: Mapping[str, str], http: tuple[Any, ...]) -> Reply:
        """Do the operation; `http` is the request as ministack takes it."""
        model = protocol.operation_model(name)
        parameters = protocol.read_input(model, flat) if model is not None else {}
        if model is not None and name in self._operations:
            return 200, dict(_XML), protocol.write_output(model, self._operations[name](parameters))
        if name in self._guards:
            self._guards[name](parameters)
        reply: Reply = await ministack_ec2.handle_request(*http)
        if reply[0] < 300 and name.startswith("Delete") and name not in _DELETE_A_PART:
            _forget_tags(parameters)
        return reply

    def forget(self) -> None:
        """Forget every token."""
        self._tokens.clear()


def _forget_tags(parameters: Mapping[str, Any]) -> None:
    """Forget the tags of what has been deleted: ministack keeps them."""
    for name, value in parameters.items():
        if name.endswith("Id") and isinstance(value, str):
            ministack_ec2._tags.pop(value, None)
