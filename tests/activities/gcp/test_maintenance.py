"""When GKE may maintain a cluster by itself: the deployment's window, as far as GKE can be told of it."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from google.cloud import container_v1
from google.protobuf import json_format

from activities.contracts import MaintenanceRequest
from activities.gcp.cluster_settings import MAINTENANCE_BEGINS, VERSIONS_ARE_OURS
from activities.gcp.gke import cluster_name
from activities.gcp.maintenance_policy import (
    AVAILABLE,
    PolicyRefusedError,
    least_available,
    recurring_window,
    wanted_policy,
)
from activities.gcp.recurrence import first_start, rule_in_utc
from domain.facts import Cluster
from domain.failure import FailureClass
from domain.maintenance import Exclusion, ExclusionScope, MaintenanceWindow
from simulators.gcp.container.maintenance import accepted
from tests.activities.gcp.conftest import Account
from tests.activities.gcp.ground import Ground

SUMMER, WINTER = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
Window = container_v1.MaintenanceWindow


def window(rule: str, start: str, zone: str = "Europe/Berlin", hours: int = 4) -> MaintenanceWindow:
    """Return a window of a deployment."""
    return MaintenanceWindow(
        id="w",
        timezone=zone,
        start=datetime.fromisoformat(start),
        rrule=rule,
        duration=timedelta(hours=hours),
    )


SATURDAYS = window("FREQ=WEEKLY;BYDAY=SA", "2026-01-03T22:00", hours=12)
NIGHTLY = window("FREQ=DAILY", "2026-01-01T03:00", "Etc/UTC")


def told(account: Account) -> Window:
    """Return what GKE was told."""
    gke: Any = account.customer(container_v1.ClusterManagerClient)
    found: Window = gke.get_cluster(name=cluster_name(account.site)).maintenance_policy.window
    return found


def tell(account: Account, policy: dict[str, Any]) -> None:
    """Let the customer set the policy by hand."""
    gke: Any = account.customer(container_v1.ClusterManagerClient)
    present = gke.get_cluster(name=cluster_name(account.site)).maintenance_policy
    policy = {**policy, "resource_version": present.resource_version}
    gke.set_maintenance_policy(request={"name": cluster_name(account.site), "maintenance_policy": policy})


def ask(
    ground: Ground,
    cluster: Cluster,
    windows: tuple[MaintenanceWindow, ...] = (),
    exclusions: tuple[Exclusion, ...] = (),
) -> MaintenanceRequest:
    """Return the order."""
    return MaintenanceRequest(**dict(ground.in_cluster(cluster)), windows=windows, exclusions=exclusions)


def excluded(days: int, lasting: int, scope: ExclusionScope = ExclusionScope.ALL) -> Exclusion:
    """Return an exclusion that begins in some days."""
    first = datetime.now(UTC).date() + timedelta(days=days)
    return Exclusion(**{"from": first, "to": first + timedelta(days=lasting - 1), "scope": scope})


def test_without_windows_nothing_is_upgraded_but_at_night(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Minor versions and nodes are excluded for as long as GKE supports them; the customer's exclusions stay."""
    fair = {"start_time": "2027-03-01T00:00:00Z", "end_time": "2027-03-08T00:00:00Z"}
    tell(
        account,
        {"window": {"daily_maintenance_window": {"start_time": "12:00"}, "maintenance_exclusions": {"fair": fair}}},
    )
    gke: Any = account.customer(container_v1.ClusterManagerClient)
    gke.update_cluster(name=cluster_name(account.site), update={"desired_release_channel": {"channel": "RAPID"}})

    account.run("set_maintenance_policy", ask(ground, cluster))

    assert gke.get_cluster(name=cluster_name(account.site)).release_channel.channel.name == "EXTENDED"
    assert told(account).daily_maintenance_window.start_time == MAINTENANCE_BEGINS
    found = told(account).maintenance_exclusions
    assert set(found) == {"fair", VERSIONS_ARE_OURS}
    options = found[VERSIONS_ARE_OURS].maintenance_exclusion_options
    assert (options.scope.name, options.end_time_behavior.name) == (
        "NO_MINOR_OR_NODE_UPGRADES",
        "UNTIL_END_OF_SUPPORT",
    )


