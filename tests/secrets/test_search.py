"""The search itself: it finds a secret however it was written down, and nothing else."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.secrets.search import Found, Search

SECRETS = {
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY": "secret access key",
    "byoc_abcdefghijklmnop_" + "q2x7" * 13: "API key",
    '[{"id": "k1", "sha256": "00"}]': "value of a Kubernetes Secret",
}
LOG = "\n".join(
    f'{{"event": "looking", "run": "{number:032x}", "data": "aGVsbG8gd29ybGQhIQ=="}}' for number in range(200)
)


@pytest.mark.parametrize("secret", SECRETS, ids=SECRETS.values())
@pytest.mark.parametrize(
    "written",
    [
        str,
        lambda secret: json.dumps({"reason": json.dumps({"inside": secret})}),
        lambda secret: base64.b64encode(f"token={secret};".encode()).decode(),
        lambda secret: base64.urlsafe_b64encode(base64.b64encode(f"a {secret}".encode())).decode().rstrip("="),
        lambda secret: f"https://sts.amazonaws.com/?token={quote(secret, safe='')}",
        lambda secret: base64.b64encode(zlib.compress(f"{secret} {secret}".encode())).decode(),
    ],
    ids=["plain", "in JSON in JSON", "in base64", "in base64 in base64", "in a URL", "compressed"],
)
def test_a_secret_is_found_however_it_is_written(secret: str, written: Callable[[str], str]) -> None:
    """In the middle of a log, and named by its kind alone."""
    log = f"{LOG}\n{written(secret)}\n{LOG}"

    assert Search(SECRETS).found_in("worker.log", log) == [Found(SECRETS[secret], "worker.log")]


def test_what_holds_no_secret_is_left_alone() -> None:
    """Neither digests nor parts of a secret count, in text or in bytes."""
    search = Search(SECRETS)

    assert search.found_among({"log": LOG, "bytes": LOG.encode(), "part": next(iter(SECRETS))[:-1]}) == []
    assert Search({}).found_in("log", LOG) == []
