"""Telemetry of a worker: what Temporal's SDK logs and measures, and spans of workflows and activities.

Spans are exported by OTLP to wherever OpenTelemetry's own environment says.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from temporalio.contrib.opentelemetry import create_tracer_provider
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)


def sdk_runtime(metrics_address: str | None) -> Runtime:
    """Return a runtime whose core logs as we do, and serves Prometheus metrics at `metrics_address` if there is one.

    By itself the core would write to standard output, in a form of its own.

    Raises:
        ValueError: Metrics cannot be served there.
    """
    logs = LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio"), prepend_target_on_message=False),
    )
    metrics = PrometheusConfig(bind_address=metrics_address) if metrics_address else None
    return Runtime(telemetry=TelemetryConfig(logging=logs, metrics=metrics))


@contextlib.contextmanager
def start_tracing(service: str = "byoc") -> Iterator[None]:
    """Make and export spans while the context lasts; what is buffered is sent at its end."""
    provider = create_tracer_provider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()
