"""The codec endpoint over real sockets: who may read, what is logged, and Temporal's own CLI as its client."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from temporalio.api.common.v1 import Payload

from starters.codec import tokens
from starters.codec.sessions import Refusals
from tests.conftest import executable
from tests.encryption.conftest import Place, with_keys
from tests.secrets.search import Search
from tests.workflows.scripted_cloud import ScriptedCloud
from workflows.temporal import key_ring

ROOT = Path(__file__).parents[2]
UI = "http://127.0.0.1:8233"
ISSUER, AUDIENCE = "https://login.example", "byoc-codec"
SECRET = "bucket-of-the-customer"


@dataclass
class Endpoint:
    """A running codec endpoint."""

    url: str
    folder: Path
    keys: Path
    token: str
    """Ada's."""

    @property
    def log(self) -> str:
        """What it logged so far."""
        return (self.folder / "codec.log").read_text()

    @property
    def login_link(self) -> str:
        """The link that logs a browser in."""
        return (self.folder / "login").read_text().strip()

    def sealed(self) -> dict[str, Any]:
        """Return an encrypted payload as JSON has it."""
        codec = with_keys(self.keys).codec()
        assert codec is not None
        payload = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(SECRET).encode())
        (sealed,) = asyncio.run(codec.encode([payload]))
        return as_json(sealed)

    def ask(self, headers: dict[str, str] | None = None, *, path: str = "/decode", **options: Any) -> requests.Response:
        """Post one encrypted payload."""
        options.setdefault("json", {"payloads": [self.sealed()]})
        return requests.post(self.url + path, headers={"X-Namespace": "default", **(headers or {})}, **options)


def as_json(payload: Payload) -> dict[str, Any]:
    """Write a payload as protobuf does."""
    metadata = {name: base64.b64encode(value).decode() for name, value in payload.metadata.items()}
    return {"metadata": metadata, "data": base64.b64encode(payload.data).decode()}


def opened(reply: requests.Response) -> list[Any]:
    """Return the values in a reply."""
    assert reply.status_code == 200, reply.text
    return [json.loads(base64.b64decode(each["data"])) for each in reply.json()["payloads"]]


def bearer(token: str) -> dict[str, str]:
    """Return the header that shows a token."""
    return {"Authorization": f"Bearer {token}"}


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[Endpoint]:
    """Run `byoc codec` with a key ring and one token."""
    keys, token_file, address = folder / "keys.json", folder / "tokens.json", f"127.0.0.1:{free_port()}"
    if not keys.exists():
        key_ring.make(keys)
    token, _ = tokens.issue(token_file, "ada", lifetime=timedelta(days=1))
    arguments = [
        sys.executable, "-c", "from starters.cli import main; main()", "codec", "--address", address, "--ui", UI,
        "--tokens", str(token_file), "--login-file", str(folder / "login"), "--parent", str(os.getpid()), *options,
    ]  # fmt: skip
    environment = {**os.environ, "BYOC_ENCRYPTION": "required", "BYOC_ENCRYPTION_KEYS": str(keys)}
    with (folder / "codec.log").open("wb") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=ROOT, env=environment)
    endpoint = Endpoint(f"http://{address}", folder, keys, token)
    try:
        while True:
            assert process.poll() is None, endpoint.log
            with contextlib.suppress(requests.ConnectionError):
                assert requests.get(f"{endpoint.url}/health", timeout=5).text == "ok\n"
                break
            time.sleep(0.05)
        yield endpoint
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One endpoint for the tests that leave it as it was."""
    with serving(tmp_path_factory.mktemp("codec")) as running:
        yield running


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint of a test's own."""
    with serving(tmp_path) as running:
        yield running


def test_whoever_shows_a_token_reads_and_is_in_the_audit_log(endpoint: Endpoint) -> None:
    """The log says who read how many payloads of which namespace, and never what."""
    plain = as_json(Payload(metadata={"encoding": b"json/plain"}, data=b'"plain"'))

    reply = endpoint.ask(bearer(endpoint.token), json={"payloads": [endpoint.sealed(), plain]})

    line = json.loads(next(line for line in endpoint.log.splitlines() if "payloads decoded" in line))
    assert opened(reply) == [SECRET, "plain"]
    assert {name: line[name] for name in ("who", "namespace", "payloads", "address")} == {
        "who": "ada",
        "namespace": "default",
        "payloads": 2,
        "address": "127.0.0.1",
    }
    assert SECRET not in endpoint.log
    assert endpoint.token not in endpoint.log


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer "}, {"Authorization": "Basic YTpi"}, bearer("byoc_codec_wrong"), {"Cookie": "x=y"}],
    ids=["nothing", "empty", "basic", "wrong token", "other cookie"],
)
def test_nobody_else_reads(endpoint: Endpoint, headers: dict[str, str]) -> None:
    """The reply is 401, says what to do, and holds nothing of the payload."""
    reply = endpoint.ask(headers)

    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert list(reply.json()) == ["message"]


