"""Serve an asyncio server from a thread of the test process, so that a test can use blocking clients."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol


class Server(Protocol):
    """What every simulated endpoint is."""

    async def start(self, port: int = 0) -> None:
        """Listen on loopback."""

    async def stop(self) -> None:
        """Stop listening."""


@contextlib.contextmanager
def serving(*servers: Server) -> Iterator[None]:
    """Serve while the context lasts, all on one event loop as in the real process."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        for server in servers:
            asyncio.run_coroutine_threadsafe(server.start(), loop).result(30)
        yield
    finally:
        for server in reversed(servers):
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
