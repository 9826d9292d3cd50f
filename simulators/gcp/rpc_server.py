"""The gRPC side: every API that the SDKs call by gRPC, all on one loopback port, over local channel credentials.

The messages are those of the official packages, which are imported when the first call to an API arrives; the services
themselves see the messages as JSON.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2, status_pb2  # noqa: F401 - error_details registers the messages of details

from simulators.gcp.api import Media, Rpc
from simulators.gcp.front import Front, Withheld
from simulators.gcp.refusals import Refusal

_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "google.container.v1": ("google.cloud.container_v1",),
    "google.cloud.kms.v1": ("google.cloud.kms_v1",),
    "google.iam.admin.v1": ("google.cloud.iam_admin_v1",),
    "google.iam.credentials.v1": ("google.cloud.iam_credentials_v1",),
    "google.iam.v1": ("google.iam.v1.iam_policy_pb2", "google.iam.v1.policy_pb2"),
    "google.longrunning": (
        "google.longrunning.operations_pb2",
        "google.cloud.certificate_manager_v1",
        "google.cloud.service_usage_v1",
    ),
    "google.logging.v2": ("google.cloud.logging_v2",),
    "google.monitoring.v3": ("google.cloud.monitoring_v3",),
    "google.cloud.certificatemanager.v1": ("google.cloud.certificate_manager_v1",),
    "google.cloud.resourcemanager.v3": ("google.cloud.resourcemanager_v3",),
    "google.api.serviceusage.v1": ("google.cloud.service_usage_v1",),
}
"""Modules that register the messages of an interface, keyed by the interface's package."""

_SHUTDOWN_TIMEOUT = 0.1
"""Real seconds."""

Message = Any
"""The classes of messages are made at run time."""
_Behaviour = Callable[[Message, "grpc.aio.ServicerContext"], Awaitable[Message]]


class RpcServer:
    """Serves gRPC for one cloud."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._rpcs = {f"/{rpc.interface}/{rpc.name}": rpc for service in front.services for rpc in service.rpcs()}
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}
        self._server: grpc.aio.Server | None = None
        self.address = ""

    async def start(self, port: int = 0) -> None:
        """Serve on 127.0.0.1:`port`; `address` tells where."""
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((_Handlers(self._handler_of),))
        bound = self._server.add_secure_port(f"127.0.0.1:{port}", grpc.local_server_credentials())
        await self._server.start()
        self.address = f"127.0.0.1:{bound}"

    async def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            await self._server.stop(_SHUTDOWN_TIMEOUT)

    def _handler_of(self, path: str) -> grpc.RpcMethodHandler | None:
        rpc = self._rpcs.get(path)
        if rpc is not None and path not in self._handlers:
            request, response = _message(rpc.interface, rpc.request), _message(rpc.interface, rpc.response)
            self._handlers[path] = grpc.unary_unary_rpc_method_handler(
                self._behaviour(rpc, response),
                request_deserializer=request.FromString,
                response_serializer=response.SerializeToString,
            )
        return self._handlers.get(path)

    def _behaviour(self, rpc: Rpc, response: Message) -> _Behaviour:
        async def answer(request: Message, context: grpc.aio.ServicerContext) -> Message:
            metadata = [(key, str(value)) for key, value in context.invocation_metadata() or ()]
            try:
                answered = await self._front.answer(
                    rpc.method,
                    json_format.MessageToDict(request),
                    authorization=dict(metadata).get("authorization", ""),
                    agent=" ".join(value for key, value in metadata if key in ("x-goog-api-client", "user-agent")),
                )
            except Refusal as refusal:
                details = (("grpc-status-details-bin", _status(refusal).SerializeToString()),)
                await context.abort(_CODES[refusal.code], refusal.message, details)
            except Withheld:
                # What a client sees whose connection ends before the reply arrives.
                await context.abort(grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection reset by peer")
            if isinstance(answered, Media):
                raise TypeError(f"{rpc.name} answers by HTTP alone")
            return json_format.ParseDict(answered, response(), ignore_unknown_fields=True)

        return answer


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """Finds the handler of a call by its path."""

    def __init__(self, find: Callable[[str], grpc.RpcMethodHandler | None]) -> None:
        self._find = find

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return the handler, or None for a method that is not simulated: the caller gets UNIMPLEMENTED."""
        return self._find(handler_call_details.method)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _message(interface: str, name: str) -> Message:
    """Return the class of a message by its full name."""
    for package in _PACKAGES[interface.rpartition(".")[0]]:
        importlib.import_module(package)
    if name.startswith("google.iam.v1"):
        importlib.import_module("google.iam.v1.iam_policy_pb2")
    if name.startswith("google.longrunning"):
        importlib.import_module("google.longrunning.operations_pb2")
    if name == "google.protobuf.Empty":
        importlib.import_module("google.protobuf.empty_pb2")
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def _status(refusal: Refusal) -> status_pb2.Status:
    details = [json_format.ParseDict(detail, any_pb2.Any()) for detail in refusal.details]
    return status_pb2.Status(code=refusal.code, message=refusal.message, details=details)
