"""Reading lists from the API of a cluster without the Kubernetes SDK.

Clouds look into a cluster to say what keeps a machine from being emptied; only `activities.kubernetes` has that SDK.
"""

from __future__ import annotations

import base64
import json
import ssl
from urllib.parse import urlencode
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from activities.calling import agent
from activities.kubernetes.objects import Kind, Object
from domain.deployment import Site
from domain.facts import Cluster


def listed(
    site: Site,
    cluster: Cluster,
    token: str,
    kind: Kind,
    *,
    namespace: str = "",
    selector: str = "",
    timeout: float,
) -> list[Object]:
    """Return the objects of a kind: of all namespaces, or of one; all of them, or those whose labels match.

    Args:
        site: On whose behalf; it goes into the User-Agent.
        cluster: Where its API is, and by which authority it is known.
        token: A bearer token.
        kind: Of the objects.
        namespace: Empty: all.
        selector: Of labels, as the API takes it; empty: all.
        timeout: In seconds, of the one request.

    Raises:
        urllib.error.HTTPError: The API refuses; it has the code and the answer.
        OSError: The API does not answer.
    """
    trust = ssl.create_default_context(cadata=base64.b64decode(cluster.certificate_authority).decode("ascii"))
    # Without proxies: those of the environment are for nothing of ours.
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trust))
    query = "?" + urlencode({"labelSelector": selector}) if selector else ""
    request = Request(  # noqa: S310 - the endpoint is the cluster's, as the cloud reported it
        cluster.endpoint.rstrip("/") + kind.path(namespace) + query,
        headers={"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": agent(site)},
    )
    with opener.open(request, timeout=timeout) as reply:
        found: list[Object] = json.loads(reply.read()).get("items") or []
    return found
