"""The scheduler: finds a node for each pod that has none, or says why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from simulators.faults import FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.conditions import finding
from simulators.kubernetes.controllers.controller import Controller
from simulators.kubernetes.controllers.pods import claim_names, is_active, is_finished, requests_of
from simulators.kubernetes.controllers.quantities import amount
from simulators.kubernetes.objects import Object, is_terminating, labels_of, name_of, namespace_of
from simulators.kubernetes.selectors import matches_label_selector

ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"


def tolerates(tolerations: Iterable[Object], taint: Object) -> bool:
    """Return whether one of the tolerations covers the taint."""
    return any(
        toleration.get("effect") in (None, "", taint["effect"])
        and toleration.get("key") in (None, "", taint["key"])
        and (
            (toleration.get("operator") == "Exists")
            or (bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or ""))
        )
        for toleration in tolerations
    )


def untolerated_taint(node: Object, tolerations: Sequence[Object]) -> Object | None:
    """Return the first taint that keeps a pod with these tolerations off the node, or None."""
    for taint in _taints(node):
        if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerates(tolerations, taint):
            return taint
    return None


def accepts(node: Object, spec: Object) -> bool:
    """Return whether the node matches the pod specification's node selector and required node affinity."""
    labels = labels_of(node)
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return matches_node_selector(node, affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))


def matches_node_selector(node: Object, selector: Object | None) -> bool:
    """Return whether one of the selector's terms describes the node; no selector describes every node."""
    if selector is None:
        return True
    return any(
        all(_matches(labels_of(node), expression) for expression in term.get("matchExpressions") or ())
        and all(_matches({"metadata.name": name_of(node)}, field) for field in term.get("matchFields") or ())
        for term in selector.get("nodeSelectorTerms") or ()
    )


