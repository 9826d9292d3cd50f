"""Maintenance windows as instants: the table of the specification, and any policy against a slow calculation."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from domain.maintenance import Exclusion, ExclusionScope, MaintenancePolicy, MaintenanceWindow, Opening, Work
from domain.windows import HORIZON, jitter, openings
from tests.domain.window_oracle import first_opening, instant_of

SUNDAY, FRIDAY = "2026-01-04", "2026-01-02"


def window(zone: str, start: str, hours: float, rrule: str, name: str = "w") -> MaintenanceWindow:
    """Return a window that starts at this local time."""
    return MaintenanceWindow(
        id=name, timezone=zone, start=datetime.fromisoformat(start), rrule=rrule, duration=timedelta(hours=hours)
    )


def policy(*windows: MaintenanceWindow, exclusions: tuple[Exclusion, ...] = ()) -> MaintenancePolicy:
    """Return a policy of these windows."""
    return MaintenancePolicy(windows=windows, exclusions=exclusions)


def at(text: str) -> datetime:
    """Return an instant of 2026 from `03-08 07:30`, in UTC."""
    return datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


def first(chosen: MaintenancePolicy, now: str, work: Work = Work.SERVER, need: int = 0) -> Opening:
    """Return the first opening for work of so many minutes."""
    return next(openings(chosen, work, now=at(now), need=timedelta(minutes=need)))


NEW_YORK, BERLIN = "America/New_York", "Europe/Berlin"
THANKSGIVING = Exclusion(from_=date(2026, 11, 25), to=date(2026, 11, 30))
KOLKATA = policy(window("Asia/Kolkata", f"{FRIDAY}T23:30", 4, "FREQ=WEEKLY;BYDAY=FR"))
VECTORS = {
    "gap": (
        policy(window(NEW_YORK, f"{SUNDAY}T02:30", 4, "FREQ=WEEKLY;BYDAY=SU")),
        ("03-07 00:00", 0, "03-08 07:30", "03-08 11:30", "03-08 07:30"),
    ),
    "overlap": (
        policy(window(NEW_YORK, f"{SUNDAY}T01:30", 2, "FREQ=WEEKLY;BYDAY=SU")),
        ("10-31 00:00", 0, "11-01 05:30", "11-01 07:30", "11-01 05:30"),
    ),
    "daily, not twice": (
        policy(window(NEW_YORK, f"{SUNDAY}T01:30", 1, "FREQ=DAILY")),
        ("11-01 06:30", 0, "11-02 06:30", "11-02 07:30", "11-02 06:30"),
    ),
    "last Sunday, gap": (
        policy(window(BERLIN, "2026-01-25T02:00", 3, "FREQ=MONTHLY;BYDAY=-1SU")),
        ("03-28 00:00", 0, "03-29 01:00", "03-29 04:00", "03-29 01:00"),
    ),
    "gap of half an hour": (
        policy(window("Australia/Lord_Howe", f"{SUNDAY}T02:15", 2, "FREQ=WEEKLY;BYDAY=SU")),
        ("10-02 00:00", 0, "10-03 15:45", "10-03 17:45", "10-03 15:45"),
    ),
    "inside": (KOLKATA, ("06-05 19:30", 0, "06-05 18:00", "06-05 22:00", "06-05 19:30")),
    "inside, fits": (KOLKATA, ("06-05 19:30", 135, "06-05 18:00", "06-05 22:00", "06-05 19:30")),
    "inside, a minute too long": (KOLKATA, ("06-05 19:30", 136, "06-12 18:00", "06-12 22:00", "06-12 18:00")),
    "the 31st": (
        policy(window(BERLIN, "2026-01-31T02:00", 4, "FREQ=MONTHLY;BYMONTHDAY=31")),
        ("02-01 01:00", 0, "03-31 00:00", "03-31 04:00", "03-31 00:00"),
    ),
    "second Tuesday": (
        policy(window(NEW_YORK, "2026-01-13T22:00", 4, "FREQ=MONTHLY;BYDAY=2TU")),
        ("03-01 00:00", 0, "03-11 02:00", "03-11 06:00", "03-11 02:00"),
    ),
    "excluded": (
        policy(window(NEW_YORK, f"{SUNDAY}T02:00", 4, "FREQ=WEEKLY;BYDAY=SU"), exclusions=(THANKSGIVING,)),
        ("11-24 00:00", 0, "12-06 07:00", "12-06 11:00", "12-06 07:00"),
    ),
    "merged": (
        policy(
            window(BERLIN, "2026-01-03T22:00", 4, "FREQ=WEEKLY;BYDAY=SA", "saturday"),
            window(BERLIN, f"{SUNDAY}T01:00", 4, "FREQ=WEEKLY;BYDAY=SU", "sunday"),
        ),
        ("06-06 12:00", 0, "06-06 20:00", "06-07 03:00", "06-06 20:00"),
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_windows_open_as_the_specification_s_table_says(name: str) -> None:
    """Clocks that change, windows over midnight, work that fits by a minute, exclusions, unions."""
    chosen, (now, need, start, end, earliest) = VECTORS[name]

    assert first(chosen, now, need=need) == Opening(start=at(start), end=at(end), at=at(earliest))


def test_a_window_is_over_at_its_end_and_already_when_only_the_margin_is_left() -> None:
    """Half-open; with nothing to do, 15 minutes have to be left."""
    chosen = VECTORS["inside"][0]

    assert first(chosen, "06-05 21:45").at == at("06-05 21:45")
    assert first(chosen, "06-05 21:46").start == at("06-12 18:00")
    assert first(chosen, "06-05 22:00").start == at("06-12 18:00")


def test_work_does_not_start_before_its_notice_is_over() -> None:
    """In the middle of a window, or in a later one."""
    found = openings(KOLKATA, Work.NODES, now=at("06-01 00:00"), need=timedelta(hours=1), not_before=at("06-05 20:45"))

    assert [opening.at for opening in islice(found, 2)] == [at("06-05 20:45"), at("06-12 18:00")]


def test_a_deployment_without_windows_has_sunday_night() -> None:
    """From 02:00 UTC, four hours."""
    assert first(MaintenancePolicy(), "06-03 00:00") == Opening(
        start=at("06-07 02:00"), end=at("06-07 06:00"), at=at("06-07 02:00")
    )


@pytest.mark.parametrize(
    ("scope", "excluded"),
    [
        (ExclusionScope.ALL, {Work.SERVER, Work.NODES, Work.MINOR}),
        (ExclusionScope.NO_MINOR_OR_NODE, {Work.NODES, Work.MINOR}),
        (ExclusionScope.NO_MINOR, {Work.MINOR}),
    ],
)
def test_an_exclusion_stops_the_work_of_its_scope(scope: ExclusionScope, excluded: set[Work]) -> None:
    """Other work keeps its window."""
    exclusion = Exclusion(from_=date(2026, 6, 5), to=date(2026, 6, 6), scope=scope)
    chosen = policy(*KOLKATA.windows, exclusions=(exclusion,))

    passed_over = {work for work in Work if first(chosen, "06-03 00:00", work).start == at("06-12 18:00")}

    assert passed_over == excluded


def test_what_an_exclusion_leaves_of_a_window_is_one_from_an_hour_on() -> None:
    """The exclusion ends at local midnight of the window's own zone: 30 min of it are nothing, 3 h 30 min something."""
    friday = Exclusion(from_=date(2026, 6, 5), to=date(2026, 6, 5))
    saturday = Exclusion(from_=date(2026, 6, 6), to=date(2026, 6, 6))

    rest = first(policy(*KOLKATA.windows, exclusions=(friday,)), "06-03 00:00")
    nothing = first(policy(*KOLKATA.windows, exclusions=(saturday,)), "06-03 00:00")

    assert (rest.start, rest.end) == (at("06-05 18:30"), at("06-05 22:00"))
    assert nothing.start == at("06-12 18:00")


