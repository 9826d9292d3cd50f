"""The way that every call to Google takes: the barrier before it, the caller's name on it, the deed entered.

HTTP goes through `Adapter`, gRPC through `Interceptor`. The caller is in the User-Agent (for gRPC in the header with
which the SDKs name themselves), and in `X-Goog-Request-Reason`, which the customer's audit logs keep with each entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import requests
from requests.adapters import HTTPAdapter

from activities.calling import agent, place_of_caller
from activities.gcp.calls import http_call, rpc_call

_REASON = "x-goog-request-reason"
_SDK = "x-goog-api-client"


class Adapter(HTTPAdapter):
    """Sends the HTTP requests of one impersonated account; mounted in every session of its clients."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:  # noqa: ANN401
        """Send one request, unless it would change something and changes are barred."""
        call = http_call(str(request.method), str(request.url), request.body)
        begun = call.begin()
        caller = agent(place_of_caller.get())
        request.headers["User-Agent"] = f"{caller} {request.headers.get('User-Agent', '')}".rstrip()
        request.headers[_REASON] = caller
        reply = super().send(request, *arguments, **options)
        if reply.ok:
            begun.answered()
        else:
            begun.refused()
        return reply


class Interceptor(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc] # grpc has no types
    """Sees each call of a channel."""

    def intercept_unary_unary(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:  # noqa: ANN401
        """Make one call, unless it would change something and changes are barred."""
        call = rpc_call(details.method, request)
        begun = call.begin()
        outcome = continuation(_named(details), request)
        if call.changes:
            error = outcome.exception()
            if error is None:
                begun.answered(rpc_call(details.method, request, outcome.result()).resources)
            elif isinstance(error, grpc.RpcError) and error.code() not in _UNANSWERED:
                begun.refused()
        return outcome


_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN)
"""After these the call may have changed something all the same."""


def _named(details: Any) -> Any:  # noqa: ANN401 - grpc has no types
    """Return the details of a call with the caller's name in its metadata."""
    caller = agent(place_of_caller.get())
    metadata = [(key, f"{caller} {value}" if key == _SDK else value) for key, value in details.metadata or ()]
    return details._replace(metadata=[*metadata, (_REASON, caller)])
