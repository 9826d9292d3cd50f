"""The API of one cluster, by the official client: shared connections, short-lived tokens, our name on every call."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from temporalio.exceptions import ApplicationError
from urllib3.exceptions import HTTPError

from activities import deeds
from activities.barrier import before_change
from activities.calling import agent
from activities.cancellation import before_call
from activities.failures import not_ready
from activities.kubernetes.credentials import ClusterCredentials
from activities.kubernetes.errors import conflicts_of, failures_named
from activities.kubernetes.objects import Kind, Object, Reference, reference_to
from activities.kubernetes.settings import KubernetesSettings
from activities.patience import is_young
from domain.audit import Resource
from domain.deployment import Site
from domain.facts import Cluster
from domain.failure import FailureClass

FIELD_MANAGER = "byoc-control-plane"
"""Under this name the API server records which fields are ours."""
_APPLY = "application/apply-patch+yaml"
"""Content type of a server-side apply; the JSON that we send is YAML too."""
_TOKEN_LIFE = 10 * 60.0
"""Seconds after which a token is made anew; clouds' tokens live for 15 minutes and more."""
_GRANTED_LATE = frozenset({FailureClass.AUTH, FailureClass.PERMISSION})
_UNANSWERED = frozenset({404, 500, 502, 503, 504})
"""What the API server answers if the pod is not there, or its process does not answer."""
_CONNECTIONS = 16
"""Kept open to one cluster; more are opened when needed and closed afterwards."""


