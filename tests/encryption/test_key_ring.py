"""The key ring's file: who may read it, how it is rotated, and what is said when it cannot be used."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from workflows.temporal import key_ring
from workflows.temporal.private_file import FileUnusable
from workflows.temporal.settings import BadSettings, Encryption, EncryptionSettings

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    return tmp_path / "keys.json"


def test_a_new_ring_is_readable_by_its_owner_alone_and_never_overwritten(path: Path) -> None:
    """The file has mode 0600 and one key of 256 bits; making it again is refused and changes nothing."""
    made = key_ring.make(path)
    before = path.read_bytes()

    with pytest.raises(FileUnusable, match="is there already"):
        key_ring.make(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert len(made.first.secret) == 32
    assert key_ring.read(path) == made
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_may_read_is_refused_with_the_command_that_mends_it(path: Path, mode: int) -> None:
    """Neither the group nor the world may read or write it."""
    key_ring.make(path)
    path.chmod(mode)

    with pytest.raises(FileUnusable, match=f"mode {mode:04o}.: chmod 600 {path}"):
        key_ring.read(path)


def test_a_rotation_puts_a_new_key_in_front_and_keeps_every_other(path: Path) -> None:
    """The newest key encrypts, those before it decrypt, in the order in which they were first."""
    first = key_ring.make(path, now=NOW).first
    second = key_ring.rotate(path, prepare=False, now=NOW + timedelta(days=1)).first
    third = key_ring.rotate(path, prepare=False, now=NOW + timedelta(days=2)).first

    assert key_ring.read(path).keys == (third, second, first)
    assert len({key.secret for key in (first, second, third)}) == 3


def test_a_prepared_key_only_decrypts_until_the_next_rotation_takes_it(path: Path) -> None:
    """Preparing again adds no further key; the rotation after it makes none, but puts the prepared one in front."""
    first = key_ring.make(path, now=NOW).first

    prepared = key_ring.rotate(path, prepare=True, now=NOW + timedelta(days=1))
    again = key_ring.rotate(path, prepare=True, now=NOW + timedelta(days=2))
    rotated = key_ring.rotate(path, prepare=False, now=NOW + timedelta(days=3))

    assert prepared.first == first
    assert prepared == again
    assert rotated.keys == (prepared.prepared, first)
    assert rotated.prepared is None


def test_rotations_at_the_same_time_lose_no_key(path: Path) -> None:
    """Eight of them leave nine keys."""
    key_ring.make(path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: key_ring.rotate(path, prepare=False), range(8)))

    assert len(key_ring.read(path).keys) == 9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ring: ring["keys"][0].update(key="c2hvcnQ="), "keys.0.key"),
        (lambda ring: ring["keys"][0].update(key="not base64!"), "keys.0.key: it is not base64"),
        (lambda ring: ring["keys"][0].update(id="a b"), "keys.0.id"),
        (lambda ring: ring["keys"][0].update(owner="ada"), "keys.0.owner"),
        (lambda ring: ring["keys"][0].pop("created"), "keys.0.created: Field required"),
        (lambda ring: ring["keys"].append(ring["keys"][0]), "these ids are there twice"),
        (lambda ring: ring["keys"].clear(), "keys"),
    ],
    ids=["too short", "not base64", "bad id", "unknown field", "no date", "twice", "empty"],
)
def test_a_malformed_ring_is_refused_with_its_field_and_without_its_secret(
    path: Path, change: object, words: str
) -> None:
    """The message says where it is wrong; whatever it is, no key is in it."""
    key_ring.make(path)
    document = json.loads(path.read_text())
    secret = document["keys"][0]["key"]
    assert callable(change)
    change(document)
    path.write_text(json.dumps(document))

    with pytest.raises(FileUnusable) as refused:
        key_ring.read(path)

    assert words in str(refused.value)
    assert secret not in str(refused.value)


def test_a_key_never_shows_its_secret(path: Path) -> None:
    """Neither in its text form nor in that of the ring."""
    ring = key_ring.make(path)

    assert "secret" not in repr(ring)
    assert repr(ring.first.secret)[2:-1] not in repr(ring) + str(ring)


def test_settings_without_a_ring_say_what_to_do() -> None:
    """Encryption is required unless it is switched off; a file that is not there is named with what makes it."""
    with pytest.raises(BadSettings, match=r"byoc keys new --file PATH.*BYOC_ENCRYPTION=off"):
        EncryptionSettings(encryption=Encryption.REQUIRED, encryption_keys=None).codec()
    with pytest.raises(BadSettings, match=r"BYOC_ENCRYPTION_KEYS: /nowhere/keys\.json does not exist"):
        EncryptionSettings(encryption=Encryption.REQUIRED, encryption_keys=Path("/nowhere/keys.json")).codec()

    assert EncryptionSettings(encryption=Encryption.OFF, encryption_keys=Path("/nowhere/keys.json")).codec() is None


def test_encryption_is_required_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets nothing gets encryption."""
    monkeypatch.delenv("BYOC_ENCRYPTION")

    assert EncryptionSettings().encryption is Encryption.REQUIRED
