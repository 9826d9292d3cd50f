"""The schemas of the custom kinds, in the form of the published ones: what fields there are, and how lists merge.

Sources: the resource definitions of the Gateway API (v1, standard channel) and GKE's reference of its policies for
Gateways. Parts that nobody uses here are left open, so that anything goes there.
"""

from __future__ import annotations

from collections.abc import Mapping

from simulators.kubernetes import kinds
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Json

METADATA = "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_ANY: dict[str, Json] = {"type": "object"}
_TEXT: dict[str, Json] = {"type": "string"}
_NUMBER: dict[str, Json] = {"type": "integer"}
_FLAG: dict[str, Json] = {"type": "boolean"}
_TEXTS: dict[str, Json] = {"type": "object", "additionalProperties": _TEXT}


def _object(*required: str, **properties: Json) -> dict[str, Json]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _list(items: dict[str, Json], *keys: str) -> dict[str, Json]:
    merges = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)} if keys else {}
    return {"type": "array", "items": items, **merges}


def _kind(spec: dict[str, Json]) -> dict[str, Json]:
    return _object("spec", apiVersion=_TEXT, kind=_TEXT, metadata={"$ref": METADATA}, spec=spec, status=_ANY)


_LISTENER = _object(
    "name",
    "port",
    "protocol",
    name=_TEXT,
    hostname=_TEXT,
    port=_NUMBER,
    protocol=_TEXT,
    tls=_object(mode=_TEXT, certificateRefs=_list(_ANY), options=_TEXTS),
    allowedRoutes=_object(namespaces=_object(**{"from": _TEXT, "selector": _ANY}), kinds=_list(_ANY)),
)
_PARENT = _object("name", group=_TEXT, kind=_TEXT, namespace=_TEXT, name=_TEXT, sectionName=_TEXT, port=_NUMBER)
_BACKEND = _object(
    "name", group=_TEXT, kind=_TEXT, namespace=_TEXT, name=_TEXT, port=_NUMBER, weight=_NUMBER, filters=_list(_ANY)
)
_RULE = _object(
    name=_TEXT,
    matches=_list(_ANY),
    filters=_list(_ANY),
    backendRefs=_list(_BACKEND),
    timeouts=_object(request=_TEXT, backendRequest=_TEXT),
)
_CHECK = _object(
    portSpecification=_TEXT, port=_NUMBER, portName=_TEXT, host=_TEXT, requestPath=_TEXT, response=_TEXT,
    proxyHeader=_TEXT,
)  # fmt: skip


def _policy(**default: Json) -> dict[str, Json]:
    target = _object("group", "kind", "name", group=_TEXT, kind=_TEXT, name=_TEXT, namespace=_TEXT)
    return _kind(_object("targetRef", default=_object(**default), targetRef=target))


SCHEMAS: Mapping[Kind, dict[str, Json]] = {
    kinds.GATEWAYS: _kind(
        _object(
            "gatewayClassName",
            "listeners",
            gatewayClassName=_TEXT,
            listeners=_list(_LISTENER, "name"),
            addresses=_list(_object(type=_TEXT, value=_TEXT)),
            infrastructure=_ANY,
        )
    ),
    kinds.HTTP_ROUTES: _kind(_object(parentRefs=_list(_PARENT), hostnames=_list(_TEXT), rules=_list(_RULE))),
    kinds.GCP_GATEWAY_POLICIES: _policy(allowGlobalAccess=_FLAG, sslPolicy=_TEXT, region=_TEXT),
    kinds.GCP_BACKEND_POLICIES: _policy(
        connectionDraining=_object(drainingTimeoutSec=_NUMBER),
        iap=_ANY,
        logging=_object(enabled=_FLAG, sampleRate=_NUMBER),
        maxRatePerEndpoint=_NUMBER,
        securityPolicy=_TEXT,
        sessionAffinity=_object(type=_TEXT, cookieTtlSec=_NUMBER),
        timeoutSec=_NUMBER,
    ),
    kinds.HEALTH_CHECK_POLICIES: _policy(
        checkIntervalSec=_NUMBER,
        timeoutSec=_NUMBER,
        healthyThreshold=_NUMBER,
        unhealthyThreshold=_NUMBER,
        logConfig=_object(enabled=_FLAG),
        config=_object(
            type=_TEXT,
            httpHealthCheck=_CHECK,
            httpsHealthCheck=_CHECK,
            http2HealthCheck=_CHECK,
            grpcHealthCheck=_ANY,
            tcpHealthCheck=_ANY,
        ),
    ),
}
"""Keyed by kind."""
