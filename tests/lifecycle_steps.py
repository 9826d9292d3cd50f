"""Which activities are steps of which lifecycle, by the word of the workflows' own code."""

from __future__ import annotations

from workers.assembly import WORKFLOWS
from workers.permissions import occurrences
from workflows import steps

_OCCURRENCES = occurrences(WORKFLOWS)


def activities_of(lifecycle: str) -> frozenset[str]:
    """Return the names of the activities that a lifecycle runs as steps, `provision`; what takes back is not of it."""
    return frozenset(name for name, where in _OCCURRENCES.items() if lifecycle in where.lifecycles)


def steps_of(lifecycle: str) -> tuple[steps.Step[object, object], ...]:
    """Return the steps of a lifecycle in the order of the table, an activity that is a step twice by its first."""
    here = activities_of(lifecycle)
    first: dict[str, steps.Step[object, object]] = {}
    for step in steps.ALL:
        first.setdefault(step.name, step)
    return tuple(step for name, step in first.items() if name in here)


def undos_of(lifecycle: str) -> tuple[steps.Undo, ...]:
    """Return what takes back what a lifecycle has made."""
    taken_back = activities_of(f"{lifecycle}, if aborted")
    return tuple(undo for undo in steps.UNDOS if undo.name in taken_back)
