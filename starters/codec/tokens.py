"""Bearer tokens of the codec endpoint: a file of names, digests and expiries. A token is shown once and never kept."""

from __future__ import annotations

import hmac
import json
import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from workflows.temporal.private_file import FileUnusable, Followed, locked, read_private, write_private

PREFIX = "byoc_codec_"
"""By it a token that lies around is known for what it is."""
LONGEST_LIFE = timedelta(days=365)


class Token(BaseModel):
    """What is kept of a token. Its secret has 256 random bits, so that a plain digest tells nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=63)
    """Who reads with it."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    expires: AwareDatetime


class Tokens(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    tokens: tuple[Token, ...] = ()


class TokenFile:
    """The tokens that are valid now; one that is added or revoked is so within a second, without a restart."""

    def __init__(self, path: Path) -> None:
        """Read it; raises FileUnusable."""
        self._tokens = Followed(path, read)

    def name_of(self, given: str) -> str | None:
        """Return whose token it is, None if nobody's. It takes the same time whichever token it nearly is."""
        digest, found = _digest(given), None
        for token in self._tokens.current().tokens:
            if hmac.compare_digest(token.sha256, digest) and token.expires > datetime.now(UTC):
                found = token.name
        return found


def read(path: Path) -> Tokens:
    """Return the tokens in a file that only its owner may read; raises FileUnusable."""
    content = read_private(path, absent=f"`byoc codec token new NAME --file {path}` makes it")
    try:
        return Tokens.model_validate_json(content)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, each["loc"])) or "the file" for each in error.errors(include_input=False))
        raise FileUnusable(f"{path} is not a file of tokens: look at {fields}") from None


def issue(path: Path, name: str, *, lifetime: timedelta) -> tuple[str, Token]:
    """Add a token to the file, which is made if it is not there, and return it with what is kept of it.

    Raises:
        FileUnusable: The file cannot be read or written.
        ValueError: There is a valid token of that name, or the name or the lifetime are out of bounds.
    """
    if not timedelta(0) < lifetime <= LONGEST_LIFE:
        raise ValueError(f"a token lives for 1 to {LONGEST_LIFE.days} days, not {lifetime.days}")
    if not 1 <= len(name) <= 63:
        raise ValueError(f"a name has 1 to 63 characters, not {len(name)}")
    now = datetime.now(UTC)
    given = PREFIX + secrets.token_urlsafe(32)
    token = Token(name=name, sha256=_digest(given), expires=now + lifetime)
    with locked(path):
        kept = [each for each in (read(path).tokens if path.exists() else ()) if each.expires > now]
        if name in [each.name for each in kept]:
            raise ValueError(f"{name!r} has a token already: revoke it first, or choose another name")
        _write(path, Tokens(tokens=(*kept, token)))
    return given, token


def revoke(path: Path, name: str) -> bool:
    """Take the tokens of a name out of the file; return whether there were any."""
    with locked(path):
        before = read(path).tokens
        kept = tuple(token for token in before if token.name != name)
        _write(path, Tokens(tokens=kept))
    return len(kept) < len(before)


def _write(path: Path, tokens: Tokens) -> None:
    write_private(path, json.dumps(tokens.model_dump(mode="json"), indent=2) + "\n")


def _digest(given: str) -> str:
    return sha256(given.encode()).hexdigest()
