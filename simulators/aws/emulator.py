"""ministack inside this process: the one place that knows how it is entered, extended and emptied.

ministack is pinned, because this leans on its structure: tests/simulators/aws/test_front.py tests each thing used here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import simulators.aws  # noqa: F401  (sets ministack's environment before it is imported)

logging.getLogger("ministack").setLevel(logging.ERROR)

from ministack import app as ministack_app  # noqa: E402
from ministack.core import iam_actions, router  # noqa: E402
from ministack.core.responses import request_scope  # noqa: E402
from ministack.services import iam, sts  # noqa: E402

__all__ = ["add_service", "call", "enter", "iam", "on_reset", "request_scope", "reset", "sts"]

Reply = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, dict[str, str], bytes, dict[str, Any]], Awaitable[tuple[int, dict[str, Any], Any]]]

_reset_hooks: list[Callable[[], None]] = []


def add_service(name: str, handler: Handler, *, target_prefix: str, namespace: str | None = None) -> None:
    """Make ministack route requests for a JSON service that it does not have to `handler`, authorized like all others.

    `name` is the credential scope (`servicequotas`), `target_prefix` what `X-Amz-Target` starts with, `namespace` the
    prefix of the service's IAM actions (`name` unless given).
    """
    router.SERVICE_PATTERNS[name] = {"target_prefixes": [target_prefix], "credential_scope": name}
    iam_actions.SERVICE_TO_IAM_NAMESPACE[name] = namespace or name
    ministack_app.SERVICE_HANDLERS[name] = handler


def on_reset(forget: Callable[[], None]) -> None:
    """Let `forget` run whenever the emulator is emptied, so that an extension can drop its own state."""
    _reset_hooks.append(forget)


def reset() -> None:
    """Forget every account: all resources, users, roles, sessions and keys."""
    ministack_app._reset_all_state()
    for forget in _reset_hooks:
        forget()


def enter() -> None:
    """Bind ministack to the running event loop.

    Its own lifespan is never run: that would start thread pools, schedulers and the search for a container runtime.
    """
    ministack_app._MAIN_LOOP = asyncio.get_running_loop()


async def call(
    method: str,
    raw_path: str,
    path: str,
    query: str,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Pass one HTTP request to ministack and return status, headers and body of its reply."""
    scope: Mapping[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": raw_path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": headers,
        "scheme": "http",
        "client": ("127.0.0.1", 0),
    }
    requests = iter(({"type": "http.request", "body": body, "more_body": False},))
    status = 500
    reply_headers: list[tuple[str, str]] = []
    chunks: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return next(requests, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            reply_headers.extend(
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
            )
        elif message["type"] == "http.response.body":
            chunks.append(message.get("body", b""))

    await ministack_app.app(scope, receive, send)
    return status, reply_headers, b"".join(chunks)