class Scheduler(Controller):
    """Binds pods to nodes, the highest priority first and then in the order in which they were made.

    A pod whose volumes are not there yet first gets them provisioned in the zone of the node that suits it
    (`WaitForFirstConsumer`), and is bound once they are. For a pod whose owner was made by a call that met a `capacity`
    fault, no node has room while the rule is in force.
    """

    name = "default-scheduler"
    watches = (
        kinds.PODS,
        kinds.NODES,
        kinds.PERSISTENT_VOLUME_CLAIMS,
        kinds.PERSISTENT_VOLUMES,
        kinds.STORAGE_CLASSES,
    )
    heeds_faults = True

    def reconcile(self) -> None:
        """Try to place every pod that has no node."""
        pods = self.store.list(kinds.PODS)
        waiting = [pod for pod in pods if not pod["spec"].get("nodeName") and is_active(pod)]
        if not waiting:
            return
        field = _Field(self.store.list(kinds.NODES), pods)
        for pod in sorted(waiting, key=self._urgency):
            self._place(pod, field)

    def _urgency(self, pod: Object) -> tuple[int, str, str]:
        named = self.store.get(kinds.PRIORITY_CLASSES, None, pod["spec"].get("priorityClassName") or "")
        priority = named["value"] if named else pod["spec"].get("priority", 0)
        return (-priority, pod["metadata"].get("creationTimestamp", ""), name_of(pod))

    def _place(self, pod: Object, field: _Field) -> None:
        gated = pod["spec"].get("schedulingGates")
        if gated:
            found = finding("PodScheduled", False, "SchedulingGated", "Scheduling is blocked due to non-empty gates")
            self.update_status(kinds.PODS, pod, {}, [found])
            return
        if self.affliction(pod, FaultKind.CAPACITY):
            self._refuse(pod, f"0/{len(field.nodes)} nodes are available: {len(field.nodes)} Insufficient cpu.")
            return
        claims, obstacle = self._claims(pod)
        if obstacle:
            self._refuse(pod, f"0/{len(field.nodes)} nodes are available: {obstacle}.")
            return
        objections = {name_of(node): self._objection(pod, node, claims, field) for node in field.nodes}
        suitable = [node for node in field.nodes if not objections[name_of(node)]]
        if not suitable:
            self._refuse(pod, _summary(list(objections.values())))
            return
        chosen = min(suitable, key=lambda node: self._cost(pod, node, claims, field))
        if self._prepare_volumes(claims, chosen):
            self._bind(pod, chosen)
        # A pod that still waits for its volumes takes its place already: its peers must not choose the same zone.
        field.add(pod, chosen)

    def _claims(self, pod: Object) -> tuple[list[Object], str]:
        """Return the pod's volume claims, and why they keep it from any node (empty: they do not)."""
        claims: list[Object] = []
        for name in claim_names(pod):
            claim = self.store.get(kinds.PERSISTENT_VOLUME_CLAIMS, namespace_of(pod), name)
            if claim is None or is_terminating(claim):
                state = "not found" if claim is None else "is being deleted"
                return [], f'persistentvolumeclaim "{name}" {state}'
            if not _is_bound(claim) and not self._waits_for_consumer(claim):
                return [], "pod has unbound immediate PersistentVolumeClaims"
            claims.append(claim)
        return claims, ""

    def _waits_for_consumer(self, claim: Object) -> bool:
        storage_class = self.store.get(kinds.STORAGE_CLASSES, None, claim["spec"].get("storageClassName") or "")
        return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"

    def _objection(self, pod: Object, node: Object, claims: Sequence[Object], field: _Field) -> str:
        """Return why the pod cannot run on the node, in the scheduler's own words (empty: it can)."""
        spec = pod["spec"]
        tolerations = spec.get("tolerations") or []
        if (node.get("spec") or {}).get("unschedulable") and not tolerates(
            tolerations, {"key": UNSCHEDULABLE_TAINT, "effect": "NoSchedule"}
        ):
            return "node(s) were unschedulable"
        taint = untolerated_taint(node, tolerations)
        if taint is not None:
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"
        if not accepts(node, spec):
            return "node(s) didn't match Pod's node affinity/selector"
        if any(not self._is_reachable(claim, node) for claim in claims):
            return "node(s) had volume node affinity conflict"
        return (
            field.lack_of_room(pod, node)
            or field.affinity_violation(pod, node)
            or field.spread_violation(pod, node, self._eligible(pod, field))
        )

    def _eligible(self, pod: Object, field: _Field) -> list[Object]:
        """Return the nodes whose domains count for topology spread: those that the pod's affinity admits."""
        return [node for node in field.nodes if accepts(node, pod["spec"])]

    def _is_reachable(self, claim: Object, node: Object) -> bool:
        if not _is_bound(claim):
            selected = self._selected_node(claim)
            return selected is None or labels_of(selected).get(ZONE) == labels_of(node).get(ZONE)
        volume = self.store.get(kinds.PERSISTENT_VOLUMES, None, claim["spec"]["volumeName"])
        affinity = ((volume or {}).get("spec") or {}).get("nodeAffinity") or {}
        return volume is not None and matches_node_selector(node, affinity.get("required"))

    def _selected_node(self, claim: Object) -> Object | None:
        """Return the node for which the claim's volume is being made, if it is still there."""
        name = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
        return self.store.get(kinds.NODES, None, name) if name else None

    def _cost(
        self, pod: Object, node: Object, claims: Sequence[Object], field: _Field
    ) -> tuple[bool, int, int, float, str]:
        """Sort key by which nodes are preferred: the selected one, the emptiest zone and node, the most room."""
        selected = any(self._selected_node(claim) is not node for claim in claims if not _is_bound(claim))
        zone, host = field.siblings(pod, node)
        return (selected, zone, host, field.load(node), name_of(node))

    def _prepare_volumes(self, claims: Sequence[Object], node: Object) -> bool:
        """Name the node on claims that have no volume yet; return whether all are bound."""
        unbound = [claim for claim in claims if not _is_bound(claim)]
        for claim in unbound:
            annotations = claim["metadata"].get("annotations") or {}
            self.update_metadata(
                kinds.PERSISTENT_VOLUME_CLAIMS, claim, {"annotations": {**annotations, SELECTED_NODE: name_of(node)}}
            )
        return not unbound

    def _bind(self, pod: Object, node: Object) -> None:
        bound = self.update_spec(kinds.PODS, pod, {"nodeName": name_of(node)})
        bound = self.update_status(kinds.PODS, bound, {}, [finding("PodScheduled", True)])
        message = f"Successfully assigned {namespace_of(pod)}/{name_of(pod)} to {name_of(node)}"
        self.events.normal(bound, self.name, "Scheduled", message)

    def _refuse(self, pod: Object, message: str) -> None:
        found = finding("PodScheduled", False, "Unschedulable", message)
        before = pod.get("status")
        if self.update_status(kinds.PODS, pod, {}, [found]).get("status") != before:
            self.events.warning(pod, self.name, "FailedScheduling", message)


