"""Cloud Logging's configuration through its official SDK."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.cloud.logging_v2.services.config_service_v2 import ConfigServiceV2Client
from google.cloud.logging_v2.types import LifecycleState

from simulators.faults import FaultKind
from tests.simulators.gcp.customers import LOCATION, PROJECT, Customer, refused

NAME = f"projects/{PROJECT}"
BUCKET = f"{LOCATION}/buckets/ours"
DEFAULT, REQUIRED = (f"{NAME}/locations/global/buckets/{name}" for name in ("_Default", "_Required"))
WEEK = 7 * 86400


def entry(cluster: str = "byoc-1", **fields: Any) -> dict[str, Any]:
    """Return a log entry of a cluster."""
    return {"resource": {"type": "k8s_node", "labels": {"cluster_name": cluster}}, **fields}


def make_bucket(client: Any, name: str = "ours", **options: Any) -> Any:
    """Make a log bucket in the region."""
    return client.create_bucket(request={"parent": LOCATION, "bucket_id": name, "bucket": options})


def make_sink(client: Any, query: str, **options: Any) -> Any:
    """Make the sink that leads to that bucket."""
    wanted = {"name": "ours", "destination": f"logging.googleapis.com/{BUCKET}", "filter": query, **options}
    return client.create_sink(request={"parent": NAME, "sink": wanted, "unique_writer_identity": True})


@pytest.fixture
def config(account: Customer) -> Any:
    """A client, of the owner."""
    return account.rpc(ConfigServiceV2Client)


class TestBuckets:
    """Log buckets."""

    def test_a_project_has_two_from_the_beginning(self, account: Customer, config: Any) -> None:
        """They are global, cannot be deleted, and are nothing that somebody made."""
        listed = config.list_buckets(parent=f"{NAME}/locations/-")

        assert {each.name for each in listed} == {DEFAULT, REQUIRED}
        assert list(config.list_buckets(parent=LOCATION)) == []
        with refused(InvalidArgument, "_Default"):
            config.delete_bucket(request={"name": DEFAULT})
        assert account.google.inventory(PROJECT) == []

    def test_are_made_and_changed(self, account: Customer, config: Any) -> None:
        """Retention is thirty days unless told otherwise; an equal update has no effect."""
        made = make_bucket(config, description="ours")
        for _ in range(2):
            changed = {"name": BUCKET, "bucket": {"retention_days": 90}, "update_mask": {"paths": ["retention_days"]}}
            config.update_bucket(request=changed)

        found = config.get_bucket(request={"name": BUCKET})
        assert (made.name, made.retention_days, found.retention_days) == (BUCKET, 30, 90)
        assert found.description == "ours"
        assert account.names("logging", changed=True) == ["CreateBucket", "UpdateBucket"]
        (resource,) = account.google.inventory(PROJECT)
        assert (resource.service, resource.type, resource.region) == ("logging", "log-bucket", "europe-west4")
        with refused(AlreadyExists, BUCKET):
            make_bucket(config)

    def test_stay_for_a_week_after_their_deletion(self, slow_account: Customer) -> None:
        """The name is taken so long, and the bucket may be had back; then it is gone."""
        config = slow_account.rpc(ConfigServiceV2Client)
        make_bucket(config)
        config.delete_bucket(request={"name": BUCKET})

        assert config.get_bucket(request={"name": BUCKET}).lifecycle_state == LifecycleState.DELETE_REQUESTED
        assert slow_account.google.inventory(PROJECT) == []
        with refused(AlreadyExists, BUCKET):
            make_bucket(config)
        with refused(FailedPrecondition, "DELETE_REQUESTED"):
            config.update_bucket(request={"name": BUCKET, "bucket": {}, "update_mask": {"paths": ["description"]}})
        config.undelete_bucket(request={"name": BUCKET})
        slow_account.pass_time(2 * WEEK)
        assert config.get_bucket(request={"name": BUCKET}).lifecycle_state == LifecycleState.ACTIVE

        config.delete_bucket(request={"name": BUCKET})
        slow_account.pass_time(WEEK + 60)
        with refused(NotFound, BUCKET):
            config.get_bucket(request={"name": BUCKET})

    def test_are_encrypted_with_a_key_that_logging_may_use(self, account: Customer, config: Any) -> None:
        """Whoever asks as whom it encrypts makes the account; the key is in the region, and stays."""
        with pytest.raises(InvalidArgument, match="does not exist"):
            account.make_key("early", "logging")
        settings = config.get_cmek_settings(request={"name": f"{NAME}/cmekSettings"})
        key, other = account.make_key("byoc", "logging"), account.make_key("other", "compute")

        made = make_bucket(config, cmek_settings={"kms_key_name": key})

        assert settings.service_account_id.startswith("cmek-p")
        assert made.cmek_settings.kms_key_name == key
        assert [each.encrypted for each in account.google.inventory(PROJECT) if each.service == "logging"] == [True]
        with refused(InvalidArgument, "must have both encrypt and decrypt access"):
            make_bucket(config, "second", cmek_settings={"kms_key_name": other})
        with refused(InvalidArgument, "region"):
            wanted = {"cmek_settings": {"kms_key_name": key}}
            config.create_bucket(request={"parent": f"{NAME}/locations/us-east1", "bucket_id": "x", "bucket": wanted})
        with refused(InvalidArgument, "cmekSettings"):
            config.update_bucket(
                request={"name": BUCKET, "bucket": {"cmek_settings": {}}, "update_mask": "cmekSettings"}
            )

    def test_that_are_locked_keep_their_retention(self, config: Any) -> None:
        """Nobody can shorten it any more."""
        make_bucket(config, retention_days=90, locked=True)

        with refused(FailedPrecondition, "locked"):
            config.update_bucket(
                request={"name": BUCKET, "bucket": {"retention_days": 1}, "update_mask": {"paths": ["retention_days"]}}
            )


class TestRouting:
    """Sinks, and exclusions from that of the project."""

    def test_leads_entries_to_the_bucket_and_out_of_the_default_one(self, account: Customer, config: Any) -> None:
        """Entries that nobody leads end in `_Default`; a disabled exclusion excludes nothing."""
        query = '(resource.labels.cluster_name="byoc-1" AND NOT severity=DEBUG) OR jsonPayload.router:"byoc"'
        logging = account.google.logging
        before = logging.kept_in(PROJECT, entry())

        make_bucket(config)
        make_sink(config, query)
        both = logging.kept_in(PROJECT, entry())
        config.create_exclusion(parent=NAME, exclusion={"name": "ours", "filter": query})

        assert (before, both) == ([DEFAULT], [BUCKET, DEFAULT])
        assert logging.kept_in(PROJECT, entry()) == [BUCKET]
        assert logging.kept_in(PROJECT, {"jsonPayload": {"router": "a-byoc-1"}}) == [BUCKET]
        assert logging.kept_in(PROJECT, entry(severity="DEBUG")) == [DEFAULT]
        assert logging.kept_in(PROJECT, entry("byoc-2")) == [DEFAULT]
        audited = entry(logName=f"{NAME}/logs/cloudaudit.googleapis.com%2Factivity")
        assert logging.kept_in(PROJECT, audited) == [BUCKET, REQUIRED]
        disabled = {"name": f"{NAME}/exclusions/ours", "exclusion": {"disabled": True}, "update_mask": "disabled"}
        config.update_exclusion(request=disabled)
        assert logging.kept_in(PROJECT, entry()) == [BUCKET, DEFAULT]

    def test_is_changed_and_goes(self, account: Customer, config: Any) -> None:
        """An equal update has no effect; what was deleted is not found."""
        make_sink(config, 'severity="ERROR"', description="ours")
        config.create_exclusion(parent=NAME, exclusion={"name": "ours", "filter": "severity=ERROR"})
        sink, exclusion = f"{NAME}/sinks/ours", f"{NAME}/exclusions/ours"
        wanted = {"name": "ours", "filter": "severity=INFO"}
        for _ in range(2):
            config.update_sink(request={"sink_name": sink, "sink": wanted, "update_mask": "filter"})

        found = config.get_sink(sink_name=sink)
        assert (found.name, found.description, found.filter, found.writer_identity) == (
            "ours",
            "ours",
            "severity=INFO",
            "",
        )
        assert {each.name for each in config.list_sinks(parent=NAME)} == {"_Default", "_Required", "ours"}
        assert [each.name for each in config.list_exclusions(parent=NAME)] == ["ours"]
        assert {resource.type for resource in account.google.inventory(PROJECT)} == {"sink", "exclusion"}
        assert account.names("logging", changed=True) == ["CreateSink", "CreateExclusion", "UpdateSink"]
        config.delete_sink(sink_name=sink)
        config.delete_exclusion(name=exclusion)
        for look in (lambda: config.get_sink(sink_name=sink), lambda: config.get_exclusion(name=exclusion)):
            with refused(NotFound, "ours"):
                look()

    @pytest.mark.parametrize("query", ["severity=", "(severity=ERROR", "severity ERROR", "AND", 'a="b" )'])
    def test_refuses_what_is_no_filter(self, config: Any, query: str) -> None:
        """A sink with a misspelled filter is not made."""
        with refused(InvalidArgument, "filter"):
            make_sink(config, query)

    def test_refuses_what_cannot_be(self, config: Any) -> None:
        """Other destinations are not simulated; an exclusion needs a filter; `_Required` stays as it is."""
        with refused(InvalidArgument, "destination"):
            make_sink(config, "", destination="storage.googleapis.com/bucket")
        with refused(InvalidArgument, "filter"):
            config.create_exclusion(parent=NAME, exclusion={"name": "ours"})
        with refused(InvalidArgument, "_Required"):
            config.update_sink(
                request={
                    "sink_name": f"{NAME}/sinks/_Required",
                    "sink": {"name": "_Required", "disabled": True},
                    "update_mask": "disabled",
                }
            )
        with refused(InvalidArgument, "_Default"):
            config.delete_sink(sink_name=f"{NAME}/sinks/_Default")
        make_sink(config, "")
        with refused(AlreadyExists, "sinks/ours"):
            make_sink(config, "")

    def test_has_ten_exclusions_at_most(self, config: Any) -> None:
        """Google has no more of them in a project."""
        for number in range(10):
            config.create_exclusion(parent=NAME, exclusion={"name": f"no-{number}", "filter": "severity=DEBUG"})

        with refused(ResourceExhausted, "10 exclusions"):
            config.create_exclusion(parent=NAME, exclusion={"name": "no-10", "filter": "severity=DEBUG"})


def test_each_call_needs_its_permission(account: Customer) -> None:
    """What is not granted is named."""
    client = account.rpc(ConfigServiceV2Client, account.member("byoc-observe", "logging.sinks.list"))

    assert len(list(client.list_sinks(parent=NAME))) == 2
    with refused(PermissionDenied, "logging.sinks.get"):
        client.get_sink(sink_name=f"{NAME}/sinks/_Default")
    with refused(PermissionDenied, "logging.buckets.create"):
        make_bucket(client)
    with refused(PermissionDenied, "logging.exclusions.delete"):
        client.delete_exclusion(name=f"{NAME}/exclusions/ours")


def test_a_lost_reply_leaves_the_bucket(account: Customer, config: Any) -> None:
    """The deed is done, and the caller does not know."""
    account.inject(kind=FaultKind.LOST_REPLY, service="logging", operation="CreateBucket", times=1)

    with refused(ServiceUnavailable):
        config.create_bucket(request={"parent": LOCATION, "bucket_id": "ours", "bucket": {}}, retry=None)

    assert config.get_bucket(request={"name": BUCKET}).name == BUCKET