def test_windows_that_touch_are_one_and_begin_with_the_earlier_whenever_one_asks() -> None:
    """Also while only the later of them is open."""
    chosen = policy(
        window("Etc/UTC", f"{SUNDAY}T01:00", 4, "FREQ=WEEKLY;BYDAY=SU"),
        window("Etc/UTC", f"{SUNDAY}T05:00", 2, "FREQ=WEEKLY;BYDAY=SU", "later"),
    )

    found = first(chosen, "06-07 06:00")

    assert (found.start, found.end, found.at) == (at("06-07 01:00"), at("06-07 07:00"), at("06-07 06:00"))


def test_openings_end_three_years_on() -> None:
    """A question about a policy that never fits has an answer, too."""
    chosen = policy(window("Etc/UTC", f"{SUNDAY}T01:00", 4, "FREQ=WEEKLY;BYDAY=SU"))
    now = at("06-07 00:00")

    found = list(openings(chosen, Work.SERVER, now=now))

    assert len(found) == 157
    assert found[-1].start < now + HORIZON
    assert not list(openings(chosen, Work.SERVER, now=now, need=timedelta(hours=4)))


def test_a_window_that_is_always_open_is_one_opening() -> None:
    """A day each day: nothing ends between."""
    chosen = policy(window("Etc/UTC", f"{SUNDAY}T01:00", 24, "FREQ=DAILY"))

    found = list(openings(chosen, Work.SERVER, now=at("06-07 00:00"), spread_by="acme-prod"))

    assert [opening.at for opening in found] == [at("06-07 00:00")]


