"""The codec endpoint's HTTP side: Temporal's remote codec protocol, a login for browsers, an audit line per request.

| Request | Does |
|---|---|
| `POST /decode` `{"payloads": […]}` | the payloads decrypted; `X-Namespace` says for which namespace |
| `POST /encode` | the payloads encrypted, where that is allowed |
| `GET /login`, `POST /login` | open a session: with a token, or with the link that the server wrote into a file |
| `GET /`, `POST /logout` | who is logged in, and how the UI is told; end the session |
| `GET /health` | 200 |

Who asks shows `Authorization: Bearer TOKEN`, or the cookie of a session, which counts from the Temporal UI's origins
alone. Errors are `{"message": text}`, which the UI shows: 400, 401 (nobody), 413, 429 (too many wrong secrets).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from html import escape
from typing import Annotated
from urllib.parse import parse_qs

import structlog
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload

from starters.codec.access_tokens import AccessTokens
from starters.codec.sessions import LIFE, LoginLink, Refusals, Sessions
from starters.codec.tokens import TokenFile
from workflows.temporal.encryption import UNREADABLE, EncryptionCodec, is_encrypted, key_of

log = structlog.get_logger()

COOKIE = "byoc_codec_session"
_LONGEST_BODY = 32 * 2**20
"""Bytes; a page of a history in the UI has a few MiB."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


_STANDARD = str.maketrans("-_", "+/")


def _decoded(value: object) -> object:
    """Read base64, in either alphabet, as protobuf does."""
    return base64.b64decode(value.translate(_STANDARD), validate=True) if isinstance(value, str) else value


Binary = Annotated[bytes, BeforeValidator(_decoded), PlainSerializer(lambda value: base64.b64encode(value).decode())]
"""Bytes that JSON has in base64."""


class _Payload(BaseModel):
    """A payload as protobuf writes it in JSON."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    metadata: dict[str, Binary] = {}
    data: Binary = b""


class _Payloads(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    payloads: tuple[_Payload, ...] = ()


class Refusal(Exception):  # noqa: N818 - it names what happens
    """A request is refused; the message is for who made it."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass
