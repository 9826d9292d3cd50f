"""Where the logs of a deployment's cluster and NAT are kept, from the first to the last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api_core.exceptions import PermissionDenied
from google.cloud import kms_v1
from google.cloud.logging_v2.services.config_service_v2 import ConfigServiceV2Client
from google.cloud.logging_v2.types import LifecycleState

from activities.contracts import InNetwork, Retention
from activities.gcp.connection import GcpConnections
from activities.gcp.keys import key_name
from activities.gcp.logs import RETENTION_DAYS, bucket_name, entries_of, exclusion_name, sink_name
from activities.gcp.settings import GcpSettings
from domain.clouds import Purpose
from domain.facts import Leftover
from domain.failure import FailureClass
from domain.naming import base_name
from simulators.faults import FaultKind
from simulators.gcp.log_queries import entry_passes
from tests.activities.gcp.conftest import REGION, Account
from tests.activities.gcp.ground import make_ground
from tests.activities.gcp.test_network import order, own_network

KINDS = {"bucket": "log-bucket", "sink": "sink", "exclusion": "exclusion"}
"""What the inventory calls them, keyed by how operations do."""


@pytest.fixture
def inside(account: Account) -> InNetwork:
    """The deployment's network, from which nothing leads out yet, and its key."""
    account.run("create_encryption_key", account.site)
    return InNetwork(site=account.site, network=account.run("create_network", order(account.site)))


@pytest.fixture
def config(account: Account) -> Any:
    """The customer's client of Cloud Logging."""
    return account.customer(ConfigServiceV2Client)


def of_cluster(account: Account, *, name: str = "", region: str = REGION, kind: str = "k8s_node") -> dict[str, Any]:
    """Return a log entry of a cluster, or of a node of it."""
    labels = {"cluster_name": name or base_name(account.site), "location": region}
    return {"resource": {"type": kind, "labels": labels}, "textPayload": "hello"}


def of_nat(account: Account, *, router: str = "", region: str = REGION) -> dict[str, Any]:
    """Return a log entry of a NAT."""
    gateway = {"gateway_name": "egress", "router_name": router or f"{base_name(account.site)}-egress", "region": region}
    resource = {"type": "nat_gateway", "labels": {"router_id": "4711", "gateway_name": "egress", "region": region}}
    return {"resource": resource, "jsonPayload": {"gateway_identifiers": gateway, "allocation_status": "DROPPED"}}


def parts(account: Account) -> set[str]:
    """Return which parts of the routing exist."""
    return {each.type for each in account.resources() if each.service == "logging"}


def made_before(account: Account, operation: str) -> set[str]:
    """Return which calls to Cloud Logging changed something before an operation."""
    done = [call.operation for call in account.changes()]
    return {each for each in done[: done.index(operation)] if each in ("CreateBucket", "CreateSink", "CreateExclusion")}


def left(account: Account) -> dict[str, Leftover]:
    """Return what is left of the routing, keyed by kind."""
    found = account.run("find_leftovers", Retention(site=account.site))
    return {each.kind.partition(":")[2]: each for each in found if each.kind.startswith("logging:")}


def make_theirs(account: Account, config: Any, kind: str) -> None:
    """Make something of somebody else's that has our name."""
    name, parent = base_name(account.site), f"projects/{account.project}"
    if kind == "bucket":
        place, _, identifier = bucket_name(account.site).rpartition("/buckets/")
        config.create_bucket(request={"parent": place, "bucket_id": identifier, "bucket": {}})
    elif kind == "sink":
        destination = f"logging.googleapis.com/{parent}/locations/global/buckets/_Default"
        config.create_sink(parent=parent, sink={"name": name, "destination": destination})
    else:
        config.create_exclusion(parent=parent, exclusion={"name": name, "filter": "severity=DEBUG"})


