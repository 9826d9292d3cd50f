"""Where the logs of a deployment are kept: in a log bucket of its region, and not in the project's `_Default` one.

The project's own bucket is `global` unless the customer has changed that, and of `global` Google does not say where it
is. So a sink leads what cluster and NAT write to our bucket, and an exclusion keeps the same entries out of `_Default`.
Audit logs of what administrators did stay where they are: nobody may lead those of `_Required` anywhere else.

A bucket keeps the key that it was made with, so each generation of a deployment has one of its own, as it has a key.
Names of sinks and exclusions are the project's, which has room for ten exclusions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core.exceptions import AlreadyExists, FailedPrecondition, InvalidArgument
from google.cloud.logging_v2.services.config_service_v2 import ConfigServiceV2Client
from google.cloud.logging_v2.types import CmekSettings, LifecycleState, LogBucket, LogExclusion, LogSink
from google.protobuf import field_mask_pb2

from activities.gcp.compute import if_exists
from activities.gcp.keys import key_name
from activities.gcp.ownership import is_described_as_ours, owner_description, require_ours
from domain.deployment import Site
from domain.naming import base_name, resource_name

RETENTION_DAYS = 90
RESTORABLE = timedelta(days=7)
"""How long Google keeps a log bucket, and its name, after it was told to delete it."""

PERMISSIONS_TO_ROUTE = (
    "logging.buckets.create", "logging.buckets.get", "logging.buckets.undelete", "logging.buckets.update",
    "logging.exclusions.create", "logging.exclusions.get", "logging.exclusions.update",
    "logging.sinks.create", "logging.sinks.get", "logging.sinks.update",
)  # fmt: skip
PERMISSIONS_TO_STOP = (
    "logging.buckets.delete", "logging.buckets.list", "logging.exclusions.delete", "logging.exclusions.get",
    "logging.sinks.delete", "logging.sinks.get",
)  # fmt: skip
PERMISSIONS_TO_FIND = ("logging.buckets.list", "logging.exclusions.list", "logging.sinks.list")

_RESOURCE = "logs"
_NOT_YET = ("encrypt and decrypt access", "CMEK is not provisioned")
"""In Google's refusals of a bucket whose key Cloud Logging may not use, or does not know yet that it may."""


@dataclass(frozen=True)
class LeftLogs:
    """A part of the routing that exists, with why it may stay if it may."""

    name: str
    kept_because: str = ""


def route_logs(config: ConfigServiceV2Client, site: Site, look_again: Callable[[str], Exception]) -> None:
    """Bucket, sink and exclusion exist as they have to be; a bucket whose deletion was requested is in use again.

    The deployment's key exists already, and Cloud Logging may use it.

    Whatever needs the routing ensures it before it writes anything. `look_again` makes the error that means "not yet",
    for what two steps begin at once.

    Raises:
        ApplicationError: NOT_OURS, if one of them has our name and not our description.
    """
    _ensure_bucket(config, site, look_again)
    _ensure_sink(config, site, look_again)
    _ensure_exclusion(config, site, look_again)


def stop_routing(config: ConfigServiceV2Client, site: Site) -> None:
    """Sink and exclusion are gone, and the deletion of every generation's bucket is requested; what is not ours stays.

    The exclusion goes last: until then whatever is still written is dropped instead of led astray.
    """
    sink = if_exists(lambda: config.get_sink(sink_name=sink_name(site)))
    if sink is not None and is_described_as_ours(sink.description, site):
        if_exists(lambda: config.delete_sink(sink_name=sink_name(site)))
    for bucket in _our_buckets(config, site):
        if not _is_deleted(bucket):
            if_exists(lambda name=bucket.name: config.delete_bucket(request={"name": name}))  # type: ignore[misc]
    exclusion = if_exists(lambda: config.get_exclusion(name=exclusion_name(site)))
    if exclusion is not None and is_described_as_ours(exclusion.description, site):
        if_exists(lambda: config.delete_exclusion(name=exclusion_name(site)))


def left_logs(config: ConfigServiceV2Client, site: Site) -> Iterator[LeftLogs]:
    """Yield what exists of the deployment's routing."""
    project = _project(site)
    for bucket in _our_buckets(config, site):
        yield LeftLogs(bucket.name, _why_bucket_stays(bucket))
    for sink in config.list_sinks(parent=project):
        if is_described_as_ours(sink.description, site):
            yield LeftLogs(f"{project}/sinks/{sink.name}")
    for exclusion in config.list_exclusions(parent=project):
        if is_described_as_ours(exclusion.description, site):
            yield LeftLogs(f"{project}/exclusions/{exclusion.name}")


def account_of_logging(config: ConfigServiceV2Client, site: Site) -> str:
    """Return the e-mail address as which Cloud Logging encrypts in the project; asking makes the account."""
    settings = config.get_cmek_settings(request={"name": f"{_project(site)}/cmekSettings"})
    return str(settings.service_account_id).removeprefix("serviceAccount:")


def bucket_name(site: Site) -> str:
    """Return the full name of the log bucket of this generation."""
    generation = f"generation-{site.generation}"
    return f"{_project(site)}/locations/{site.region}/buckets/{resource_name(site, generation)}"


def sink_name(site: Site) -> str:
    """Return the full name of the sink that leads to the log bucket."""
    return f"{_project(site)}/sinks/{base_name(site)}"


def exclusion_name(site: Site) -> str:
    """Return the full name of the exclusion from the project's `_Default` sink."""
    return f"{_project(site)}/exclusions/{base_name(site)}"


