"""EKS replaces the machines of a node group: a new one first, the old one emptied by eviction, then ended."""

from __future__ import annotations

import itertools

import pytest

from simulators.aws.durations import Durations
from simulators.aws.eks.records import NodeGroupRecord
from simulators.aws.eks.replacement import Replacement
from simulators.aws.eks.updates import GOING_ON, Errors
from simulators.kubernetes import kinds
from simulators.kubernetes.objects import name_of
from tests.simulators.kubernetes.clusters import Playground


class Group:
    """A node group of the playground's three nodes, and the replacement of its machines."""

    def __init__(self, playground: Playground, *, force: bool = False, machines: int = 100) -> None:
        self.playground = playground
        self.record = NodeGroupRecord({"nodegroupName": "services"}, {f"i-{zone}": f"node-{zone}" for zone in "abc"})
        self.most = 0
        """Machines that ran at the same time."""
        self._machines = machines
        self._numbers = itertools.count()
        self.replacement = Replacement(
            playground.cluster,
            playground.world.clock,
            Durations(),
            self.record,
            launch=self._launch,
            end=self._end,
            force=force,
        )

    def _launch(self) -> str | None:
        if len(self.record.instances) >= self._machines:
            return "InsufficientInstanceCapacity"
        number = next(self._numbers)
        self.playground.add_node(f"new-{number}", "abc"[number % 3])
        self.record.instances[f"i-new-{number}"] = f"new-{number}"
        self.most = max(self.most, len(self.record.instances))
        return None

    def _end(self, instance: str) -> None:
        self.playground.cluster.remove_node(self.record.instances.pop(instance))

    def replace(self, looks: int = 500) -> Errors | None:
        """Go on until it is over, with the controllers acting in between."""
        for _ in range(looks):
            outcome = self.replacement.go_on()
            if outcome is not GOING_ON:
                return outcome
            self.playground.pass_time(0.005)
        return GOING_ON

    def unschedulable(self) -> set[str]:
        """Return the names of the nodes that take no pods."""
        nodes = self.playground.store.list(kinds.NODES)
        return {name_of(node) for node in nodes if (node.get("spec") or {}).get("unschedulable")}


def protect(playground: Playground, component: str, **disruption: int) -> None:
    """Let a budget cover a component."""
    spec = {**disruption, "selector": {"matchLabels": {"app": component}}}
    playground.create(kinds.POD_DISRUPTION_BUDGETS, {"metadata": {"name": component}, "spec": spec})


def test_there_is_never_more_than_one_machine_too_many() -> None:
    """All three machines are new at the end, all pods run on them, and each came before an old one went."""
    playground = Playground()
    playground.deploy("api")
    protect(playground, "api", maxUnavailable=1)
    group = Group(playground)

    outcome = group.replace()
    playground.settle()

    assert outcome is None
    assert set(group.record.instances.values()) == {"new-0", "new-1", "new-2"}
    assert group.most == 4
    assert {pod["spec"]["nodeName"] for pod in playground.pods("api")} <= {"new-0", "new-1", "new-2"}
    assert group.unschedulable() == set()


def test_a_budget_that_allows_nothing_stops_it() -> None:
    """EKS's own error names the node; when it gives up, the node takes pods again."""
    playground = Playground()
    playground.deploy("api")
    protect(playground, "api", maxUnavailable=0)
    group = Group(playground)

    outcome = group.replace()
    cordoned = group.unschedulable()
    group.replacement.give_up()

    assert outcome
    assert outcome[0]["errorCode"] == "PodEvictionFailure"
    assert cordoned == set(outcome[0]["resourceIds"])
    assert group.unschedulable() == set()
    assert playground.ready("api") == 3


def test_force_passes_over_budgets() -> None:
    """What is forced ends pods whatever their budgets say."""
    playground = Playground()
    playground.deploy("api")
    protect(playground, "api", maxUnavailable=0)
    group = Group(playground, force=True)

    assert group.replace() is None
    assert all(node.startswith("new-") for node in group.record.instances.values())


def test_without_a_machine_nothing_is_drained() -> None:
    """The cloud has none: no old machine is touched."""
    playground = Playground()
    playground.deploy("api")
    group = Group(playground, machines=3)

    outcome = group.replace()

    assert outcome
    assert (outcome[0]["errorCode"], outcome[0]["errorMessage"]) == (
        "NodeCreationFailure",
        "InsufficientInstanceCapacity",
    )
    assert group.unschedulable() == set()
    assert len(group.record.instances) == 3


@pytest.mark.parametrize(("minutes", "over"), [(14, False), (16, True)])
def test_patience_is_measured_in_simulated_time(minutes: int, over: bool) -> None:
    """EKS tries for a quarter of an hour before it gives up."""
    playground = Playground(speed=100)
    playground.deploy("api", replicas=1)
    playground.pass_time(60)
    protect(playground, "api", maxUnavailable=0)
    group = Group(playground)
    while not _holds_a_pod(playground, group):
        assert group.replacement.go_on() is GOING_ON
        playground.pass_time(1)

    playground.world.clock.advance(minutes * 60)

    assert (group.replacement.go_on() is not GOING_ON) is over


def _holds_a_pod(playground: Playground, group: Group) -> bool:
    """Return whether the node that is being emptied has a pod."""
    return any(pod["spec"].get("nodeName") in group.unschedulable() for pod in playground.pods("api"))
