"""What a worker tells of itself: metrics, spans and logs."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from temporalio.client import Client

from domain.account import AccountPhase
from simulators.control_client import ControlClient
from tests.workers.processes import WorkerProcesses
from tests.workers.test_processes import connected
from tests.workflows.orders import ADA, BRISK
from workers.telemetry import start_tracing
from workflows.account import Account, AccountRequest
from workflows.temporal import queues
from workflows.temporal.connection import connect


class Collector:
    """An OTLP endpoint that keeps the spans which it gets."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the library's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where spans are sent to."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def named(self, name: str) -> list[Span]:
        """Return the spans of a name, oldest first."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_time_unix_nano)

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """An OTLP endpoint."""
    collector = Collector()
    yield collector
    collector.stop()


async def test_one_trace_leads_from_the_client_to_the_activity(
    address: str,
    collector: Collector,
    simulated_aws: ControlClient,
    worker_processes: WorkerProcesses,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client's start, the workflow and its activities are one tree of spans, sent by two processes."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    worker = worker_processes.start("all", BYOC_TRACING="true", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)

    with start_tracing("client"):
        await revoked(await connect(target_host=address, tracing=True))
    worker.send(signal.SIGTERM)
    assert await asyncio.to_thread(worker.exit_code) == 0

    (start,) = collector.named("StartWorkflow:Account")
    (run,) = collector.named("RunWorkflow:Account")
    (proof,) = collector.named("StartActivity:prove_revoked")
    acted = collector.named("RunActivity:prove_revoked")
    assert not start.parent_span_id
    assert run.parent_span_id == start.span_id
    assert proof.parent_span_id == run.span_id
    assert acted[-1].parent_span_id == proof.span_id
    assert {span.trace_id for span in (start, run, proof, *acted)} == {start.trace_id}


async def test_metrics_are_those_of_our_queues(
    client: Client, simulated_aws: ControlClient, worker_processes: WorkerProcesses
) -> None:
    """Prometheus finds slots, workflows and activities of both queues of a worker, by name."""
    metrics = f"127.0.0.1:{free_port()}"
    worker_processes.start("all", BYOC_METRICS_ADDRESS=metrics, BYOC_ACTIVITY_SLOTS="7")
    await revoked(client)

    text = (await asyncio.to_thread(requests.get, f"http://{metrics}/metrics", timeout=10)).text
    series = {line.split(" ")[0]: float(line.split(" ")[1]) for line in text.splitlines() if not line.startswith("#")}
    slots = {
        kind: sum(value(series, f"temporal_worker_task_slots_{state}", kind, queue) for state in ("available", "used"))
        for kind, queue in (("ActivityWorker", queues.cloud_queue("aws")), ("WorkflowWorker", queues.LIFECYCLES))
    }
    assert slots == {"ActivityWorker": 7, "WorkflowWorker": 20}
    assert value(series, "temporal_workflow_completed", "Account", queues.LIFECYCLES) == 1
    assert value(series, "temporal_activity_execution_latency_count", "prove_revoked", queues.cloud_queue("aws")) == 1


async def test_every_log_line_is_json(client: Client, worker_processes: WorkerProcesses) -> None:
    """What the SDK's core has to say (a workflow that nobody knows) comes in the same form as what we say."""
    worker = worker_processes.start("lifecycles", BYOC_LOG_JSON="true")
    await client.start_workflow("Unheard", id="unheard", task_queue=queues.LIFECYCLES)
    await asyncio.to_thread(worker.until_said, "Failing workflow task")

    lines = [json.loads(line) for line in worker.said.splitlines()]
    assert {"event", "level", "timestamp"} <= set.intersection(*(set(line) for line in lines))
    assert lines[0]["event"] == "worker runs"


def value(series: dict[str, float], name: str, label: str, queue: str) -> float:
    """Return the value of the one series of a name that has a label of this value, of one queue."""
    (found,) = [
        number
        for key, number in series.items()
        if key.startswith(f"{name}{{") and f'"{label}"' in key and f'task_queue="{queue}"' in key
    ]
    return found


async def revoked(client: Client) -> None:
    """Run an account's whole life: its customer never applied our template, so that it is revoked as soon as asked."""
    account = await connected(client, BRISK)
    await account.execute_update(Account.revoke, AccountRequest(actor=ADA))
    assert (await account.result()).phase is AccountPhase.REVOKED


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