class _Field:
    """The nodes, and the pods on them, as they are during one round of scheduling."""

    def __init__(self, nodes: Sequence[Object], pods: Sequence[Object]) -> None:
        self.nodes = nodes
        self._by_name = {name_of(node): node for node in nodes}
        self._on_node: dict[str, list[Object]] = {name: [] for name in self._by_name}
        self._used: dict[str, tuple[float, float]] = dict.fromkeys(self._by_name, (0.0, 0.0))
        for pod in pods:
            if pod["spec"].get("nodeName") in self._by_name and not is_finished(pod):
                self.add(pod, self._by_name[pod["spec"]["nodeName"]])

    def add(self, pod: Object, node: Object) -> None:
        """Count a pod on a node."""
        name = name_of(node)
        asked = requests_of(pod)
        cpu, memory = self._used[name]
        self._on_node[name].append(pod)
        self._used[name] = (cpu + asked.cpu, memory + asked.memory)

    def lack_of_room(self, pod: Object, node: Object) -> str:
        """Return which resource the node lacks for the pod."""
        asked = requests_of(pod)
        cpu, memory = self._used[name_of(node)]
        allocatable = node["status"].get("allocatable") or {}
        if len(self._on_node[name_of(node)]) + 1 > amount(allocatable.get("pods", 110)):
            return "Too many pods"
        if cpu + asked.cpu > amount(allocatable.get("cpu", 0)) + 1e-9:
            return "Insufficient cpu"
        if memory + asked.memory > amount(allocatable.get("memory", 0)):
            return "Insufficient memory"
        return ""

    def load(self, node: Object) -> float:
        """Return the reserved share of the node's CPU."""
        return self._used[name_of(node)][0] / (amount((node["status"].get("allocatable") or {}).get("cpu", 0)) or 1.0)

    def affinity_violation(self, pod: Object, node: Object) -> str:
        """Return which required (anti-)affinity to other pods the node would violate."""
        affinity = pod["spec"].get("affinity") or {}
        required = "requiredDuringSchedulingIgnoredDuringExecution"
        for term in (affinity.get("podAffinity") or {}).get(required) or ():
            selects_itself = matches_label_selector(term.get("labelSelector"), labels_of(pod))
            anywhere = any(self._matching(pod, term, other) for other in self.nodes)
            if not self._in_domain(pod, term, node) and (anywhere or not selects_itself):
                return "node(s) didn't match pod affinity rules"
        for term in (affinity.get("podAntiAffinity") or {}).get(required) or ():
            if self._in_domain(pod, term, node):
                return "node(s) didn't match pod anti-affinity rules"
        for other in self.nodes:
            for resident in self._on_node[name_of(other)]:
                terms = ((resident["spec"].get("affinity") or {}).get("podAntiAffinity") or {}).get(required) or ()
                if any(_same_domain(node, other, term) and _selects(resident, term, pod) for term in terms):
                    return "node(s) didn't satisfy existing pods anti-affinity rules"
        return ""

    def _in_domain(self, pod: Object, term: Object, node: Object) -> bool:
        return any(_same_domain(node, other, term) and self._matching(pod, term, other) for other in self.nodes)

    def _matching(self, pod: Object, term: Object, node: Object) -> bool:
        return any(_selects(pod, term, resident) for resident in self._on_node[name_of(node)])

    def spread_violation(self, pod: Object, node: Object, eligible: Sequence[Object]) -> str:
        """Return which topology spread constraint (`DoNotSchedule`) the node would violate."""
        for constraint in pod["spec"].get("topologySpreadConstraints") or ():
            if constraint.get("whenUnsatisfiable", "DoNotSchedule") != "DoNotSchedule":
                continue
            key = constraint["topologyKey"]
            domain = labels_of(node).get(key)
            if domain is None:
                return "node(s) didn't match pod topology spread constraints (missing required label)"
            counts = self._domains(pod, constraint, eligible)
            itself = matches_label_selector(constraint.get("labelSelector"), labels_of(pod))
            fewest = min(counts.values(), default=0)
            if len(counts) < constraint.get("minDomains", 1):
                fewest = 0
            if counts[domain] + itself - fewest > constraint["maxSkew"]:
                return "node(s) didn't match pod topology spread constraints"
        return ""

    def _domains(self, pod: Object, constraint: Object, eligible: Sequence[Object]) -> Counter[str]:
        """Return how many matching pods each domain holds, keyed by the value of the topology label."""
        selector = _spread_selector(pod, constraint)
        counts: Counter[str] = Counter()
        for node in eligible:
            domain = labels_of(node).get(constraint["topologyKey"])
            if domain is not None:
                counts[domain] += sum(
                    namespace_of(resident) == namespace_of(pod)
                    and not is_terminating(resident)
                    and matches_label_selector(selector, labels_of(resident))
                    for resident in self._on_node[name_of(node)]
                )
        return counts

    def siblings(self, pod: Object, node: Object) -> tuple[int, int]:
        """Return how many pods of the same owner are in the node's zone, and on the node itself."""
        owners = {entry["uid"] for entry in pod["metadata"].get("ownerReferences") or ()}
        in_zone = on_node = 0
        for other in self.nodes:
            if labels_of(other).get(ZONE) != labels_of(node).get(ZONE):
                continue
            count = sum(
                any(entry["uid"] in owners for entry in resident["metadata"].get("ownerReferences") or ())
                for resident in self._on_node[name_of(other)]
            )
            in_zone += count
            on_node += count if other is node else 0
        return in_zone, on_node


