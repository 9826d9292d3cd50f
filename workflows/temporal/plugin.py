"""The one plugin that client, workers and replayer share: pydantic payloads, encryption, sandbox passthrough."""

from __future__ import annotations

from dataclasses import replace

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

PURE_MODULES = (
    "activities",
    "annotated_types",
    "catalog",
    "dateutil",
    "domain",
    "opentelemetry",
    "pydantic",
    "pydantic_core",
    "structlog",
    "workflows.api_keys",
    "workflows.approvals",
    "workflows.maintenance",
    "workflows.offers",
    "workflows.operation",
    "workflows.pending",
    "workflows.server_release",
    "workflows.step_runner",
    "workflows.steps",
    "workflows.temporal",
)
"""Modules that every workflow instance shares. They are pure or only hold constants and classes; modules that define a
workflow are never here. Not shared, they would cost 100 ms and 2.7 MiB for each workflow."""


def plugin(codec: PayloadCodec | None = None) -> SimplePlugin:
    """Return the plugin. Pass it to `Client.connect`; workers made from that client inherit it.

    With a codec, payloads are encoded by it, and so are messages and stack traces of failures. What a failure is (its
    type) and whether it is retried stays readable for Temporal.
    """
    return SimplePlugin("byoc", data_converter=data_converter(codec), workflow_runner=_share_pure_modules)


def data_converter(codec: PayloadCodec | None) -> DataConverter:
    """Return how values become payloads."""
    if codec is None:
        return pydantic_data_converter
    return replace(
        pydantic_data_converter,
        payload_codec=codec,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def workflow_runner() -> SandboxedWorkflowRunner:
    """Return the sandbox in which workflows run: restricted as by default, with the pure modules shared."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PURE_MODULES))


def _share_pure_modules(runner: WorkflowRunner | None) -> WorkflowRunner:
    return workflow_runner() if runner is None or isinstance(runner, SandboxedWorkflowRunner) else runner
