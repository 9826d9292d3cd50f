"""Gateways: the load balancers that a cloud makes for them, and what becomes of the routes and policies around them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from simulators.faults import FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.conditions import finding, merged
from simulators.kubernetes.controllers.controller import Controller, Surroundings
from simulators.kubernetes.objects import Object, is_terminating, name_of, namespace_of
from simulators.kubernetes.provider import Attachment, Entrance, HinderedError
from simulators.kubernetes.routes import attachments, backends_of, listeners_of


class _Signature(NamedTuple):
    """How the controller of one class of Gateways signs what it does."""

    controller: str
    """In the status of routes."""
    component: str
    """The source of its events."""
    prefix: str = ""
    """Of what it says of a failure."""
    finalizer: str = ""
    """Without one a Gateway vanishes at once, and what was made for it as its owner's dependents do."""


_GOOGLE: Final = _Signature(
    "networking.gke.io/gateway",
    "sc-gateway-controller",
    "failed to sync Gateway: ",
    "gateway.finalizer.networking.gke.io",
)
_SIGNATURES: Final[Mapping[str, _Signature]] = {
    "approuting-istio": _Signature("istio.io/gateway-controller", "aks-app-routing-operator")
}
"""Keyed by class; of all others it is Google's."""
_GROUP_OF_KIND: Final = {"Gateway": kinds.GATEWAYS.group, "Service": ""}


class GatewayController(Controller):
    """Lets the cloud make the load balancer of each Gateway, and says in conditions and events how far it is.

    A Gateway does not vanish before the cloud says that its load balancer is gone. One that was made or changed by a
    call that met a `stuck` or `capacity` fault gets none while the rule is in force.
    """

    name = "gateway-controller"
    watches = (
        kinds.GATEWAYS,
        kinds.HTTP_ROUTES,
        kinds.SERVICES,
        kinds.SERVICE_ACCOUNTS,
        kinds.CONFIG_MAPS,
        *kinds.POLICIES_OF_GKE,
    )
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
                finalizer = _signature(gateway).finalizer
                self._ensure(self.add_finalizer(kinds.GATEWAYS, gateway, finalizer) if finalizer else gateway)
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
        attached = tuple(attachments(self.store, gateway))
        entrance = Entrance(gateway, attached, tuple(self._policies(gateway, attached)))
        configuration = (
            gateway["spec"],
            [(each.listener, each.service["spec"], each.port) for each in attached],
            [policy["spec"] for policy in entrance.policies],
            # What was made for the Gateway in the cluster, if anything was, comes back when somebody deletes it.
            [name_of(each) for each in self.owned(kinds.SERVICES, gateway) if not is_terminating(each)],
        )
        if self._served.get(uid) == configuration:
            return
        self._served.pop(uid, None)
        signature = _signature(gateway)
        try:
            address = self.provider.ensure_gateway(self.cluster.id, entrance)
        except HinderedError as hindrance:
            message = f"{signature.prefix}{hindrance}"
            self.events.warning(gateway, signature.component, hindrance.reason or "SYNC", message)
            self._report(gateway, attached, hindrance=hindrance, address=hindrance.address)
            self._look_again()
            return
        if address is None:
            self._look_again()
            return
        self._served[uid] = configuration
        self._report(gateway, attached, address=address)
        self.events.normal(
            gateway, signature.component, "SYNC", f"SYNC on {namespace_of(gateway)}/{name_of(gateway)} was a success"
        )

    def _look_again(self) -> None:
        self.alarm.wake_after(self.durations.provider_poll, least_real=self.durations.least_wait)

    def _report(
        self,
        gateway: Object,
        attached: tuple[Attachment, ...],
        *,
        address: str,
        hindrance: HinderedError | None = None,
    ) -> None:
        """Say of the Gateway whether it has a load balancer, and of each listener whether it serves."""
        generation = gateway["metadata"].get("generation", 1)
        before = {each["name"]: each for each in (gateway.get("status") or {}).get("listeners") or ()}
        hindered = _hindered(gateway, hindrance)
        message = str(hindrance) if hindrance is not None else ""

        def findings(*, programmed: bool) -> list[Object]:
            reason = "Programmed" if programmed else "Invalid"
            found = finding("Programmed", programmed, reason, "" if programmed else message)
            return [
                {**each, "observedGeneration": generation} for each in (finding("Accepted", True, "Accepted"), found)
            ]

        listeners = [
            {
                "name": listener["name"],
                "supportedKinds": [{"group": kinds.HTTP_ROUTES.group, "kind": kinds.HTTP_ROUTES.kind}],
                "attachedRoutes": sum(each.listener == listener["name"] for each in attached),
                "conditions": merged(
                    before.get(listener["name"], {}).get("conditions"),
                    findings(programmed=listener["name"] not in hindered),
                    self.timestamp(),
                ),
            }
            for listener in gateway["spec"]["listeners"]
        ]
        status: Object = {"listeners": listeners}
        if address:
            status["addresses"] = [{"type": "IPAddress", "value": address}]
        self.update_status(kinds.GATEWAYS, gateway, status, findings(programmed=bool(address)))

    def _clean_up(self, gateway: Object) -> None:
        """Give the load balancer back and let the Gateway go."""
        finalizer = _signature(gateway).finalizer
        if finalizer not in (gateway["metadata"].get("finalizers") or ()):
            return
        if not self.provider.delete_gateway(self.cluster.id, gateway):
            self._look_again()
            return
        self._served.pop(gateway["metadata"]["uid"], None)
        self.remove_finalizer(kinds.GATEWAYS, gateway, finalizer)

    # --- what hangs together

    def _policies(self, gateway: Object, attached: tuple[Attachment, ...]) -> Iterator[Object]:
        targets = {gateway["metadata"]["uid"], *(each.service["metadata"]["uid"] for each in attached)}
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
        resolved = all(service is not None for service, _ in backends_of(self.store, route))
        known = {str(each["parentRef"]): each for each in (route.get("status") or {}).get("parents") or ()}
        parents = []
        for parent in route["spec"].get("parentRefs") or ():
            gateway = self.store.get(kinds.GATEWAYS, namespace_of(route), parent["name"])
            accepted = gateway is not None and bool(listeners_of(gateway, parent))
            findings = [
                finding("Accepted", accepted, "Accepted" if accepted else "NoMatchingParent"),
                finding("ResolvedRefs", resolved, "ResolvedRefs" if resolved else "BackendNotFound"),
            ]
            generation = route["metadata"].get("generation", 1)
            controller = (_signature(gateway) if gateway is not None else _GOOGLE).controller
            conditions = merged(
                known.get(str(parent), {}).get("conditions"),
                [{**found, "observedGeneration": generation} for found in findings],
                self.timestamp(),
            )
            parents.append({"parentRef": parent, "controllerName": controller, "conditions": conditions})
        self.update_status(kinds.HTTP_ROUTES, route, {"parents": parents})


def _signature(gateway: Object) -> _Signature:
    return _SIGNATURES.get(gateway["spec"]["gatewayClassName"], _GOOGLE)


def _hindered(gateway: Object, hindrance: HinderedError | None) -> Collection[str]:
    """Return the names of the listeners that serve nothing."""
    if hindrance is None:
        return ()
    every = [listener["name"] for listener in gateway["spec"]["listeners"]]
    return every if hindrance.listeners is None else hindrance.listeners
