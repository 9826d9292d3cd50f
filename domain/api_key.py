"""Keys for the server's HTTP API: their form, their life, and how one is replaced without an outage.

A key is `byoc_<id>_<secret>`. The id (16 characters) names it in lists and logs; the secret (52 characters, 256 random
bits) is shown once, where it is made. The control plane and the cluster know the SHA-256 of the whole key only, which
suffices for a secret that cannot be guessed.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from domain.facts import ApiKeyRecord

LONGEST_LIFE = timedelta(days=365)
SHORTEST_LIFE = timedelta(hours=1)
LONGEST_OVERLAP = timedelta(days=30)
"""How long a replaced key may stay valid beside its successor."""
LONGEST_NAME = 63

_KEY = re.compile(r"byoc_([a-z2-7]{16})_([a-z2-7]{52})")
_ID_BYTES, _SECRET_BYTES = 10, 32

Randomness = Callable[[int], bytes]
"""Returns so many random bytes; `secrets.token_bytes` at the doors. Workflows never make keys: histories are kept."""


class Scope(StrEnum):
    """What a key may be used for. Each scope contains those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class ApiKeyRefused(ValueError):  # noqa: N818 - it names what happened to a request, as style has it
    """A key that was asked for cannot be had; the message says what can."""


class NewKey(NamedTuple):
    """A key at the only moment at which it is whole."""

    key: str
    """To be shown once and never kept."""
    record: ApiKeyRecord


class Rotation(NamedTuple):
    """A key's successor, and the key itself with the end that the overlap leaves it."""

    new: NewKey
    replaced: ApiKeyRecord


def issue(
    name: str,
    scopes: Iterable[str],
    *,
    now: datetime,
    lifetime: timedelta = LONGEST_LIFE,
    randomness: Randomness,
) -> NewKey:
    """Return a new key and its record.

    Raises:
        ApiKeyRefused: the name is empty or too long, a scope does not exist, or the lifetime is out of bounds.
    """
    if not 1 <= len(name.strip()) <= LONGEST_NAME:
        raise ApiKeyRefused(f"name {name!r} must have 1 to {LONGEST_NAME} characters")
    if not SHORTEST_LIFE <= lifetime <= LONGEST_LIFE:
        raise ApiKeyRefused(f"lifetime {lifetime} must be between {SHORTEST_LIFE} and {LONGEST_LIFE.days} days")
    key_id, secret = _base32(randomness(_ID_BYTES)), _base32(randomness(_SECRET_BYTES))
    key = f"byoc_{key_id}_{secret}"
    record = ApiKeyRecord(
        id=key_id,
        name=name.strip(),
        sha256=digest(key),
        scopes=_scopes(scopes),
        created_at=now,
        expires_at=now + lifetime,
    )
    return NewKey(key, record)


def rotate(
    record: ApiKeyRecord,
    *,
    now: datetime,
    overlap: timedelta,
    lifetime: timedelta = LONGEST_LIFE,
    randomness: Randomness,
) -> Rotation:
    """Return a successor of the same name and scopes, and the old key with its end moved to that of the overlap.

    Raises:
        ApiKeyRefused: the key is not valid any more, or the overlap is negative or too long.
    """
    if not is_valid(record, now):
        raise ApiKeyRefused(f"key {record.id} is not valid any more; issue a new one")
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise ApiKeyRefused(f"overlap {overlap} must be between 0 and {LONGEST_OVERLAP.days} days")
    new = issue(record.name, record.scopes, now=now, lifetime=lifetime, randomness=randomness)
    return Rotation(new, expire(record, at=now + overlap))


def expire(record: ApiKeyRecord, *, at: datetime) -> ApiKeyRecord:
    """Return the record with an end at `at`, or at its present end if that comes first."""
    return record.model_copy(update={"expires_at": min(record.expires_at, at)})


def revoke(record: ApiKeyRecord, *, now: datetime) -> ApiKeyRecord:
    """Return the record as revoked; the first revocation counts."""
    return record if record.revoked_at else record.model_copy(update={"revoked_at": now})


def is_valid(record: ApiKeyRecord, now: datetime) -> bool:
    """Return whether the server accepts this key: not revoked, and `now` before its expiry."""
    revoked = record.revoked_at is not None and record.revoked_at <= now
    return not revoked and record.created_at <= now < record.expires_at


def matches(record: ApiKeyRecord, key: str) -> bool:
    """Return whether `key` is the key of this record; takes the same time wherever they differ."""
    return hmac.compare_digest(record.sha256, digest(key))


def id_of(key: str) -> str:
    """Return the id inside a key.

    Raises:
        ApiKeyRefused: this is no key. The message does not repeat it.
    """
    found = _KEY.fullmatch(key)
    if found is None:
        raise ApiKeyRefused("this is not an API key: a key looks like byoc_<16 characters>_<52 characters>")
    return found[1]


def digest(key: str) -> str:
    """Return the SHA-256 of the whole key in hexadecimal, which is all that is kept of it."""
    return sha256(key.encode()).hexdigest()


def _scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    asked = set(scopes)
    if unknown := asked - set(Scope):
        raise ApiKeyRefused(f"scope {min(unknown)!r} does not exist; allowed: {', '.join(Scope)}")
    if not asked:
        raise ApiKeyRefused(f"a key needs a scope; allowed: {', '.join(Scope)}")
    return tuple(scope.value for scope in Scope if scope in asked)


def _base32(data: bytes) -> str:
    return b32encode(data).decode().rstrip("=").lower()
