"""Clients for the customers' accounts: each purpose's role, assumed with the external id, and shared by all threads."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

import boto3
from botocore.config import Config
from botocore.loaders import Loader, create_loader
from botocore.session import Session as SdkSession

from activities.aws import deeds
from activities.aws.actions import action_of, changes
from activities.aws.errors import SIGNING_NAME, classify
from activities.aws.identity import control_role_arn
from activities.aws.settings import AwsSettings
from activities.barrier import before_change
from activities.calling import Place, agent, place_of_caller
from activities.cancellation import before_call
from domain.account import access_to
from domain.clouds import Purpose
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import PREFIX, TAG_CUSTOMER, TAG_DEPLOYMENT

AwsClient: TypeAlias = Any
"""A boto3 client. Its methods are made at run time from the service's model, so no static type describes it."""

RENEW_BEFORE = timedelta(minutes=5)
"""Credentials that end sooner are not used any more: a call may be signed minutes before it is sent."""


@dataclass(frozen=True)
class _SessionKey:
    role: str
    external_id: str
    deployment: str
    """Empty for work on the account itself."""
    region: str


@dataclass
class _AssumedRole:
    """One assumed role with the clients made from it."""

    session: boto3.Session
    expires_at: datetime
    clients: dict[str, AwsClient] = field(default_factory=dict)
    """Keyed by boto3's name of the service."""