def test_versions_are_ours_from_the_beginning(account: Account, ground: Ground, cluster: Cluster) -> None:
    """A cluster is made with the exclusion that keeps GKE from upgrading it; nothing has to be put back."""
    made = dict(told(account).maintenance_exclusions)
    before = account.control.position()

    account.run("set_maintenance_policy", ask(ground, cluster))

    assert list(made) == [VERSIONS_ARE_OURS]
    assert account.changes(before) == []


def test_the_first_window_is_gkes_own(account: Account, ground: Ground, cluster: Cluster) -> None:
    """By days of UTC, with the offset of now; what somebody changed is put back, and a second run changes nothing."""
    request = ask(ground, cluster, (SATURDAYS, NIGHTLY))
    account.run("set_maintenance_policy", request)
    tell(account, {"window": {"daily_maintenance_window": {"start_time": "12:00"}}})

    account.run("set_maintenance_policy", request)
    before = account.control.position()
    account.run("set_maintenance_policy", request)

    found = told(account).recurring_window
    assert found.recurrence == "FREQ=WEEKLY;BYDAY=SA"
    assert found.window.end_time - found.window.start_time == timedelta(hours=12)
    assert found.window.start_time.hour in (20, 21)
    assert account.changes(before) == []


def test_a_window_of_a_few_hours_a_week_becomes_the_same_hours_every_day(
    account: Account, ground: Ground, cluster: Cluster
) -> None:
    """GKE takes none that leaves it fewer than 48 hours in 32 days."""
    weekly = window("FREQ=WEEKLY;BYDAY=SU", "2026-01-04T02:00", "Asia/Kolkata")

    account.run("set_maintenance_policy", ask(ground, cluster, (weekly,)))

    found = told(account).recurring_window
    assert found.recurrence == "FREQ=DAILY"
    assert (found.window.start_time.hour, found.window.start_time.minute) == (20, 30)


