"""Connecting to Temporal: by its own configuration profiles (`TEMPORAL_*`, temporal.toml), with our plugin.

Payloads are encrypted as `BYOC_ENCRYPTION*` says; without a key ring nothing connects, unless encryption is off.
"""

from __future__ import annotations

from typing import Any

from temporalio.client import Client
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin
from temporalio.envconfig import ClientConfig
from temporalio.plugin import SimplePlugin
from temporalio.runtime import Runtime

from workflows.temporal.plugin import plugin
from workflows.temporal.settings import EncryptionSettings, read_encryption


async def connect(
    *,
    profile: str | None = None,
    tracing: bool = False,
    runtime: Runtime | None = None,
    encryption: EncryptionSettings | None = None,
    **overrides: Any,  # noqa: ANN401 - as typed by the SDK
) -> Client:
    """Return a client for the profile (else the default one, else localhost:7233 and namespace `default`).

    Args:
        profile: Name of a profile in Temporal's own configuration file.
        tracing: Whether to make spans; the process must have set an OpenTelemetry tracer provider.
        runtime: The SDK's runtime, with its own logs and metrics.
        encryption: Whether and with which keys payloads are encrypted; without it, as the environment says.
        overrides: Arguments of `Client.connect` that win over the profile's.

    Raises:
        BadSettings: Payloads must be encrypted, and there is no key ring that can be used.
        RuntimeError: Nothing answers at the address.
    """
    ours = configured_plugin(encryption)
    options: dict[str, Any] = {**ClientConfig.load_client_connect_config(profile=profile), **overrides}
    options.setdefault("target_host", "localhost:7233")
    plugins: list[Any] = [ours]
    if tracing:
        plugins.insert(0, OpenTelemetryPlugin(add_temporal_spans=True))
    return await Client.connect(**options, plugins=plugins, runtime=runtime)


def configured_plugin(encryption: EncryptionSettings | None = None) -> SimplePlugin:
    """Return the plugin with the codec of `encryption`, else of the environment: what a replayer needs as well.

    Raises:
        BadSettings: Payloads must be encrypted, and there is no key ring that can be used.
    """
    return plugin((encryption or read_encryption()).codec())