def test_what_cluster_and_nat_log_is_kept_in_the_region_alone(account: Account, inside: InNetwork, config: Any) -> None:
    """A sink leads it to an encrypted bucket in the region, for a limited time; an exclusion keeps `_Default` clean."""
    account.run("create_egress", inside)

    bucket = config.get_bucket(request={"name": bucket_name(account.site)})
    sink = config.get_sink(sink_name=sink_name(account.site))
    exclusion = config.get_exclusion(name=exclusion_name(account.site))
    assert bucket.name.startswith(f"projects/{account.project}/locations/{REGION}/buckets/byoc-")
    assert bucket.retention_days == RETENTION_DAYS
    assert bucket.cmek_settings.kms_key_name == key_name(account.site)
    assert sink.destination == f"logging.googleapis.com/{bucket.name}"
    assert not sink.disabled
    assert not exclusion.disabled
    for passes in (entry_passes(sink.filter), entry_passes(exclusion.filter)):
        for kind in ("k8s_control_plane_component", "k8s_cluster", "k8s_node", "k8s_pod", "k8s_container"):
            assert passes(of_cluster(account, kind=kind))
        assert passes(of_nat(account))


def test_what_others_log_goes_where_it_always_went(account: Account) -> None:
    """Neither another cluster or router, though its name begins as ours does, nor ours in another region."""
    passes = entry_passes(entries_of(account.site))
    other = f"{base_name(account.site)}-2"

    assert not passes(of_cluster(account, name=other))
    assert not passes(of_cluster(account, region="us-east1"))
    assert not passes(of_nat(account, router=f"{other}-egress"))
    assert not passes(of_nat(account, region="us-east1"))
    assert not passes({"resource": {"type": "gce_instance", "labels": {"zone": f"{REGION}-a"}}})


def test_the_routing_is_there_before_anything_logs(account: Account) -> None:
    """The NAT's step makes it before the NAT, the cluster's before the cluster, where the network is the customer's."""
    ground = make_ground(account)
    account.run("create_cluster", ground.cluster_request())
    by_cluster = made_before(account, "CreateCluster")
    account.run("create_egress", InNetwork(site=account.site, network=ground.network))

    assert by_cluster == {"CreateBucket", "CreateSink", "CreateExclusion"}
    assert made_before(account, "routers.insert") == by_cluster


def test_the_customers_own_network_gets_no_routing_without_a_cluster(account: Account) -> None:
    """There is no NAT of ours in it."""
    network = account.run("create_network", order(account.site, own_network(account)))

    account.run("create_egress", InNetwork(site=account.site, network=network))

    assert parts(account) == set()


def test_routing_again_changes_nothing(account: Account, inside: InNetwork) -> None:
    """What is as it has to be is only looked at."""
    account.run("create_egress", inside)
    before = account.control.position()

    account.run("create_egress", inside)

    assert account.changes(before) == []


def test_what_somebody_changed_is_put_back(account: Account, inside: InNetwork, config: Any) -> None:
    """Retention, destination and filters are as before, and nothing is switched off."""
    account.run("create_egress", inside)
    bucket, sink = bucket_name(account.site), sink_name(account.site)
    config.update_bucket(request={"name": bucket, "bucket": {"retention_days": 1}, "update_mask": "retentionDays"})
    astray = {
        "name": base_name(account.site),
        "destination": f"logging.googleapis.com/projects/{account.project}/locations/global/buckets/_Default",
        "filter": "severity=DEBUG",
        "disabled": True,
        "exclusions": [{"name": "all", "filter": "severity=INFO"}],
    }
    mask = "destination,filter,disabled,exclusions"
    config.update_sink(request={"sink_name": sink, "sink": astray, "update_mask": mask})
    off = {"filter": "severity=DEBUG", "disabled": True}
    exclusion = exclusion_name(account.site)
    config.update_exclusion(request={"name": exclusion, "exclusion": off, "update_mask": "filter,disabled"})

    account.run("create_egress", inside)

    assert config.get_bucket(request={"name": bucket}).retention_days == RETENTION_DAYS
    found = config.get_sink(sink_name=sink)
    assert found.destination == f"logging.googleapis.com/{bucket}"
    for each in (found, config.get_exclusion(name=exclusion)):
        assert (each.filter, each.disabled) == (entries_of(account.site), False)
    assert list(found.exclusions) == []


