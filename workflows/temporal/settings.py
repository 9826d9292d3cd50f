"""What client, workers, replayer and codec endpoint are told alike: `BYOC_ENCRYPTION*` in the environment."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from workflows.temporal.encryption import EncryptionCodec
from workflows.temporal.key_ring import KeyFile
from workflows.temporal.private_file import FileUnusable

PREFIX = "BYOC_"


class BadSettings(ValueError):  # noqa: N818 - it names what is wrong
    """The environment holds values that nothing can run with; the message names each in one line."""


class Encryption(StrEnum):
    """Whether what Temporal keeps is encrypted."""

    REQUIRED = "required"
    OFF = "off"


def lower(value: object) -> object:
    """Return text in lower case, anything else as it is."""
    return value.lower() if isinstance(value, str) else value


class EncryptionSettings(BaseSettings):
    """Whether payloads are encrypted, and with which key ring. Without a word of the operator's they must be."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    encryption: Annotated[Encryption, BeforeValidator(lower)] = Encryption.REQUIRED
    encryption_keys: Path | None = None
    """The key ring's file."""

    def codec(self) -> EncryptionCodec | None:
        """Return the codec of the key ring, or None if encryption is off.

        Raises:
            BadSettings: Payloads must be encrypted, and there is no key ring that can be used.
        """
        if self.encryption is Encryption.OFF:
            return None
        if self.encryption_keys is None:
            raise BadSettings(
                "BYOC_ENCRYPTION_KEYS is not set: payloads must be encrypted. Make a key ring with "
                "`byoc keys new --file PATH` and set BYOC_ENCRYPTION_KEYS=PATH on every worker and client, "
                "or set BYOC_ENCRYPTION=off to keep payloads readable"
            )
        try:
            return EncryptionCodec(KeyFile(self.encryption_keys))
        except FileUnusable as error:
            raise BadSettings(f"BYOC_ENCRYPTION_KEYS: {error}") from error


UNENCRYPTED = EncryptionSettings(encryption=Encryption.OFF)
"""For what reads payloads as they are kept, and for servers that keep nothing worth a key."""


def read_encryption() -> EncryptionSettings:
    """Return the settings that the environment holds.

    Raises:
        BadSettings: A value cannot be used.
    """
    try:
        return EncryptionSettings()
    except ValidationError as error:
        raise BadSettings(complaints(error)) from error


def complaints(error: ValidationError) -> str:
    """Return what is wrong with settings, in one line: variable, value, what is allowed."""
    return "; ".join(_complaint(each) for each in error.errors())


def _complaint(error: ErrorDetails) -> str:
    field, *inside = error["loc"]
    name = f"{PREFIX}{field}".upper() + "".join(f"[{part}]" for part in inside)
    return f"{name} is {error['input']!r}: {error['msg'].removeprefix('Value error, ')}"