@dataclass(frozen=True)
class Request:
    """One HTTP request to the API of a cluster."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Object | None = None
    content_type: str = "application/json"


@dataclass
class _Connection:
    """What is shared by all calls to one cluster."""

    api: client.ApiClient
    token: str = ""
    token_made_at: float = 0.0
    """On the monotonic clock."""


class KubernetesConnections:
    """Hands out the APIs of clusters. Thread-safe; one instance for a worker."""

    def __init__(
        self,
        credentials: ClusterCredentials,
        settings: KubernetesSettings,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self.settings = settings
        self._now = now
        self._connections: dict[tuple[str, str, str], _Connection] = {}
        """Keyed by account, endpoint and certificate authority: a cluster that is made again is another one."""
        self._lock = threading.Lock()

    def api(self, site: Site, cluster: Cluster) -> ClusterApi:
        """Return the API of `cluster`, on behalf of `site`."""
        return ClusterApi(self, site, cluster)

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for connection in self._connections.values():
                connection.api.close()
            self._connections.clear()

    def send(self, site: Site, cluster: Cluster, request: Request) -> Object:
        """Make one request and return the decoded answer; see `text`."""
        decoded: Object = json.loads(self.text(site, cluster, request))
        return decoded

    def text(self, site: Site, cluster: Cluster, request: Request) -> str:
        """Make one request and return the answer; a token that is refused is made anew once.

        Raises:
            ApiException: The API server refused, or TLS failed (status 0).
            urllib3.exceptions.HTTPError: There was no answer.
            WouldChange: It is no read, and changes are barred.
            CancelledError: The activity is not wanted any more.
        """
        before_call()
        if request.method != "GET":
            before_change(f"{request.method} {request.path}")
        connection = self._connection(site, cluster)
        try:
            return self._send(connection, site, cluster, request)
        except ApiException as error:
            if error.status != 401:
                raise
        with self._lock:
            connection.token = ""
        return self._send(connection, site, cluster, request)

    def _send(self, connection: _Connection, site: Site, cluster: Cluster, request: Request) -> str:
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {self._token(connection, site, cluster)}",
            "User-Agent": agent(site),
        }
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        query = f"?{urlencode(request.query)}" if request.query else ""
        response = connection.api.call_api(
            request.method,
            cluster.endpoint.rstrip("/") + request.path + query,
            headers,
            # The client encodes JSON itself, and takes other types as text only.
            json.dumps(request.body) if request.content_type == _APPLY else request.body,
            _request_timeout=self.settings.request_timeout.total_seconds(),
        )
        content: str = response.read().decode(errors="replace")
        if not 200 <= response.status <= 299:
            raise ApiException(http_resp=response, body=content)
        return content

    def _connection(self, site: Site, cluster: Cluster) -> _Connection:
        key = (site.cloud_account_id, cluster.endpoint, cluster.certificate_authority)
        with self._lock:
            connection = self._connections.get(key)
            if connection is None:
                connection = self._connections[key] = _Connection(_api_client(cluster))
            return connection

    def _token(self, connection: _Connection, site: Site, cluster: Cluster) -> str:
        with self._lock:
            if connection.token and self._now() - connection.token_made_at < _TOKEN_LIFE:
                return connection.token
        # Outside the lock: the cloud may take its time, and two tokens at once do no harm.
        made_at, token = self._now(), self._credentials.token(site, cluster)
        with self._lock:
            connection.token, connection.token_made_at = token, made_at
        return token


def _api_client(cluster: Cluster) -> client.ApiClient:
    configuration = client.Configuration(host=cluster.endpoint)
    # Given as data, the authority needs no file that somebody would have to remove.
    configuration.ca_cert_data = base64.b64decode(cluster.certificate_authority).decode()
    configuration.retries = False
    configuration.connection_pool_maxsize = _CONNECTIONS
    # Else the client reads the proxy variables of the environment, which nothing but our settings may read.
    configuration.proxy = None
    return client.ApiClient(configuration)


class ClusterApi:
    """The verbs that we use on one cluster; every failure is an `ApplicationError` of `activities.failures`."""

    def __init__(self, connections: KubernetesConnections, site: Site, cluster: Cluster) -> None:
        self.site = site
        self._connections = connections
        self._cluster = cluster

    def get(self, reference: Reference) -> Object | None:
        """Return the object, or None if there is none."""
        with self._named(str(reference)):
            try:
                return self._send(Request("GET", reference.path))
            except ApiException as error:
                if error.status == 404:
                    return None
                raise

    def list(self, kind: Kind, *, namespace: str = "", selector: str = "", fields: str = "") -> tuple[Object, ...]:
        """Return the objects (of a namespace, if one is given) that match a label selector and a field selector.

        Of a kind that the cluster does not serve there are none.
        """
        selectors = {"labelSelector": selector, "fieldSelector": fields}
        query = {name: text for name, text in selectors.items() if text}
        with self._named(kind.resource):
            try:
                found = self._send(Request("GET", kind.path(namespace), query))
            except ApiException as error:
                if error.status == 404:
                    return ()
                raise
        # The API leaves kind and version out of the items of a list.
        head = {"apiVersion": kind.api_version, "kind": kind.name}
        return tuple({**head, **item} for item in found.get("items") or ())

    def read_from_pod(self, pod: Reference, port: int, path: str) -> str | None:
        """Return what a GET of `path` gets at that port of the pod, through the API server; None if nothing answers."""
        with self._named(f"{pod} at port {port}"):
            try:
                return self._connections.text(
                    self.site, self._cluster, Request("GET", f"{pod.path}:{port}/proxy/{path.lstrip('/')}")
                )
            except ApiException as error:
                if error.status in _UNANSWERED:
                    return None
                raise

    def create(self, obj: Object) -> bool:
        """Make the object if there is none of its name; return whether it was made."""
        reference = reference_to(obj)
        with self._named(str(reference)):
            try:
                path = reference.kind.path(reference.namespace)
                self._change("create", reference, Request("POST", path, {"fieldManager": FIELD_MANAGER}, obj))
            except ApiException as error:
                if error.status == 409:
                    return False
                raise
        return True

    def apply(self, obj: Object, *, force: bool = False) -> tuple[str, ...]:
        """Apply the object server-side; return the conflicts with other field managers that kept it from being applied.

        With `force` there are none: the fields of `obj` become ours again. A `resourceVersion` in `obj` makes the
        API refuse (CONFLICT) what has changed since.
        """
        reference = reference_to(obj)
        query = {"fieldManager": FIELD_MANAGER, **({"force": "true"} if force else {})}
        with self._named(str(reference)):
            try:
                self._change("patch", reference, Request("PATCH", reference.path, query, obj, _APPLY))
            except ApiException as error:
                if conflicts := conflicts_of(error):
                    return conflicts
                raise
        return ()

    def delete(self, reference: Reference, *, uid: str = "") -> bool:
        """Ask for the deletion of the object and its dependents; return whether there was one.

        With `uid`, a namesake that came since is left alone.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        with self._named(str(reference)):
            try:
                self._change("delete", reference, Request("DELETE", reference.path, body=options))
            except ApiException as error:
                if error.status == 404:
                    return False
                raise
        return True

    def _send(self, request: Request) -> Object:
        return self._connections.send(self.site, self._cluster, request)

    def _change(self, verb: str, reference: Reference, request: Request) -> None:
        """Make a request that changes the object, and note that for the audit trail unless the API refused it."""
        name = f"{reference.namespace}/{reference.name}" if reference.namespace else reference.name
        changed = (Resource(kind=f"kubernetes:{reference.kind.plural}", id=name),)
        operation = f"{verb} {reference.kind.plural}"
        begun = deeds.begin("kubernetes", operation, changed)
        try:
            self._send(request)
        except Exception as error:
            if not isinstance(error, HTTPError):
                begun.refused()
            raise
        begun.answered()

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Name failures, and take the cluster's refusal for a late grant while the step is young."""
        try:
            with failures_named(what):
                yield
        except ApplicationError as error:
            by_the_cluster = isinstance(error.__cause__, ApiException) and error.type in _GRANTED_LATE
            if not by_the_cluster or not is_young(self._connections.settings.access_grace):
                raise
            interval = self._connections.settings.poll_interval
            raise not_ready(f"the cluster does not let us in yet: {error.message}", look_again_in=interval) from error
