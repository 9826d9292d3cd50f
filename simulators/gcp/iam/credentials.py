"""Tokens: the OAuth endpoint for signed assertions, and the impersonation of service accounts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs

from google.auth import jwt

from simulators.gcp.api import Check, Method, Place, Request, Rpc, needs_nothing, place_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.iam.identities import expiry
from simulators.gcp.refusals import Json, Refusal, invalid, not_found
from simulators.secrets import SecretKind

_INTERFACE = "google.iam.credentials.v1.IAMCredentials"
_PACKAGE = "google.iam.credentials.v1"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_IMPERSONATE = re.compile(r"/v1/(?P<name>projects/[^/]+/serviceAccounts/[^/:]+):generateAccessToken")
_LONGEST = 3600.0
_TYPE = "iam.googleapis.com/ServiceAccount"


class CredentialsService:
    """Fulfils `oauth2.googleapis.com/token` for service account keys, and `GenerateAccessToken`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._generate = Method(
            "iamcredentials", "GenerateAccessToken", self._generate_token, mutating=False, checks=self._needs
        )
        self._exchange = Method(
            "oauth2",
            "token",
            self._exchange_assertion,
            mutating=False,
            checks=needs_nothing,
            place=_nowhere,
            public=True,
        )

    def rpcs(self) -> Iterator[Rpc]:
        """Return the methods."""
        name = self._generate.name
        yield Rpc(_INTERFACE, name, f"{_PACKAGE}.{name}Request", f"{_PACKAGE}.{name}Response", self._generate)

    def route(self, http_method: str, path: str) -> tuple[Method, Json] | None:
        """Return the method behind a path."""
        if http_method == "POST" and path == "/token":
            return self._exchange, {}
        found = _IMPERSONATE.fullmatch(path.replace("%40", "@"))
        return (self._generate, found.groupdict()) if found and http_method == "POST" else None

    def _needs(self, request: Request, /) -> Iterator[Check]:
        email = request.parameters["name"].rpartition("/")[2]
        project = place_of(request.parameters["name"]).project
        resource = f"projects/{project}/serviceAccounts/{email}"
        yield Check("iam.serviceAccounts.getAccessToken", resource, _TYPE)

    def _generate_token(self, request: Request) -> Json:
        email = request.parameters["name"].rpartition("/")[2]
        account = self._cloud.identities.find(email)
        if account is None or not self._cloud.identities.is_seen(email):
            raise not_found(f"Not found; Gaia id not found for email {email}", legacy="notFound")
        if account.get("disabled"):
            raise Refusal("FAILED_PRECONDITION", f"Service account {email} is disabled.")
        asked = {**request.parameters, **request.body}
        if not (asked.get("scope") or asked.get("scopes")):
            raise invalid("Request contains an invalid argument: scope must be provided.")
        lifetime = float(str(asked.get("lifetime") or "3600s").rstrip("s"))
        if not 0 < lifetime <= _LONGEST:
            raise invalid("The token lifetime cannot be more than 3600s.")
        token = self._issue(email, lifetime)
        return {"accessToken": token, "expireTime": expiry(lifetime)}

    def _exchange_assertion(self, request: Request) -> Json:
        """Exchange an assertion that is signed with a service account's key for a token."""
        form = parse_qs(request.parameters["content"].decode())
        assertion = (form.get("assertion") or [""])[0]
        if (form.get("grant_type") or [""])[0] != _GRANT:
            raise invalid("unsupported_grant_type")
        try:
            email = jwt.decode(assertion, verify=False)["iss"]
            key = self._cloud.identities.key_of(email)
            if key is None:
                raise invalid("invalid_grant: Invalid grant: account not found")
            jwt.decode(assertion, certs=key)
        except ValueError as error:
            raise invalid(f"invalid_grant: Invalid JWT Signature: {error}") from error
        token = self._issue(email, _LONGEST)
        return {"access_token": token, "expires_in": int(_LONGEST), "token_type": "Bearer"}

    def _issue(self, email: str, lifetime: float) -> str:
        token = self._cloud.identities.issue(f"serviceAccount:{email}", lifetime)
        self._cloud.world.secrets.note(SecretKind.ACCESS_TOKEN, token)
        return token

    def forget(self) -> None:
        """Forget nothing: the cloud keeps the identities."""


def _nowhere(_parameters: Json) -> Place:
    return Place()
