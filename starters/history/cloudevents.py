"""Lines as CloudEvents 1.0 (structured mode, JSON), for whoever keeps them for longer than Temporal does."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from domain.audit import AuditEntry


def cloud_event(line: AuditEntry, namespace: str) -> dict[str, Any]:
    """Return one line as a CloudEvent. Source and id are the same in every export, so a receiver can deduplicate."""
    entity, name, *_ = line.workflow_id.split("/")
    return {
        "specversion": "1.0",
        "id": line.id,
        "source": f"/temporal/{namespace}/{entity}/{name}",
        "type": f"dev.byoc.{entity}.{line.kind}",
        "subject": line.operation or name,
        "time": line.known_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": line.model_dump(mode="json", by_alias=True),
    }
