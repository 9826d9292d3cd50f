"""The option that writes the golden manifests anew, and a cluster for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.activities.kubernetes.playground import Playground


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--write-golden`: golden files are written instead of compared; look at the difference before committing."""
    parser.addoption("--write-golden", action="store_true", default=False, help="write the golden manifests anew")


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    """A cluster of its own for each test."""
    running = Playground(tmp_path)
    yield running
    running.stop()
