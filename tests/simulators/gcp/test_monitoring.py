"""Cloud Monitoring through its official SDK."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from google.cloud import monitoring_v3

from tests.simulators.gcp.customers import PROJECT, Customer, refused

NAME = f"projects/{PROJECT}"


def policy(**options: Any) -> dict[str, Any]:
    """Return an alert policy as the product wants it."""
    condition = {
        "display_name": "Store is not ready",
        "condition_threshold": {
            "filter": 'resource.type="k8s_container"',
            "comparison": "COMPARISON_LT",
            "threshold_value": 3,
            "duration": {"seconds": 300},
        },
    }
    wanted = {"display_name": "byoc store", "combiner": "OR", "user_labels": {"byoc": "managed"}}
    return {**wanted, "conditions": [condition], **options}


@pytest.fixture
def policies(account: Customer) -> monitoring_v3.AlertPolicyServiceClient:
    """A client, of the owner."""
    client: monitoring_v3.AlertPolicyServiceClient = account.rpc(monitoring_v3.AlertPolicyServiceClient)
    return client


class TestAlertPolicies:
    """Alert policies."""

    def test_are_found_by_their_labels(self, policies: monitoring_v3.AlertPolicyServiceClient) -> None:
        """Names are made by Google, so that the label is what tells ours."""
        made = policies.create_alert_policy(name=NAME, alert_policy=policy())
        policies.create_alert_policy(name=NAME, alert_policy=policy(user_labels={"byoc": "other"}))

        request = {"name": NAME, "filter": 'user_labels.byoc="managed"'}
        found = list(policies.list_alert_policies(request=request))

        assert [entry.name for entry in found] == [made.name]
        assert made.name.startswith(f"{NAME}/alertPolicies/")
        assert (made.enabled, made.conditions[0].condition_threshold.threshold_value) == (True, 3.0)
        assert made.creation_record.mutated_by == f"owner@{PROJECT}.example.com"

    def test_change_and_go(self, account: Customer, policies: monitoring_v3.AlertPolicyServiceClient) -> None:
        """An equal update has no effect; what was deleted is not found."""
        made = policies.create_alert_policy(name=NAME, alert_policy=policy())

        for _ in range(2):
            changed = {"name": made.name, "enabled": False}
            policies.update_alert_policy(alert_policy=changed, update_mask={"paths": ["enabled"]})
        found = policies.get_alert_policy(name=made.name)
        policies.delete_alert_policy(name=made.name)

        assert (found.enabled, found.display_name) == (False, "byoc store")
        assert account.names("monitoring", changed=True).count("UpdateAlertPolicy") == 1
        with refused(NotFound, made.name):
            policies.get_alert_policy(name=made.name)

    @pytest.mark.parametrize(
        ("options", "text"),
        [({"conditions": []}, "conditions"), ({"combiner": 0}, "combiner"), ({"display_name": ""}, "display_name")],
    )
    def test_are_checked(
        self, policies: monitoring_v3.AlertPolicyServiceClient, options: dict[str, Any], text: str
    ) -> None:
        """What is missing is named."""
        with refused(InvalidArgument, text):
            policies.create_alert_policy(name=NAME, alert_policy=policy(**options))

    def test_need_permissions(self, account: Customer) -> None:
        """One for each call."""
        credentials = account.member("byoc-operate", "monitoring.alertPolicies.list")
        client = account.rpc(monitoring_v3.AlertPolicyServiceClient, credentials)

        assert list(client.list_alert_policies(name=NAME)) == []
        with refused(PermissionDenied, "monitoring.alertPolicies.create"):
            client.create_alert_policy(name=NAME, alert_policy=policy())

    def test_notify_channels_that_exist(
        self, account: Customer, policies: monitoring_v3.AlertPolicyServiceClient
    ) -> None:
        """A channel is kept by the policies that notify it."""
        channels = account.rpc(monitoring_v3.NotificationChannelServiceClient)
        wanted = {"type": "email", "display_name": "operators", "user_labels": {"byoc": "managed"}}
        channel = channels.create_notification_channel(name=NAME, notification_channel=wanted)

        made = policies.create_alert_policy(name=NAME, alert_policy=policy(notification_channels=[channel.name]))
        with refused(FailedPrecondition, made.name):
            channels.delete_notification_channel(name=channel.name)
        policies.delete_alert_policy(name=made.name)
        channels.delete_notification_channel(name=channel.name)

        assert account.google.inventory(PROJECT) == []
