"""The simulators as a process of their own: they serve, and they leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import boto3

from simulators.control_client import ControlClient
from simulators.endpoints import Endpoints
from simulators.launch import running_simulators


def is_running(pid: int) -> bool:
    """Return whether a process of that id exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not (status.exists() and "State:\tZ" in status.read_text())


def ends_within(pid: int, seconds: float) -> bool:
    """Return whether the process ends in time."""
    deadline = time.monotonic() + seconds
    while is_running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_every_endpoint_serves_while_the_context_lasts() -> None:
    """AWS and the control API answer, and the clusters' certificate is trusted; then process and files are gone."""
    with running_simulators() as endpoints:
        sts = boto3.client(
            "sts",
            endpoint_url=endpoints.aws_url,
            region_name="eu-west-1",
            aws_access_key_id="222222222222",
            aws_secret_access_key="unchecked",
        )
        assert sts.get_caller_identity()["Account"] == "222222222222"
        control = ControlClient(endpoints.control_url)
        assert [call.operation for call in control.journal()] == ["GetCallerIdentity"]
        trust = ssl.create_default_context(cafile=endpoints.kubernetes_ca_file)
        kubernetes = urlsplit(endpoints.kubernetes_url)
        with (
            socket.create_connection((kubernetes.hostname, kubernetes.port), timeout=5) as plain,
            trust.wrap_socket(plain, server_hostname=kubernetes.hostname) as trusted,
        ):
            assert trusted.getpeercert()
        assert "BEGIN CERTIFICATE" in endpoints.internet_ca_file.read_text()

    assert ends_within(endpoints.pid, 1)
    assert not endpoints.kubernetes_ca_file.parent.exists()


def test_the_simulators_end_when_their_parent_is_killed() -> None:
    """Also by SIGKILL, which gives the parent no chance to clean up; no certificate stays on disk."""
    program = (
        "import time\n"
        "from simulators.launch import running_simulators\n"
        "with running_simulators() as endpoints:\n"
        "    print(endpoints.model_dump_json(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    endpoints = Endpoints.model_validate_json(parent.stdout.readline())

    parent.send_signal(signal.SIGKILL)
    parent.communicate()

    assert ends_within(endpoints.pid, 5)
    assert not endpoints.kubernetes_ca_file.parent.exists()