@given(st.text(min_size=1), st.text(min_size=1), st.integers(-3600, 86_400))
def test_jitter_is_the_hash_of_deployment_and_window_within_the_spread(name: str, opened: str, seconds: int) -> None:
    """As the specification has it; nothing where there is nothing to spread over."""
    number = int(hashlib.sha256(f"{name}|{opened}".encode(errors="surrogatepass")).hexdigest()[:16], 16)

    found = jitter(name, opened, timedelta(seconds=seconds))

    assert found == timedelta(seconds=number % (seconds + 1) if seconds > 0 else 0)


def test_a_fleet_starts_spread_over_its_window_and_each_deployment_at_its_own_time() -> None:
    """Work of an hour in a window of four: within the first 2 h 45 min, and the same after every question."""
    names = [f"customer-{number}" for number in range(100)]

    def starts(now: str, week: str) -> list[timedelta]:
        need = timedelta(hours=1)
        found = [next(openings(KOLKATA, Work.SERVER, now=at(now), need=need, spread_by=name)) for name in names]
        return [opening.at - at(week) for opening in found]

    offsets = starts("06-01 00:00", "06-05 18:00")
    assert offsets == starts("06-07 00:00", "06-12 18:00")
    assert timedelta(0) <= min(offsets) < timedelta(minutes=15)
    assert timedelta(hours=2, minutes=30) < max(offsets) <= timedelta(hours=2, minutes=45)
    late = max(zip(offsets, names, strict=True))[1]
    inside = next(openings(KOLKATA, Work.SERVER, now=at("06-05 18:10"), need=timedelta(hours=1), spread_by=late))
    assert inside.at == at("06-05 18:00") + max(offsets)


ZONES = sorted(available_timezones() - {"Factory", "localtime"})


def _clock_changes(zone: str) -> list[date]:
    """Return the days of 2026 and 2027 after which the zone's offset is another one at noon UTC."""
    noon = [datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(days=number) for number in range(730)]
    offsets = [moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in noon]
    return [noon[number].date() for number in range(729) if offsets[number] != offsets[number + 1]]


CHANGES = {zone: days for zone in ZONES if (days := _clock_changes(zone))}
"""The days around which clocks change, keyed by zone; every zone that changes them."""


