"""`byoc releases`: published releases are in the catalogue from then on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import catalog
from tests.starters.conftest import Byoc
from tests.workflows.scripted_cloud import ScriptedCloud

OLDEST = catalog.load().releases[0]


def file_of(folder: Path, **changes: object) -> str:
    """Write a release and return its path; it is older than the packaged ones, so that the newest stays the same."""
    content = OLDEST.model_dump(mode="json", by_alias=True, exclude={"withdrawn"})
    path = folder / "release.yaml"
    path.write_text(yaml.safe_dump({**content, "minFrom": "4.0.0", "rollbackTo": [], **changes}), "utf-8")
    return str(path)


async def test_a_published_release_is_listed_until_it_is_withdrawn_and_after(
    byoc: Byoc, cloud: ScriptedCloud, tmp_path: Path
) -> None:
    """Published twice it is there once; withdrawn it says why."""
    for _ in range(2):
        ran = await byoc("releases", "publish", "-f", file_of(tmp_path, version="4.9.9"), "--reason", "CVE")
        assert ran.code == 0, ran.err

    listed = [each["version"] for each in (await byoc("releases", "list", "-o", "json")).json()]
    await byoc("releases", "withdraw", "4.9.9", "--reason", "leaks")
    shown = (await byoc("releases", "show", "4.9.9", "-o", "json")).json()

    assert listed == ["4.9.9", *(release.version for release in catalog.load().releases)]
    assert shown["withdrawn"] == "leaks"
    assert "published" in (await byoc("releases", "list")).out


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"version": "4.9.8", "rollbackTo": ["1.0.0"]}, 1, "rolls back to 1.0.0, which is not in the catalogue"),
        ({"version": "4.9.8", "components": {}}, 1, "component store is missing"),
        ({"notes": "changed"}, 1, "is packaged already"),
        ({"version": "4.9.8", "severty": "critical"}, 2, "severity"),
    ],
    ids=["rollback", "components", "packaged", "field"],
)
async def test_a_release_that_contradicts_the_catalogue_is_refused(
    byoc: Byoc, cloud: ScriptedCloud, tmp_path: Path, changes: dict[str, object], code: int, words: str
) -> None:
    """By the catalogue's own rules, before anything is kept."""
    ran = await byoc("releases", "publish", "-f", file_of(tmp_path, **changes))

    assert (ran.code, words in ran.err) == (code, True), ran.err
    assert "4.9.8" not in (await byoc("releases", "list")).out


async def test_kubernetes_versions_are_shown_with_their_status(byoc: Byoc, cloud: ScriptedCloud) -> None:
    """Of every cloud, as catalogued."""
    shown = (await byoc("releases", "kubernetes", "-o", "json")).json()

    expected = {
        each.value: [(known.version, known.status) for known in offer.kubernetes]
        for each, offer in catalog.load().clouds.items()
    }
    assert {each: [(known["version"], known["status"]) for known in found] for each, found in shown.items()} == expected
