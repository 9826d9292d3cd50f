"""`byoc windows` offline: what a file's windows mean, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.starters.conftest import Byoc
from tests.starters.test_cli import manifest
from tests.workflows.scripted_cloud import ScriptedCloud

WINDOW = "{id: w, timezone: America/New_York, start: 2026-01-04T02:00, rrule: FREQ=WEEKLY;BYDAY=SU, duration: PT4H}"
THANKSGIVING = "exclusions: [{from: 2026-11-25, to: 2026-11-30, scope: ALL}]"
NOWHERE = {"TEMPORAL_ADDRESS": "127.0.0.1:1"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with one window and an exclusion."""
    path = tmp_path / "windows.yaml"
    path.write_text(f"windows: [{WINDOW}]\n{THANKSGIVING}\n", "utf-8")
    return path


async def next_of(byoc: Byoc, text: str, tmp_path: Path, *options: str) -> list[dict[str, str]]:
    """Return the next openings of a file."""
    path = tmp_path / "given"
    path.write_text(text, "utf-8")
    ran = await byoc("windows", "next", "-f", str(path), *options, "-o", "json", **NOWHERE)
    assert ran.code == 0, ran.err
    openings: list[dict[str, str]] = ran.json()
    return openings


async def test_the_next_windows_are_instants_in_utc_without_any_server(byoc: Byoc, file: Path) -> None:
    """Start, end, and when work of so many minutes may begin."""
    options = ("--now", "2026-11-24T00:00:00Z", "--need", "90", "--count", "2", "-o", "json")

    ran = await byoc("windows", "next", "-f", str(file), *options, **NOWHERE)

    assert ran.json() == [
        {"start": "2026-12-06T07:00:00Z", "end": "2026-12-06T11:00:00Z", "at": "2026-12-06T07:00:00Z"},
        {"start": "2026-12-13T07:00:00Z", "end": "2026-12-13T11:00:00Z", "at": "2026-12-13T07:00:00Z"},
    ]
    assert ran.err == ""


@pytest.mark.parametrize("duration", ["PT4H", "4h", "240m", "3h60m", "04:00:00", "4:00:00", '"4:00"', "pt4h"])
async def test_durations_are_read_as_people_write_them(byoc: Byoc, tmp_path: Path, duration: str) -> None:
    """All of them are four hours."""
    text = f"windows: [{WINDOW.replace('PT4H', duration)}]"

    (found,) = await next_of(byoc, text, tmp_path, "--now", "2026-06-07T06:00:00Z", "--count", "1")

    assert found == {"start": "2026-06-07T06:00:00Z", "end": "2026-06-07T10:00:00Z", "at": "2026-06-07T06:00:00Z"}


async def test_json_and_whole_deployments_are_read_too(byoc: Byoc, tmp_path: Path) -> None:
    """The same windows in three forms of file."""
    manifest = f"kind: Deployment\nspec:\n  region: eu-central-1\n  windows: [{WINDOW}]\n  {THANKSGIVING}\n"
    window = dict(part.split(": ") for part in WINDOW.strip("{}").split(", "))
    exclusions = [{"from": "2026-11-25", "to": "2026-11-30"}]
    now = ("--now", "2026-11-24T00:00:00+00:00")

    found = [
        await next_of(byoc, text, tmp_path, *now)
        for text in (manifest, json.dumps({"windows": [window], "exclusions": exclusions}))
    ]

    assert found[0] == found[1]
    assert len(found[0]) == 10
    assert found[0][0]["start"] == "2026-12-06T07:00:00Z"


async def test_the_kind_of_work_decides_which_exclusions_apply(byoc: Byoc, tmp_path: Path) -> None:
    """Without machines being replaced, the server's own releases go on."""
    text = f"windows: [{WINDOW}]\n{THANKSGIVING.replace('ALL', 'NO_MINOR_OR_NODE')}\n"

    starts = {
        work: (await next_of(byoc, text, tmp_path, "--now", "2026-11-24T00:00:00Z", "--work", work))[0]["start"]
        for work in ("server", "nodes", "minor")
    }

    assert starts == {
        "server": "2026-11-29T07:00:00Z",
        "nodes": "2026-12-06T07:00:00Z",
        "minor": "2026-12-06T07:00:00Z",
    }


async def test_the_calendar_shows_local_time_utc_and_what_is_excluded(byoc: Byoc, file: Path) -> None:
    """Before and after the clocks change, and the week of Thanksgiving."""
    ran = await byoc("windows", "show", "-f", str(file), "--now", "2026-10-24T00:00:00Z", "--count", "6", **NOWHERE)

    lines = ran.out.splitlines()
    assert "Sun 2026-10-25 02:00 EDT" in lines[1]
    assert "2026-10-25 06:00Z" in lines[1]
    assert "Sun 2026-11-01 02:00 EST" in lines[2]
    assert "4 h" in lines[2]
    assert "ALL 2026-11-25 to 2026-11-30" in lines[6]


