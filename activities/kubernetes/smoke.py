"""Using the server as a client would: through its public name, over TLS, with an API key."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import requests

from activities.barrier import before_change
from activities.calling import agent
from activities.cancellation import before_call
from activities.kubernetes import api_keys
from activities.kubernetes.access import ClusterApi
from activities.kubernetes.patience import still_waiting
from activities.kubernetes.settings import KubernetesSettings
from domain.deployment import Site
from domain.facts import SmokeTest
from domain.failure import FailureClass, FailureDetail
from domain.release import Release
from domain.shape import Component

_HEALTHY = "ok"
_DOCUMENT = "/v1/collections/byoc-smoke-tests/documents"
_DOCUMENT_ID = "newest"
"""One document, written again by each test, so that tests leave nothing that grows."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two looks at whether the new key is accepted."""


@dataclass(frozen=True)
class Answer:
    """One reply of the public endpoint."""

    status: int
    body: Mapping[str, Any]
    """Empty if the reply is not a JSON object."""
    date: datetime
    """The server's time, by which it judges whether a key has expired; ours if it does not say."""


class PublicEndpoint:
    """The public endpoint of one deployment; to be closed by `with`."""

    def __init__(self, site: Site, hostname: str, settings: KubernetesSettings) -> None:
        self.url = f"https://{hostname}"
        self._timeout = settings.request_timeout.total_seconds()
        self._session = requests.Session()
        # Else requests reads proxies and authorities from the environment, which nothing but our settings may read.
        self._session.trust_env = False
        self._session.verify = settings.public_ca_file or True
        if settings.public_proxy:
            self._session.proxies = {"https": settings.public_proxy}
        self._session.headers["User-Agent"] = agent(site)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def ask(self, method: str, path: str, *, key: str = "", document: Mapping[str, Any] | None = None) -> Answer:
        """Make one request; raises requests.RequestException if there is no answer."""
        before_call()
        if method != "GET":
            before_change(f"{method} {self.url}{path}")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        reply = self._session.request(method, self.url + path, headers=headers, json=document, timeout=self._timeout)
        try:
            body = reply.json()
        except ValueError:
            body = {}
        date = reply.headers.get("Date")
        now = parsedate_to_datetime(date) if date else datetime.now(UTC)
        return Answer(reply.status_code, body if isinstance(body, dict) else {}, now)


def smoke_test(
    api: ClusterApi,
    endpoint: PublicEndpoint,
    release: Release,
    settings: KubernetesSettings,
    *,
    read_only: bool,
    heartbeat: Callable[[], None],
) -> SmokeTest:
    """Return what was seen once every component is healthy, the release is the expected one and a document came back.

    With `read_only` no document is written and no key is made; the round trip is that of the question for health.

    Nothing is changed before the endpoint answers. The key that the test makes is gone afterwards, whatever happens.

    Raises:
        ApplicationError: NOT_READY while it is not so yet; after the grace, UNKNOWN with what was seen instead.
    """
    try:
        return _tested(api, endpoint, release, settings, heartbeat, read_only=read_only)
    except requests.RequestException as error:
        # Its text names host and port; the key is in a header and not in it.
        raise _not_yet(settings, endpoint, f"does not answer ({type(error).__name__}: {error})") from error


def _tested(
    api: ClusterApi,
    endpoint: PublicEndpoint,
    release: Release,
    settings: KubernetesSettings,
    heartbeat: Callable[[], None],
    *,
    read_only: bool,
) -> SmokeTest:
    begun = time.perf_counter()
    health = endpoint.ask("GET", "/healthz")
    milliseconds = (time.perf_counter() - begun) * 1000
    components = _components(health)
    unwell = {name: components.get(name, "missing") for name in Component if components.get(name) != _HEALTHY}
    if health.status != 200 or unwell:
        seen = ", ".join(f"{name} is {state}" for name, state in unwell.items())
        raise _not_yet(settings, endpoint, f"answers {health.status} to /healthz ({seen})")
    version = endpoint.ask("GET", "/version").body.get("release")
    if version != release.version:
        raise _not_yet(settings, endpoint, f"runs release {version} and not {release.version}")
    if not read_only:
        with api_keys.temporary_key(api, health.date, settings.key_lifetime) as key:
            milliseconds = _round_trip(endpoint, key, settings, heartbeat)
    return SmokeTest(url=endpoint.url, release=version, components=components, round_trip_ms=milliseconds)


def _components(health: Answer) -> dict[Component, str]:
    reported = health.body.get("components") or {}
    return {name: str(reported[name]) for name in Component if name in reported}


def _round_trip(
    endpoint: PublicEndpoint, key: str, settings: KubernetesSettings, heartbeat: Callable[[], None]
) -> float:
    """Write a document, read it back, and return the milliseconds that both took together."""
    document = {"id": _DOCUMENT_ID, "written": datetime.now(UTC).isoformat()}
    deadline = time.monotonic() + settings.key_propagation.total_seconds()
    pause = min(max(settings.poll_interval.total_seconds(), _SHORTEST_PAUSE), _LONGEST_PAUSE)
    while True:
        begun = time.perf_counter()
        written = endpoint.ask("POST", _DOCUMENT, key=key, document=document)
        if written.status != 401 or time.monotonic() > deadline:
            break
        # The key ends with this attempt, so that this wait cannot be left to Temporal.
        heartbeat()
        time.sleep(pause)
    if written.status not in {200, 201}:
        raise _not_yet(settings, endpoint, f"answers {written.status} to a new document ({_error(written)})")
    read = endpoint.ask("GET", f"{_DOCUMENT}/{_DOCUMENT_ID}", key=key)
    milliseconds = (time.perf_counter() - begun) * 1000
    if read.status != 200 or read.body.get("written") != document["written"]:
        raise _not_yet(settings, endpoint, f"answers {read.status} without the document just written ({_error(read)})")
    return round(milliseconds, 1)


def _error(answer: Answer) -> str:
    return str(answer.body.get("error", "no reason given"))


def _not_yet(settings: KubernetesSettings, endpoint: PublicEndpoint, what: str) -> Exception:
    message = f"{endpoint.url} {what}"
    problem = FailureDetail(failure=FailureClass.UNKNOWN, message=message, code="SmokeTest", resource=endpoint.url)
    return still_waiting(settings, f"waiting for {endpoint.url}", problem)
