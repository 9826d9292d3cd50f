"""Clients for the customers' subscriptions: the vendor's application of each purpose, shared by all threads.

The customer's tenant is learned from Resource Manager, which tells it to anybody. Before an application does anything
in a subscription for an account, it has to find there the role that was made for this account (`identity`).
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.rest import HttpRequest
from azure.identity import ClientSecretCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.core.exceptions import ARMErrorFormat
from pydantic import ValidationError

from activities.azure.errors import NotLetInError
from activities.azure.identity import control_role_name
from activities.azure.ids import subscription_scope
from activities.azure.settings import Application, AzureSettings, Credentials
from activities.azure.transport import Transport
from activities.calling import Place, place_of_caller
from domain.clouds import Purpose

Client = TypeVar("Client")

MANAGER = "https://management.azure.com"
_SCOPE = f"{MANAGER}/.default"
_SUBSCRIPTIONS = "2022-12-01"
"""Version of the API that is asked for a subscription's tenant."""
_TENANT = re.compile(r'authorization_uri="https://[^/"]+/([0-9a-fA-F-]{36})"')
_KNOWN_FOR = timedelta(hours=1)
"""How long a role that was found counts as there: as long as a token that was issued before it went."""


class _Unregistered(SansIOHTTPPolicy):  # type: ignore[misc] # the SDK is not typed here
    """Refuses a namespace that the customer has not registered; the SDK would register it by itself."""

    def on_response(self, request: PipelineRequest, response: PipelineResponse) -> None:  # noqa: ARG002
        """Raise the refusal before the SDK's own policy sees it."""
        reply = response.http_response
        if reply.status_code != 409:
            return
        reply.read()
        if "MissingSubscriptionRegistration" in reply.text():
            raise HttpResponseError(response=reply, error_format=ARMErrorFormat)


@dataclass
class _Entered:
    """One subscription, entered for one account and purpose, with the clients made for it."""

    credential: Any
    tenant: str
    principal: str
    """Who we are there, in words."""
    principal_id: str
    """The object id of the application's principal in the customer's tenant, to which roles are given."""
    found: datetime
    """When the role was found there."""
    clients: dict[type, Any] = field(default_factory=dict)


