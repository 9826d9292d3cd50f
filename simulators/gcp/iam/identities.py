"""Service accounts, the tokens that stand for them, and the agents with which Google's services act."""

from __future__ import annotations

import math
import re
import secrets
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from simulators.clock import Clock
from simulators.gcp.iam.roles import etag_of
from simulators.gcp.refusals import Json, Refusal, exists, invalid, not_found

_ACCOUNT_ID = re.compile(r"[a-z]([-a-z0-9]{4,28}[a-z0-9])")
_DOMAIN = ".iam.gserviceaccount.com"
OWNER_TOKEN = "owner:"  # noqa: S105 - the beginning of tokens that open nothing outside the simulator
"""`owner:<project>` is an access token of the project's owner; the project comes into existence with its first use."""

SERVICE_AGENTS = {
    "storage": "gs-project-accounts",
    "compute": "compute-system",
    "container": "container-engine-robot",
    "logging": "gcp-sa-logging",
}
"""The domains (before `.iam.gserviceaccount.com`) of the accounts that services act with in a project."""
_LAZY_AGENTS = frozenset({"storage", "logging"})
"""Services whose agent comes into existence when it is first asked for; those of the others come with their APIs."""


@dataclass
class Project:
    """One customer's project."""

    id: str
    number: str
    created: str
    services: set[str] = field(default_factory=set)
    """The APIs that are enabled: `compute.googleapis.com`."""
    labels: dict[str, str] = field(default_factory=dict)
    asked_for: set[str] = field(default_factory=set)
    """Services whose agent somebody has asked for."""


@dataclass(frozen=True)
class _Token:
    principal: str
    expires: float
    """Real seconds since the Unix epoch."""


