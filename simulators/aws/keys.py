"""KMS: what may not be done to a key that is being deleted."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import json
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import kms

_REFUSED_WHILE_PENDING = {
    "CreateAlias": "TargetKeyId",
    "UpdateAlias": "TargetKeyId",
    **dict.fromkeys(
        ("DisableKey", "DisableKeyRotation", "EnableKey", "EnableKeyRotation", "ScheduleKeyDeletion", "TagResource",
         "UntagResource", "UpdateKeyDescription"),
        "KeyId",
    ),
}  # fmt: skip
"""Where the key is named, keyed by operation. Source: "Key states of AWS KMS keys", column "Pending deletion"."""

_ministack = kms.handle_request


async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> object:
    """Answer one authorized request."""
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    if operation in _REFUSED_WHILE_PENDING:
        wanted = json.loads(body or b"{}").get(_REFUSED_WHILE_PENDING[operation], "")
        key = kms._resolve_key(wanted)
        if key is not None and key["KeyState"] == "PendingDeletion":
            return error_response_json("KMSInvalidStateException", f"{key['Arn']} is pending deletion.", 400)
    return await _ministack(method, path, headers, body, query)