def _taints(node: Object) -> Sequence[Object]:
    taints: Sequence[Object] = (node.get("spec") or {}).get("taints") or ()
    return taints


def _matches(labels: Mapping[str, str], expression: Object) -> bool:
    value = labels.get(expression["key"])
    values = expression.get("values") or []
    match expression["operator"]:
        case "In" | "Exists" as operator:
            return value is not None and (operator == "Exists" or value in values)
        case "NotIn" | "DoesNotExist" as operator:
            return value is None or (operator == "NotIn" and value not in values)
        case "Gt":
            return value is not None and int(value) > int(values[0])
        case "Lt":
            return value is not None and int(value) < int(values[0])
    raise ValueError(f"{expression['operator']!r} is not a valid node selector operator")


def _same_domain(node: Object, other: Object, term: Object) -> bool:
    domain = labels_of(node).get(term["topologyKey"])
    return domain is not None and domain == labels_of(other).get(term["topologyKey"])


def _selects(holder: Object, term: Object, candidate: Object) -> bool:
    """Return whether an affinity term of `holder` is about `candidate`."""
    namespaces = term.get("namespaces") or [namespace_of(holder)]
    return namespace_of(candidate) in namespaces and matches_label_selector(
        term.get("labelSelector"), labels_of(candidate)
    )


def _spread_selector(pod: Object, constraint: Object) -> Object | None:
    """Return the constraint's selector, narrowed to the pod's own values of `matchLabelKeys`."""
    selector: Object | None = constraint.get("labelSelector")
    keys = constraint.get("matchLabelKeys") or ()
    own = {key: labels_of(pod)[key] for key in keys if key in labels_of(pod)}
    if not own or selector is None:
        return selector
    return {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **own}}


def _is_bound(claim: Object) -> bool:
    return bool((claim.get("status") or {}).get("phase") == "Bound")


def _summary(objections: Sequence[str]) -> str:
    """Return the message of the scheduler: how many nodes object, and how many of them for which reason."""
    if not objections:
        return "no nodes available to schedule pods"
    reasons = sorted(f"{count} {reason}" for reason, count in Counter(objections).items())
    return f"0/{len(objections)} nodes are available: {', '.join(reasons)}."
