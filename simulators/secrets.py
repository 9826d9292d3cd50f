"""Every secret that a simulated world gave out or was shown: what tests search for wherever none may be."""

from __future__ import annotations

import base64
import binascii
import re
import threading
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict

_SHORTEST = 12
"""Characters; what is shorter (`true`, a port) is no secret, and would be found everywhere."""
_IN_REPLIES = re.compile(rb"<(SecretAccessKey|SessionToken)>([^<]+)<")
_EKS_TOKEN = "k8s-aws-v1."  # noqa: S105 - it introduces a token and is none


class SecretKind(StrEnum):
    """What a secret opens."""

    SECRET_ACCESS_KEY = "secret access key"  # noqa: S105 - a name
    SESSION_TOKEN = "session token"  # noqa: S105 - a name
    KUBERNETES_TOKEN = "Kubernetes token"  # noqa: S105 - a name
    SIGNATURE = "signature of a presigned request"
    KUBERNETES_SECRET = "value of a Kubernetes Secret"  # noqa: S105 - a name
    API_KEY = "API key"
    ACCESS_TOKEN = "access token"  # noqa: S105 - a name
    PRIVATE_KEY = "private key"


class Secret(BaseModel):
    """One secret."""

    model_config = ConfigDict(frozen=True)

    kind: SecretKind
    value: str


class Secrets:
    """Remembers every secret of one world, also when what it opened is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: dict[str, SecretKind] = {}

    def note(self, kind: SecretKind, value: str) -> None:
        """Remember a secret."""
        if len(value) >= _SHORTEST:
            with self._lock:
                self._noted.setdefault(value, kind)

    def note_reply(self, body: bytes) -> None:
        """Remember the credentials in a reply of STS or IAM."""
        for name, value in _IN_REPLIES.findall(body):
            kind = SecretKind.SESSION_TOKEN if name == b"SessionToken" else SecretKind.SECRET_ACCESS_KEY
            self.note(kind, value.decode())

    def note_bearer(self, token: str) -> None:
        """Remember a token that was shown to a cluster, and the signature in it if it is a presigned request."""
        self.note(SecretKind.KUBERNETES_TOKEN, token)
        if token.startswith(_EKS_TOKEN):
            encoded = token.removeprefix(_EKS_TOKEN)
            url = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode(errors="replace")
            for signature in parse_qs(urlsplit(url).query).get("X-Amz-Signature", ()):
                self.note(SecretKind.SIGNATURE, signature)

    def note_encoded(self, value: str) -> None:
        """Remember a value of a Kubernetes Secret, which is in base64."""
        try:
            self.note(SecretKind.KUBERNETES_SECRET, base64.b64decode(value, validate=True).decode(errors="replace"))
        except binascii.Error:
            self.note(SecretKind.KUBERNETES_SECRET, value)

    def listed(self) -> list[Secret]:
        """Return each, in the order in which they were noted."""
        with self._lock:
            return [Secret(kind=kind, value=value) for value, kind in self._noted.items()]

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._noted.clear()
