"""Who may use the HTTP API: keys whose hashes are in the Secret `api-keys`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from simulators.kubernetes.objects import Object

SECRET: Final = "api-keys"  # noqa: S105 - the name of the Secret, nothing secret
ENTRY: Final = "keys.json"


class Scope(StrEnum):
    """What a key may be used for; each scope contains those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def refusal(secret: Object | None, authorization: str, scope: Scope, now: datetime) -> tuple[int, str] | None:
    """Return status and message by which a request is refused, or None if its key is good for `scope`.

    `authorization` is the header's value, `Bearer <key>`. The Secret's entry is a JSON list of objects with `id`,
    `hash` (SHA-256 of the key, in hex), `expires_at` (ISO 8601, null for never) and `scopes`.
    """
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        return 401, "an API key is required: Authorization: Bearer <key>"
    hashed = hashlib.sha256(key.strip().encode()).hexdigest()
    record = next((entry for entry in _records(secret) if hmac.compare_digest(str(entry["hash"]), hashed)), None)
    if record is None:
        return 401, "the API key is unknown"
    if _has_expired(record.get("expires_at"), now):
        return 401, "the API key has expired"
    sufficient = tuple(Scope)[tuple(Scope).index(scope) :]
    if not set(record.get("scopes") or ()) & set(sufficient):
        return 403, f"the API key lacks the scope {scope}"
    return None


def _records(secret: Object | None) -> list[dict[str, Any]]:
    encoded = ((secret or {}).get("data") or {}).get(ENTRY)
    if not encoded:
        return []
    records: list[dict[str, Any]] = json.loads(base64.b64decode(encoded))
    return records


def _has_expired(expires_at: str | None, now: datetime) -> bool:
    if expires_at is None:
        return False
    instant = datetime.fromisoformat(expires_at)
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)) <= now
