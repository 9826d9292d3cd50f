"""A certificate authority that speaks ACME (RFC 8555): it proves domains by DNS-01 and signs at once.

The cloud has none of its own that clusters could use, so the playground brings one beside the simulated Azure. It asks
the simulated public DNS for the record and signs with the authority whose certificates public endpoints present.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiohttp import web
from cryptography import x509
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from simulators.faults import Fault, FaultKind
from simulators.journal import Call
from simulators.kubernetes.certificates import CertificateAuthority
from simulators.world import World

LIFETIME = timedelta(days=90)
"""Of a certificate."""
_ALGORITHMS = ["RS256", "ES256", "ES384"]
_ERROR = "urn:ietf:params:acme:error:"
_FAULTS = (FaultKind.THROTTLE, FaultKind.ERROR, FaultKind.LOST_REPLY)

Json = dict[str, Any]
Key = RSAKey | ECKey


class Problem(Exception):  # noqa: N818 - what the protocol calls it
    """A refusal, as the protocol writes it."""

    def __init__(self, kind: str, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.status = kind, detail, status

    @property
    def document(self) -> Json:
        """What the client is told."""
        return {"type": f"{_ERROR}{self.kind}", "detail": self.detail, "status": self.status}


@dataclass
class Order:
    """What somebody wants a certificate for, with the one proof that is left to give for each name."""

    id: str
    account: str
    names: list[str]
    tokens: dict[str, str] = field(default_factory=dict)
    """Of the challenges, keyed by name."""
    states: dict[str, str] = field(default_factory=dict)
    """Of the authorizations, keyed by name: `pending`, `valid`, `invalid`."""
    problems: dict[str, Json] = field(default_factory=dict)
    chain: bytes = b""

    @property
    def status(self) -> str:
        """The state of the order."""
        if self.chain:
            return "valid"
        if "invalid" in self.states.values():
            return "invalid"
        return "ready" if set(self.states.values()) == {"valid"} else "pending"


@dataclass
class Signed:
    """A request that an account has signed."""

    payload: Json
    account: str
    key: Key


class AcmeDirectory:
    """One authority, served over HTTPS on loopback."""

    def __init__(self, world: World, authority: CertificateAuthority, texts_of: Callable[[str], list[str]]) -> None:
        """`texts_of` returns the TXT records of a name in the public DNS."""
        self._world = world
        self._authority = authority
        self._texts_of = texts_of
        self._accounts: dict[str, Key] = {}
        self._orders: dict[str, Order] = {}
        self._nonces: set[str] = set()
        self._runner: web.AppRunner | None = None
        self._base = ""

    @property
    def url(self) -> str:
        """The directory's address."""
        return f"{self._base}/directory"

    async def start(self, port: int = 0) -> None:
        """Serve on 127.0.0.1."""
        application = web.Application()
        application.router.add_route("*", "/{what}", self._handle)
        application.router.add_route("*", "/{what}/{id}", self._handle)
        application.router.add_route("*", "/{what}/{id}/{name}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        context = self._authority.server_context(("localhost",), ("127.0.0.1",))
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=context).start()
        self._base = f"https://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    def forget(self) -> None:
        """Forget every account and order."""
        self._accounts.clear()
        self._orders.clear()
        self._nonces.clear()

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        what, content = http.match_info["what"], await http.read()
        call = Call(
            at=self._world.clock.now(),
            service="acme",
            operation=what,
            mutating=what in ("new-account", "new-order", "challenge", "finalize") and http.method == "POST",
            resource=http.path,
            agent=http.headers.get("User-Agent", ""),
        )
        fault = self._world.faults.meet(call, _FAULTS)
        try:
            _refuse_by(fault)
            response = self._answer(http, content)
            self._world.journal.record(call.model_copy(update={"status": response.status, "changed": call.mutating}))
        except Problem as problem:
            self._world.journal.record(call.model_copy(update={"status": problem.status, "error": problem.kind}))
            response = web.json_response(
                problem.document, status=problem.status, content_type="application/problem+json"
            )
        if fault is not None and fault.kind is FaultKind.LOST_REPLY and http.transport is not None:
            http.transport.abort()
        response.headers["Replay-Nonce"] = self._nonce()
        return response

    def _answer(self, http: web.Request, content: bytes) -> web.Response:
        what, found = http.match_info["what"], http.match_info
        if what == "directory":
            names = {"newNonce": "new-nonce", "newAccount": "new-account", "newOrder": "new-order"}
            return web.json_response({key: f"{self._base}/{path}" for key, path in names.items()} | {"meta": {}})
        if what == "new-nonce":
            return web.Response(status=200 if http.method == "HEAD" else 204)
        signed = self._signed(content, f"{self._base}{http.path}")
        if what == "new-account":
            return self._account(signed)
        if what == "new-order":
            return self._new_order(signed)
        return self._about(what, signed, self._order(signed, found.get("id", "")), found.get("name", ""))

    def _about(self, what: str, signed: Signed, order: Order, name: str) -> web.Response:
        """Answer a request about an order."""
        match what:
            case "order":
                return web.json_response(self._order_document(order))
            case "authz":
                return web.json_response(self._authorization(order, name))
            case "challenge":
                return self._challenge(signed, order, name)
            case "finalize":
                return self._finalize(signed, order)
            case "certificate":
                return web.Response(body=order.chain, content_type="application/pem-certificate-chain")
        raise Problem("malformed", f"nothing is served at {what}", 404)

    def _signed(self, content: bytes, url: str) -> Signed:
        """Verify who has signed a request, and that it is fresh and meant for this address."""
        try:
            document = json.loads(content)
            header = json.loads(_decoded(document["protected"]))
            key = _key_of(header["jwk"]) if "jwk" in header else self._accounts[header["kid"]]
            registry = jws.JWSRegistry(algorithms=_ALGORITHMS, strict_check_header=False)
            verified = jws.deserialize_json(document, key, registry=registry)
            payload = json.loads(verified.payload or b"{}")
        except (JoseError, ValueError, KeyError) as error:
            raise Problem("malformed", f"the request is not signed as it has to be: {error!r}", 401) from error
        if header.get("nonce") not in self._nonces:
            raise Problem("badNonce", "the nonce is not one of ours, or was used before")
        self._nonces.discard(header["nonce"])
        if header.get("url") != url:
            raise Problem("unauthorized", "the request is signed for another address", 401)
        return Signed(payload, str(header.get("kid", "")), key)

    def _account(self, signed: Signed) -> web.Response:
        known = next((url for url, key in self._accounts.items() if key.thumbprint() == signed.key.thumbprint()), None)
        if known is None and signed.payload.get("onlyReturnExisting"):
            raise Problem("accountDoesNotExist", "there is no account of this key")
        if known is None and not signed.payload.get("termsOfServiceAgreed"):
            raise Problem("userActionRequired", "the terms of service have to be agreed to", 403)
        url = known or f"{self._base}/account/{secrets.token_hex(8)}"
        self._accounts[url] = signed.key
        body = {"status": "valid", "contact": signed.payload.get("contact") or []}
        return web.json_response(body, status=200 if known else 201, headers={"Location": url})

    def _new_order(self, signed: Signed) -> web.Response:
        names = [str(entry["value"]).lower() for entry in signed.payload.get("identifiers") or ()]
        if not names or not signed.account:
            raise Problem("malformed", "an order needs an account and names")
        order = Order(secrets.token_hex(8), signed.account, names)
        order.tokens = {name: secrets.token_urlsafe(32) for name in names}
        order.states = dict.fromkeys(names, "pending")
        self._orders[order.id] = order
        headers = {"Location": f"{self._base}/order/{order.id}"}
        return web.json_response(self._order_document(order), status=201, headers=headers)

    def _order(self, signed: Signed, identifier: str) -> Order:
        found = self._orders.get(identifier)
        if found is None or found.account != signed.account:
            raise Problem("malformed", "there is no such order of this account", 404)
        return found

    def _order_document(self, order: Order) -> Json:
        document: Json = {
            "status": order.status,
            "identifiers": [{"type": "dns", "value": name} for name in order.names],
            "authorizations": [f"{self._base}/authz/{order.id}/{name}" for name in order.names],
            "finalize": f"{self._base}/finalize/{order.id}",
        }
        if order.chain:
            document["certificate"] = f"{self._base}/certificate/{order.id}"
        return document

    def _authorization(self, order: Order, name: str) -> Json:
        return {
            "status": order.states[name],
            "identifier": {"type": "dns", "value": name},
            "challenges": [self._challenge_document(order, name)],
        }

    def _challenge_document(self, order: Order, name: str) -> Json:
        url = f"{self._base}/challenge/{order.id}/{name}"
        document = {"type": "dns-01", "url": url, "token": order.tokens[name], "status": order.states[name]}
        return document | ({"error": order.problems[name]} if name in order.problems else {})

    def _challenge(self, signed: Signed, order: Order, name: str) -> web.Response:
        """Look for the record, and believe it."""
        if order.states[name] == "pending":
            authorization = f"{order.tokens[name]}.{signed.key.thumbprint()}"
            digest = hashlib.sha256(authorization.encode()).digest()
            expected = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            record = f"_acme-challenge.{name}"
            if expected in self._texts_of(record):
                order.states[name] = "valid"
            else:
                order.states[name] = "invalid"
                text = f"DNS problem: no matching TXT record was found at {record}"
                order.problems[name] = Problem("unauthorized", text, 403).document
        link = f'<{self._base}/authz/{order.id}/{name}>;rel="up"'
        return web.json_response(self._challenge_document(order, name), headers={"Link": link})

    def _finalize(self, signed: Signed, order: Order) -> web.Response:
        if order.status != "ready":
            raise Problem("orderNotReady", f"the order is {order.status}", 403)
        try:
            request = x509.load_der_x509_csr(_decoded(str(signed.payload.get("csr", ""))))
        except ValueError as error:
            raise Problem("badCSR", "the request cannot be read") from error
        if not request.is_signature_valid or _names(request) != set(order.names):
            raise Problem("badCSR", "the request is for other names than the order")
        order.chain = self._authority.sign(request, LIFETIME) + self._authority.pem
        headers = {"Location": f"{self._base}/order/{order.id}"}
        return web.json_response(self._order_document(order), headers=headers)

    def _nonce(self) -> str:
        made = secrets.token_urlsafe(16)
        self._nonces.add(made)
        return made


def _refuse_by(fault: Fault | None) -> None:
    """Refuse what a rule says has to be refused."""
    if fault is not None and fault.kind is FaultKind.THROTTLE:
        raise Problem("rateLimited", "too many requests", 429)
    if fault is not None and fault.kind is FaultKind.ERROR:
        raise Problem("serverInternal", "an internal error", 500)


def _key_of(document: Json) -> Key:
    return RSAKey.import_key(document) if document.get("kty") == "RSA" else ECKey.import_key(document)


def _names(request: x509.CertificateSigningRequest) -> set[str]:
    """Return the names in a request."""
    try:
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {name.lower() for name in extension.value.get_values_for_type(x509.DNSName)}


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