class CodecServer:
    """Decrypts for those who show who they are."""

    codec: EncryptionCodec
    ui_origins: tuple[str, ...]
    """Origins (`https://temporal.example.com`) of the Temporal UI."""
    tokens: TokenFile | None = None
    access_tokens: AccessTokens | None = None
    login_link: LoginLink | None = None
    encodes: bool = False
    secure: bool = True
    """Whether browsers reach it by HTTPS, so that its cookie must not travel otherwise."""
    sessions: Sessions = field(default_factory=Sessions)
    refusals: Refusals = field(default_factory=Refusals)

    def application(self) -> Starlette:
        """Return what serves it."""
        routes = [
            Route("/decode", self._decode, methods=["POST"]),
            Route("/login", self._login_page, methods=["GET"]),
            Route("/login", self._login, methods=["POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Route("/", self._home, methods=["GET"]),
            Route("/health", _health, methods=["GET"]),
        ]
        if self.encodes:
            routes.append(Route("/encode", self._encode, methods=["POST"]))
        cors = Middleware(
            CORSMiddleware,
            allow_origins=self.ui_origins,
            allow_methods=["POST"],
            allow_headers=["Authorization", "Authorization-Extras", "Content-Type", "X-Namespace"],
            allow_credentials=True,
            max_age=600,
        )
        return Starlette(routes=routes, middleware=[cors], exception_handlers={Refusal: _refused})

    # Payloads

    async def _decode(self, request: Request) -> Response:
        return await self._changed(request, "payloads decoded", self.codec.decode)

    async def _encode(self, request: Request) -> Response:
        return await self._changed(request, "payloads encoded", self.codec.encode)

    async def _changed(
        self, request: Request, deed: str, change: Callable[[list[Payload]], Awaitable[list[Payload]]]
    ) -> Response:
        who = await self._who(request)
        asked = _understood(await _body(request))
        facts = {
            "who": who,
            "address": _address(request),
            "namespace": request.headers.get("X-Namespace", ""),
            "payloads": len(asked),
            "keys": sorted({key_of(payload)[0] for payload in asked if is_encrypted(payload)}),
        }
        try:
            changed = await change(asked)
        except UNREADABLE as error:
            log.warning("payloads cannot be decoded", reason=str(error), **facts)
            raise Refusal(400, str(error)) from error
        log.info(deed, **facts)
        return Response(_written(changed), media_type="application/json")

    # Who asks

    async def _who(self, request: Request) -> str:
        """Return who asks; raises Refusal."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and given:
            return await self._bearer(request, given.strip())
        if secret := request.cookies.get(COOKIE):
            # A cookie comes along by itself: it counts only where the UI itself asks.
            if request.headers.get("Origin") in self.ui_origins and (who := self.sessions.name_of(secret)):
                return who
            raise Refusal(401, "your session at the codec endpoint is over, or this is not the Temporal UI: log in")
        raise Refusal(401, "log in at the codec endpoint, or send a bearer token")

    async def _bearer(self, request: Request, given: str) -> str:
        self._admit(request)
        if self.tokens is not None and (who := self.tokens.name_of(given)):
            return who
        if self.access_tokens is not None and (who := await asyncio.to_thread(self.access_tokens.name_of, given)):
            return who
        raise self._wrong(request, "the bearer token is not valid")

    def _admit(self, request: Request) -> None:
        if self.refusals.too_many(_address(request)):
            raise Refusal(429, "too many wrong tokens came from this address; wait a minute")

    def _wrong(self, request: Request, message: str) -> Refusal:
        self.refusals.add(_address(request))
        log.warning("refused", address=_address(request), path=request.url.path)
        return Refusal(401, message)

    # Browsers

    async def _login_page(self, request: Request) -> Response:
        given = request.query_params.get("once", "")
        if not given:
            return _page("Log in", _LOGIN_FORM)
        self._admit(request)
        if self.login_link is None or not self.login_link.use(given):
            self._wrong(request, "")
            return _page("Log in", f"<p>This link was used already, or is not from here.</p>{_LOGIN_FORM}", status=401)
        return self._logged_in(request, "link")

    async def _login(self, request: Request) -> Response:
        fields = parse_qs((await _body(request)).decode("utf-8", errors="replace"))
        try:
            who = await self._bearer(request, "".join(fields.get("token", [])).strip())
        except Refusal as refusal:
            return _page("Log in", f"<p>{escape(str(refusal))}</p>{_LOGIN_FORM}", status=refusal.status)
        return self._logged_in(request, who)

    def _logged_in(self, request: Request, who: str) -> Response:
        log.info("logged in", who=who, address=_address(request))
        response = RedirectResponse("/", status_code=303, headers=_HEADERS)
        response.set_cookie(
            COOKIE, self.sessions.begin(who), max_age=LIFE, httponly=True, secure=self.secure, samesite="strict"
        )
        return response

    async def _home(self, request: Request) -> Response:
        who = self.sessions.name_of(request.cookies.get(COOKIE, ""))
        if who is None:
            return RedirectResponse("/login", status_code=303, headers=_HEADERS)
        return _page("Logged in", _HOME.format(who=escape(who), here=escape(_here(request)), uis=self._uis()))

    async def _logout(self, request: Request) -> Response:
        self.sessions.end(request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/login", status_code=303, headers=_HEADERS)
        response.delete_cookie(COOKIE)
        return response

    def _uis(self) -> str:
        return ", ".join(f'<a href="{escape(origin)}">{escape(origin)}</a>' for origin in self.ui_origins)


def _understood(body: bytes) -> list[Payload]:
    try:
        asked = _Payloads.model_validate_json(body)
    except ValidationError as error:
        raise Refusal(400, 'the body is not {"payloads": [{"metadata": {…}, "data": …}]} in JSON and base64') from error
    return [Payload(metadata=each.metadata, data=each.data) for each in asked.payloads]


def _written(payloads: list[Payload]) -> str:
    return _Payloads.model_construct(
        payloads=tuple(_Payload.model_construct(metadata=dict(each.metadata), data=each.data) for each in payloads)
    ).model_dump_json()


async def _body(request: Request) -> bytes:
    """Return the body; raises Refusal if it is too long, without reading further."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_BODY:
            raise Refusal(413, f"the body has more than {_LONGEST_BODY // 2**20} MiB")
    return bytes(body)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _here(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "60"}}.get(error.status, {})
    return JSONResponse({"message": str(error)}, status_code=error.status, headers=headers)


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _page(title: str, content: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(title=title, content=content), status_code=status, headers=_HEADERS)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title} · byoc codec</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 4rem auto; max-width: 40rem; padding: 0 1rem }}
input {{ font: inherit; width: 100%; box-sizing: border-box; margin: .5rem 0 }}
button {{ font: inherit }}</style></head>
<body><h1>{title}</h1>{content}</body></html>
"""
_LOGIN_FORM = """<p>Payloads in Temporal are encrypted. Log in to read them in the Temporal UI.</p>
<form method="post" action="/login"><label>Token, from <code>byoc codec token new</code>
<input type="password" name="token" autocomplete="off" required></label><button>Log in</button></form>
"""
_HOME = """<p>You are logged in as <b>{who}</b>, in this browser and for 12 hours. Go to the Temporal UI: {uis}.</p>
<p>If it still shows encrypted payloads, tell it once to send your session along: in the UI's top bar open <i>Codec
Server</i> (the glasses), choose <i>Use my browser setting</i>, enter <code>{here}</code>, turn on <i>Include
cross-origin credentials</i>, and apply.</p>
<form method="post" action="/logout"><button>Log out</button></form>
"""
