"""Serve an asyncio server from a thread of the test process, so that a test can use blocking clients."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import ParamSpec, Protocol, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class Server(Protocol):
    """What every simulated endpoint is."""

    async def start(self, port: int = 0) -> None:
        """Listen on loopback."""

    async def stop(self) -> None:
        """Stop listening."""


@contextlib.contextmanager
def serving(*servers: Server) -> Iterator[None]:
    """Serve while the context lasts, all on one event loop as in the real process."""
    try:
        for server in servers:
            asyncio.run_coroutine_threadsafe(server.start(), _loop()).result(30)
        yield
    finally:
        for server in reversed(servers):
            asyncio.run_coroutine_threadsafe(server.stop(), _loop()).result(30)


def on_loop(
    deed: Callable[_Parameters, _Result], /, *arguments: _Parameters.args, **options: _Parameters.kwargs
) -> _Result:
    """Do something on the servers' thread, where everything that changes a cluster belongs, and return its result."""

    async def done() -> _Result:
        return deed(*arguments, **options)

    return asyncio.run_coroutine_threadsafe(done(), _loop()).result(30)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of all servers of this process.

    It is never closed: gRPC shares one queue of events among all event loops of a process, and may lose some once one
    of them is closed.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="servers", daemon=True).start()
    return loop
