"""The way that every call to Azure takes: the barrier before it, the caller's name on it, the deed noted after it."""

from __future__ import annotations

from datetime import timedelta
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter

from activities.azure.calls import cloud_call
from activities.calling import agent, place_of_caller

_CONNECTIONS = 50
"""Kept open to each host."""


class LoopbackTransport(RequestsTransport):  # type: ignore[misc] # the SDK is not typed here
    """Sends whatever is meant for a host of Azure to one loopback server, with that host in `Host`.

    Everything above it is as in production: the SDKs see HTTPS, the real hosts, and challenges of the real hosts.
    """

    def __init__(self, url: str | None, **options: Any) -> None:  # noqa: ANN401 - the SDK is not typed here
        """Without a `url` everything goes where it is meant for."""
        super().__init__(**options)
        self._url = url.rstrip("/") if url else None

    def send(self, request: Any, **options: Any) -> Any:  # noqa: ANN401 - the SDK is not typed here
        """Send one request."""
        if self._url is None:
            return super().send(request, **options)
        original = request.url
        parts = urlsplit(original)
        request.headers["Host"] = parts.netloc
        query = f"?{parts.query}" if parts.query else ""
        request.url = f"{self._url}{parts.path}{query}"
        try:
            return super().send(request, **options)
        finally:
            # Policies above look at the host again: for retries, redirects and challenges.
            request.url = original


class Transport(LoopbackTransport):
    """Sends the requests of all clients of one worker."""

    def __init__(self, url: str | None, timeout: timedelta) -> None:
        """`timeout` is that of a connection, and of each wait for an answer."""
        session = requests.Session()
        # The customers' calls share the connections, so no host may leave anything behind in them.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS, max_retries=0))
        seconds = timeout.total_seconds()
        # The session is not the transport's own: a client that is closed leaves it open for the others.
        super().__init__(url, session=session, session_owner=False, connection_timeout=seconds, read_timeout=seconds)

    def send(self, request: Any, **options: Any) -> Any:  # noqa: ANN401 - the SDK is not typed here
        """Send one request, unless it would change something and changes are barred."""
        call = cloud_call(str(request.method), str(request.url))
        begun = call.begin()
        named = request.headers.get("User-Agent", "")
        request.headers["User-Agent"] = f"{agent(place_of_caller.get())} {named}".rstrip()
        try:
            reply = super().send(request, **options)
        finally:
            # The same request may be sent again, after a challenge.
            request.headers["User-Agent"] = named
        if reply.status_code < requests.codes.bad_request:
            begun.answered()
        else:
            begun.refused()
        return reply