def entries_of(site: Site) -> str:
    """Return the filter that our log entries pass: those of the cluster and its nodes, and those of the NAT.

    Resources know a router by its number; its name is in the entry itself ("Cloud NAT logging").
    """
    cluster = f'resource.labels.cluster_name="{base_name(site)}" AND resource.labels.location="{site.region}"'
    nat = (
        f'resource.type="nat_gateway" AND resource.labels.region="{site.region}"'
        f' AND jsonPayload.gateway_identifiers.router_name="{resource_name(site, "egress")}"'
    )
    return f"({cluster}) OR ({nat})"


def _ensure_bucket(config: ConfigServiceV2Client, site: Site, look_again: Callable[[str], Exception]) -> None:
    name = bucket_name(site)
    found = if_exists(lambda: config.get_bucket(request={"name": name}))
    if found is None:
        parent, _, identifier = name.rpartition("/buckets/")
        wanted = LogBucket(
            description=owner_description(site, _RESOURCE),
            retention_days=RETENTION_DAYS,
            cmek_settings=CmekSettings(kms_key_name=key_name(site)),
        )
        try:
            config.create_bucket(request={"parent": parent, "bucket_id": identifier, "bucket": wanted})
        except AlreadyExists as error:
            raise look_again(f"the log bucket {name} is being made") from error
        except (FailedPrecondition, InvalidArgument) as error:
            if not any(words in str(error.message) for words in _NOT_YET):
                raise
            raise look_again(f"Cloud Logging may not use the key {key_name(site)} yet") from error
        return
    require_ours(f"log bucket {name}", site, ours=is_described_as_ours(found.description, site))
    if _is_deleted(found):
        try:
            config.undelete_bucket(request={"name": name})
        except FailedPrecondition as error:
            raise look_again(f"the log bucket {name} is coming back, or going for good") from error
    # Its key is given with the creation, and stays. Nobody can change for how long a locked bucket keeps its entries.
    if found.retention_days != RETENTION_DAYS and not found.locked:
        config.update_bucket(
            request={
                "name": name,
                "bucket": LogBucket(retention_days=RETENTION_DAYS),
                "update_mask": field_mask_pb2.FieldMask(paths=["retention_days"]),
            }
        )


def _ensure_sink(config: ConfigServiceV2Client, site: Site, look_again: Callable[[str], Exception]) -> None:
    name = sink_name(site)
    wanted = LogSink(
        name=base_name(site),
        description=owner_description(site, _RESOURCE),
        destination=f"logging.googleapis.com/{bucket_name(site)}",
        filter=entries_of(site),
    )
    found = if_exists(lambda: config.get_sink(sink_name=name))
    if found is None:
        try:
            # To a bucket of its own project a sink writes as nobody: there is nothing to grant.
            config.create_sink(request={"parent": _project(site), "sink": wanted, "unique_writer_identity": True})
        except AlreadyExists as error:
            raise look_again(f"the sink {name} is being made") from error
        return
    require_ours(f"sink {name}", site, ours=is_described_as_ours(found.description, site))
    if changed := _differing(found, wanted, ("destination", "filter", "disabled", "exclusions")):
        config.update_sink(
            request={"sink_name": name, "sink": wanted, "unique_writer_identity": True, "update_mask": changed}
        )


def _ensure_exclusion(config: ConfigServiceV2Client, site: Site, look_again: Callable[[str], Exception]) -> None:
    name = exclusion_name(site)
    settings: Mapping[str, Any] = {"filter": entries_of(site), "disabled": False}
    found = if_exists(lambda: config.get_exclusion(name=name))
    if found is None:
        described = {"name": base_name(site), "description": owner_description(site, _RESOURCE)}
        try:
            config.create_exclusion(parent=_project(site), exclusion=LogExclusion(**settings, **described))
        except AlreadyExists as error:
            raise look_again(f"the exclusion {name} is being made") from error
        return
    require_ours(f"exclusion {name}", site, ours=is_described_as_ours(found.description, site))
    if changed := _differing(found, LogExclusion(**settings), tuple(settings)):
        config.update_exclusion(name=name, exclusion=LogExclusion(**settings), update_mask=changed)


def _differing(found: Any, wanted: Any, fields: tuple[str, ...]) -> field_mask_pb2.FieldMask | None:  # noqa: ANN401 - messages without types
    changed = [field for field in fields if getattr(found, field) != getattr(wanted, field)]
    return field_mask_pb2.FieldMask(paths=changed) if changed else None


def _is_deleted(bucket: LogBucket) -> bool:
    return bool(bucket.lifecycle_state == LifecycleState.DELETE_REQUESTED)


def _why_bucket_stays(bucket: LogBucket) -> str:
    """Return why a bucket may stay: a reason if its deletion was requested, which was its last change."""
    if not _is_deleted(bucket):
        return ""
    until = datetime.fromtimestamp(bucket.update_time.timestamp(), UTC) + RESTORABLE
    return f"Google deletes log buckets seven days after it was told to, this one on {until.date().isoformat()}"


def _our_buckets(config: ConfigServiceV2Client, site: Site) -> list[LogBucket]:
    listed = config.list_buckets(parent=f"{_project(site)}/locations/{site.region}")
    return [bucket for bucket in listed if is_described_as_ours(bucket.description, site)]


def _project(site: Site) -> str:
    return f"projects/{site.cloud_account_id}"
