"""Which clouds a playground simulates, and who plays in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError

import pytest

from domain.clouds import Cloud, Purpose
from domain.maintenance import MaintenancePolicy, Work
from domain.window_rules import window_problems
from domain.windows import openings
from starters.playground import clouds
from starters.playground.cast import cast_in, closed_window, open_window
from starters.playground.clouds import CLOUDS, clouds_here


def test_a_cloud_is_simulated_where_what_it_stands_on_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra of Google Cloud there are the others, with nothing else to do."""

    def distribution(name: str) -> None:
        if name == "cel-python":
            raise PackageNotFoundError(name)

    everything = [each.cloud for each in clouds_here()]
    monkeypatch.setattr(clouds, "distribution", distribution)

    assert everything == [Cloud.AWS, Cloud.GCP, Cloud.AZURE]
    assert [each.cloud for each in clouds_here()] == [Cloud.AWS, Cloud.AZURE]


def test_every_cloud_has_a_customer() -> None:
    """In one cloud there are both parts of the story; in two one each; a third has somebody of its own."""
    aws, gcp = CLOUDS[Cloud.AWS], CLOUDS[Cloud.GCP]

    alone, both, three = cast_in([aws]), cast_in([aws, gcp]), cast_in([aws, gcp, aws])

    assert (alone.stays.cloud, alone.leaves.cloud, alone.others) == (aws, aws, ())
    assert alone.stays.account != alone.leaves.account
    assert (both.stays.cloud, both.leaves.cloud, both.others) == (aws, gcp, ())
    assert [customer.cloud for customer in three.everybody] == [gcp, aws, aws]
    assert len({customer.deployment for customer in three.everybody}) == 3


def test_the_role_of_a_permission_is_read_in_the_template() -> None:
    """At Google Cloud the permission to grant is in a role of its own, and the names hold a digest."""
    roles = [
        {"roleId": "byoc_operate_1a2b", "includedPermissions": ["compute.routers.create"]},
        {"roleId": "byoc_operate_1a2b_grants", "includedPermissions": ["resourcemanager.projects.setIamPolicy"]},
        {"roleId": "byoc_delete_1a2b", "includedPermissions": ["compute.routers.delete"]},
    ]

    def role(purpose: Purpose, action: str) -> str:
        template = json.dumps({"roles": roles})
        asked = CLOUDS[Cloud.GCP].one_permission("acme-gcp", purpose, action, lambda: template)
        assert asked["permission"] == action
        return str(asked["role"])

    assert role(Purpose.OPERATE, "compute.routers.create") == "byoc_operate_1a2b"
    assert role(Purpose.OPERATE, "resourcemanager.projects.setIamPolicy") == "byoc_operate_1a2b_grants"
    assert role(Purpose.DELETE, "compute.routers.delete") == "byoc_delete_1a2b"
    assert role(Purpose.DELETE, "compute.routers.get") == "byoc_delete_1a2b"


def test_windows_of_the_demo_are_open_whenever_it_is_played() -> None:
    """At every half hour of days with and without a change of the clocks, each deployment's turn has come."""
    for begin in (datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)):
        for now in (begin + number * timedelta(minutes=30) for number in range(0, 96, 3)):
            for name in ("globex-prod", "acme-dev", "initech-test"):
                opened = MaintenancePolicy(windows=(open_window(name, now),))
                closed = MaintenancePolicy(windows=(closed_window(now),))
                later = now + timedelta(minutes=30)
                for need in (timedelta(minutes=60), timedelta(minutes=75)):
                    turn = next(openings(opened, Work.SERVER, now=later, need=need, spread_by=name))
                    assert turn.at == later
                    assert next(openings(closed, Work.SERVER, now=later, need=need)).at > later + timedelta(days=1)
                assert not list(window_problems(opened, now.date()))
