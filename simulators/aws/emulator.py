"""ministack inside this process: the one place that knows how it is entered, extended, read and emptied.

ministack is pinned, because this leans on its private parts; tests/simulators/aws/test_front.py tests what is used.
"""

# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

import simulators.aws  # noqa: F401  (sets ministack's environment before it is imported)

logging.getLogger("ministack").setLevel(logging.ERROR)

from ministack import app as ministack_app  # noqa: E402
from ministack.core import iam_actions, iam_evaluator, router  # noqa: E402
from ministack.core.responses import request_scope  # noqa: E402
from ministack.services import ec2, iam, sts  # noqa: E402

__all__ = ["Record", "add_service", "call", "enter", "on_reset", "request_scope", "reset"]

Record = dict[str, Any]
"""A resource as ministack keeps it."""

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
    method: str, raw_path: str, *, query: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Pass one HTTP request to ministack and return status, headers and body of its reply."""
    scope: Mapping[str, Any] = {
        "type": "http",
        "method": method,
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": headers,
        # Loopback stands for TLS: policies that refuse plain HTTP are to hold as they do at AWS.
        "scheme": "https",
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


def role(account: str, name: str) -> Record | None:
    """Return a role by name."""
    found: Record | None = iam._roles.get_scoped(account, None, name)
    return found


def user(account: str, name: str) -> Record | None:
    """Return a user by name."""
    found: Record | None = iam._users.get_scoped(account, None, name)
    return found


def instance_profile(account: str, name: str) -> Record | None:
    """Return an instance profile by name."""
    found: Record | None = iam._instance_profiles.get_scoped(account, None, name)
    return found


def roles_with_policy(account: str, policy_arn: str) -> list[str]:
    """Return the names of the roles that a managed policy is attached to."""
    return [
        name
        for (owner, name), record in iam._roles.to_dict().items()
        if owner == account and policy_arn in record.get("AttachedPolicies", ())
    ]


def session_arn(access_key: str) -> str:
    """Return the ARN of the temporary session that an access key belongs to, empty if there is none."""
    return str((sts._sessions.get(access_key) or {}).get("Arn", ""))


def user_of_access_key(access_key: str) -> tuple[str, str]:
    """Return account and name of the user who holds an access key; both are empty if nobody does."""
    for (account, key), record in iam._access_keys.to_dict().items():
        if key == access_key:
            return account, str(record["UserName"])
    return "", ""


def ec2_tags(resource: str) -> dict[str, str]:
    """Return the tags of an EC2 resource in the account and region of the current request."""
    return {tag["Key"]: tag["Value"] for tag in ec2._tags.get(resource) or ()}


def launch_template_id(name: str) -> str:
    """Return the id of a launch template in the account and region of the current request, empty if there is none."""
    for template_id, template in ec2._launch_templates.items():
        if template.get("LaunchTemplateName") == name:
            return str(template_id)
    return ""


def owner_of_association(association: str) -> str:
    """Return the id of the route table or address that an association belongs to, empty if there is none."""
    for table_id, table in ec2._route_tables.items():
        if any(entry.get("RouteTableAssociationId") == association for entry in table.get("Associations", ())):
            return str(table_id)
    for allocation, address in ec2._addresses.items():
        if address.get("AssociationId") == association:
            return str(allocation)
    return ""


RolePolicies = Callable[[str, str], list[Any]]
"""Role name and account, to the parsed policies that count."""

role_policies: RolePolicies = iam_evaluator._gather_role_policies
"""What ministack itself finds."""


def read_role_policies_by(lookup: RolePolicies) -> None:
    """Let the policies of roles be found by `lookup` from now on."""
    iam_evaluator._gather_role_policies = lookup


def iam_action(
    service: str, method: str, raw_path: str, *, query: str, headers: dict[str, str], body: bytes
) -> str | None:
    """Return the IAM action by which a request is authorized (`s3:ListBucket` for ListObjectsV2), None if unknown."""
    parameters = parse_qs(query, keep_blank_values=True)
    action: str | None = iam_actions.extract_iam_action(service, method, unquote(raw_path), headers, body, parameters)
    return action


RawReply = tuple[int, dict[str, str], bytes]


def handle_iam_action(action: str, handler: Callable[[dict[str, list[str]]], RawReply]) -> None:
    """Let `handler` answer one operation of IAM, after it has been authorized; it gets the query parameters."""
    iam._IAM_HANDLERS[action] = handler


def iam_reply(operation: str, result: str) -> RawReply:
    """Return a successful reply of IAM with `result` as the XML inside its result element."""
    reply: RawReply = iam._xml(200, f"{operation}Response", f"<{operation}Result>{result}</{operation}Result>")
    return reply


def iam_error(status: int, code: str, message: str) -> RawReply:
    """Return an error reply of IAM."""
    reply: RawReply = iam._error(status, code, message, ns="iam")
    return reply


def policies_of(principal: str) -> tuple[list[list[Any]], list[list[Any]] | None] | None:
    """Return the parsed policies of a role or user of the current account by its ARN, and its boundary if it has one.

    None if there is no such principal.
    """
    account, name = principal.split(":")[4], principal.rpartition("/")[2]
    if ":role/" in principal and role(account, name) is not None:
        policies = iam_evaluator._gather_role_policies(name, account)
        boundaries = iam_evaluator._permissions_boundary(iam._roles, name, account)
    elif ":user/" in principal and user(account, name) is not None:
        policies = iam_evaluator._gather_user_policies(name, account)
        boundaries = iam_evaluator._permissions_boundary(iam._users, name, account)
    else:
        return None
    return policies, boundaries[0] if boundaries else None