def test_every_local_time_around_every_change_of_clocks_is_the_oracle_s_instant() -> None:
    """All zones with daylight saving time: each quarter of an hour of the day of a change opens a window of its own."""
    assert len(CHANGES) > 100
    for number, (zone, days) in enumerate(sorted(CHANGES.items())):
        day = days[0] + timedelta(days=1)
        for quarter in range(number % 4, 20, 4):
            local = datetime.combine(day, datetime.min.time()) + quarter * timedelta(minutes=15)
            chosen = policy(window(zone, local.isoformat(), 2, "FREQ=DAILY"))
            found = next(openings(chosen, Work.SERVER, now=datetime.combine(days[0], datetime.min.time(), UTC)))
            assert found.start == instant_of(local, ZoneInfo(zone)), (zone, local)
            assert found.end - found.start == timedelta(hours=2)


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Any rule of the subset whose windows come at least every few weeks."""
    weekdays = st.sampled_from(("MO", "TU", "WE", "TH", "FR", "SA", "SU"))
    frequency = draw(st.sampled_from(("DAILY", "WEEKLY", "MONTHLY")))
    parts = [f"FREQ={frequency}"]
    if interval := draw(st.integers(0, 3)):
        parts.append(f"INTERVAL={interval}")
    if frequency == "WEEKLY" or (frequency == "MONTHLY" and draw(st.booleans())):
        days = draw(st.lists(weekdays, max_size=3, unique=True))
        if frequency == "MONTHLY":
            days = [f"{draw(st.sampled_from(('', '1', '2', '+3', '4', '-1', '-2')))}{day}" for day in days]
        if days:
            parts.append("BYDAY=" + ",".join(days))
    elif draw(st.booleans()):
        numbers = draw(st.lists(st.sampled_from((*range(1, 32), *range(-5, 0))), min_size=1, max_size=4, unique=True))
        parts.append("BYMONTHDAY=" + ",".join(str(number) for number in numbers))
    if draw(st.booleans()):
        parts.append(f"WKST={draw(weekdays)}")
    return ";".join(parts)


@st.composite
def policies(draw: st.DrawFn) -> tuple[MaintenancePolicy, datetime]:
    """One to three windows in zones whose clocks change soon, up to two exclusions, and an instant near to them."""
    zones = draw(st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=3))
    change = draw(st.sampled_from(CHANGES[zones[0]]))
    now = datetime.combine(change, datetime.min.time(), UTC) + timedelta(minutes=15 * draw(st.integers(-700, 192)))
    windows = []
    for number, zone in enumerate(zones):
        day = change - timedelta(days=draw(st.integers(-10, 300)))
        start = datetime.combine(day, datetime.min.time()) + timedelta(minutes=15 * draw(st.integers(0, 95)))
        hours = draw(st.sampled_from((2, 2.5, 4, 7, 12, 22.75)))
        windows.append(window(zone, start.isoformat(), hours, draw(rules()), f"w{number}"))
    exclusions = []
    for _ in range(draw(st.integers(0, 2))):
        begin = change + timedelta(days=draw(st.integers(-8, 10)))
        scope = draw(st.sampled_from(ExclusionScope))
        exclusions.append(Exclusion(from_=begin, to=begin + timedelta(days=draw(st.integers(0, 12))), scope=scope))
    return policy(*windows, exclusions=tuple(exclusions)), now


@given(policies(), st.sampled_from(Work), st.sampled_from((0, 15, 60, 135, 240)))
@example((VECTORS["merged"][0], at("06-07 01:00")), Work.SERVER, 135)
@example(
    (policy(window("Asia/Gaza", "2026-01-16T19:15", 12, "FREQ=MONTHLY;BYDAY=1TU,FR")), at("03-19 16:00")), Work.NODES, 0
)
@settings(max_examples=100, deadline=None)
def test_any_policy_opens_as_the_slow_calculation_says(
    chosen: tuple[MaintenancePolicy, datetime], work: Work, minutes: int
) -> None:
    """Every rule, zones whose clocks change soon, exclusions, unions: the first opening that fits is the same."""
    given_policy, now = chosen
    need = timedelta(minutes=minutes)

    expected = first_opening(given_policy, work, now, need, days=45)

    assume(expected is None or now - expected[0] < timedelta(days=6))
    found = next(openings(given_policy, work, now=now, need=need), None)
    if expected is None:
        assert found is None or found.end > now + timedelta(days=40)
    else:
        assert found is not None
        assert (found.start, min(found.end, now + timedelta(days=40)), found.at) == (
            expected[0],
            min(expected[1], now + timedelta(days=40)),
            expected[2],
        )
