"""Where the routes of the Gateway API lead: from a Gateway's listeners to Services."""

from __future__ import annotations

from collections.abc import Iterator

from simulators.kubernetes import kinds
from simulators.kubernetes.objects import Object, is_terminating, name_of, namespace_of
from simulators.kubernetes.provider import Attachment
from simulators.kubernetes.store import Store


def attachments(store: Store, gateway: Object) -> Iterator[Attachment]:
    """Yield where the routes lead that listeners of the Gateway take; what is not there leads nowhere."""
    for route in store.list(kinds.HTTP_ROUTES, namespace_of(gateway)):
        for parent in route["spec"].get("parentRefs") or ():
            if parent["name"] != name_of(gateway) or is_terminating(route):
                continue
            for listener in listeners_of(gateway, parent):
                for service, port in backends_of(store, route):
                    if service is not None:
                        yield Attachment(listener, service, port)


def backends_of(store: Store, route: Object) -> Iterator[tuple[Object | None, int]]:
    """Yield each Service that a route names, None for one that is not there or has no such port, with the port."""
    for rule in route["spec"].get("rules") or ():
        for backend in rule.get("backendRefs") or ():
            service = store.get(kinds.SERVICES, namespace_of(route), backend["name"])
            ports = [entry["port"] for entry in service["spec"]["ports"]] if service else []
            yield (service if backend.get("port") in ports else None), backend.get("port", 0)


def listeners_of(gateway: Object, parent: Object) -> list[str]:
    """Return the names of the listeners that a route asks for."""
    wanted = parent.get("sectionName")
    return [each["name"] for each in gateway["spec"]["listeners"] if wanted in (None, each["name"])]
