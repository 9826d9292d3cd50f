"""Which windows and exclusions a deployment may have; each refusal names the field and what would be accepted."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import islice

import pytest

from domain.maintenance import Exclusion, ExclusionScope, MaintenancePolicy, MaintenanceWindow
from domain.recurrence import RuleInvalid, local_starts
from domain.window_rules import window_problems

TODAY = date(2026, 6, 1)
START = datetime.fromisoformat("2026-01-04T02:00")


def window(**changes: object) -> MaintenanceWindow:
    """Return a window that may be had, but for these changes."""
    fields = {"id": "w", "timezone": "Europe/Berlin", "start": START, "rrule": "FREQ=WEEKLY;BYDAY=SU"}
    return MaintenanceWindow.model_validate({**fields, **changes})


def exclusion(first: str, last: str, scope: ExclusionScope = ExclusionScope.ALL) -> Exclusion:
    """Return an exclusion of these days of 2026."""
    return Exclusion(from_=date.fromisoformat(f"2026-{first}"), to=date.fromisoformat(f"2026-{last}"), scope=scope)


def refused(*windows: MaintenanceWindow, exclusions: tuple[Exclusion, ...] = ()) -> list[str]:
    """Return the fields that are refused."""
    policy = MaintenancePolicy(windows=windows, exclusions=exclusions)
    return [problem.path for problem in window_problems(policy, TODAY, "spec.")]


@pytest.mark.parametrize(
    "zone",
    ["+02:00", "UTC+2", "Etc/GMT-2", "EST", "Europe", "Europe/Berln", "../etc/passwd", "", "right/Europe/Berlin"],
)
def test_what_is_no_zone_with_rules_of_its_own_is_refused(zone: str) -> None:
    """A fixed offset knows no daylight saving time; the zone that was meant is named."""
    (problem,) = window_problems(MaintenancePolicy(windows=(window(timezone=zone),)), TODAY, "spec.")

    assert problem.path == "spec.windows[0].timezone"
    assert "Europe/Berlin" in str(problem)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Etc/UTC", "UTC", "Asia/Kolkata", "America/Argentina/Buenos_Aires"])
def test_zones_of_the_database_are_accepted(zone: str) -> None:
    """With daylight saving time and without."""
    assert refused(window(timezone=zone)) == []


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=HOURLY",
        "FREQ=MINUTELY;INTERVAL=5",
        "FREQ=YEARLY",
        "BYDAY=SU",
        "FREQ=WEEKLY;BYHOUR=3",
        "FREQ=WEEKLY;COUNT=3",
        "FREQ=WEEKLY;UNTIL=20270101",
        "FREQ=MONTHLY;BYSETPOS=1;BYDAY=MO",
        "FREQ=WEEKLY;BYDAY=2TU",
        "FREQ=MONTHLY;BYDAY=6MO",
        "FREQ=MONTHLY;BYDAY=XX",
        "FREQ=MONTHLY;BYMONTHDAY=32",
        "FREQ=MONTHLY;BYMONTHDAY=0",
        "FREQ=WEEKLY;BYMONTHDAY=1",
        "FREQ=WEEKLY;INTERVAL=0",
        "FREQ=WEEKLY;FREQ=DAILY",
        "FREQ=WEEKLY;WKST=XX",
        "every sunday",
        "",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU",
        "FREQ=MONTHLY;BYDAY=1MO;BYMONTHDAY=20",
    ],
)
def test_rules_that_windows_may_not_have_are_refused(rule: str) -> None:
    """Hourly and finer, endings, times of their own, what is malformed, and what never comes true."""
    assert refused(window(rrule=rule)) == ["spec.windows[0].rrule"]


@pytest.mark.parametrize("rule", ["FREQ=HOURLY", "FREQ=DAILY;INTERVAL=7;BYDAY=TU"])
def test_a_rule_that_is_refused_is_not_expanded_either(rule: str) -> None:
    """The library alone would look for its first day until the year 9999."""
    with pytest.raises(RuleInvalid):
        next(local_starts(rule, START, START, START + timedelta(days=91)))


def test_days_with_and_without_a_number_are_one_or_the_other() -> None:
    """The first Tuesday, and every Friday."""
    found = local_starts("FREQ=MONTHLY;BYDAY=1TU,FR", START, START, START + timedelta(days=35))

    assert [local.day for local in islice(found, 6)] == [6, 9, 16, 23, 30, 3]


@pytest.mark.parametrize(
    ("hours", "field"), [(1.9, "duration"), (24.1, "duration"), (0, "duration"), (2, ""), (24, "")]
)
def test_a_window_lasts_two_hours_to_a_day(hours: float, field: str) -> None:
    """Both included."""
    assert refused(window(duration=timedelta(hours=hours))) == ([f"spec.windows[0].{field}"] if field else [])


def test_windows_have_names_of_their_own_and_there_are_ten_at_most() -> None:
    """The second of the same name is named, and the list as a whole."""
    assert refused(window(), window()) == ["spec.windows[1].id"]
    assert refused(*(window(id=f"w{number}") for number in range(11))) == ["spec.windows"]


def test_years_that_nobody_can_compute_are_refused() -> None:
    """Before time zones and long after."""
    assert refused(window(start=datetime.fromisoformat("0001-01-01T02:00"))) == ["spec.windows[0].start"]
    assert refused(exclusions=(Exclusion(from_=date(9999, 1, 1), to=date(9999, 1, 2)),)) == ["spec.exclusions[0].from"]


def test_three_exclusions_that_are_not_over_are_the_most() -> None:
    """One that is over no longer counts."""
    days = [exclusion(f"{month:02}-10", f"{month:02}-11") for month in (5, 7, 8, 9)]

    assert refused(exclusions=tuple(days)) == []
    assert refused(exclusions=(*days, exclusion("10-10", "10-11"))) == ["spec.exclusions"]


def test_an_exclusion_has_its_days_in_order_and_at_most_thirty() -> None:
    """Of Kubernetes minors; the windows themselves remain."""
    scope = ExclusionScope.NO_MINOR

    assert refused(exclusions=(exclusion("07-02", "07-01", scope),)) == ["spec.exclusions[0].to"]
    assert refused(exclusions=(exclusion("07-01", "07-31", scope),)) == ["spec.exclusions[0].to"]
    assert refused(exclusions=(exclusion("07-01", "07-30", scope),)) == []


def test_exclusions_leave_a_window_in_any_35_days() -> None:
    """Four Sundays without one are accepted, five are not; nor are two exclusions that add up to five."""
    four, five = exclusion("07-05", "07-31"), exclusion("07-05", "08-02")

    assert refused(window(), exclusions=(four,)) == []
    assert refused(window(), exclusions=(five,)) == ["spec.exclusions[0]"]
    assert refused(window(), exclusions=(four, exclusion("08-01", "08-04"))) == [
        "spec.exclusions[0]",
        "spec.exclusions[1]",
    ]


def test_only_what_exclusions_take_away_is_held_against_them() -> None:
    """A monthly window comes after more than 35 days by itself, and exclusions of minors leave patches possible."""
    monthly = window(rrule="FREQ=MONTHLY;INTERVAL=2;BYDAY=1SU")

    assert refused(monthly, exclusions=(exclusion("07-10", "07-20"),)) == []
    assert refused(monthly, exclusions=(exclusion("07-03", "07-10"),)) == ["spec.exclusions[0]"]
    assert refused(window(), exclusions=(exclusion("07-01", "07-30", ExclusionScope.NO_MINOR_OR_NODE),)) == []
