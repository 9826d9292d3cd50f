"""Access tokens of an identity provider (JWT): what the Temporal UI passes on when its users log in there."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import requests
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

log = structlog.get_logger()

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""Signatures by a key that only the provider has; never `none`, never a shared secret."""
_FRESH = 600.0
"""Seconds for which the provider's keys are taken to be what they were."""
_NOT_MORE_OFTEN = 30.0
"""Seconds between two fetches, however many tokens name a key that is not known."""
_TIMEOUT = 5.0


@dataclass
class AccessTokens:
    """Checks tokens against the provider's published keys, its name and ours."""

    jwks_url: str
    issuer: str
    audience: str
    _keys: KeySet | None = None
    _fetched: float = field(default=float("-inf"))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def name_of(self, given: str) -> str | None:
        """Return whose token it is, None if it is not valid here and now. It may fetch, so it may take seconds."""
        for oldest in (_FRESH, _NOT_MORE_OFTEN):
            keys = self._published(oldest)
            if keys is None:
                return None
            try:
                claims = jwt.decode(given, keys, algorithms=[*ALGORITHMS]).claims
                self._required().validate(claims)
            except (JoseError, ValueError):  # a second look: the provider may have a new key
                continue
            return _name(claims)
        return None

    def _required(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.audience},
            exp={"essential": True},
        )

    def _published(self, oldest: float) -> KeySet | None:
        with self._lock:
            if time.monotonic() - self._fetched > oldest:
                self._fetched = time.monotonic()
                try:
                    reply = requests.get(self.jwks_url, timeout=_TIMEOUT)
                    reply.raise_for_status()
                    self._keys = KeySet.import_key_set(reply.json())
                except (requests.RequestException, JoseError, ValueError, KeyError) as error:
                    log.warning("the identity provider's keys cannot be fetched", url=self.jwks_url, reason=str(error))
            return self._keys


def _name(claims: dict[str, Any]) -> str:
    return str(claims.get("email") or claims.get("preferred_username") or claims.get("sub") or "unnamed")