async def test_rules_of_the_contract_are_warnings_while_one_only_computes(byoc: Byoc, tmp_path: Path) -> None:
    """A window of an hour is too short for work, and has instants all the same."""
    path = tmp_path / "short.yaml"
    path.write_text(f"windows: [{WINDOW.replace('PT4H', '1h')}]", "utf-8")

    ran = await byoc("windows", "next", "-f", str(path), "--now", "2026-06-07T00:00:00Z", "-o", "json", **NOWHERE)

    assert ran.code == 0
    assert ran.json()[0]["end"] == "2026-06-07T07:00:00Z"
    assert "windows[0].duration: 1 h is too short" in ran.err
    assert (await byoc("windows", "set", "acme-prod", "-f", str(path), **NOWHERE)).code == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("America/New_York", "+02:00"), ("line 2", "windows[0].timezone", '"+02:00"', "Europe/Berlin")),
        (("FREQ=WEEKLY;BYDAY=SU", "FREQ=HOURLY"), ("windows[0].rrule", "HOURLY", "FREQ=DAILY")),
        (("2026-01-04T02:00", "2026-01-04T02:00+01:00"), ("windows[0].start", "without an offset")),
        (("PT4H", "soon"), ("windows[0].duration", '"soon"', "ISO 8601")),
        (("rrule", "rule"), ("windows[0].rule", "rrule")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
async def test_what_cannot_be_computed_is_refused(
    byoc: Byoc, tmp_path: Path, wrong: tuple[str, str], words: tuple[str, ...]
) -> None:
    """With line, field, value and what is allowed."""
    path = tmp_path / "wrong.yaml"
    path.write_text(f"windows:\n  - {WINDOW.replace(*wrong)}\n", "utf-8")

    ran = await byoc("windows", "next", "-f", str(path), **NOWHERE)

    assert ran.code == 2
    assert ran.out == ""
    for word in words:
        assert word in ran.err


@pytest.mark.parametrize("arguments", [(), ("acme-prod", "-f", "x.yaml"), ("-f", "none.yaml")])
async def test_windows_come_from_one_place(byoc: Byoc, arguments: tuple[str, ...]) -> None:
    """A name or a file that can be read."""
    assert (await byoc("windows", "next", *arguments, **NOWHERE)).code == 2


async def test_an_instant_is_an_instant(byoc: Byoc, file: Path) -> None:
    """And not one that no calendar has."""
    for now in ("yesterday", "0001-01-01T00:00:00Z"):
        ran = await byoc("windows", "next", "-f", str(file), "--now", now, **NOWHERE)
        assert (ran.code, "--now" in ran.err) == (2, True)


async def test_a_deployment_s_windows_are_set_excluded_and_shown(
    byoc: Byoc, cloud: ScriptedCloud, tmp_path: Path, account: str, name: str, file: Path
) -> None:
    """An order without windows has Sunday night; a file replaces it, days are excluded and given back."""
    made = await byoc("deployments", "create", "-f", manifest(tmp_path, name, account), "--watch")
    assert made.code == 0, made.err + made.out
    before = (await byoc("windows", "show", name, "-o", "json")).json()

    changed = await byoc("windows", "set", name, "-f", str(file), "--reason", "moved")
    days = ("--from", "2030-01-05", "--to", "2030-01-07")
    excluded = await byoc("windows", "exclude", name, *days, "--scope", "NO_MINOR")
    calendar = (await byoc("windows", "show", name, "--now", "2030-01-01T00:00:00Z", "-o", "json")).json()
    given_back = await byoc("windows", "exclude", name, *days, "--scope", "NO_MINOR", "--remove")
    spec = (await byoc("deployments", "show", name, "-o", "json")).json()["order"]["spec"]

    assert before[0]["window"] == "default"
    assert (changed.code, excluded.code, given_back.code) == (0, 0, 0), changed.err + excluded.err + given_back.err
    assert calendar[0]["window"] == "w"
    assert [each["scope"] for each in calendar[0]["excludedBy"]] == ["NO_MINOR"]
    assert [window["id"] for window in spec["windows"]] == ["w"]
    assert [each["from"] for each in spec["exclusions"]] == ["2026-11-25"]


async def test_what_may_not_be_excluded_or_deferred_is_refused(
    byoc: Byoc, cloud: ScriptedCloud, tmp_path: Path, account: str, name: str
) -> None:
    """Five Sundays in a row, an exclusion that does not exist, an upgrade that does not wait."""
    made = await byoc("deployments", "create", "-f", manifest(tmp_path, name, account), "--watch")
    assert made.code == 0, made.err + made.out

    long = await byoc("windows", "exclude", name, "--from", "2030-01-05", "--to", "2030-02-03")
    unknown = await byoc("windows", "exclude", name, "--from", "2030-01-05", "--to", "2030-01-06", "--remove")
    nothing = await byoc("windows", "defer", name)

    assert (long.code, "35 days" in long.err) == (2, True)
    assert (unknown.code, "no such exclusion" in unknown.err) == (2, True)
    assert nothing.code == 1
