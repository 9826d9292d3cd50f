"""What a field of `ClusterUpdate` changes of a cluster."""

from __future__ import annotations

from typing import Any

from simulators.gcp.refusals import Json

_IN_NETWORK = frozenset({"datapathProvider", "defaultEnablePrivateNodes", "dnsConfig", "gatewayApiConfig"})
"""Settings that a cluster keeps in its network's configuration."""
_IN_PARTS = frozenset({"addonsConfig", "controlPlaneEndpointsConfig"})
"""Settings of which an update replaces only the parts that it has."""
_GIVEN_BY_GKE = "endpoint"
"""The one field of such a part that is not the customer's."""


def updated(cluster: Json, field: str, value: Any) -> Json:  # noqa: ANN401 - any JSON value
    """Return the part of a cluster's document that is another one after the update: `desiredX` is kept as `x`."""
    name = field.removeprefix("desired")
    name = name[0].lower() + name[1:]
    if name in _IN_NETWORK:
        return {"networkConfig": {**(cluster.get("networkConfig") or {}), name: value}}
    if name not in _IN_PARTS:
        return {name: value}
    present = cluster.get(name) or {}
    return {name: {**present, **{part: _replaced(present.get(part) or {}, new) for part, new in value.items()}}}


def _replaced(present: Json, new: Json) -> Json:
    return {**{key: kept for key, kept in present.items() if key == _GIVEN_BY_GKE}, **new}