def test_exclusions_come_and_go_and_others_stay(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Ours are those by name; each covers whole days of the window's zone, and is gone with the order."""
    tell(
        account,
        {
            "window": {
                "daily_maintenance_window": {"start_time": MAINTENANCE_BEGINS},
                "maintenance_exclusions": {
                    "fair": {"start_time": "2027-03-01T00:00:00Z", "end_time": "2027-03-08T00:00:00Z"},
                    "byoc-of-before": {"start_time": "2027-05-01T00:00:00Z", "end_time": "2027-05-02T00:00:00Z"},
                },
            }
        },
    )
    kolkata = NIGHTLY.model_copy(update={"timezone": "Asia/Kolkata"})
    exclusion = excluded(40, 3, ExclusionScope.NO_MINOR)
    past = Exclusion(**{"from": date(2026, 1, 1), "to": date(2026, 1, 2)})

    account.run("set_maintenance_policy", ask(ground, cluster, (kolkata,), (exclusion, past)))
    made = dict(told(account).maintenance_exclusions)
    before = account.control.position()
    account.run("set_maintenance_policy", ask(ground, cluster, (kolkata,), (exclusion, past)))
    repeated = account.changes(before)
    account.run("set_maintenance_policy", ask(ground, cluster, (kolkata,)))

    (name,) = set(made) - {"fair", VERSIONS_ARE_OURS}
    assert name.startswith("byoc-")
    assert made[name].end_time - made[name].start_time == timedelta(days=3)
    assert (made[name].start_time.hour, made[name].start_time.minute) == (18, 30)
    assert made[name].maintenance_exclusion_options.scope.name == "NO_MINOR_UPGRADES"
    assert repeated == []
    assert set(told(account).maintenance_exclusions) == {"fair", VERSIONS_ARE_OURS}


def test_what_gke_would_not_take_is_refused_with_words(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Before GKE is asked."""
    before = account.control.position()

    failure = account.failure("set_maintenance_policy", ask(ground, cluster, (NIGHTLY,), (excluded(10, 29),)))

    assert failure.failure is FailureClass.CONFIG
    assert "needs 48 hours" in failure.message
    assert account.changes(before) == []


@pytest.mark.parametrize(
    ("exclusions", "words"),
    [
        ((excluded(10, 29),), "leave it 12"),
        ((excluded(10, 12), excluded(25, 10)), "leave it 40"),
        (tuple(excluded(40 * n, 2) for n in range(1, 5)), "takes 3 exclusions of all upgrades and there would be 4"),
        ((excluded(10, 32),), "exclusions of at most 30 days"),
    ],
    ids=["no time left", "no time left by two", "too many", "too long"],
)
def test_what_gke_does_not_take(exclusions: tuple[Exclusion, ...], words: str) -> None:
    """It is said what, and with its numbers."""
    now = datetime.combine(datetime.now(UTC).date(), time(12), UTC)

    with pytest.raises(PolicyRefusedError, match=words):
        wanted_policy(container_v1.MaintenancePolicy(), (NIGHTLY,), exclusions, now)


@pytest.mark.parametrize(
    ("given", "now", "start", "rule"),
    [
        (window("FREQ=DAILY", "2026-01-01T01:00"), WINTER, "2026-01-01T00:00", "FREQ=DAILY"),
        (window("FREQ=DAILY", "2026-01-01T01:00"), SUMMER, "2025-12-31T23:00", "FREQ=DAILY"),
        (window("FREQ=WEEKLY;BYDAY=SU", "2026-01-04T01:30"), SUMMER, "2026-01-03T23:30", "FREQ=WEEKLY;BYDAY=SA"),
        (window("FREQ=WEEKLY", "2026-01-05T00:30"), WINTER, "2026-01-04T23:30", "FREQ=WEEKLY;BYDAY=SU"),
        (
            window("FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO", "2026-01-04T22:00", "America/New_York"),
            WINTER,
            "2026-01-05T03:00",
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TU;WKST=TU",
        ),
        (
            window("FREQ=MONTHLY;BYDAY=2TU", "2026-01-13T22:00", "America/New_York"),
            WINTER,
            "2026-01-14T03:00",
            "FREQ=MONTHLY;BYDAY=WE;BYMONTHDAY=9,10,11,12,13,14,15",
        ),
        (
            window("FREQ=MONTHLY;BYDAY=-1SU", "2026-01-25T01:00"),
            SUMMER,
            "2026-01-24T23:00",
            "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=-8,-7,-6,-5,-4,-3,-2",
        ),
        (
            window("FREQ=MONTHLY;BYDAY=-1SU", "2026-01-25T22:00", "America/New_York"),
            WINTER,
            "2026-01-26T03:00",
            None,
        ),
        (window("FREQ=MONTHLY;BYMONTHDAY=15", "2026-01-15T00:30"), WINTER, "2026-01-14T23:30",
         "FREQ=MONTHLY;BYMONTHDAY=14"),
        (window("FREQ=MONTHLY;BYMONTHDAY=1", "2026-01-01T00:30"), WINTER, "2025-12-31T23:30", None),
        (window("FREQ=MONTHLY;BYMONTHDAY=31", "2026-01-31T02:00"), WINTER, "2026-01-31T01:00",
         "FREQ=MONTHLY;BYMONTHDAY=31"),
    ],
)  # fmt: skip
def test_days_move_with_the_hours(given: MaintenanceWindow, now: datetime, start: str, rule: str | None) -> None:
    """A rule by local days becomes one by days of UTC, or none where no rule says the same."""
    assert first_start(given, now) == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert rule_in_utc(given, now) == rule


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (window("FREQ=WEEKLY;BYDAY=SA", "2026-01-03T12:00", hours=12), "FREQ=WEEKLY;BYDAY=SA"),
        (window("FREQ=WEEKLY;BYDAY=SA", "2026-01-03T12:00", hours=11), "FREQ=DAILY"),
        (window("FREQ=WEEKLY;BYDAY=SA,SU,WE", "2026-01-03T12:00"), "FREQ=WEEKLY;BYDAY=SA,SU,WE"),
        (window("FREQ=MONTHLY;BYDAY=1SA", "2026-01-03T12:00", hours=24), "FREQ=DAILY"),
        (window("FREQ=DAILY", "2026-01-03T12:00", hours=2), "FREQ=DAILY"),
    ],
)
def test_gke_always_has_its_48_hours(given: MaintenanceWindow, rule: str) -> None:
    """In every 32 days, in pieces of four hours and more."""
    found = recurring_window(given, (), SUMMER)

    assert found.rule == rule
    assert least_available(found, (), SUMMER) >= AVAILABLE


RULES = (
    "FREQ=DAILY",
    "FREQ=DAILY;INTERVAL=3",
    "FREQ=DAILY;BYDAY=MO,FR",
    "FREQ=WEEKLY",
    "FREQ=WEEKLY;BYDAY=SA,SU",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO",
    "FREQ=WEEKLY;INTERVAL=3;BYDAY=SA,SU;WKST=SU",
    "FREQ=MONTHLY",
    "FREQ=MONTHLY;INTERVAL=2;BYDAY=1MO",
    "FREQ=MONTHLY;BYDAY=2TU",
    "FREQ=MONTHLY;BYDAY=4SU",
    "FREQ=MONTHLY;BYDAY=5SA",
    "FREQ=MONTHLY;BYDAY=-1SU",
    "FREQ=MONTHLY;BYDAY=-2WE",
    "FREQ=MONTHLY;BYDAY=SU",
    "FREQ=MONTHLY;BYMONTHDAY=1,15",
    "FREQ=MONTHLY;BYMONTHDAY=28",
    "FREQ=MONTHLY;BYMONTHDAY=-1",
    "FREQ=MONTHLY;BYMONTHDAY=-2,10",
)


def test_a_rule_by_days_of_utc_has_the_same_occurrences() -> None:
    """In zones without daylight saving, on both sides of Greenwich; most rules can be said."""
    said = 0
    cases = itertools.product(RULES, ("Asia/Tokyo", "Etc/UTC", "Pacific/Honolulu"), (0, 11, 23))
    for rule, zone, hour in cases:
        given = window(rule, f"2026-01-10T{hour:02}:30", zone)
        in_utc = rule_in_utc(given, WINTER)
        if in_utc is not None:
            said += 1
            offset = WINTER.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
            local = itertools.islice(rrulestr(rule, dtstart=given.start), 30)
            found = itertools.islice(rrulestr(in_utc, dtstart=first_start(given, WINTER).replace(tzinfo=None)), 30)
            assert list(found) == [each - offset for each in local], (rule, zone, hour)

    assert said > 140


def test_gke_never_refuses_what_it_is_told() -> None:
    """Its own rules are written down a second time, in the simulator, by counting quarters of an hour."""
    now, told_times = datetime.now(UTC), 0
    exclusions = ((), (excluded(3, 14),), (excluded(-2, 9), excluded(20, 9, ExclusionScope.NO_MINOR), excluded(60, 9)))
    for rule, hours, asked in itertools.product(RULES[::6], (2, 12), exclusions):
        windows = (window(rule, "2026-01-10T23:30", hours=hours),)
        try:
            policy = wanted_policy(container_v1.MaintenancePolicy(), windows, asked, now)
        except PolicyRefusedError:
            continue
        told_times += 1
        accepted(json_format.MessageToDict(container_v1.MaintenancePolicy.pb(policy)), "1.35", now)
        assert wanted_policy(policy, windows, asked, now + timedelta(minutes=5)) == policy

    assert told_times > 20
