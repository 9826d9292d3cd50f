"""What activities ask of the customer."""

from __future__ import annotations

from abc import ABC, abstractmethod

from temporalio import activity

from activities.needs import Need, declared, needs
from domain.clouds import Purpose


class Contract(ABC):
    """What is owed."""

    @activity.defn
    @abstractmethod
    def make_thing(self) -> None:
        """Make the thing.

        It is made once.
        """

    @activity.defn
    @abstractmethod
    def delete_thing(self) -> None:
        """Delete the thing."""


class Things(Contract):
    """An implementation."""

    @activity.defn
    @needs("thing:Create", "thing:Describe", purpose=Purpose.OPERATE)
    @needs("thing:List", purpose=Purpose.OBSERVE, why="Count the things")
    def make_thing(self) -> None:  # noqa: D102 (the contract's docstring is what is tested)
        pass

    @activity.defn
    @needs("thing:Delete", "thing:Describe", purpose=Purpose.DELETE)
    def delete_thing(self) -> None:
        """The thing is gone."""


def test_every_declaration_is_found_with_its_reason() -> None:
    """The reason is the one given, else the first sentence of the docstring, which may be the contract's."""
    things = Things()

    assert declared([things.make_thing, things.delete_thing]) == (
        Need("thing:Create", Purpose.OPERATE, "make_thing", "Make the thing"),
        Need("thing:Delete", Purpose.DELETE, "delete_thing", "The thing is gone"),
        Need("thing:Describe", Purpose.DELETE, "delete_thing", "The thing is gone"),
        Need("thing:Describe", Purpose.OPERATE, "make_thing", "Make the thing"),
        Need("thing:List", Purpose.OBSERVE, "make_thing", "Count the things"),
    )


def test_what_declares_nothing_needs_nothing() -> None:
    """An activity without declarations adds nothing to the template."""
    assert declared([len]) == ()
