"""The playground that stays: it says where everything is, payloads are encrypted, and its codec endpoint opens them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from temporalio.api.common.v1 import Payload

from tests.starters.test_demo import ROOT, processes_of
from workflows.temporal.encryption import EncryptionCodec
from workflows.temporal.key_ring import KeyFile


@contextlib.contextmanager
def playing(state: Path) -> Iterator[str]:
    """Run `byoc dev` until Ctrl-C; yield what it says once it runs."""
    dev = subprocess.Popen(
        [sys.executable, "-c", "from starters.cli import main; main()", "dev", "--state", str(state)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert dev.stdout is not None
        said = ""
        for line in dev.stdout:
            said += line
            if "byoc deployments create" in line:
                break
        yield said
    finally:
        dev.send_signal(signal.SIGINT)
        code = dev.wait(60)
    assert code == 0


def sealed_order(keys: Path) -> dict[str, Any]:
    """Return a request to decode one payload that is encrypted with a key ring."""
    (sealed,) = asyncio.run(EncryptionCodec(KeyFile(keys)).encode([Payload(data=b"an order")]))
    metadata = {name: base64.b64encode(value).decode() for name, value in sealed.metadata.items()}
    return {"payloads": [{"metadata": metadata, "data": base64.b64encode(sealed.data).decode()}]}


def found(pattern: str, text: str) -> str:
    """Return the group of the pattern that is in a text."""
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def test_the_playground_prints_a_login_whose_session_reads_payloads(tmp_path: Path) -> None:
    """The link works once, for the endpoint that the UI names, from the UI's origin; Ctrl-C leaves nothing running."""
    state = tmp_path / "playground"
    with playing(state) as said:
        link, ui = found(r"(http://\S+/login\?once=\S+)", said), found(r"Temporal UI +(http://\S+)", said)
        browser = requests.Session()
        home = browser.get(link, timeout=30)
        endpoint = requests.get(f"{ui}/api/v1/settings", timeout=30).json()["Codec"]["Endpoint"]
        asked = {"url": f"{endpoint}/decode", "json": sealed_order(state / "keys.json"), "headers": {"Origin": ui}}
        read = browser.post(**asked, timeout=30)
        nobody = requests.post(**asked, timeout=30)
        again = requests.get(link, timeout=30)

    assert "You are logged in" in home.text
    assert base64.b64decode(read.json()["payloads"][0]["data"]) == b"an order"
    assert (nobody.status_code, again.status_code) == (401, 401)
    assert processes_of(state) == []
