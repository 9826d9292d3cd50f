"""AKS's own maintenance: bound to the windows of the deployment, as far as AKS can express them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from activities.azure.cluster import AzureCluster
from activities.azure.connection import AzureConnections
from activities.azure.maintenance import AzureMaintenance
from activities.azure.maintenance_windows import NODE_IMAGES, VERSIONS, WEEKLY_RELEASES, configurations
from activities.azure.settings import AzureSettings
from activities.cloud import Activity
from activities.contracts import MaintenanceRequest
from domain.facts import Cluster
from domain.maintenance import Exclusion, ExclusionScope, MaintenanceWindow
from domain.naming import base_name
from tests.activities.azure.clusters import aks
from tests.activities.azure.conftest import Account, activities_of
from tests.activities.azure.ground import GROUND, Ground

SUMMER, WINTER = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
HOLIDAYS = Exclusion(**{"from": date(2026, 12, 20)}, to=date(2027, 1, 3))


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """The activities on clusters and their maintenance, and on what they stand on."""
    return activities_of(*GROUND, AzureCluster, AzureMaintenance)(settings, connections)


def window(rrule: str, start: str = "2026-01-04T02:00", hours: int = 4, timezone: str = "Europe/Berlin") -> Any:
    """Return a window of a deployment."""
    return MaintenanceWindow(
        id="w", timezone=timezone, start=datetime.fromisoformat(start), rrule=rrule, duration=timedelta(hours=hours)
    )


@pytest.mark.parametrize(
    ("rrule", "schedule"),
    [
        ("FREQ=DAILY;INTERVAL=3", {"daily": {"intervalDays": 3}}),
        ("FREQ=DAILY;BYDAY=SA,SU", {"weekly": {"intervalWeeks": 1, "dayOfWeek": "Saturday"}}),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", {"weekly": {"intervalWeeks": 2, "dayOfWeek": "Tuesday"}}),
        ("FREQ=WEEKLY", {"weekly": {"intervalWeeks": 1, "dayOfWeek": "Sunday"}}),
        (
            "FREQ=MONTHLY;BYDAY=2TU",
            {"relativeMonthly": {"intervalMonths": 1, "weekIndex": "Second", "dayOfWeek": "Tuesday"}},
        ),
        (
            "FREQ=MONTHLY;INTERVAL=3;BYDAY=-1SU",
            {"relativeMonthly": {"intervalMonths": 3, "weekIndex": "Last", "dayOfWeek": "Sunday"}},
        ),
        ("FREQ=MONTHLY;BYMONTHDAY=31", {"absoluteMonthly": {"intervalMonths": 1, "dayOfMonth": 31}}),
        ("FREQ=MONTHLY", {"absoluteMonthly": {"intervalMonths": 1, "dayOfMonth": 4}}),
        ("FREQ=MONTHLY;BYDAY=5TU", None),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", None),
        ("FREQ=WEEKLY;INTERVAL=5", None),
    ],
)
def test_a_rule_becomes_the_closest_schedule(rrule: str, schedule: dict[str, Any] | None) -> None:
    """What AKS cannot say is left out, but for the hours of the week."""
    found = configurations([window(rrule)], [], SUMMER)

    assert set(found) == ({WEEKLY_RELEASES, VERSIONS, NODE_IMAGES} if schedule else {WEEKLY_RELEASES})
    assert found.get(VERSIONS, {}).get("maintenanceWindow", {}).get("schedule") == schedule


def test_the_first_window_that_can_be_said_is_taken() -> None:
    """Of a policy with several."""
    found = configurations([window("FREQ=MONTHLY;BYDAY=5TU"), window("FREQ=WEEKLY;BYDAY=WE")], [], SUMMER)

    assert found[VERSIONS]["maintenanceWindow"]["schedule"]["weekly"]["dayOfWeek"] == "Wednesday"


@pytest.mark.parametrize(
    ("now", "offset", "slots"),
    [
        (SUMMER, "+02:00", [{"day": "Sunday", "hourSlots": [0, 1, 2, 3]}]),
        (WINTER, "+01:00", [{"day": "Sunday", "hourSlots": [1, 2, 3, 4]}]),
    ],
)
def test_the_offset_is_that_of_now(now: datetime, offset: str, slots: list[Any]) -> None:
    """AKS knows no daylight saving time."""
    found = configurations([window("FREQ=WEEKLY;BYDAY=SU")], [], now)

    assert found[VERSIONS]["maintenanceWindow"]["utcOffset"] == offset
    assert found[WEEKLY_RELEASES]["timeInWeek"] == slots


def test_hours_lie_inside_the_window() -> None:
    """Across midnight in UTC, and where a zone is half an hour off, only whole hours inside count."""
    found = configurations([window("FREQ=WEEKLY;BYDAY=FR", "2026-06-05T23:30", timezone="Asia/Kolkata")], [], SUMMER)
    late = configurations([window("FREQ=WEEKLY;BYDAY=SA", "2026-01-03T22:30", timezone="Etc/UTC")], [], SUMMER)

    assert found[WEEKLY_RELEASES]["timeInWeek"] == [{"day": "Friday", "hourSlots": [18, 19, 20, 21]}]
    assert late[WEEKLY_RELEASES]["timeInWeek"] == [
        {"day": "Saturday", "hourSlots": [23]},
        {"day": "Sunday", "hourSlots": [0, 1]},
    ]


def test_a_short_window_becomes_the_shortest_that_there_is() -> None:
    """AKS has none of less than four hours; the weekly releases keep to the real ones."""
    found = configurations([window("FREQ=WEEKLY;BYDAY=SU", hours=2)], [], SUMMER)

    assert found[VERSIONS]["maintenanceWindow"]["durationHours"] == 4
    assert found[WEEKLY_RELEASES]["timeInWeek"] == [{"day": "Sunday", "hourSlots": [0, 1]}]


def test_what_is_excluded_altogether_is_told() -> None:
    """Whole days in the window's own time; narrower exclusions are about our work alone."""
    narrow = Exclusion(**{"from": date(2026, 8, 1)}, to=date(2026, 8, 2), scope=ExclusionScope.NO_MINOR)

    found = configurations([window("FREQ=WEEKLY;BYDAY=SU")], [HOLIDAYS, narrow], SUMMER)

    assert found[VERSIONS]["maintenanceWindow"]["notAllowedDates"] == [{"start": "2026-12-20", "end": "2027-01-03"}]
    assert found[WEEKLY_RELEASES]["notAllowedTime"] == [
        {"start": "2026-12-19T23:00:00Z", "end": "2027-01-03T23:00:00Z"}
    ]


