"""The way on which Azure's SDKs reach the simulator: unchanged hosts and HTTPS for them, loopback on the wire."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from azure.core.pipeline.transport import RequestsTransport


class LoopbackTransport(RequestsTransport):  # type: ignore[misc] # the SDK is not typed here
    """Sends whatever is meant for a host of Azure to the simulator, with that host in `Host`.

    Everything above it is as in production: the SDKs see HTTPS, the real hosts, and challenges of the real hosts.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url.rstrip("/")

    def send(self, request: Any, **options: Any) -> Any:  # noqa: ANN401 - the SDK is not typed here
        """Send one request."""
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
