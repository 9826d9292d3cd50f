"""The key ring: the keys that encrypt what Temporal keeps. The first one encrypts; every one of them decrypts.

It is a JSON file that its owner alone may read:

    {"keys": [{"id": "2026-11-25-5f0c1a", "key": "<32 bytes in base64>", "created": "2026-11-25T12:00:00Z"}]}
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from workflows.temporal.private_file import FileUnusable, Followed, locked, read_private, write_private

KEY_BYTES = 32


class KeyMissing(LookupError):  # noqa: N818 - it names what is so
    """A payload is encrypted with a key that the ring does not hold; the message names the key."""


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ValueError("it is not base64") from None


class Key(BaseModel):
    """One key of AES-256. Its text form leaves the secret out."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    secret: Annotated[bytes, BeforeValidator(_decoded), Field(min_length=KEY_BYTES, max_length=KEY_BYTES)] = Field(
        alias="key", repr=False
    )
    created: AwareDatetime

    @classmethod
    def new(cls, now: datetime) -> Self:
        """Return a key from the operating system's randomness."""
        return cls(id=f"{now:%Y-%m-%d}-{secrets.token_hex(3)}", secret=secrets.token_bytes(KEY_BYTES), created=now)

    @property
    def fingerprint(self) -> str:
        """What tells this key from another one of the same id; it opens nothing."""
        return sha256(b"byoc encryption key\0" + self.secret).hexdigest()[:16]


class KeyRing(BaseModel):
    """At least one key, in the order of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    keys: tuple[Key, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        ids = [key.id for key in self.keys]
        if twice := sorted({each for each in ids if ids.count(each) > 1}):
            raise ValueError(f"these ids are there twice: {', '.join(twice)}")
        return self

    @property
    def first(self) -> Key:
        """The key that encrypts."""
        return self.keys[0]

    @property
    def prepared(self) -> Key | None:
        """The newest key that is younger than the first one: readers know it, nothing is encrypted with it yet."""
        younger = [key for key in self.keys[1:] if key.created > self.first.created]
        return max(younger, key=lambda key: key.created, default=None)

    def get(self, key_id: str) -> Key | None:
        """Return the key of that id."""
        return next((key for key in self.keys if key.id == key_id), None)

    def with_prepared(self, key: Key) -> KeyRing:
        """Return the ring with a key that only decrypts."""
        return KeyRing(keys=(*self.keys, key))

    def led_by(self, key: Key) -> KeyRing:
        """Return the ring with `key` in front, new or moved there."""
        return KeyRing(keys=(key, *(each for each in self.keys if each.id != key.id)))


class KeyFile:
    """A key ring that follows its file: a key that is added there is known within a second, without a restart."""

    def __init__(self, path: Path) -> None:
        """Read it; raises FileUnusable."""
        self._ring = Followed(path, read)

    def current(self) -> KeyRing:
        """Return the ring."""
        return self._ring.current()

    def find(self, key_id: str, fingerprint: str) -> Key:
        """Return the key that a payload names; raises KeyMissing."""
        ring = self.current()
        key = ring.get(key_id)
        if key is not None and key.fingerprint == fingerprint:
            return key
        if key is None:
            raise KeyMissing(
                f"a payload is encrypted with key {key_id} (fingerprint {fingerprint}), which is not in the key ring "
                f"{self._ring.path} (it has: {', '.join(each.id for each in ring.keys)}); add that key to the file"
            )
        raise KeyMissing(
            f"a payload is encrypted with key {key_id} (fingerprint {fingerprint}), and the key of that id in the key "
            f"ring {self._ring.path} is another one (fingerprint {key.fingerprint}); put the right one there"
        )


def read(path: Path) -> KeyRing:
    """Return the ring in a file that only its owner may read; raises FileUnusable."""
    text = read_private(path, absent=f"`byoc keys new --file {path}` makes a key ring")
    try:
        return KeyRing.model_validate_json(text)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors(include_input=False, include_context=False)
        )
        raise FileUnusable(f"{path} is not a key ring: {wrong}") from None


def make(path: Path, *, now: datetime | None = None) -> KeyRing:
    """Write a ring with one new key to a file that is not there yet; raises FileUnusable."""
    ring = KeyRing(keys=(Key.new(now or datetime.now(UTC)),))
    with locked(path):
        if path.exists():
            raise FileUnusable(f"{path} is there already; `byoc keys rotate --file {path}` adds a key to it")
        _write(path, ring)
    return ring


def rotate(path: Path, *, prepare: bool, now: datetime | None = None) -> KeyRing:
    """Put a key in front of the ring: the prepared one if there is one, else a new one. Every other key stays.

    With `prepare`, add a new key behind the others, so that readers know it before anything is encrypted with it;
    a key that is prepared already stays the prepared one.

    Raises:
        FileUnusable: There is no ring, or it cannot be written; it is as it was.
    """
    with locked(path):
        ring = read(path)
        key = ring.prepared
        if prepare and key is not None:
            return ring
        key = key or Key.new(now or datetime.now(UTC))
        ring = ring.with_prepared(key) if prepare else ring.led_by(key)
        _write(path, ring)
    return ring


def _write(path: Path, ring: KeyRing) -> None:
    document = {
        "keys": [
            {"id": key.id, "key": base64.b64encode(key.secret).decode(), "created": key.created.isoformat()}
            for key in ring.keys
        ]
    }
    write_private(path, json.dumps(document, indent=2) + "\n")
