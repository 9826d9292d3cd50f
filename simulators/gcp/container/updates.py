"""What a field of `ClusterUpdate` changes of a cluster."""

from __future__ import annotations

from typing import Any

from simulators.gcp.refusals import Json

_IN_NETWORK = frozenset({"datapathProvider", "defaultEnablePrivateNodes", "dnsConfig", "gatewayApiConfig"})
"""Settings that a cluster keeps in its network's configuration."""
_MERGED = frozenset({"addonsConfig", "controlPlaneEndpointsConfig"})
"""Settings of which an update says only what it changes."""


def updated(cluster: Json, field: str, value: Any) -> Json:  # noqa: ANN401 - any JSON value
    """Return the part of a cluster's document that is another one after the update: `desiredX` is kept as `x`."""
    name = field.removeprefix("desired")
    name = name[0].lower() + name[1:]
    if name in _IN_NETWORK:
        return {"networkConfig": {**(cluster.get("networkConfig") or {}), name: value}}
    return {name: _merged(cluster.get(name) or {}, value) if name in _MERGED else value}


def _merged(present: Json, value: Json) -> Json:
    """Return `present` with what `value` says, of objects in it part by part."""
    result = dict(present)
    for key, wanted in value.items():
        both = isinstance(wanted, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], wanted) if both else wanted
    return result
