"""Tenants, subscriptions, applications, identities, and every token in circulation."""

from __future__ import annotations

import base64
import json
import math
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, uuid4, uuid5

from simulators.azure.refusals import Json, Refusal
from simulators.clock import Clock
from simulators.secrets import SecretKind, Secrets

OWNER_TOKEN = "owner:"  # noqa: S105 - the beginning of tokens that open nothing outside the simulator
"""`owner:<subscription>` is a token of the subscription's owner; the subscription exists from its first use."""
VENDOR_TENANT = "99999999-0000-4000-8000-000000000000"
TOKEN_SECONDS = 3600
"""Real seconds that a token is good for."""


@dataclass(frozen=True)
class Principal:
    """Somebody who can be granted roles in a tenant."""

    object_id: str
    client_id: str
    tenant: str
    kind: str
    """`User` or `ServicePrincipal`."""
    name: str
    """As the journal and the log of permissions call it: `app:…`, `identity:…`, `user:owner@…`."""


@dataclass
class Subscription:
    """One customer's subscription."""

    id: str
    tenant: str
    registered: set[str] = field(default_factory=set)
    """Namespaces in lower case."""


@dataclass(frozen=True)
class Application:
    """An app registration of the vendor, which any tenant can let in."""

    client_id: str
    name: str
    secret: str
    public_key: str = ""
    """PEM of the key whose assertions stand for the application."""


@dataclass(frozen=True)
class _Token:
    principal: Principal
    audience: str
    expires: float
    """Real seconds since the Unix epoch."""


class Identities:
    """Who there is, keyed as Entra does."""

    def __init__(self, clock: Clock, lag: float, noted: Secrets) -> None:
        """`lag` is in simulated seconds: how long a new principal is not found by role assignments."""
        self._clock = clock
        self._lag = lag
        self._noted = noted
        self.subscriptions: dict[str, Subscription] = {}
        """Keyed by id."""
        self.applications: dict[str, Application] = {}
        """Keyed by client id."""
        self._principals: dict[str, Principal] = {}
        self._fresh: dict[str, float] = {}
        self._tokens: dict[str, _Token] = {}

    def add_subscription(self, subscription: str) -> Subscription:
        """Return a subscription, made in a tenant of its own if there is none."""
        key = subscription.lower()
        found = self.subscriptions.get(key)
        if found is None:
            found = self.subscriptions[key] = Subscription(key, str(uuid5(NAMESPACE_URL, f"tenant:{key}")))
            owner = self.owner(key)
            self._principals[owner.object_id] = owner
        return found

    def owner(self, subscription: str) -> Principal:
        """Return the owner of a subscription."""
        tenant = self.subscriptions[subscription].tenant
        oid = str(uuid5(NAMESPACE_URL, f"owner:{subscription}"))
        return Principal(oid, "04b07795-8ddb-461a-bbee-02f9e1bf7b46", tenant, "User", f"user:owner@{subscription}")

    def tenants(self) -> set[str]:
        """Return every tenant."""
        return {VENDOR_TENANT, *(subscription.tenant for subscription in self.subscriptions.values())}

    def add_application(self, name: str, public_key: str = "") -> Application:
        """Register an application in the vendor's tenant."""
        made = Application(str(uuid4()), name, secrets.token_urlsafe(30), public_key)
        self.applications[made.client_id] = made
        self._noted.note(SecretKind.PRIVATE_KEY, made.secret)
        return made

    def consent(self, tenant: str, client_id: str) -> Principal:
        """Let an application into a tenant: return its service principal there."""
        found = self.by_client(tenant, client_id)
        if found is not None:
            return found
        name = self.applications[client_id].name if client_id in self.applications else client_id
        return self._add(Principal(str(uuid4()), client_id, tenant, "ServicePrincipal", f"app:{name}"))

    def add_identity(self, tenant: str, name: str) -> Principal:
        """Make the principal of a managed identity."""
        return self._add(Principal(str(uuid4()), str(uuid4()), tenant, "ServicePrincipal", f"identity:{name}"))

    def _add(self, principal: Principal) -> Principal:
        self._principals[principal.object_id] = principal
        self._fresh[principal.object_id] = self._clock.time() + self._lag
        return principal

    def find(self, object_id: str) -> Principal | None:
        """Return a principal by its object id, whether or not it is seen everywhere."""
        return self._principals.get(object_id.lower())

    def is_seen(self, object_id: str) -> bool:
        """Return whether a principal exists and is old enough to be found by other services."""
        return object_id in self._principals and (
            math.isinf(self._clock.speed) or self._clock.time() >= self._fresh.get(object_id, 0.0)
        )

    def by_client(self, tenant: str, client_id: str) -> Principal | None:
        """Return the principal of a client in a tenant, or None."""
        return next(
            (
                principal
                for principal in self._principals.values()
                if principal.client_id == client_id and principal.tenant == tenant and principal.kind != "User"
            ),
            None,
        )

    def remove(self, object_id: str) -> None:
        """Delete a principal; its tokens end with it."""
        self._principals.pop(object_id, None)
        self._tokens = {key: token for key, token in self._tokens.items() if token.principal.object_id != object_id}

    def settle_now(self, object_ids: Iterable[str]) -> None:
        """Let principals be found at once."""
        for object_id in object_ids:
            self._fresh.pop(object_id, None)

    def issue(self, principal: Principal, audience: str) -> str:
        """Return a new access token in the form of Entra's: three parts, of which nobody but Azure may read any."""
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{principal.tenant}/",
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "appid": principal.client_id,
            "oid": principal.object_id,
            "tid": principal.tenant,
        }
        token = ".".join((_encoded({"typ": "JWT", "alg": "RS256"}), _encoded(claims), secrets.token_urlsafe(43)))
        self._tokens[token] = _Token(principal, audience.rstrip("/"), now + TOKEN_SECONDS)
        self._noted.note(SecretKind.ACCESS_TOKEN, token)
        return token

    def principal_of(self, token: str, *audiences: str) -> Principal | None:
        """Return whose token it is, for any of `audiences`, or None for nobody's and for one that has ended."""
        if token.startswith(OWNER_TOKEN):
            subscription = self.add_subscription(token.removeprefix(OWNER_TOKEN))
            return self.owner(subscription.id)
        found = self._tokens.get(token)
        if found is None or found.expires < time.time():
            return None
        if found.audience not in audiences:
            raise Refusal(
                401,
                "InvalidAuthenticationTokenAudience",
                f"The access token has been obtained for wrong audience or resource '{found.audience}'. It should"
                f" exactly match with one of the allowed audiences '{','.join(audiences)}'.",
            )
        return found.principal

    def forget(self) -> None:
        """Forget everybody."""
        for memory in (self.subscriptions, self.applications, self._principals, self._fresh, self._tokens):
            memory.clear()


def _encoded(part: Json) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
