"""The JSON Schemas of the files that customers write, generated from the models; editors complete and check with them.

`python -m starters.schema docs/schema` writes them again after a model changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from starters.manifest import API_VERSION, KINDS

_FILLED_IN = {"DeploymentSpec": ("release", "kubernetes"), "AccountSpec": ("name",)}
"""Fields that a model requires and a file need not give, because the door fills them in; keyed by model."""

_NOT_IN_FILES = {"AccountSpec": ("name",)}
"""Fields that a file must not give, because they come from elsewhere in it; keyed by model."""


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out the titles of fields, which would only repeat their names."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's signature
        """Return False for every field."""
        return False


def json_schemas() -> dict[str, str]:
    """Return the text of each schema, keyed by file name."""
    return {
        f"{kind.lower()}.json": json.dumps(_schema(kind), indent=2, ensure_ascii=False) + "\n" for kind in sorted(KINDS)
    }


def write(folder: Path) -> None:
    """Write the schemas into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in json_schemas().items():
        (folder / name).write_text(text, "utf-8")


def _schema(kind: str) -> dict[str, Any]:
    schema = KINDS[kind].model_json_schema(by_alias=True, schema_generator=_WithoutTitles)
    for name, definition in {kind: schema, **schema["$defs"]}.items():
        if "properties" in definition:
            _as_in_files(name, definition)
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://{API_VERSION}/{kind.lower()}.json",
        **schema,
    }


def _as_in_files(name: str, definition: dict[str, Any]) -> None:
    """Close the object, and let a file leave out what the door fills in."""
    definition["additionalProperties"] = False
    left_out = _FILLED_IN.get(name, ())
    if "required" in definition:
        definition["required"] = [field for field in definition["required"] if field not in left_out]
    for field in _NOT_IN_FILES.get(name, ()):
        del definition["properties"][field]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