class AzureConnections:
    """Hands out clients that act in the customers' subscriptions. Thread-safe; one instance for a worker."""

    def __init__(self, settings: AzureSettings, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._now = now
        self._transport = Transport(settings.endpoint_url, settings.timeout)
        self._entered: dict[tuple[str, str], _Entered] = {}
        """Keyed by subscription and the name of the role that lets us in."""
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def client(self, kind: type[Client], place: Place, purpose: Purpose) -> Client:
        """Return a management client of the SDK's class `kind` that acts at `place` as the application of `purpose`.

        None of its calls is tried again by itself. The client is to be used at once and not kept: this thread's calls
        are from now on attributed to `place`.

        Raises:
            NotLetInError, or the SDK's errors, when we are not let in; callers are inside `failures_named`.
        """
        place_of_caller.set(place)
        with self._lock_of(place, purpose):
            entered = self._ready(place, purpose)
            if kind not in entered.clients:
                make: Callable[..., Client] = kind
                entered.clients[kind] = make(
                    entered.credential,
                    place.cloud_account_id,
                    per_retry_policies=[_Unregistered()],
                    **self.options(),
                )
            made: Client = entered.clients[kind]
            return made

    def credential(self, place: Place, purpose: Purpose) -> Any:  # noqa: ANN401 - the SDK is not typed here
        """Return the credential of the purpose's application, for clients of data planes and for tokens of clusters.

        As with `client`, this thread's calls are from now on attributed to `place`.
        """
        place_of_caller.set(place)
        with self._lock_of(place, purpose):
            return self._ready(place, purpose).credential

    def tenant(self, place: Place, purpose: Purpose) -> str:
        """Return the customer's tenant, for what has to name it."""
        place_of_caller.set(place)
        with self._lock_of(place, purpose):
            return self._ready(place, purpose).tenant

    def principal_id(self, place: Place, purpose: Purpose) -> str:
        """Return the object id that the purpose's application has in the customer's tenant."""
        place_of_caller.set(place)
        with self._lock_of(place, purpose):
            return self._ready(place, purpose).principal_id

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments that every client of the SDKs is made with; anew for each, they keep them."""
        return {
            "transport": self._transport,
            "retry_total": 0,
            "per_call_policies": [],
            "polling_interval": self._settings.poll_interval.total_seconds(),
        }

    def try_to_enter(self, place: Place, purpose: Purpose) -> str:
        """Enter the subscription now, whatever is cached, and return who we are there: a proof of access."""
        place_of_caller.set(place)
        with self._lock_of(place, purpose):
            entered = self._entered[_key(place, purpose)] = self._enter(place, purpose)
            return entered.principal

    def forget(self, place: Place) -> None:
        """Drop what is cached for the subscription of `place`, so that the next call enters anew."""
        with self._lock:
            for purpose in Purpose:
                self._entered.pop(_key(place, purpose), None)

    def _lock_of(self, place: Place, purpose: Purpose) -> threading.Lock:
        """Return the lock of one entrance, so that a slow answer of one customer's tenant keeps no other waiting."""
        with self._lock:
            return self._locks.setdefault(_key(place, purpose), threading.Lock())

    def _ready(self, place: Place, purpose: Purpose) -> _Entered:
        key = _key(place, purpose)
        entered = self._entered.get(key)
        if entered is None or self._now() - entered.found > _KNOWN_FOR:
            entered = self._entered[key] = self._enter(place, purpose)
        return entered

    def _enter(self, place: Place, purpose: Purpose) -> _Entered:
        """Learn the tenant, get a token there, and find the role that was made for this account."""
        tenant, application = self._tenant(place), self._application(purpose)
        credential = ClientSecretCredential(
            tenant,
            application.client_id,
            application.client_secret,
            # The authority is Entra's own, nothing is to be learned about it.
            disable_instance_discovery=True,
            transport=self._transport,
            retry_total=0,
        )
        claims = _claims(credential.get_token(_SCOPE).token)
        name, scope = control_role_name(place, purpose), subscription_scope(place)
        roles = AuthorizationManagementClient(credential, place.cloud_account_id, **self.options()).role_definitions
        if not any(each.role_name == name for each in roles.list(scope, filter=f"roleName eq '{name}'")):
            message = f"the subscription {place.cloud_account_id} has no role {name}, which the template makes"
            raise NotLetInError(message, "RoleDefinitionNotFound")
        principal = f"the application {application.client_id} in the tenant {tenant}"
        return _Entered(credential, tenant, principal, str(claims.get("oid", "")), self._now())

    def _tenant(self, place: Place) -> str:
        """Return the tenant of the subscription, which a call without a token is told."""
        url = f"{MANAGER}{subscription_scope(place)}?api-version={_SUBSCRIPTIONS}"
        reply = self._transport.send(HttpRequest("GET", url))
        if reply.status_code >= 500 or reply.status_code == 429:
            raise HttpResponseError(response=reply)
        found = _TENANT.search(reply.headers.get("WWW-Authenticate", ""))
        if found is None:
            message = f"Azure knows no tenant of the subscription {place.cloud_account_id} ({reply.status_code})"
            raise NotLetInError(message, "SubscriptionNotFound")
        return found[1].lower()

    def _application(self, purpose: Purpose) -> Application:
        try:
            held = Credentials.model_validate_json(Path(self._settings.credentials_file).read_bytes())
        except (OSError, ValidationError) as error:
            message = f"the control plane has no credentials of its own in {self._settings.credentials_file!r}"
            raise NotLetInError(message, type(error).__name__) from error
        if purpose not in held.applications:
            raise NotLetInError(f"the control plane has no credentials for {purpose}", "ApplicationMissing")
        return held.applications[purpose]


def _claims(token: str) -> dict[str, Any]:
    """Return what a token says of us; only Azure can tell whether it is true, so nothing is decided by it."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def _key(place: Place, purpose: Purpose) -> tuple[str, str]:
    return place.cloud_account_id.lower(), control_role_name(place, purpose)
