"""The alert policies of a deployment: on its nodes and on what its load balancer answers."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud.monitoring_v3 import AlertPolicy, AlertPolicyServiceClient, NotificationChannelServiceClient

from activities.contracts import InCluster
from activities.gcp.ownership import owner_description
from domain.facts import Cluster
from domain.naming import base_name, owner_labels
from simulators.faults import FaultKind
from tests.activities.gcp.conftest import REGION, Account
from tests.activities.gcp.test_node_pools import make_balancer, make_network

NODES, BALANCER = "unhealthy-nodes", "failing-load-balancer"


@pytest.fixture
def order(account: Account) -> InCluster:
    """The order for alarms on a cluster, whose load balancer exists beside a stranger's."""
    name = base_name(account.site)
    make_balancer(account, "gkegw1-1a2b", make_network(account, name, owner_description(account.site, "network")))
    make_balancer(account, "gkegw1-9z9z", make_network(account, "theirs"))
    cluster = Cluster(name=name, endpoint="https://192.0.2.1", certificate_authority="", version="1.35", oidc_issuer="")
    return InCluster(site=account.site, cluster=cluster)


def monitoring(account: Account) -> Any:
    """Return the customer's client of alert policies."""
    return account.customer(AlertPolicyServiceClient)


def policies(account: Account) -> dict[str, AlertPolicy]:
    """Return the project's alert policies as the customer sees them, keyed by what they are about."""
    listed = list(monitoring(account).list_alert_policies(name=f"projects/{account.project}"))
    found = {each.user_labels.get("byoc-resource", each.display_name): each for each in listed}
    assert len(found) == len(listed)
    return found


def test_nodes_and_load_balancer_have_their_alarm(account: Account, order: InCluster) -> None:
    """Each looks at the deployment's own cluster, and rings after five minutes."""
    account.run("create_alarms", order)

    found = policies(account)
    assert set(found) == {NODES, BALANCER}
    filters = {name: each.conditions[0].condition_threshold.filter for name, each in found.items()}
    assert f'resource.labels.cluster_name = "{order.cluster.name}"' in filters[NODES]
    assert f'resource.labels.location = "{REGION}"' in filters[NODES]
    assert 'forwarding_rule_name = one_of("gkegw1-1a2b-byoc-server-endpoint-0c0c")' in filters[BALANCER]
    for name, each in found.items():
        assert dict(each.user_labels) == owner_labels(account.site, name)
        assert each.enabled
        assert each.conditions[0].condition_threshold.duration.total_seconds() == 300


def test_what_somebody_changed_is_put_back(account: Account, order: InCluster) -> None:
    """Threshold, switch and labels are as before; labels and channels of the customer's stay."""
    account.run("create_alarms", order)
    before = policies(account)[NODES]
    channels = account.customer(NotificationChannelServiceClient)
    channel = channels.create_notification_channel(
        name=f"projects/{account.project}", notification_channel={"type": "email", "labels": {"email_address": "a@b.c"}}
    )
    theirs = AlertPolicy(before)
    theirs.enabled = False
    theirs.conditions[0].condition_threshold.threshold_value = 100
    theirs.user_labels = {**before.user_labels, "byoc-generation": "0", "team": "data"}
    theirs.notification_channels = [channel.name]
    monitoring(account).update_alert_policy(alert_policy=theirs)

    account.run("create_alarms", order)

    after = policies(account)[NODES]
    assert after.enabled
    assert after.conditions[0].condition_threshold == before.conditions[0].condition_threshold
    assert dict(after.user_labels) == {**owner_labels(account.site, NODES), "team": "data"}
    assert list(after.notification_channels) == [channel.name]


def test_a_new_load_balancer_is_watched_by_the_same_alarm(account: Account, order: InCluster) -> None:
    """What the policy looks at follows the forwarding rules of the cluster."""
    account.run("create_alarms", order)
    name = policies(account)[BALANCER].name
    make_balancer(account, "gkegw1-2b3c", order.cluster.name)

    account.run("create_alarms", order)

    found = policies(account)[BALANCER]
    assert found.name == name
    assert "gkegw1-2b3c-byoc-server-endpoint-0c0c" in found.conditions[0].condition_threshold.filter


def test_deletion_takes_ours_alone(account: Account, order: InCluster) -> None:
    """A policy of our title without our labels stays, and so does another deployment's; again finds nothing to do."""
    account.run("create_alarms", order)
    ours = policies(account)[NODES]
    for title, labels in (
        (ours.display_name, {}),
        ("another", {**ours.user_labels, "byoc-deployment": f"{account.site.deployment}-2", "byoc-resource": "other"}),
    ):
        stranger = AlertPolicy(ours)
        stranger.display_name, stranger.user_labels = title, labels
        monitoring(account).create_alert_policy(name=f"projects/{account.project}", alert_policy=stranger)
    account.inject(FaultKind.LOST_REPLY, "DeleteAlertPolicy", times=1)

    account.run_through("delete_alarms", account.site)
    before = account.control.position()
    account.run("delete_alarms", account.site)

    assert account.changes(before) == []
    assert set(policies(account)) == {ours.display_name, "other"}