class AwsConnections:
    """Hands out boto3 clients that act in the customers' accounts. Thread-safe; one instance for a worker."""

    def __init__(self, settings: AwsSettings, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._now = now
        self._vendor = self._sdk_session(settings.default_region, **_vendor_keys(settings))
        self._vendor_sts: dict[str, AwsClient] = {}
        self._assumed: dict[_SessionKey, _AssumedRole] = {}
        self._locks: dict[_SessionKey, threading.Lock] = {}
        self._lock = threading.Lock()

    def client(self, service: str, place: Place, purpose: Purpose, *, region: str | None = None) -> AwsClient:
        """Return the client of `service` (boto3's name) that acts at `place` with the role of `purpose`.

        The region is the deployment's unless given; for an account, the default region. The client is to be used at
        once and not kept: this thread's calls are from now on attributed to `place`, and its credentials expire.

        Raises:
            botocore's errors when the role cannot be assumed; callers are inside `failures_named`.
        """
        place_of_caller.set(place)
        key = self._key(place, purpose, region)
        with self._lock_of(key):
            assumed = self._assumed.get(key)
            if assumed is None or assumed.expires_at - self._now() < RENEW_BEFORE:
                assumed = self._assume(key, place, purpose)
                self._remember(key, assumed)
            client = assumed.clients.get(service)
            if client is None:
                client = assumed.clients[service] = self._make_client(assumed.session, service, key.region)
                client.meta.events.register("after-call.*.*", partial(self._drop_if_refused, key))
            return client

    def credentials(self, place: Place, purpose: Purpose) -> tuple[boto3.Session, str]:
        """Return the session (its credentials) of the assumed role and its region, to sign what is not an API call."""
        self.client("sts", place, purpose)
        key = self._key(place, purpose, None)
        return self._assumed[key].session, key.region

    def try_to_assume(self, place: Place, purpose: Purpose) -> str:
        """Assume the role now, whatever is cached, and return the ARN of the session: a proof of access as it is."""
        place_of_caller.set(place)
        key = self._key(place, purpose, None)
        return str(self._request_role(key, place, purpose)["AssumedRoleUser"]["Arn"])

    def forget(self, place: Place) -> None:
        """Drop what is cached for the account of `place`, so that the next call assumes the role again."""
        roles = {control_role_arn(place, purpose) for purpose in Purpose}
        with self._lock:
            self._assumed = {key: assumed for key, assumed in self._assumed.items() if key.role not in roles}

    def _drop_if_refused(self, key: _SessionKey, parsed: dict[str, Any], **_: object) -> None:
        """Forget credentials that AWS does not accept (any more), so that the next try assumes the role anew."""
        code = str(parsed.get("Error", {}).get("Code", ""))
        if code and classify(code) is FailureClass.AUTH:
            with self._lock:
                self._assumed = {other: assumed for other, assumed in self._assumed.items() if other != key}

    def _key(self, place: Place, purpose: Purpose, region: str | None) -> _SessionKey:
        deployment, home = (place.deployment, place.region) if isinstance(place, Site) else ("", "")
        return _SessionKey(
            role=control_role_arn(place, purpose),
            external_id=place.external_id,
            deployment=deployment,
            region=region or home or self._settings.default_region,
        )

    def _lock_of(self, key: _SessionKey) -> threading.Lock:
        """Return the lock of one role, so that a slow answer of one customer's account keeps no other waiting."""
        with self._lock:
            return self._locks.setdefault(key, threading.Lock())

    def _remember(self, key: _SessionKey, assumed: _AssumedRole) -> None:
        with self._lock:
            soon = self._now() + RENEW_BEFORE
            kept = {other: role for other, role in self._assumed.items() if role.expires_at > soon}
            self._assumed = {**kept, key: assumed}

    def _assume(self, key: _SessionKey, place: Place, purpose: Purpose) -> _AssumedRole:
        credentials = self._request_role(key, place, purpose)["Credentials"]
        session = self._sdk_session(
            key.region,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
        )
        return _AssumedRole(session=session, expires_at=credentials["Expiration"])

    def _request_role(self, key: _SessionKey, place: Place, purpose: Purpose) -> dict[str, Any]:
        tags = {TAG_CUSTOMER: place.customer, **({TAG_DEPLOYMENT: key.deployment} if key.deployment else {})}
        reply: dict[str, Any] = self._vendor_client(key.region).assume_role(
            RoleArn=key.role,
            # The customer reads this name in CloudTrail, for each call that we make.
            RoleSessionName=f"{PREFIX}-{key.deployment or access_to(place).account}-{purpose}",
            ExternalId=key.external_id,
            DurationSeconds=int(self._settings.session_duration.total_seconds()),
            Tags=[{"Key": name, "Value": value} for name, value in tags.items()],
        )
        return reply

    def _vendor_client(self, region: str) -> AwsClient:
        """Return STS of `region` with the vendor's own identity: tokens of a regional endpoint are valid everywhere."""
        with self._lock:
            if region not in self._vendor_sts:
                self._vendor_sts[region] = self._make_client(self._vendor, "sts", region)
            return self._vendor_sts[region]

    def _sdk_session(self, region: str, **keys: str) -> boto3.Session:
        sdk_session = SdkSession()
        sdk_session.register_component("data_loader", shared_loader())
        sdk_session.set_config_variable("sts_regional_endpoints", "regional")
        return boto3.Session(botocore_session=sdk_session, region_name=region, **keys)

    def _make_client(self, session: boto3.Session, service: str, region: str) -> AwsClient:
        client = session.client(
            service,
            region_name=region,
            endpoint_url=self._settings.endpoint_url,
            config=Config(
                # Temporal owns retrying: a retry in the SDK would hide throttling from it and hold the thread.
                retries={"total_max_attempts": 1, "mode": "standard"},
                connect_timeout=self._settings.connect_timeout.total_seconds(),
                read_timeout=self._settings.read_timeout.total_seconds(),
                max_pool_connections=50,
            ),
        )
        client.meta.events.register("before-parameter-build.*.*", _stop_at_the_barrier)
        client.meta.events.register("before-send.*.*", _name_the_caller)
        client.meta.events.register("after-call.*.*", _note_the_service)
        client.meta.events.register("before-parameter-build.*.*", deeds.note_the_request)
        client.meta.events.register("before-call.*.*", deeds.enter_the_call)
        client.meta.events.register("after-call.*.*", deeds.note_the_reply)
        return client


@functools.cache
def shared_loader() -> Loader:
    """Return the loader of the SDK's models, of which each is large: sharing it, all sessions share what is parsed."""
    return create_loader()


def _vendor_keys(settings: AwsSettings) -> dict[str, str]:
    if settings.access_key_id is None or settings.secret_access_key is None:
        return {}
    return {
        "aws_access_key_id": settings.access_key_id,
        "aws_secret_access_key": settings.secret_access_key.get_secret_value(),
    }


_TELLING = re.compile(r"(Name|Id|Arn|Bucket|Key|Cidr|CidrBlock)$", re.IGNORECASE)
"""Parameters that say what a call is about."""
_TELLING_LENGTH = 80


def _stop_at_the_barrier(params: Mapping[str, object], model: Any, **_: object) -> None:  # noqa: ANN401 - botocore has none
    """Make no call that changes something while changes are barred, and none for an activity that was cancelled."""
    before_call()
    if changes(model.name):
        about = ", ".join(
            f"{name} {value}"
            for name, value in params.items()
            if _TELLING.search(name) and isinstance(value, str) and len(value) <= _TELLING_LENGTH
        )
        before_change(action_of(model.service_model.signing_name, model.name), about)


def _name_the_caller(request: Any, **_: object) -> None:  # noqa: ANN401
    """Put the caller before the SDK's own User-Agent, which is not signed and which the SDK sets until the very end."""
    own = request.headers.get("User-Agent", "")
    name = agent(place_of_caller.get())
    request.headers["User-Agent"] = f"{name} {own.decode() if isinstance(own, bytes) else own}".rstrip()


def _note_the_service(parsed: dict[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401
    """Note in the reply which service gave it, for `errors.describe`: the SDK's error names the operation alone."""
    parsed.setdefault("ResponseMetadata", {})[SIGNING_NAME] = model.service_model.signing_name
