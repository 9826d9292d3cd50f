"""The dependency graph that the measurements use is that of the workflow, as a recorded history shows it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.graph import NEEDS, critical_path

HISTORY = Path(__file__).parents[1] / "histories" / "provision.json"
_ABOUT = ("component", "pool", "name")
"""Fields of a question that tell one run of a step from another, where one step runs for several things."""
_RUN_FOR_SEVERAL = {step.partition("/")[0] for step in NEEDS if "/" in step}

Event = dict[str, Any]


def _attributes(event: Event) -> dict[str, Any]:
    return next((value for key, value in event.items() if key.endswith("EventAttributes")), {})


def _step(scheduled: dict[str, Any]) -> str:
    """Return the step's name from its activity's type and question: `create_node_pool/store`."""
    name = scheduled["activityType"]["name"]
    if name not in _RUN_FOR_SEVERAL:
        return str(name)
    question = json.loads(base64.b64decode(scheduled["input"]["payloads"][0]["data"]))
    return f"{name}/{next(question[field] for field in _ABOUT if field in question)}"


def _starts() -> Iterator[tuple[str, set[str], set[str]]]:
    """Yield each step with the steps that had ended when it was scheduled, and those among them that set it off."""
    names: dict[str, str] = {}
    ended: set[str] = set()
    fresh: set[str] = set()
    for event in json.loads(HISTORY.read_text())["events"]:
        attributes = _attributes(event)
        match event["eventType"].removeprefix("EVENT_TYPE_"):
            case "WORKFLOW_TASK_COMPLETED":
                cause, fresh = fresh, set()
            case "ACTIVITY_TASK_SCHEDULED":
                name = names[event["eventId"]] = _step(attributes)
                yield name, set(ended), cause
            case "ACTIVITY_TASK_COMPLETED":
                ended.add(names[attributes["scheduledEventId"]])
                fresh.add(names[attributes["scheduledEventId"]])


def test_the_graph_names_every_step_of_a_provisioning() -> None:
    """A step that the workflow gains, or loses, has to be gained or lost by the graph."""
    assert {name for name, _, _ in _starts()} == set(NEEDS)


def test_every_need_has_ended_when_a_step_starts() -> None:
    """The graph asks for nothing that the workflow does not wait for."""
    for name, ended, _ in _starts():
        assert set(NEEDS[name]) <= ended, name


def test_every_step_is_set_off_by_one_of_its_needs() -> None:
    """The workflow waits for nothing that the graph does not name: what ends last before a step starts is a need."""
    for name, _, cause in _starts():
        assert not NEEDS[name] or cause & set(NEEDS[name]), f"{name} was set off by {sorted(cause)}"


def test_the_critical_path_is_the_longest_chain() -> None:
    """Side branches that are shorter do not count; a longer one does."""
    chain = {"create_network": 10.0, "create_firewall": 5.0, "create_cluster": 100.0}

    assert critical_path(chain) == 115.0
    assert critical_path({**chain, "create_roles": 14.0}) == 115.0
    assert critical_path({**chain, "create_roles": 16.0}) == 116.0
