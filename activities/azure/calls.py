"""What a call to Azure does: which operation of which service, on what, and whether it changes something.

Operations of Resource Manager are named as in the activity log and in permissions: `network`
`virtualNetworks/subnets/write`. Those of the data planes of Key Vault and Blob Storage are named likewise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from activities.cloud_call import CloudCall
from domain.audit import Resource

LOGIN_HOST = "login.microsoftonline.com"
_VERBS = {"PUT": "write", "PATCH": "write", "GET": "read", "HEAD": "read", "DELETE": "delete"}
_LOOKS_ONLY = re.compile(r"(list|get|check)\w*", re.IGNORECASE)
"""Names of POSTs that change nothing. Whatever is named otherwise counts as a change."""
_VAULT, _BLOB = ".vault.azure.net", ".blob.core.windows.net"


def cloud_call(method: str, url: str) -> CloudCall:
    """Return what a request is."""
    parts = urlsplit(url)
    host, path = parts.hostname or "", unquote(parts.path)
    if host == LOGIN_HOST:
        return CloudCall("entra", "token" if path.endswith("/token") else "discovery", changes=False)
    if host.endswith(_VAULT):
        return _vault_call(method, host, path)
    if host.endswith(_BLOB):
        return _blob_call(method, host, path, dict(parse_qsl(parts.query, keep_blank_values=True)))
    return _manager_call(method, path)


def _manager_call(method: str, path: str) -> CloudCall:
    """Return what a request of Resource Manager is: of groups, or of the last namespace in its path."""
    # The SDKs write this segment in two ways.
    path = path.replace("/resourcegroups/", "/resourceGroups/")
    namespace, names = _named(path)
    service = namespace.rpartition(".")[2].lower()
    if method == "POST":
        # The last part names what is done with the resource before it.
        *names, deed = names
        path = path.rpartition("/")[0]
        operation, changes = f"{deed}/action", _LOOKS_ONLY.fullmatch(deed) is None
    else:
        operation, changes = _VERBS.get(method, method.lower()), method not in ("GET", "HEAD")
    types = "/".join(names[::2])
    operation = f"{types}/{operation}" if types else operation
    return CloudCall(service, operation, changes, (Resource(kind=f"{service}:{types}", id=path),))


def _named(path: str) -> tuple[str, Sequence[str]]:
    """Return the namespace of a path, and types and names in turn."""
    _, found, last = path.rpartition("/providers/")
    if found:
        namespace, *names = last.split("/")
        return namespace, names
    return "Microsoft.Resources", path.strip("/").split("/")


def _vault_call(method: str, host: str, path: str) -> CloudCall:
    """Return what a request of a vault is: `certificates/write`, `certificates/create/action`."""
    collection, name, *rest = [*path.strip("/").split("/"), "", ""]
    deeds = "/".join(part for part in rest if part and not _is_version(part))
    operation = "/".join(part for part in (collection, deeds, _VERBS.get(method, "action")) if part)
    resource = Resource(kind=f"vault:{collection}", id=f"https://{host}/{collection}/{name}".rstrip("/"))
    return CloudCall("vault", operation, method not in ("GET", "HEAD"), (resource,))


def _blob_call(method: str, host: str, path: str, query: dict[str, str]) -> CloudCall:
    """Return what a request of a storage account is: `blobs/write`, `blobs/immutabilityPolicies/write`."""
    container, _, blob = path.strip("/").partition("/")
    kind = "blobs" if blob else "containers"
    part = query.get("comp", "")
    operation = "/".join(part for part in (kind, part, _VERBS.get(method, "action")) if part)
    resources = (Resource(kind=f"blob:{kind}", id=f"https://{host}/{path.strip('/')}"),) if container else ()
    return CloudCall("blob", operation, method not in ("GET", "HEAD"), resources)


def _is_version(part: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32}", part) is not None
