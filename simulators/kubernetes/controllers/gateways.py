"""Gateways: the load balancers that a cloud makes for them, and what becomes of the routes and policies around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simulators.faults import FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.conditions import finding, merged
from simulators.kubernetes.controllers.controller import Controller, Surroundings
from simulators.kubernetes.objects import Object, is_terminating, name_of, namespace_of
from simulators.kubernetes.provider import Attachment, Entrance, HinderedError

FINALIZER: Final = "gateway.finalizer.networking.gke.io"
CONTROLLER: Final = "networking.gke.io/gateway"
_GROUP_OF_KIND: Final = {"Gateway": kinds.GATEWAYS.group, "Service": ""}


class GatewayController(Controller):
    """Lets the cloud make the load balancer of each Gateway, and says in conditions and events how far it is.

    A Gateway does not vanish before the cloud says that its load balancer is gone. One that was made or changed by a
    call that met a `stuck` or `capacity` fault gets none while the rule is in force.
    """

    name = "sc-gateway-controller"
    watches = (kinds.GATEWAYS, kinds.HTTP_ROUTES, kinds.SERVICES, *kinds.POLICIES_OF_GKE)
    heeds_faults = True

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._served: dict[str, object] = {}
        """What the load balancer was last brought in line with, keyed by the Gateway's uid."""

    def reconcile(self) -> None:
        """Take one step for every Gateway, then say of each route and policy what became of it."""
        gateways = self.store.list(kinds.GATEWAYS)
        for gateway in gateways:
            if is_terminating(gateway):
                self._clean_up(gateway)
            elif not self.affliction(gateway, FaultKind.STUCK, FaultKind.CAPACITY):
                self._ensure(self.add_finalizer(kinds.GATEWAYS, gateway, FINALIZER))
        for route in self.store.list(kinds.HTTP_ROUTES):
            self._judge(route)
        for kind in kinds.POLICIES_OF_GKE:
            for policy in self.store.list(kind):
                found = self._target_of(policy) is not None
                reason = "Attached" if found else "TargetNotFound"
                self.update_status(kind, policy, {}, [finding("Attached", found, reason)])

    def _ensure(self, gateway: Object) -> None:
        """Ask the cloud for the load balancer until it is active, and again whenever something around it changes."""
        uid = gateway["metadata"]["uid"]
        attachments = tuple(self._attachments(gateway))
        entrance = Entrance(gateway, attachments, tuple(self._policies(gateway, attachments)))
        configuration = (
            gateway["spec"],
            [(each.listener, each.service["spec"], each.port) for each in attachments],
            [policy["spec"] for policy in entrance.policies],
        )
        if self._served.get(uid) == configuration:
            return
        self._served.pop(uid, None)
        try:
            address = self.provider.ensure_gateway(self.cluster.id, entrance)
        except HinderedError as hindrance:
            self.events.warning(gateway, self.name, "SYNC", f"failed to sync Gateway: {hindrance}")
            self._report(gateway, attachments, programmed=False, reason="Invalid", message=str(hindrance))
            self._look_again()
            return
        if address is None:
            self._look_again()
            return
        self._served[uid] = configuration
        self._report(gateway, attachments, programmed=True, reason="Programmed", addresses=[address])
        self.events.normal(
            gateway, self.name, "SYNC", f"SYNC on {namespace_of(gateway)}/{name_of(gateway)} was a success"
        )

    def _look_again(self) -> None:
        self.alarm.wake_after(self.durations.provider_poll, least_real=self.durations.least_wait)

    def _report(
        self,
        gateway: Object,
        attachments: tuple[Attachment, ...],
        *,
        programmed: bool,
        reason: str,
        message: str = "",
        addresses: list[str] | None = None,
    ) -> None:
        generation = gateway["metadata"].get("generation", 1)
        before = {each["name"]: each for each in (gateway.get("status") or {}).get("listeners") or ()}
        findings = [
            {**found, "observedGeneration": generation}
            for found in (finding("Accepted", True, "Accepted"), finding("Programmed", programmed, reason, message))
        ]
        listeners = [
            {
                "name": listener["name"],
                "supportedKinds": [{"group": kinds.HTTP_ROUTES.group, "kind": kinds.HTTP_ROUTES.kind}],
                "attachedRoutes": sum(each.listener == listener["name"] for each in attachments),
                "conditions": merged(before.get(listener["name"], {}).get("conditions"), findings, self.timestamp()),
            }
            for listener in gateway["spec"]["listeners"]
        ]
        status: Object = {"listeners": listeners}
        if addresses is not None:
            status["addresses"] = [{"type": "IPAddress", "value": address} for address in addresses]
        self.update_status(kinds.GATEWAYS, gateway, status, findings)

    def _clean_up(self, gateway: Object) -> None:
        """Give the load balancer back and let the Gateway go."""
        if FINALIZER not in (gateway["metadata"].get("finalizers") or ()):
            return
        if not self.provider.delete_gateway(self.cluster.id, gateway):
            self._look_again()
            return
        self._served.pop(gateway["metadata"]["uid"], None)
        self.remove_finalizer(kinds.GATEWAYS, gateway, FINALIZER)

    # --- what hangs together

    def _attachments(self, gateway: Object) -> Iterator[Attachment]:
        """Yield where the routes lead that listeners of the Gateway take; what is not there leads nowhere."""
        for route in self.store.list(kinds.HTTP_ROUTES, namespace_of(gateway)):
            for parent in route["spec"].get("parentRefs") or ():
                if parent["name"] != name_of(gateway) or is_terminating(route):
                    continue
                for listener in _listeners(gateway, parent):
                    for service, port in self._backends(route):
                        if service is not None:
                            yield Attachment(listener, service, port)

    def _backends(self, route: Object) -> Iterator[tuple[Object | None, int]]:
        for rule in route["spec"].get("rules") or ():
            for backend in rule.get("backendRefs") or ():
                service = self.store.get(kinds.SERVICES, namespace_of(route), backend["name"])
                ports = [entry["port"] for entry in service["spec"]["ports"]] if service else []
                yield (service if backend.get("port") in ports else None), backend.get("port", 0)

    def _policies(self, gateway: Object, attachments: tuple[Attachment, ...]) -> Iterator[Object]:
        targets = {gateway["metadata"]["uid"], *(each.service["metadata"]["uid"] for each in attachments)}
        for kind in kinds.POLICIES_OF_GKE:
            for policy in self.store.list(kind, namespace_of(gateway)):
                target = self._target_of(policy)
                if target is not None and target["metadata"]["uid"] in targets and not is_terminating(policy):
                    yield policy

    def _target_of(self, policy: Object) -> Object | None:
        target = policy["spec"]["targetRef"]
        if _GROUP_OF_KIND.get(target["kind"]) != target["group"]:
            return None
        kind = kinds.GATEWAYS if target["kind"] == "Gateway" else kinds.SERVICES
        return self.store.get(kind, namespace_of(policy), target["name"])

    def _judge(self, route: Object) -> None:
        """Say of a route, for each parent, whether there is such a listener and whether its backends exist."""
        resolved = all(service is not None for service, _ in self._backends(route))
        known = {str(each["parentRef"]): each for each in (route.get("status") or {}).get("parents") or ()}
        parents = []
        for parent in route["spec"].get("parentRefs") or ():
            gateway = self.store.get(kinds.GATEWAYS, namespace_of(route), parent["name"])
            accepted = gateway is not None and bool(_listeners(gateway, parent))
            findings = [
                finding("Accepted", accepted, "Accepted" if accepted else "NoMatchingParent"),
                finding("ResolvedRefs", resolved, "ResolvedRefs" if resolved else "BackendNotFound"),
            ]
            generation = route["metadata"].get("generation", 1)
            conditions = merged(
                known.get(str(parent), {}).get("conditions"),
                [{**found, "observedGeneration": generation} for found in findings],
                self.timestamp(),
            )
            parents.append({"parentRef": parent, "controllerName": CONTROLLER, "conditions": conditions})
        self.update_status(kinds.HTTP_ROUTES, route, {"parents": parents})


def _listeners(gateway: Object, parent: Object) -> list[str]:
    """Return the names of the listeners that a route asks for."""
    wanted = parent.get("sectionName")
    return [each["name"] for each in gateway["spec"]["listeners"] if wanted in (None, each["name"])]
