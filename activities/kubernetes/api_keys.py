"""The cluster's secret of API keys: hashes that the server accepts, and a temporary one for the smoke test."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from temporalio.exceptions import ApplicationError

from activities.kubernetes.access import ClusterApi
from activities.kubernetes.apply import Outcome, bring_in_line, check_ours, with_hash
from activities.kubernetes.manifests.foundation import API_KEYS, API_KEYS_FILE, api_keys_secret
from activities.kubernetes.manifests.identity import SERVER_NAMESPACE
from activities.kubernetes.objects import SECRET, Object, Reference
from domain.api_key import Scope, digest, is_valid, issue
from domain.facts import ApiKeyRecord
from domain.failure import FailureClass

_SECRET = Reference(SECRET, API_KEYS, SERVER_NAMESPACE)
SMOKE_TEST = "smoke-test"
"""Id of the smoke test's key; a fixed one, so that a test which was killed leaves at most one behind."""
_TRIES = 3


def make_empty(api: ClusterApi) -> bool:
    """Make the secret without any key if there is none; return whether it was made. Keys that are there stay."""
    found = api.get(_SECRET)
    if found is not None:
        check_ours(api.site, found, _SECRET)
        return False
    return api.create(with_hash(api_keys_secret(api.site, _encoded(()))))


def replace_all(api: ClusterApi, keys: Iterable[ApiKeyRecord], now: datetime) -> Outcome:
    """Make the secret hold exactly those of `keys` that are valid at `now`."""
    entries = (_entry(key) for key in keys if is_valid(key, now))
    return bring_in_line(api, api_keys_secret(api.site, _encoded(entries)))


@contextmanager
def temporary_key(
    api: ClusterApi,
    now: datetime,
    lifetime: timedelta,
    *,
    id_: str = SMOKE_TEST,
    scopes: tuple[Scope, ...] = (Scope.READ, Scope.WRITE),
) -> Iterator[str]:
    """Let the server accept a new key while the block runs, and at most for `lifetime`; gives the key itself.

    It takes the place of one of the same id. The key is in this process alone, and never in a log, a result or a
    history.
    """
    new = issue(id_, scopes, now=now, randomness=secrets.token_bytes)
    entry = {
        "id": id_,
        "hash": digest(new.key),
        "expires_at": (now + lifetime).isoformat(),
        "scopes": list(new.record.scopes),
    }
    try:
        _edit(api, id_, lambda others: [*others, entry])
        yield new.key
    finally:
        _edit(api, id_, list)


def _edit(api: ClusterApi, id_: str, change: Callable[[Iterable[Object]], list[Object]]) -> None:
    """Write what `change` makes of the keys with other ids; others may write the secret at the same time."""
    for tries_left in reversed(range(_TRIES)):
        found = api.get(_SECRET)
        if found is not None:
            check_ours(api.site, found, _SECRET)
        others = [entry for entry in _decoded(found) if entry["id"] != id_]
        secret = with_hash(api_keys_secret(api.site, _encoded(change(others))))
        if found is not None:
            secret["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        try:
            api.apply(secret, force=True)
        except ApplicationError as error:
            if error.type != FailureClass.CONFLICT or not tries_left:
                raise
        else:
            return


def _entry(key: ApiKeyRecord) -> Object:
    return {
        "id": key.id,
        "hash": key.sha256,
        "expires_at": key.expires_at.isoformat(),
        "scopes": list(key.scopes),
    }


def _encoded(entries: Iterable[Object]) -> str:
    """Return the base64 of the entries' JSON; the same entries give the same text."""
    ordered = sorted(entries, key=lambda entry: str(entry["id"]))
    return base64.b64encode(json.dumps(ordered, sort_keys=True).encode()).decode()


def _decoded(secret: Object | None) -> list[Object]:
    text = ((secret or {}).get("data") or {}).get(API_KEYS_FILE, "")
    entries: list[Object] = json.loads(base64.b64decode(text)) if text else []
    return entries
