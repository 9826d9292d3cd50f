"""Searching for marked secrets, also where they were encoded: in base64, escaped, or compressed, in each other."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_DEEPEST = 6
"""Encodings inside each other."""


@dataclass(frozen=True)
class Found:
    """A secret where it must not be."""

    mark: str
    """What kind of secret it is; the secret itself is not repeated."""
    where: str


class Search:
    """Looks for secrets in texts."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        """Take the secrets, keyed by themselves, with what each is."""
        self._kinds = dict(secrets)
        self._pattern = re.compile("|".join(map(re.escape, sorted(secrets, key=len, reverse=True))) or r"(?!)")

    def found_in(self, where: str, text: str | bytes) -> list[Found]:
        """Return the secrets in a text, however they are encoded there; one of each kind."""
        read = text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text
        kinds = {self._kinds[each] for inside in _readings(read, _DEEPEST, set()) for each in self._matches(inside)}
        return [Found(kind, where) for kind in sorted(kinds)]

    def found_among(self, texts: Mapping[str, str | bytes]) -> list[Found]:
        """Return the secrets in texts that are keyed by where they come from."""
        return [found for where, text in texts.items() for found in self.found_in(where, text)]

    def _matches(self, text: str) -> Iterable[str]:
        return (match[0] for match in self._pattern.finditer(text))


def _readings(text: str, depth: int, seen: set[str]) -> Iterable[str]:
    """Return the text, and everything that it says in other words."""
    if text in seen:
        return
    seen.add(text)
    yield text
    if depth == 0:
        return
    if "%" in text:
        yield from _readings(unquote(text), depth - 1, seen)
    if "\\" in text:
        yield from _readings(re.sub(r'\\(["\\/])', r"\1", text), depth - 1, seen)
    for word in set(_BASE64.findall(text)):
        for decoded in _decoded(word):
            yield from _readings(decoded, depth - 1, seen)


def _decoded(word: str) -> Iterable[str]:
    """Return what a word says in base64, if that is text or compressed text."""
    body = word.rstrip("=")
    try:
        raw = base64.b64decode(body.translate(str.maketrans("-_", "+/")) + "=" * (-len(body) % 4))
    except binascii.Error:
        return
    candidates = [raw]
    if raw[:1] == b"\x78":
        with contextlib.suppress(zlib.error):
            candidates.append(zlib.decompress(raw))
    for candidate in candidates:
        text = candidate.decode("utf-8", errors="ignore")
        if len(text) >= len(candidate) / 2:
            yield text
