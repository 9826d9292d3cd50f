"""The codec by itself: what it hides, what it authenticates, what it passes through."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from workflows.temporal import key_ring, private_file
from workflows.temporal.encryption import EncryptionCodec, PayloadDamaged, is_encrypted, key_of
from workflows.temporal.key_ring import KeyFile, KeyMissing

PAYLOAD = Payload(metadata={"encoding": b"json/plain", "messageType": b"x"}, data=b'{"domain": "db.acme.example"}')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ring with one key."""
    key_ring.make(tmp_path / "keys.json")
    return tmp_path / "keys.json"


@pytest.fixture
def codec(path: Path) -> EncryptionCodec:
    """A codec of that ring."""
    return EncryptionCodec(KeyFile(path))


@given(
    metadata=st.dictionaries(st.text(max_size=20), st.binary(max_size=50), max_size=5), data=st.binary(max_size=20_000)
)
async def test_whatever_is_encoded_comes_back(
    tmp_path_factory: pytest.TempPathFactory, metadata: dict[str, bytes], data: bytes
) -> None:
    """Metadata and data of any payload, short or long enough to be compressed."""
    path = tmp_path_factory.mktemp("ring") / "keys.json"
    key_ring.make(path)
    codec = EncryptionCodec(KeyFile(path))
    payload = Payload(metadata={"encoding": b"binary/plain", **metadata}, data=data)

    assert await codec.decode(await codec.encode([payload])) == [payload]


async def test_nothing_of_a_payload_is_readable_but_its_encoding(codec: EncryptionCodec, path: Path) -> None:
    """Neither content nor other metadata; the key is named by id and fingerprint; twice the same looks different."""
    key = key_ring.read(path).first

    one, two = await codec.encode([PAYLOAD, PAYLOAD])

    assert is_encrypted(one)
    assert key_of(one) == (key.id, key.fingerprint)
    assert b"acme" not in one.SerializeToString()
    assert b"messageType" not in one.SerializeToString()
    assert one.metadata["encryption-inner-encoding"] == b"json/plain"
    assert one.data[:12] != two.data[:12]
    assert one.data != two.data


async def test_a_long_payload_is_compressed_first(codec: EncryptionCodec) -> None:
    """Text of 100 KiB takes a small part of that."""
    long = Payload(metadata={"encoding": b"json/plain"}, data=b'{"step": "Create the network"}' * 3400)

    (sealed,) = await codec.encode([long])

    assert len(sealed.data) < len(long.data) / 10
    assert await codec.decode([sealed]) == [long]


async def test_what_is_not_encrypted_is_passed_through(codec: EncryptionCodec) -> None:
    """Histories from before stay readable, beside encrypted payloads."""
    (sealed,) = await codec.encode([PAYLOAD])

    assert await codec.decode([PAYLOAD, sealed, Payload()]) == [PAYLOAD, PAYLOAD, Payload()]


@pytest.mark.parametrize("part", ["data", "encoding", "key", "compression", "shortened"])
async def test_a_changed_payload_is_refused(codec: EncryptionCodec, path: Path, part: str) -> None:
    """Any bit of the ciphertext, and the metadata too: nobody can relabel or swap what is authenticated."""
    key_ring.rotate(path, prepare=True)
    (sealed,) = await codec.encode([PAYLOAD])
    match part:
        case "data":
            sealed.data = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
        case "encoding":
            sealed.metadata["encryption-inner-encoding"] = b"binary/protobuf"
        case "key":
            sealed.metadata["encryption-note"] = b"added"
        case "compression":
            sealed.metadata["encryption-compression"] = b"zlib"
        case "shortened":
            sealed.data = sealed.data[:10]

    with pytest.raises(PayloadDamaged, match=key_ring.read(path).first.id):
        await codec.decode([sealed])


async def test_a_missing_key_is_named(codec: EncryptionCodec, tmp_path: Path) -> None:
    """With its id, its fingerprint, the file that lacks it and the keys that this has."""
    (sealed,) = await codec.encode([PAYLOAD])
    key_id, fingerprint = key_of(sealed)
    other = tmp_path / "other.json"
    known = key_ring.make(other).first.id

    with pytest.raises(KeyMissing) as missing:
        await EncryptionCodec(KeyFile(other)).decode([sealed])

    assert [word for word in (key_id, fingerprint, str(other), known) if word not in str(missing.value)] == []


async def test_a_key_of_the_same_id_is_told_apart_by_its_fingerprint(codec: EncryptionCodec, path: Path) -> None:
    """A wrong key under the right id is said to be wrong, instead of the payload to be damaged."""
    (sealed,) = await codec.encode([PAYLOAD])
    key_id = key_of(sealed)[0]
    path.unlink()
    other = key_ring.make(path).first.id
    path.write_text(path.read_text().replace(other, key_id))

    with pytest.raises(KeyMissing, match="is another one"):
        await EncryptionCodec(KeyFile(path)).decode([sealed])


async def test_a_rotation_is_followed_without_a_restart(
    codec: EncryptionCodec, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as the file has another key in front, that one encrypts; what the older one encrypted stays readable."""
    monkeypatch.setattr(private_file, "LOOK_AGAIN", 0.0)
    (before,) = await codec.encode([PAYLOAD])
    rotated = key_ring.rotate(path, prepare=False)

    (after,) = await codec.encode([PAYLOAD])

    assert key_of(after)[0] == rotated.first.id != key_of(before)[0]
    assert await codec.decode([before, after]) == [PAYLOAD, PAYLOAD]


async def test_a_file_that_breaks_later_leaves_the_codec_as_it_was(
    codec: EncryptionCodec, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator's slip at the file stops nobody who runs."""
    monkeypatch.setattr(private_file, "LOOK_AGAIN", 0.0)
    (sealed,) = await codec.encode([PAYLOAD])

    path.write_text("{")
    still = await codec.decode([sealed])
    path.unlink()
    gone = await codec.decode(await codec.encode([PAYLOAD]))

    assert still == gone == [PAYLOAD]
