"""Servers that every test may use: one Temporal server for the whole run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from starters.playground.installation import DYNAMIC_CONFIG
from workflows.temporal import search_attributes
from workflows.temporal.plugin import plugin

settings.register_profile("byoc", deadline=None)
settings.load_profile("byoc")


LONGEST = (
    ("tests/durability/test_kills.py",),
    ("tests/durability/", "tests/secrets/"),
    ("tests/permissions/", "tests/plans/", "tests/starters/test_demo.py", "tests/starters/test_dev"),
)
"""What takes longest, a group for each of the processes among which the whole suite is shared out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each of three processes begin with a group of the longest tests, so that none is left with them at the end.

    Each process is given as many tests as the others, in this order; one that has none left takes over some of theirs.
    """
    if os.environ.get("PYTEST_XDIST_WORKER_COUNT") != str(len(LONGEST)):
        return
    groups: list[list[pytest.Item]] = [[] for _ in LONGEST]
    others: list[pytest.Item] = []
    for item in items:
        found = (group for group, paths in zip(groups, LONGEST, strict=True) if item.nodeid.startswith(paths))
        next(found, others).append(item)
    share = len(items) // len(LONGEST)
    for group in groups[:-1]:
        missing = max(share - len(group), 0)
        group.extend(others[:missing])
        del others[:missing]
    items[:] = [item for group in (*groups, others) for item in group]


def executable(name: str) -> str:
    """Return the path of a program that a wheel has put beside the interpreter."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is not installed: run `make test`, which installs it"
    return found


def dynamic_config_arguments() -> list[str]:
    """Return the server's command-line arguments for what the playground's server is told, too."""
    return [argument for value in DYNAMIC_CONFIG for argument in ("--dynamic-config-value", value)]


@pytest.fixture(scope="session", autouse=True)
def unencrypted() -> Iterator[None]:
    """What tests keep in Temporal is readable, in their processes and in those that they start.

    Where encryption is the subject (tests/encryption, tests/secrets), a key ring is named instead.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BYOC_ENCRYPTION", "off")
        environment.delenv("BYOC_ENCRYPTION_KEYS", raising=False)
        yield


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """A real Temporal server with our search attributes."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=executable("temporal"),
        dev_server_extra_args=dynamic_config_arguments(),
        dev_server_log_level="error",
        search_attributes=search_attributes.ALL,
        plugins=[plugin()],
    ) as environment:
        yield environment


@pytest.fixture
def client(temporal: WorkflowEnvironment) -> Client:
    """A client of that server."""
    return temporal.client