def test_a_token_counts_until_it_is_revoked_or_expires(fresh: Endpoint) -> None:
    """Without a restart."""
    before = fresh.ask(bearer(fresh.token))
    file = fresh.folder / "tokens.json"
    held = json.loads(file.read_text())
    held["tokens"][0]["expires"] = "2020-01-01T00:00:00Z"
    file.write_text(json.dumps(held))
    expired = _until_refused(fresh, fresh.token)
    another, _ = tokens.issue(file, "grace", lifetime=timedelta(days=1))
    _until_taken(fresh, another)
    tokens.revoke(file, "grace")
    revoked = _until_refused(fresh, another)

    assert (before.status_code, expired, revoked) == (200, 401, 401)


def _until_refused(endpoint: Endpoint, token: str) -> int:
    while (code := endpoint.ask(bearer(token)).status_code) == 200:
        time.sleep(0.1)
    return code


def _until_taken(endpoint: Endpoint, token: str) -> None:
    while endpoint.ask(bearer(token)).status_code != 200:
        time.sleep(0.3)


def test_a_browser_logs_in_by_the_link_once(fresh: Endpoint) -> None:
    """The link sets a cookie that scripts cannot read; used again it is worthless, and the file has another one."""
    link = fresh.login_link
    browser, thief = requests.Session(), requests.Session()

    home = browser.get(link)
    stolen = thief.get(link)
    cookie = home.history[0].headers["Set-Cookie"].lower()
    origin = {"Origin": UI}
    read = fresh.ask(origin, cookies=browser.cookies)
    elsewhere = fresh.ask({"Origin": "https://evil.example"}, cookies=browser.cookies)
    without_origin = fresh.ask(cookies=browser.cookies)
    browser.post(f"{fresh.url}/logout")
    after = fresh.ask(origin, cookies=home.history[0].cookies)

    assert "You are logged in" in home.text
    assert [word for word in ("httponly", "samesite=strict", "max-age") if word not in cookie] == []
    assert (stolen.status_code, fresh.login_link == link) == (401, False)
    assert opened(read) == [SECRET]
    assert [reply.status_code for reply in (elsewhere, without_origin, after)] == [401, 401, 401]


def test_a_browser_logs_in_by_a_token_too(endpoint: Endpoint) -> None:
    """The form takes a token of `byoc codec token new`; a wrong one is refused on the page."""
    browser = requests.Session()

    form = browser.get(endpoint.url)
    wrong = browser.post(f"{endpoint.url}/login", data={"token": "<script>"})
    right = browser.post(f"{endpoint.url}/login", data={"token": endpoint.token})

    assert 'name="token"' in form.text
    assert "frame-ancestors 'none'" in form.headers["Content-Security-Policy"]
    assert (wrong.status_code, "not valid" in wrong.text) == (401, True)
    assert "logged in as <b>ada</b>" in right.text


