"""`byoc rollout`: forecasts offline, and what is refused at the door."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.starters.conftest import Byoc
from tests.workflows.scripted_cloud import ScriptedCloud

NOWHERE = {"TEMPORAL_ADDRESS": "127.0.0.1:1"}
WINDOW = {"timezone": "Europe/Berlin", "start": "2026-01-04T02:00", "rrule": "FREQ=WEEKLY;BYDAY=SU", "duration": "4h"}


def fleet_file(tmp_path: Path, number: int, **window: str) -> Path:
    """Return a file with deployments of three clouds that have the same window."""
    rows = [
        {
            "deployment": f"prod-{index:02}",
            "customer": f"customer-{index}",
            "cloud": ("aws", "gcp", "azure")[index % 3],
            "windows": [WINDOW | window],
        }
        for index in range(number)
    ]
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps({"deployments": rows}), "utf-8")
    return path


async def test_a_forecast_says_when_each_wave_would_be_done_without_any_server(byoc: Byoc, tmp_path: Path) -> None:
    """Every deployment is upgraded on a Sunday night after its notice; each wave begins when the one before baked."""
    path = fleet_file(tmp_path, 40)

    ran = await byoc(
        "rollout", "forecast", "--fleet", str(path), "--now", "2026-11-02T00:00:00Z", "-o", "json", **NOWHERE
    )

    waves = ran.json()["waves"]
    assert [(wave["name"], wave["size"]) for wave in waves] == [("canary", 3), ("10%", 1), ("30%", 8), ("rest", 28)]
    assert waves[0]["completeAt"] < "2026-11-08T05:00:00Z"
    for before, after in pairwise(waves):
        assert after["beginsAt"] == before["bakedAt"]
    for wave in waves:
        done = datetime.fromisoformat(wave["completeAt"])
        assert (done.weekday(), wave["late"], wave["withoutWindow"]) == (6, 0, 0)
        assert 1 <= done.hour < 5


async def test_a_forecast_counts_who_has_no_window_that_is_long_enough(byoc: Byoc, tmp_path: Path) -> None:
    """Work of four hours fits no window of four hours, for a quarter of an hour is kept."""
    path = fleet_file(tmp_path, 4)

    ran = await byoc(
        "rollout", "forecast", "--fleet", str(path), "--now", "2026-11-02T00:00:00Z", "--need", "240", **NOWHERE
    )

    assert ran.code == 0
    assert "NO WINDOW" in ran.out


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"rrule": "FREQ=HOURLY"}, "FREQ"),
        ({"duration": "a while"}, "duration"),
        ({"colour": "blue"}, "colour"),
    ],
)
async def test_a_fleet_that_cannot_be_read_is_refused_with_what_is_wrong(
    byoc: Byoc, tmp_path: Path, window: dict[str, str], said: str
) -> None:
    """Exit code 2, and the value is named."""
    path = fleet_file(tmp_path, 2, **window)

    ran = await byoc("rollout", "forecast", "--fleet", str(path), **NOWHERE)

    assert ran.code == 2
    assert said in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("start", "spring"), "--release or --kubernetes"),
        (("start", "spring", "--release", "9.9.9"), '"9.9.9" is no release'),
        (("start", "spring", "--release", "4.12.0"), "is withdrawn"),
        (("start", "spring", "--kubernetes", "1.99"), '"1.99" is supported on no cloud'),
        (("start", "Spring!", "--release", "4.12.1"), '"Spring!" is no name'),
        (("start", "spring", "--release", "4.12.1", "--urgent"), "--reason"),
    ],
)
async def test_what_cannot_be_rolled_out_is_refused_at_the_door(
    byoc: Byoc, cloud: ScriptedCloud, arguments: tuple[str, ...], said: str
) -> None:
    """Exit code 2: which option, which value, what is allowed; nothing has started."""
    ran = await byoc("rollout", *arguments)

    assert ran.code == 2
    assert said in ran.err
    listed = (await byoc("rollout", "list", "--all", "-o", "json")).json()
    assert not [row for row in listed if row["name"].lower().startswith("spring")]


async def test_without_anybody_to_ask_nothing_starts(byoc: Byoc, cloud: ScriptedCloud) -> None:
    """A rollout to nobody is refused, and one that does not exist is not found."""
    started = await byoc("rollout", "start", "spring", "--release", "4.12.1", "--only", "nobody")
    shown = await byoc("rollout", "status", "spring")

    assert started.code == 1
    assert "no active deployment" in started.err
    assert shown.code == 1
    assert "there is no rollout 'spring'" in shown.err
