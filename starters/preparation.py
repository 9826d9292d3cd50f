"""Preparing a Temporal server for the control plane: its namespace and its search attributes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.model import Model
from starters.client import ControlPlaneError
from workflows.temporal import search_attributes

_LOOKS, _PAUSE = 60, 0.5
"""A new namespace is known to all of a server's processes after some seconds."""


class Preparation(Model):
    """What was done, and what was there already."""

    namespace: str
    namespace_made: bool
    added: tuple[str, ...] = ()
    """Search attributes that were registered."""
    present: tuple[str, ...] = ()
    """Search attributes that were registered before."""


async def prepare(client: Client, *, retention: timedelta) -> Preparation:
    """Make the client's namespace and register our search attributes; what is there stays as it is.

    Raises:
        ControlPlaneError: The server refuses, for want of permission for example.
    """
    try:
        made = await _make_namespace(client, retention)
        missing, present = await _search_attributes(client)
        if missing:
            request = AddSearchAttributesRequest(
                namespace=client.namespace,
                search_attributes=dict.fromkeys(missing, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
            )
            await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        raise ControlPlaneError(f"Temporal refuses: {error.message}") from error
    return Preparation(namespace=client.namespace, namespace_made=made, added=tuple(missing), present=tuple(present))


async def _make_namespace(client: Client, retention: timedelta) -> bool:
    """Make the namespace unless it is there; return whether it was made."""
    request = RegisterNamespaceRequest(namespace=client.namespace)
    request.workflow_execution_retention_period.FromTimedelta(retention)
    try:
        await client.workflow_service.register_namespace(request)
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return False
        raise
    return True


async def _search_attributes(client: Client) -> tuple[list[str], list[str]]:
    """Return the names of our search attributes that are missing, and of those that are there."""
    for _ in range(_LOOKS):
        try:
            listed = await client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace=client.namespace)
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await asyncio.sleep(_PAUSE)
            continue
        names = [key.name for key in search_attributes.ALL]
        known = set(listed.custom_attributes)
        return [name for name in names if name not in known], [name for name in names if name in known]
    raise ControlPlaneError(f"namespace {client.namespace!r} was made and cannot be seen yet; run this again")