def test_only_the_ui_may_ask_from_a_browser(endpoint: Endpoint) -> None:
    """Preflight and reply name the UI's origin and allow its credentials; another origin is named nowhere."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-namespace"}

    ours = requests.options(f"{endpoint.url}/decode", headers={"Origin": UI, **asked})
    theirs = requests.options(f"{endpoint.url}/decode", headers={"Origin": "https://evil.example", **asked})
    refused = endpoint.ask({"Origin": UI})

    assert ours.headers["Access-Control-Allow-Origin"] == UI
    assert ours.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Access-Control-Allow-Origin" not in theirs.headers
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, UI)


def test_trying_tokens_is_stopped(fresh: Endpoint) -> None:
    """After twenty wrong ones in a minute an address waits, whatever it shows."""
    codes = [fresh.ask(bearer(f"byoc_codec_{number}")).status_code for number in range(21)]
    right = fresh.ask(bearer(fresh.token))

    assert codes == [401] * 20 + [429]
    assert (right.status_code, right.headers["Retry-After"]) == (429, "60")


def test_an_address_is_forgiven_after_a_while() -> None:
    """Refusals count for as long as they are recent, and for the address alone that they came from."""
    refusals = Refusals(most=2, seconds=0.2)
    for _ in range(2):
        refusals.add("a")
    at_once = refusals.too_many("a"), refusals.too_many("b")
    time.sleep(0.25)

    assert at_once == (True, False)
    assert refusals.too_many("a") is False


def test_encoding_has_to_be_allowed(endpoint: Endpoint, tmp_path: Path) -> None:
    """`/encode` is there with --allow-encode alone; what it returns, `/decode` opens."""
    plain = {"payloads": [as_json(Payload(metadata={"encoding": b"json/plain"}, data=b'"new"'))]}

    absent = endpoint.ask(bearer(endpoint.token), path="/encode", json=plain)
    with serving(tmp_path, "--allow-encode") as allowing:
        encoded = allowing.ask(bearer(allowing.token), path="/encode", json=plain)
        decoded = allowing.ask(bearer(allowing.token), json=encoded.json())
        nobody = allowing.ask(path="/encode", json=plain)

    assert absent.status_code == 404
    assert b"new" not in base64.b64decode(encoded.json()["payloads"][0]["data"])
    assert opened(decoded) == ["new"]
    assert nobody.status_code == 401


@pytest.mark.parametrize("body", ["", "[]", '{"payloads": [{"data": "*"}]}', '{"payloads": {"a": 1}}'])
def test_a_malformed_body_is_refused(endpoint: Endpoint, body: str) -> None:
    """With 400 and what is expected."""
    reply = endpoint.ask(bearer(endpoint.token), json=None, data=body)

    assert (reply.status_code, "payloads" in reply.json()["message"]) == (400, True)


def test_a_body_without_end_is_refused(endpoint: Endpoint) -> None:
    """With 413, before it is read to its end."""
    part = b"x" * 2**20

    reply = endpoint.ask(bearer(endpoint.token), json=None, data=(part for _ in range(33)))

    assert reply.status_code == 413


def test_a_missing_key_is_named_to_who_asks(endpoint: Endpoint, tmp_path: Path) -> None:
    """With 400; the UI shows the message beside the payload."""
    key = key_ring.make(tmp_path / "other.json").first
    sealed = Endpoint(endpoint.url, tmp_path, tmp_path / "other.json", "").sealed()

    reply = endpoint.ask(bearer(endpoint.token), json={"payloads": [sealed]})

    assert (reply.status_code, key.id in reply.json()["message"]) == (400, True)


@dataclass
class Provider:
    """An identity provider that publishes its keys."""

    url: str
    keys: list[RSAKey]

    def token(self, key: RSAKey, **claims: Any) -> str:
        """Return an access token, good unless `claims` say otherwise."""
        good = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 60, "email": "grace@vendor.example"}
        return jwt.encode({"alg": "RS256", "kid": key.kid}, {**good, **claims}, key, algorithms=["RS256"])


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Serve a key set."""
    keys = [RSAKey.generate_key(2048, {"kid": "one"})]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(KeySet(keys).as_dict(private=False)).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Provider(f"http://127.0.0.1:{server.server_address[1]}/keys", keys)
    server.shutdown()


def test_access_tokens_of_the_provider_are_taken_and_no_others(provider: Provider, tmp_path: Path) -> None:
    """Signed by a published key, from the issuer, for us, and not expired: what the UI passes on for who logged in."""
    (key,) = provider.keys
    stranger = RSAKey.generate_key(2048, {"kid": "one"})
    forged = jwt.encode({"alg": "HS256"}, {"iss": ISSUER}, _symmetric(), algorithms=["HS256"])
    wrong = {
        "stranger": provider.token(stranger),
        "issuer": provider.token(key, iss="https://other.example"),
        "audience": provider.token(key, aud="temporal"),
        "expired": provider.token(key, exp=int(time.time()) - 600),
        "forged": forged,
    }
    options = ("--jwks-url", provider.url, "--issuer", ISSUER, "--audience", AUDIENCE)

    with serving(tmp_path, *options) as endpoint:
        taken = endpoint.ask(bearer(provider.token(key)))
        refused = {name: endpoint.ask(bearer(token)).status_code for name, token in wrong.items()}
        log = endpoint.log

    assert opened(taken) == [SECRET]
    assert '"who": "grace@vendor.example"' in log
    assert refused == dict.fromkeys(wrong, 401)


def _symmetric() -> Any:
    from joserfc.jwk import OctKey

    return OctKey.generate_key(256)


async def test_temporals_own_cli_reads_a_history_through_it(place: Place, tmp_path: Path) -> None:
    """`temporal workflow show --codec-endpoint` shows orders and results with a token, and neither without."""
    keys, cloud = tmp_path / "keys.json", ScriptedCloud()
    key_ring.make(keys)
    async with place.worker(keys, cloud):
        stage = await place.stage(keys, cloud)
        handle = await stage.provision()
        await handle.result()

    def show(*options: str) -> str:
        shown = subprocess.run(
            [executable("temporal"), "workflow", "show", "--address", place.address, "--namespace", place.name,
             "-w", handle.id, "-o", "json", *options],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return shown.stdout + shown.stderr

    with serving(tmp_path) as endpoint:
        codec = ("--codec-endpoint", endpoint.url)
        raw = await asyncio.to_thread(show)
        refused = await asyncio.to_thread(show, *codec)
        read = await asyncio.to_thread(show, *codec, "--codec-auth", f"Bearer {endpoint.token}")

    search = Search({"acme.db.example": "order", "Create the network": "summary", "m7i.xlarge": "result"})
    assert {found.mark for found in search.found_in("read", read)} == {"order", "summary", "result"}
    assert search.found_among({"raw": raw, "refused": refused}) == []