def test_the_cluster_has_the_windows_and_keeps_them(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Told once; what somebody changed is put back; without windows whatever is there stays."""
    request = MaintenanceRequest(
        site=account.site, cluster=cluster, windows=(window("FREQ=WEEKLY;BYDAY=SU"),), exclusions=(HOLIDAYS,)
    )
    client, place = aks(account).maintenance_configurations, (base_name(account.site), base_name(account.site))
    account.run("set_maintenance_policy", request)
    told = {each.name: each.as_dict()["properties"] for each in client.list_by_managed_cluster(*place)}
    before = account.control.position()
    account.run("set_maintenance_policy", request)
    again = account.changes(before)
    client.create_or_update(
        *place, WEEKLY_RELEASES, {"properties": {"timeInWeek": [{"day": "Monday", "hourSlots": [9]}]}}
    )
    account.run("set_maintenance_policy", MaintenanceRequest(site=account.site, cluster=cluster))
    untouched = client.get(*place, WEEKLY_RELEASES).as_dict()["properties"]
    account.run("set_maintenance_policy", request)

    assert set(told) == {WEEKLY_RELEASES, VERSIONS, NODE_IMAGES}
    assert again == []
    assert untouched["timeInWeek"][0]["day"] == "Monday"
    assert client.get(*place, WEEKLY_RELEASES).as_dict()["properties"] == told[WEEKLY_RELEASES]
