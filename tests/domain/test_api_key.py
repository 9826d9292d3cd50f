"""API keys have a form, a life of at most a year, and successors without an outage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.api_key import (
    LONGEST_LIFE,
    ApiKeyRefused,
    Scope,
    expire,
    id_of,
    is_valid,
    issue,
    matches,
    revoke,
    rotate,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def randomness(seed: int = 1) -> Random:
    """Return a source of bytes that is the same in every run."""
    return Random(seed)


def test_a_key_contains_its_id_and_only_its_digest_is_recorded() -> None:
    """`byoc_<id>_<secret>`; nothing of the secret is in the record."""
    key, record = issue("ci", ["read"], now=NOW, randomness=randomness().randbytes)

    prefix, key_id, secret = key.split("_")

    assert (prefix, key_id, len(key_id), len(secret)) == ("byoc", record.id, 16, 52)
    assert id_of(key) == record.id
    assert record.sha256 == sha256(key.encode()).hexdigest()
    assert secret not in record.model_dump_json()


@given(st.binary(min_size=42, max_size=42), st.binary(min_size=42, max_size=42))
def test_keys_of_different_randomness_differ(one: bytes, other: bytes) -> None:
    """All bits of the randomness are in the key."""

    def key_of(data: bytes) -> str:
        parts = iter((data[:10], data[10:]))
        return issue("ci", ["read"], now=NOW, randomness=lambda _: next(parts)).key

    assert (key_of(one) == key_of(other)) == (one == other)


def test_only_the_whole_key_matches() -> None:
    """A single character decides."""
    key, record = issue("ci", ["read"], now=NOW, randomness=randomness().randbytes)

    assert matches(record, key)
    assert not matches(record, key[:-1])
    assert not matches(record, key + "a")


def test_a_key_is_valid_until_it_expires() -> None:
    """From its creation, up to and without the instant of its expiry."""
    record = issue("ci", ["read"], now=NOW, lifetime=DAY, randomness=randomness().randbytes).record

    assert is_valid(record, NOW)
    assert is_valid(record, NOW + DAY - timedelta(microseconds=1))
    assert not is_valid(record, NOW + DAY)
    assert not is_valid(record, NOW - timedelta(seconds=1))


def test_a_year_is_the_longest_life() -> None:
    """And the default."""
    assert issue("ci", ["read"], now=NOW, randomness=randomness().randbytes).record.expires_at == NOW + LONGEST_LIFE

    with pytest.raises(ApiKeyRefused, match="365 days"):
        issue("ci", ["read"], now=NOW, lifetime=LONGEST_LIFE + DAY, randomness=randomness().randbytes)


@pytest.mark.parametrize(
    ("name", "scopes", "words"),
    [
        ("", ["read"], "1 to 63 characters"),
        ("x" * 64, ["read"], "1 to 63 characters"),
        ("ci", ["root"], "allowed: read, write, admin"),
        ("ci", [], "needs a scope"),
    ],
)
def test_a_key_that_cannot_be_had_is_refused(name: str, scopes: list[str], words: str) -> None:
    """The refusal says what can."""
    with pytest.raises(ApiKeyRefused, match=words):
        issue(name, scopes, now=NOW, randomness=randomness().randbytes)


def test_scopes_are_kept_once_and_in_order() -> None:
    """Two records of the same scopes are alike."""
    record = issue("ci", ["admin", "read", "read"], now=NOW, randomness=randomness().randbytes).record

    assert record.scopes == (Scope.READ, Scope.ADMIN)


def test_a_rotated_key_stays_valid_for_the_overlap() -> None:
    """Its successor is valid at once: at no moment is there none."""
    old = issue("ci", ["write"], now=NOW, randomness=randomness(1).randbytes).record

    new, replaced = rotate(old, now=NOW + DAY, overlap=DAY, randomness=randomness(2).randbytes)

    assert (new.record.name, new.record.scopes) == (old.name, old.scopes)
    assert new.record.id != old.id
    assert is_valid(new.record, NOW + DAY)
    assert is_valid(replaced, NOW + 2 * DAY - timedelta(seconds=1))
    assert not is_valid(replaced, NOW + 2 * DAY)


def test_a_rotation_never_lengthens_a_life() -> None:
    """A key that ends during the overlap ends when it would have."""
    old = issue("ci", ["write"], now=NOW, lifetime=DAY, randomness=randomness(1).randbytes).record

    replaced = rotate(old, now=NOW, overlap=7 * DAY, randomness=randomness(2).randbytes).replaced

    assert replaced.expires_at == old.expires_at
    assert expire(old, at=NOW + 9 * DAY) == old


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=31)])
def test_an_overlap_has_bounds(overlap: timedelta) -> None:
    """Zero to 30 days."""
    old = issue("ci", ["write"], now=NOW, randomness=randomness().randbytes).record

    with pytest.raises(ApiKeyRefused, match="between 0 and 30 days"):
        rotate(old, now=NOW, overlap=overlap, randomness=randomness().randbytes)


def test_a_revoked_key_is_invalid_for_ever() -> None:
    """The first revocation counts, and a revoked key has no successor."""
    record = revoke(issue("ci", ["read"], now=NOW, randomness=randomness().randbytes).record, now=NOW + DAY)

    assert is_valid(record, NOW)
    assert not is_valid(record, NOW + DAY)
    assert revoke(record, now=NOW + 2 * DAY) == record
    with pytest.raises(ApiKeyRefused, match="not valid any more"):
        rotate(record, now=NOW + DAY, overlap=DAY, randomness=randomness().randbytes)


def test_what_is_no_key_is_not_repeated() -> None:
    """It may be a mistyped key."""
    with pytest.raises(ApiKeyRefused) as refusal:
        id_of("byoc_secretsecret")

    assert "secretsecret" not in str(refusal.value)
