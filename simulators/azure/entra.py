"""Entra: tokens for applications, and for identities that trust the tokens of a cluster's service accounts."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterable
from functools import partial
from urllib.parse import parse_qs
from uuid import uuid4

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from simulators.azure.api import Deed, Reply, Request
from simulators.azure.cloud import Cloud
from simulators.azure.identities import TOKEN_SECONDS, VENDOR_TENANT, Principal
from simulators.azure.refusals import Json, Refusal

HOST = "login.microsoftonline.com"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FEDERATED = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials"
_PATH = re.compile(
    r"/(?P<tenant>[^/]+)/(?P<what>oauth2/v2\.0/token|v2\.0/\.well-known/openid-configuration|discovery/\S+)"
)
_RESOURCE = re.compile(r"(?P<audience>.+)/\.default")


class Entra:
    """Fulfils `Plane`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.issuers: dict[str, str] = {}
        """PEM of the public key with which a cluster signs tokens of service accounts, keyed by the issuer's URL."""

    def serves(self, request: Request) -> bool:
        """Return whether the call is for the login host, or on loopback for one of its paths."""
        return request.host == HOST or (
            request.host.startswith(("127.", "localhost")) and _PATH.fullmatch(request.path) is not None
        )

    def understand(self, request: Request) -> Deed:
        """Tell a request for a token from the documents that lead to it."""
        request.service = "entra"
        found = _PATH.fullmatch(request.path)
        if found is None:
            request.operation = "unknown"
            return partial(_unknown, request)
        tenant = found["tenant"].lower()
        if found["what"] == "oauth2/v2.0/token":
            request.operation, request.resource = "token", tenant
            request.subscription = next(
                (entry.id for entry in self._cloud.identities.subscriptions.values() if entry.tenant == tenant), ""
            )
            return partial(self._token, request, tenant)
        request.operation = "discovery"
        if found["what"].startswith("discovery/instance"):
            return partial(self._instance, request)
        if found["what"].startswith("discovery/"):
            return lambda: Reply({"keys": []})
        return partial(self._configuration, request, tenant)

    def _configuration(self, request: Request, tenant: str) -> Reply:
        self._known(tenant)
        base = f"{request.base}/{tenant}"
        return Reply(
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_types_supported": ["code", "id_token"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "tenant_region_scope": "EU",
            }
        )

    @staticmethod
    def _instance(request: Request) -> Reply:
        metadata = {"preferred_network": HOST, "preferred_cache": "login.windows.net", "aliases": [HOST]}
        endpoint = f"{request.base}/common/v2.0/.well-known/openid-configuration"
        return Reply({"tenant_discovery_endpoint": endpoint, "api-version": "1.1", "metadata": [metadata]})

    def _token(self, request: Request, tenant: str) -> Reply:
        form = {key: values[0] for key, values in parse_qs(request.content.decode()).items()}
        self._known(tenant)
        if form.get("grant_type") != "client_credentials":
            raise _refusal("unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        scope = _RESOURCE.fullmatch(form.get("scope", ""))
        if scope is None:
            raise _refusal("invalid_scope", 1002012, f"The provided value for scope {form.get('scope')} is not valid.")
        principal = self._principal(tenant, form)
        request.principal = principal
        token = self._cloud.identities.issue(principal, scope["audience"])
        return Reply({"token_type": "Bearer", "expires_in": TOKEN_SECONDS, "access_token": token})

    def _principal(self, tenant: str, form: dict[str, str]) -> Principal:
        client = form.get("client_id", "")
        application = self._cloud.identities.applications.get(client)
        principal = self._cloud.identities.by_client(tenant, client)
        if principal is None:
            message = (
                f"Application with identifier '{client}' was not found in the directory '{tenant}'. This can happen if"
                " the application has not been installed by the administrator of the tenant or consented to by any"
                " user in the tenant."
            )
            raise _refusal("unauthorized_client", 700016, message, 400)
        if form.get("client_assertion_type") == _ASSERTION:
            claims = _claims(form.get("client_assertion", ""))
            if application is not None:
                self._verify(form["client_assertion"], application.public_key)
                if claims.get("sub") != client:
                    raise _refusal("invalid_client", 700021, "Client assertion's subject is not the application.")
            else:
                self._federated(principal, claims, form["client_assertion"])
        elif application is None or not secrets.compare_digest(application.secret, form.get("client_secret", "")):
            raise _refusal("invalid_client", 7000215, f"Invalid client secret provided for app '{client}'.", 401)
        return principal

    def _federated(self, principal: Principal, claims: Json, assertion: str) -> None:
        """Refuse an assertion that no federated credential of the identity accepts."""
        audiences = claims.get("aud")
        given = audiences if isinstance(audiences, list) else [audiences]
        self.require_trusted(principal, str(claims.get("iss")), str(claims.get("sub")), [str(each) for each in given])
        self._verify(assertion, self.issuers.get(str(claims.get("iss")), ""))

    def require_trusted(self, principal: Principal, issuer: str, subject: str, audiences: Iterable[str]) -> None:
        """Refuse whoever an issuer vouches for, unless a federated credential of the identity says that it may."""
        for record in self._cloud.records.of_type(_FEDERATED):
            identity = self._cloud.records.get(record.id.parent.key if record.id.parent is not None else "")
            if identity is None or identity.properties["clientId"] != principal.client_id:
                continue
            trusted = record.properties
            same = (trusted["issuer"], trusted["subject"]) == (issuer, subject)
            if same and set(trusted["audiences"]) & set(audiences):
                return
        message = (
            f"No matching federated identity record found for presented assertion subject '{subject}'. Check your"
            " federated identity credential Subject, Audience and Issuer against the presented assertion."
        )
        raise _refusal("invalid_client", 700213, message)

    @staticmethod
    def _verify(assertion: str, public_key: str) -> None:
        try:
            jwt.decode(assertion, RSAKey.import_key(public_key), algorithms=["RS256", "PS256"])
        except (JoseError, ValueError) as error:
            message = f"Client assertion failed signature validation: {error}"
            raise _refusal("invalid_client", 700027, message) from error

    def _known(self, tenant: str) -> None:
        if tenant not in self._cloud.identities.tenants() and tenant not in ("common", VENDOR_TENANT):
            message = f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID."
            raise _refusal("invalid_request", 90002, message, 400)

    def refused(self, refusal: Refusal, request: Request) -> Reply:
        """Return an error as OAuth writes it."""
        number = re.match(r"AADSTS(\d+)", refusal.message)
        body: Json = {
            "error": refusal.code,
            "error_description": refusal.message,
            "error_codes": [int(number[1])] if number else [],
            "timestamp": request.at.strftime("%Y-%m-%d %H:%M:%SZ"),
            "trace_id": str(uuid4()),
            "correlation_id": request.headers.get("client-request-id", str(uuid4())),
        }
        return Reply(body, refusal.status, refusal.headers)

    def forget(self) -> None:
        """Forget the issuers."""
        self.issuers.clear()


def _claims(assertion: str) -> Json:
    try:
        part = assertion.split(".")[1]
        found: Json = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, IndexError) as error:
        raise _refusal("invalid_client", 50027, "JWT token is invalid or malformed.") from error
    return found


def _refusal(error: str, number: int, message: str, status: int = 401) -> Refusal:
    return Refusal(status, error, f"AADSTS{number}: {message}")


def _unknown(request: Request) -> Reply:
    raise Refusal(404, "not_found", f"AADSTS900144: nothing is served at {request.path}")
