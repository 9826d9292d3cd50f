"""Encryption of payloads: AES-256-GCM, before anything leaves the process for Temporal.

An encrypted payload is

    metadata  encoding                     binary/encrypted
              encryption-key-id            which key of the ring
              encryption-key-fingerprint   and that it is the same key
              encryption-inner-encoding    the encoding of the payload inside, json/plain for example
              encryption-compression       zlib, if that made it shorter
    data      12 random bytes, then the ciphertext of the whole payload, then the tag

All of the metadata is authenticated: nobody can relabel a payload. What is not encrypted is passed through when read,
so histories from before stay readable.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from workflows.temporal.key_ring import Key, KeyFile, KeyMissing

ENCODING = "encoding"
ENCRYPTED = b"binary/encrypted"
KEY_ID = "encryption-key-id"
KEY_FINGERPRINT = "encryption-key-fingerprint"

_INNER_ENCODING = "encryption-inner-encoding"
_COMPRESSION, _ZLIB = "encryption-compression", b"zlib"

COMPRESSED_FROM = 256
"""Bytes from which on a payload is compressed first. That pays for the metadata: encryption makes a provisioning's
history 7 to 9 % longer, and 40 % without compression (measured). The length of what is compressed tells of its content,
which helps whoever can try guesses beside a secret; no secret is in a payload."""
_LONGEST_INSIDE = 64 * 2**20
"""Bytes that a compressed payload may have inside; Temporal refuses payloads of more than 2 MiB."""
_NONCE_BYTES = 12


class PayloadDamaged(ValueError):  # noqa: N818 - it names what is so
    """An encrypted payload cannot be opened with its own key: it, or its metadata, was changed."""


UNREADABLE = (KeyMissing, PayloadDamaged)
"""What decoding raises. Neither fails a workflow: the task fails, and Temporal tries it again."""


class EncryptionCodec(PayloadCodec):
    """Encrypts with the first key of a ring, decrypts with whichever key a payload names."""

    def __init__(self, keys: KeyFile, *, compressed_from: int = COMPRESSED_FROM) -> None:
        """Take the keys; payloads of at least `compressed_from` bytes are compressed."""
        self._keys = keys
        self._compressed_from = compressed_from

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return the payloads encrypted."""
        key = self._keys.current().first
        return [_sealed(payload, key, self._compressed_from) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return the payloads as they were before `encode`; what is not encrypted comes back as it is.

        Raises:
            KeyMissing: The ring does not hold the key.
            PayloadDamaged: The payload is not what was encrypted.
        """
        return [self._opened(payload) for payload in payloads]

    def _opened(self, payload: Payload) -> Payload:
        if not is_encrypted(payload):
            return payload
        key_id, fingerprint = key_of(payload)
        return _opened(payload, self._keys.find(key_id, fingerprint))


def is_encrypted(payload: Payload) -> bool:
    """Return whether a payload is one of ours, encrypted."""
    return payload.metadata.get(ENCODING) == ENCRYPTED


def key_of(payload: Payload) -> tuple[str, str]:
    """Return the id and the fingerprint of the key that an encrypted payload names."""
    return _text(payload.metadata.get(KEY_ID, b"")), _text(payload.metadata.get(KEY_FINGERPRINT, b""))


def _sealed(payload: Payload, key: Key, compressed_from: int) -> Payload:
    metadata = {
        ENCODING: ENCRYPTED,
        KEY_ID: key.id.encode(),
        KEY_FINGERPRINT: key.fingerprint.encode(),
        _INNER_ENCODING: payload.metadata.get(ENCODING, b""),
    }
    inside = payload.SerializeToString()
    if len(inside) >= compressed_from and len(shorter := zlib.compress(inside)) < len(inside):
        metadata[_COMPRESSION] = _ZLIB
        inside = shorter
    nonce = os.urandom(_NONCE_BYTES)
    return Payload(metadata=metadata, data=nonce + AESGCM(key.secret).encrypt(nonce, inside, _authenticated(metadata)))


def _opened(payload: Payload, key: Key) -> Payload:
    nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
    try:
        inside = AESGCM(key.secret).decrypt(nonce, sealed, _authenticated(payload.metadata))
    except (InvalidTag, ValueError):
        raise PayloadDamaged(
            f"a payload that is encrypted with key {key.id} was changed since, or its metadata was"
        ) from None
    if payload.metadata.get(_COMPRESSION) == _ZLIB:
        inside = zlib.decompressobj().decompress(inside, _LONGEST_INSIDE)
    return Payload.FromString(inside)


def _authenticated(metadata: Mapping[str, bytes]) -> bytes:
    """Return the metadata as bytes of which no two different ones have the same."""
    parts = [part for name in sorted(metadata) for part in (name.encode(), metadata[name])]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")
