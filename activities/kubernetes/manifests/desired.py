"""The outcome of a manifest function: what must be there, and what must not be."""

from __future__ import annotations

from dataclasses import dataclass

from activities.kubernetes.objects import Object, Reference


@dataclass(frozen=True)
class Desired:
    """A part of the cluster as it is to be."""

    present: tuple[Object, ...]
    """In the order in which they are applied."""
    absent: tuple[Reference, ...] = ()
    """What another specification would have put there and this one does not want."""
