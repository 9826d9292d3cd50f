"""Versions are ordered by their numbers."""

from __future__ import annotations

import pytest

from domain.version import version_order, within


def test_versions_are_ordered_by_number_not_by_letter() -> None:
    """4.10 comes after 4.9."""
    assert sorted(["4.10.2", "4.9.0", "4.10.1"], key=version_order) == ["4.9.0", "4.10.1", "4.10.2"]


@pytest.mark.parametrize(
    ("version", "inside"), [("1.32", False), ("1.33", True), ("1.35", True), ("1.35.0", True), ("1.36", False)]
)
def test_a_range_includes_both_ends(version: str, inside: bool) -> None:
    """A missing part counts as zero."""
    assert within(version, minimum="1.33", maximum="1.35") is inside