def test_a_locked_bucket_keeps_its_retention(account: Account, inside: InNetwork, config: Any) -> None:
    """The customer may lock how long logs are kept; that is nobody's to change any more."""
    account.run("create_egress", inside)
    bucket = bucket_name(account.site)
    longer = {"retention_days": 400, "locked": True}
    config.update_bucket(request={"name": bucket, "bucket": longer, "update_mask": "retentionDays,locked"})

    account.run("create_egress", inside)

    assert config.get_bucket(request={"name": bucket}).retention_days == 400


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_ours_is_refused_and_left_alone(
    account: Account, inside: InNetwork, config: Any, kind: str
) -> None:
    """Something of our name without our description is neither used nor deleted."""
    make_theirs(account, config, kind)

    detail = account.failure("create_egress", inside)
    account.run("delete_egress", account.site)

    assert detail.failure is FailureClass.NOT_OURS
    assert kind in detail.message
    assert parts(account) == {KINDS[kind]}
    assert all(each.kept_because for each in left(account).values())


def test_log_buckets_of_the_customers_own_are_out_of_reach(
    account: Account, settings: GcpSettings, inside: InNetwork, config: Any
) -> None:
    """Google itself refuses our account for deletions, whatever a step would ask it for."""
    place = f"projects/{account.project}/locations/{REGION}"
    config.create_bucket(request={"parent": place, "bucket_id": "theirs", "bucket": {}})
    account.run("create_egress", inside)
    deleting = GcpConnections(settings).client(ConfigServiceV2Client, account.site, Purpose.DELETE)

    with pytest.raises(PermissionDenied, match=r"logging\.buckets\.delete"):
        deleting.delete_bucket(request={"name": f"{place}/buckets/theirs"})
    deleting.delete_bucket(request={"name": bucket_name(account.site)})

    assert [each.name for each in account.resources() if each.type == "log-bucket"] == ["theirs"]


def test_lost_replies_make_one_of_each(account: Account, inside: InNetwork, config: Any) -> None:
    """What was made or deleted without being acknowledged is found."""
    for verb in ("Create", "Delete"):
        for kind in KINDS:
            account.inject(FaultKind.LOST_REPLY, f"{verb}{kind.title()}", times=1)

    account.run_through("create_egress", inside)
    assert parts(account) == set(KINDS.values())

    account.run_through("delete_egress", account.site)
    assert parts(account) == set()
    assert config.get_bucket(request={"name": bucket_name(account.site)}).lifecycle_state == (
        LifecycleState.DELETE_REQUESTED
    )


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        ("GetBucket", "logging.buckets.get"),
        ("CreateBucket", "logging.buckets.create"),
        ("CreateSink", "logging.sinks.create"),
        ("CreateExclusion", "logging.exclusions.create"),
    ],
)
def test_a_missing_permission_is_named(account: Account, inside: InNetwork, operation: str, permission: str) -> None:
    """What Google refuses says which permission the customer has to grant; nothing logs meanwhile."""
    account.inject(FaultKind.REVOKE, operation)

    detail = account.failure("create_egress", inside)

    assert (detail.failure, detail.action) == (FailureClass.PERMISSION, permission)
    assert "router" not in {each.type for each in account.resources()}


