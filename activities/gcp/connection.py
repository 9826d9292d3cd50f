"""Clients for the customers' projects: each purpose's service account, impersonated, and shared by all threads."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, TypeVar

import google.auth
import google.auth.credentials
import grpc
from google.api_core.client_options import ClientOptions
from google.auth import impersonated_credentials
from google.auth.transport.grpc import AuthMetadataPlugin
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import dns, storage
from google.oauth2 import service_account

from activities.calling import PRODUCT, Place, place_of_caller
from activities.gcp.identity import control_account
from activities.gcp.settings import GcpSettings
from activities.gcp.transport import Adapter, Interceptor
from domain.clouds import Purpose

Client = TypeVar("Client")

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
RENEW_BEFORE = timedelta(minutes=12)
"""A token that ends sooner is not used any more: a call may be made minutes after its client was asked for, and what
enters a cluster is promised to last for ten."""
_CONNECTIONS = 50
_LONGEST_MESSAGE = 64 * 1024 * 1024
"""Bytes; the description of a large fleet's instances is larger than the default of 4 MiB."""


class _Token(google.auth.credentials.Credentials):  # type: ignore[misc] # google.auth has no types
    """The token of an impersonated account, and nothing else of it.

    With the impersonated credentials themselves, clients would look up the account's regional access boundary at
    Google's public address, whatever address they call.
    """

    def __init__(self, account: Any) -> None:  # noqa: ANN401 - google.auth has no types
        super().__init__()
        self._account = account

    def refresh(self, request: Any) -> None:  # noqa: ANN401 - google.auth has no types
        """Impersonate the account anew."""
        self._account.refresh(request)
        self.token, self.expiry = self._account.token, self._account.expiry


@dataclass
class _Impersonated:
    """One impersonated service account with the clients made for it."""

    credentials: Any
    adapter: Adapter = field(default_factory=lambda: Adapter(pool_maxsize=_CONNECTIONS))
    clients: dict[tuple[type, str], Any] = field(default_factory=dict)
    """Keyed by the SDK's class and the project, which some of them have as a part of their state."""
    channels: dict[str, grpc.Channel] = field(default_factory=dict)
    """Keyed by address."""