class Identities:
    """Projects with their service accounts, and every token in circulation."""

    def __init__(self, clock: Clock, lag: float) -> None:
        """`lag` is in simulated seconds: how long a new service account is not found everywhere."""
        self._clock = clock
        self._lag = lag
        self.projects: dict[str, Project] = {}
        """Keyed by id."""
        self._accounts: dict[str, Json] = {}
        """Keyed by email."""
        self._fresh: dict[str, float] = {}
        self._tokens: dict[str, _Token] = {}
        self._keys: dict[str, str] = {}
        """PEM of the public key of service accounts that have one, keyed by email."""

    def add_project(self, project_id: str) -> Project:
        """Make a project, or return the one that exists."""
        number = str(10**11 + zlib.crc32(project_id.encode()))
        created = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return self.projects.setdefault(project_id, Project(project_id, number, created))

    def project(self, name: str) -> Project | None:
        """Return a project by id or number."""
        return self.projects.get(name) or next(
            (project for project in self.projects.values() if project.number == name), None
        )

    def add_account(self, project: str, account_id: str, described: Json) -> Json:
        """Make a service account."""
        if not _ACCOUNT_ID.fullmatch(account_id):
            raise invalid(f"Invalid account_id {account_id!r}: 6 to 30 lower-case letters, digits and hyphens.")
        email = f"{account_id}@{project}{_DOMAIN}"
        if email in self._accounts:
            message = f"Service account {account_id} already exists within project projects/{project}."
            raise exists(message, reason="ALREADY_EXISTS", domain="iam.googleapis.com")
        unique = str(10**20 + secrets.randbelow(10**20))
        self._accounts[email] = {
            "name": f"projects/{project}/serviceAccounts/{email}",
            "projectId": project,
            "uniqueId": unique,
            "email": email,
            "displayName": described.get("displayName", ""),
            "description": described.get("description", ""),
            "oauth2ClientId": unique,
            "etag": etag_of({"email": email, "unique": unique}),
        }
        self._fresh[email] = self._clock.time() + self._lag
        return self._accounts[email]

    def account(self, name: str) -> Json:
        """Return a service account by resource name, email or unique id; refuse as IAM does if there is none."""
        found = self.find(name.rpartition("/")[2])
        if found is None:
            raise not_found(
                f"Unknown service account: {name}", reason="SERVICE_ACCOUNT_NOT_FOUND", domain="iam.googleapis.com"
            )
        return found

    def find(self, key: str) -> Json | None:
        """Return a service account by email or unique id, or None."""
        return self._accounts.get(key) or next(
            (account for account in self._accounts.values() if account["uniqueId"] == key), None
        )

    def is_seen(self, email: str) -> bool:
        """Return whether a service account exists and is old enough to be found by other services."""
        return email in self._accounts and (
            math.isinf(self._clock.speed) or self._clock.time() >= self._fresh.get(email, 0.0)
        )

    def accounts(self, project: str) -> list[Json]:
        """Return the service accounts of a project."""
        return [account for account in self._accounts.values() if account["projectId"] == project]

    def remove_account(self, email: str) -> None:
        """Delete a service account; its tokens end with it."""
        del self._accounts[email]
        self._fresh.pop(email, None)
        member = f"serviceAccount:{email}"
        self._tokens = {key: token for key, token in self._tokens.items() if token.principal != member}

    def settle_now(self, emails: Iterable[str]) -> None:
        """Let service accounts be found at once."""
        for email in emails:
            self._fresh.pop(email, None)

    def trust_key(self, email: str, public_key: str) -> None:
        """Let assertions that are signed with a key stand for a service account."""
        self._keys[email] = public_key

    def key_of(self, email: str) -> str | None:
        """Return the public key of a service account, or None."""
        return self._keys.get(email)

    def issue(self, principal: str, seconds: float) -> str:
        """Return an access token that stands for `principal` for some real seconds.

        The SDKs compare a token's end with real time, so that simulated time would surprise them.
        """
        token = f"ya29.{secrets.token_urlsafe(24)}"
        self._tokens[token] = _Token(principal, time.time() + seconds)
        return token

    def principal_of(self, token: str) -> str | None:
        """Return whom a token stands for, or None if it is unknown or has expired."""
        if token.startswith(OWNER_TOKEN):
            project = token.removeprefix(OWNER_TOKEN)
            return f"user:owner@{project}.example.com" if project in self.projects else None
        found = self._tokens.get(token)
        if found is None or time.time() > found.expires:
            return None
        email = found.principal.removeprefix("serviceAccount:")
        return None if (self._accounts.get(email) or {}).get("disabled") else found.principal

    def require_members(self, members: Iterable[str]) -> None:
        """Refuse a policy that names a service account which does not exist, or not long enough."""
        for member in members:
            kind, _, email = member.partition(":")
            if kind == "serviceAccount" and email.endswith(_DOMAIN) and not self._is_member(email):
                raise invalid(f"Service account {email} does not exist.")
            if not email and member not in ("allUsers", "allAuthenticatedUsers"):
                raise invalid(f"The member {member} is of an unknown type.")

    def _is_member(self, email: str) -> bool:
        account, _, domain = email.partition("@")
        service = _SERVICE_OF.get(domain.removesuffix(_DOMAIN))
        if service is not None:
            project = self.project(account.removeprefix(_agent_prefix(service)))
            return project is not None and (service not in _LAZY_AGENTS or service in project.asked_for)
        return self.is_seen(email)

    def asked_for_agent(self, service: str, project: str) -> str:
        """Return the same as `agent_of`, to somebody in the project: the agent exists from now on."""
        self.projects[project].asked_for.add(service)
        return self.agent_of(service, project)

    def agent_of(self, service: str, project: str) -> str:
        """Return the principal as which Google's own service acts in a project."""
        number = self.projects[project].number
        return f"serviceAccount:{_agent_prefix(service)}{number}@{SERVICE_AGENTS[service]}{_DOMAIN}"

    def forget(self) -> None:
        """Forget every project."""
        for memory in (self.projects, self._accounts, self._fresh, self._tokens, self._keys):
            memory.clear()


_SERVICE_OF = {domain: service for service, domain in SERVICE_AGENTS.items()}


def _agent_prefix(service: str) -> str:
    return "cmek-p" if service == "logging" else "service-"


def expiry(seconds: float) -> str:
    """Return when a token that is issued now ends."""
    return datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unauthenticated() -> Refusal:
    """Whoever calls has no valid credentials."""
    return Refusal(
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid"
        " authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        reason="ACCESS_TOKEN_TYPE_UNSUPPORTED",
    )