def test_the_routing_goes_with_the_last_that_logs(account: Account) -> None:
    """The cluster goes first and its NAT later, or the other way round where something is taken back."""
    ground = make_ground(account)
    inside = InNetwork(site=account.site, network=ground.network)
    for first, last in (("delete_cluster", "delete_egress"), ("delete_egress", "delete_cluster")):
        account.run("create_egress", inside)
        account.run("create_cluster", ground.cluster_request())

        account.run(first, account.site)
        assert parts(account) == set(KINDS.values())
        account.run(last, account.site)
        assert parts(account) == set()

    before = account.control.position()
    for deletion in ("delete_cluster", "delete_egress"):
        account.run(deletion, account.site)
    assert account.changes(before) == []


def test_a_key_that_logging_may_not_use_is_waited_for(account: Account, inside: InNetwork) -> None:
    """Google spreads what a key's policy says within minutes; nothing is logged until then."""
    kms = account.customer(kms_v1.KeyManagementServiceClient)
    resource = key_name(account.site)
    policy = kms.get_iam_policy(request={"resource": resource})
    for binding in policy.bindings:
        others = [member for member in binding.members if "gcp-sa-logging" not in member]
        del binding.members[:]
        binding.members.extend(others)
    kms.set_iam_policy(request={"resource": resource, "policy": policy})

    detail = account.attempt_once("create_egress", inside)
    account.run("create_encryption_key", account.site)
    account.run("create_egress", inside)

    assert detail is not None
    assert detail.failure is FailureClass.NOT_READY
    assert "Cloud Logging may not use the key" in detail.message
    assert parts(account) == set(KINDS.values())


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ("CMEK is not provisioned for the project", FailureClass.NOT_READY),
        ("The key is in another region", FailureClass.CONFLICT),
    ],
)
def test_a_bucket_that_google_refuses_is_waited_for_if_time_cures_it(
    account: Account, inside: InNetwork, message: str, failure: FailureClass
) -> None:
    """Where Cloud Logging has not been let near a key before, it takes a while; whatever else it says is shown."""
    account.inject(FaultKind.ERROR, "CreateBucket", code="FAILED_PRECONDITION", message=message, times=1)

    detail = account.attempt_once("create_egress", inside)

    assert detail is not None
    assert detail.failure is failure


def test_a_deleted_bucket_may_stay_for_a_week_and_comes_back(account: Account, inside: InNetwork, config: Any) -> None:
    """Leftovers say until when it stays; whoever makes the same generation again meanwhile has it back."""
    account.run("create_egress", inside)
    assert {kind: each.kept_because for kind, each in left(account).items()} == {
        "buckets": "",
        "sinks": "",
        "exclusions": "",
    }

    account.run("delete_egress", account.site)
    (bucket,) = left(account).values()
    account.run("create_egress", inside)

    # Simulated clocks run ahead of ours.
    week_from_now = (datetime.now(UTC) + timedelta(days=7)).date().isoformat()
    reason, _, until = bucket.kept_because.rpartition(" ")
    assert bucket.resource_id == bucket_name(account.site)
    assert "seven days" in reason
    assert until >= week_from_now
    found = config.get_bucket(request={"name": bucket.resource_id})
    assert (found.lifecycle_state, found.retention_days) == (LifecycleState.ACTIVE, RETENTION_DAYS)
    assert parts(account) == set(KINDS.values())


def test_each_generation_has_a_bucket_of_its_own(account: Account, inside: InNetwork, config: Any) -> None:
    """A bucket cannot change its key; the sink leads to that of the generation that lives."""
    account.run("create_egress", inside)
    again = inside.model_copy(update={"site": account.site.model_copy(update={"generation": 2})})
    account.run("create_encryption_key", again.site)

    account.run("create_egress", again)

    second = config.get_bucket(request={"name": bucket_name(again.site)})
    assert second.name != bucket_name(account.site)
    assert second.cmek_settings.kms_key_name == key_name(again.site)
    assert config.get_sink(sink_name=sink_name(again.site)).destination == f"logging.googleapis.com/{second.name}"
    account.run("delete_egress", again.site)
    assert parts(account) == set()