class GcpConnections:
    """Hands out clients that act in the customers' projects. Thread-safe; one instance for a worker."""

    def __init__(self, settings: GcpSettings, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._now = now
        self._vendor: Any = None
        self._impersonated: dict[str, _Impersonated] = {}
        """Keyed by the service account's e-mail address."""
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def client(self, kind: type[Client], place: Place, purpose: Purpose) -> Client:
        """Return a client of the SDK's class `kind` that acts at `place` as the service account of `purpose`.

        It is one of the generated classes, over HTTP or gRPC, or `storage.Client` or `dns.Client`. None of its calls
        is tried again by itself. The client is to be used at once and not kept: this thread's calls are from now on
        attributed to `place`, and its token expires.

        Raises:
            google.auth's errors when the account cannot be impersonated; callers are inside `failures_named`.
        """
        place_of_caller.set(place)
        email = control_account(place, purpose)
        with self._lock_of(email):
            account = self._ready(email)
            key = (kind, place.cloud_account_id)
            if key not in account.clients:
                account.clients[key] = self._make_client(kind, account, place.cloud_account_id)
            made: Client = account.clients[key]
            return made

    def token(self, place: Place, purpose: Purpose) -> tuple[str, datetime]:
        """Return an access token of the purpose's service account, and when it ends."""
        email = control_account(place, purpose)
        with self._lock_of(email):
            credentials = self._ready(email).credentials
            return str(credentials.token), credentials.expiry.replace(tzinfo=UTC)

    def try_to_impersonate(self, place: Place, purpose: Purpose) -> str:
        """Impersonate the account now, whatever is cached, and return its e-mail address: a proof of access."""
        email = control_account(place, purpose)
        self._credentials(email).refresh(Request())
        return email

    def forget(self, place: Place) -> None:
        """Drop what is cached for the project of `place`, so that the next call impersonates anew."""
        with self._lock:
            for purpose in Purpose:
                self._impersonated.pop(control_account(place, purpose), None)

    def _lock_of(self, email: str) -> threading.Lock:
        """Return the lock of one account, so that a slow answer of one customer's project keeps no other waiting."""
        with self._lock:
            return self._locks.setdefault(email, threading.Lock())

    def _ready(self, email: str) -> _Impersonated:
        """Return the account with a token that lasts. Refused in the middle of a call it would look like an outage."""
        account = self._impersonated.get(email)
        if account is None:
            account = _Impersonated(_Token(self._credentials(email)))
        expiry = account.credentials.expiry
        if expiry is None or expiry.replace(tzinfo=UTC) - self._now() < RENEW_BEFORE:
            account.credentials.refresh(Request())
        self._impersonated[email] = account
        return account

    def _credentials(self, email: str) -> Any:  # noqa: ANN401 - google.auth has no types
        override = None
        if self._settings.endpoint_url:
            path = f"/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
            override = f"{self._settings.endpoint_url}{path}"
        return impersonated_credentials.Credentials(
            self._source(),
            email,
            list(SCOPES),
            lifetime=int(self._settings.token_lifetime.total_seconds()),
            iam_endpoint_override=override,
        )

    def _source(self) -> Any:  # noqa: ANN401 - google.auth has no types
        """Return the control plane's own credentials."""
        with self._lock:
            if self._vendor is None:
                if file := self._settings.credentials_file:
                    self._vendor = service_account.Credentials.from_service_account_file(file, scopes=SCOPES)
                else:
                    self._vendor, _ = google.auth.default(scopes=SCOPES)
            return self._vendor

    def _make_client(self, kind: type[Any], account: _Impersonated, project: str) -> Any:  # noqa: ANN401 - any client
        options = ClientOptions(api_endpoint=self._settings.endpoint_url)
        if kind in (storage.Client, dns.Client):
            session = AuthorizedSession(account.credentials)
            _mount(session, account.adapter)
            return kind(project=project, credentials=account.credentials, _http=session, client_options=options)
        if _speaks_grpc(kind):
            transport = kind.get_transport_class("grpc")(channel=self._channel(kind, account))
            client = kind(transport=transport)
        else:
            client = kind(credentials=account.credentials, client_options=options)
            # The generated transports make a session of their own and take none.
            _mount(client.transport._session, account.adapter)  # noqa: SLF001
        return _Once(client, self._settings.timeout.total_seconds())

    def _channel(self, kind: type[Any], account: _Impersonated) -> grpc.Channel:
        address = self._settings.grpc_address or f"{kind.DEFAULT_ENDPOINT}:443"
        if address not in account.channels:
            local = self._settings.grpc_address is not None
            secured = grpc.local_channel_credentials() if local else grpc.ssl_channel_credentials()
            calls = grpc.metadata_call_credentials(AuthMetadataPlugin(account.credentials, Request()))
            channel = grpc.secure_channel(
                address,
                grpc.composite_channel_credentials(secured, calls),
                options=[("grpc.max_receive_message_length", _LONGEST_MESSAGE), ("grpc.primary_user_agent", PRODUCT)],
            )
            account.channels[address] = grpc.intercept_channel(channel, Interceptor())
        return account.channels[address]


def _mount(session: Any, adapter: Adapter) -> None:  # noqa: ANN401 - google.auth has no types
    for scheme in ("https://", "http://"):
        session.mount(scheme, adapter)


def _speaks_grpc(kind: type[Any]) -> bool:
    try:
        kind.get_transport_class("grpc")
    except KeyError:
        return False
    return True


class _Once:
    """A generated client none of whose calls is tried again: Temporal owns retrying.

    A retry in the SDK would hide throttling from it and hold the thread.
    """

    def __init__(self, client: Any, timeout: float) -> None:  # noqa: ANN401 - any client
        self._client = client
        self._timeout = timeout

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the client has
        found = getattr(self._client, name)
        if name in _calls_of(type(self._client)):  # type: ignore[arg-type] # mypy takes the class for its instance
            return partial(found, retry=None, timeout=self._timeout)
        return found


@cache
def _calls_of(kind: type[Any]) -> frozenset[str]:
    """Return the names of the methods that call the API: those that can be told how to retry."""
    return frozenset(
        name
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if "retry" in inspect.signature(member).parameters
    )
