"""The way that every call takes: caller, fault, permissions, deed, and an entry in the journal."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable
from uuid import uuid4

from simulators.faults import Fault, FaultKind
from simulators.gcp.api import Answer, Method, Request, Service
from simulators.gcp.cloud import Cloud, denied
from simulators.gcp.faults import fault_refusal
from simulators.gcp.iam.identities import OWNER_TOKEN, unauthenticated
from simulators.gcp.refusals import Json, Refusal
from simulators.world import Held

_FREE_APIS = frozenset({"iamcredentials.googleapis.com", "longrunning.googleapis.com"})
"""What need not be enabled in the project that a call is about: it is the caller's own, or belongs to every API."""


class Withheld(Exception):  # noqa: N818 - it is what becomes of a reply, no error of ours
    """The deed is done, and its reply is lost: the connection has to end without it."""


class Front:
    """Answers the calls to all services of one cloud."""

    def __init__(self, cloud: Cloud, services: Iterable[Service]) -> None:
        self.cloud = cloud
        self.services = tuple(services)

    async def answer(self, method: Method, parameters: Json, *, authorization: str, agent: str) -> Answer:
        """Return the answer of one call.

        Raises:
            Refusal: The cloud does not fulfil it.
            Withheld: It was fulfilled, but the reply is to be lost.
        """
        world = self.cloud.world
        self.cloud.work.settle()
        place = method.place(parameters)
        request = Request(method, parameters, agent, world.clock.now(), place.project, place.region, place.resource)
        principal = self._principal_of(authorization)
        request.principal = principal or ""
        request.fault = world.faults.meet(request.call())
        call = request.call()
        try:
            answer = await self._answer(request)
            changed = method.mutating and request.had_effect
            call = request.call(status=200, changed=changed)
            await self._afterwards(request, request.fault)
        except Refusal as refusal:
            call = request.call(status=refusal.http, error=refusal.name)
            raise
        except Withheld:
            call = request.call(changed=method.mutating and request.had_effect)
            raise
        except asyncio.CancelledError:
            call = call.model_copy(update={"status": 0})
            raise
        finally:
            world.journal.record(call)
        return answer

    def _principal_of(self, authorization: str) -> str | None:
        token = authorization.partition(" ")[2]
        if token.startswith(OWNER_TOKEN):
            self.cloud.project(token.removeprefix(OWNER_TOKEN))
        return self.cloud.identities.principal_of(token) if token else None

    async def _answer(self, request: Request) -> Answer:
        """Do what the fault says before the deed, then the deed."""
        fault = request.fault
        if fault is not None:
            if refusal := fault_refusal(fault, request):
                raise refusal
            match fault.kind:
                case FaultKind.REVOKE:
                    raise self._revoked(request)
                case FaultKind.SLOW:
                    await asyncio.sleep(fault.seconds)
                case FaultKind.HOLD_BEFORE:
                    await self._hold(request, fault, deed_done=False)
        self._admit(request)
        answer = request.method.deed(request)
        return await answer if inspect.isawaitable(answer) else answer

    async def _afterwards(self, request: Request, fault: Fault | None) -> None:
        """Do what the fault says after the deed."""
        if fault is None:
            return
        if fault.kind is FaultKind.LOST_REPLY:
            raise Withheld
        if fault.kind is FaultKind.HOLD:
            await self._hold(request, fault, deed_done=True)

    def _admit(self, request: Request) -> None:
        """Refuse who is nobody, what is not enabled, and what is not allowed."""
        method = request.method
        if method.public:
            return
        if not request.principal:
            raise unauthenticated()
        checks = tuple(method.checks(request))
        project = self.cloud.identities.project(request.project)
        if project is None:
            if checks:
                raise denied(request.principal, checks[0], method.service)
            return
        request.project = project.id
        if method.api not in _FREE_APIS and method.api not in project.services:
            raise _disabled(request, project.number)
        for check in checks:
            self.cloud.require(request.principal, check, project.id, service=method.service, agent=request.agent)

    def _revoked(self, request: Request) -> Refusal:
        """Refuse as if the caller's roles lacked the first permission that the call needs."""
        first = next(iter(request.method.checks(request)), None)
        if first is None:
            return Refusal("PERMISSION_DENIED", "The caller does not have permission")
        return denied(request.principal, first, request.method.service)

    async def _hold(self, request: Request, fault: Fault, *, deed_done: bool) -> None:
        call = request.call(changed=deed_done and request.method.mutating and request.had_effect)
        await self.cloud.world.hold(Held(id=uuid4().hex[:8], fault=fault.id, call=call, deed_done=deed_done))


def _disabled(request: Request, number: str) -> Refusal:
    api = request.method.api
    page = f"https://console.developers.google.com/apis/api/{api}/overview?project={number}"
    return Refusal(
        "PERMISSION_DENIED",
        f"{api} has not been used in project {number} before or it is disabled. Enable it by visiting {page} then"
        " retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and"
        " retry.",
        reason="SERVICE_DISABLED",
        metadata={"service": api, "consumer": f"projects/{number}", "activationUrl": page},
        legacy="accessNotConfigured",
        legacy_domain="usageLimits",
        details=(
            {
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{"description": "Google developers console API activation", "url": page}],
            },
        ),
    )
