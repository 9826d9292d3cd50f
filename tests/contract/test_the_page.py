"""The page on adding a cloud is true: whatever it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract.clouds import CLOUDS
from tests.contract.under_test import CloudUnderTest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-cloud.md").read_text("utf-8")
_PATH = re.compile(r"`((?:[\w.<>-]+/)+[\w.<>-]*|Makefile|[\w.-]+\.(?:toml|txt|md))`")
_NAME_IN = re.compile(r"`(\w+)` in `([\w./<>-]+)`")
_OF_A_CLOUD = "<cloud>"
WORKERS = "workers/<cloud>.py"


def paths() -> list[str]:
    """Return every path that the page names."""
    return sorted(set(_PATH.findall(PAGE)))


@pytest.mark.parametrize("path", [path for path in paths() if _OF_A_CLOUD not in path])
def test_a_file_that_the_page_names_exists(path: str) -> None:
    """Files and folders, from the repository's root."""
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", [path for path in paths() if _OF_A_CLOUD in path])
def test_each_cloud_has_the_file_that_the_page_asks_for(path: str) -> None:
    """But for its worker, which comes last: there is one at least."""
    there = [cloud.cloud for cloud in CLOUDS if (ROOT / path.replace(_OF_A_CLOUD, cloud.cloud)).exists()]

    assert there == [cloud.cloud for cloud in CLOUDS] or (path == WORKERS and there)


@pytest.mark.parametrize(("name", "path"), sorted(set(_NAME_IN.findall(PAGE))))
def test_a_name_is_where_the_page_says(name: str, path: str) -> None:
    """As a whole word, in the file that is named after it."""
    assert re.search(rf"\b{name}\b", (ROOT / path).read_text("utf-8"))


def test_the_page_names_everything_that_a_cloud_brings() -> None:
    """No attribute of `CloudUnderTest` goes without a word."""
    brings = {name for name in vars(CloudUnderTest) if not name.startswith("_")}
    brings |= set(CloudUnderTest.__annotations__)

    assert {name for name in brings if f"`{name}`" not in PAGE} == set()


def test_the_page_has_every_module_of_the_suite() -> None:
    """Each file of tests has its line, this one too."""
    here = Path(__file__).parent

    assert {file.name for file in here.glob("test_*.py") if f"tests/contract/{file.name}" not in PAGE} == set()
