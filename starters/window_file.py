"""The windows of a file: the window part of a specification, alone or in a deployment's manifest.

Durations may be written as people do: `PT4H`, `4h`, `90m`, `4h30m`, `04:00:00`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from domain.maintenance import MaintenancePolicy
from domain.problem import Problem
from domain.window_rules import uncomputable
from starters.documents import Document, DocumentsInvalid, read_documents
from starters.form import problems_of_form
from starters.manifest import ManifestInvalid

_FIELDS = ("windows", "exclusions")
_UNITS = re.compile(r"(?=.)(?:([0-9]+(?:\.[0-9]+)?)\s*h)?\s*(?:([0-9]+)\s*m(?:in)?)?", re.IGNORECASE)
_CLOCK = re.compile(r"([0-9]{1,3}):([0-5][0-9])(?::([0-5][0-9]))?")


@dataclass(frozen=True)
class WindowFile:
    """What a file says of windows, and where each problem of it belongs."""

    policy: MaintenancePolicy
    document: Document
    path: str
    """What precedes a field's name in the file: `spec.` in a manifest."""

    def placed(self, problem: Problem) -> Problem:
        """Return the problem with its line."""
        return problem.model_copy(update={"line": self.document.line_of(problem.path)})


def read_windows(text: str) -> WindowFile:
    """Return the windows of a file, YAML or JSON; instants can be computed from them.

    Raises:
        ManifestInvalid: With everything that keeps them from being computed.
    """
    try:
        documents = read_documents(text)
    except DocumentsInvalid as error:
        raise ManifestInvalid([error.problem]) from error
    document = next((each for each in documents if _has_windows(each)), None)
    if document is None:
        message = "the file has no windows"
        raise ManifestInvalid([Problem(path="", message=message, allowed="windows, exclusions; or kind: Deployment")])
    inside = isinstance(document.content.get("spec"), dict)
    path = "spec." if inside else ""
    source = document.content["spec"] if inside else document.content
    kept = {field: value for field, value in source.items() if field in _FIELDS or not inside}
    try:
        policy = MaintenancePolicy.model_validate_json(
            json.dumps(_as_models_have_it(kept, document, path)), strict=True, extra="forbid", by_name=False
        )
    except ValidationError as error:
        problems = [
            problem.model_copy(update={"path": f"{path}{problem.path}"})
            for problem in problems_of_form(error, MaintenancePolicy, _relative(document, path))
        ]
        raise ManifestInvalid(_placed(problems, document)) from error
    found = WindowFile(policy, document, path)
    if faults := [found.placed(problem) for problem in (*document.problems, *uncomputable(policy, path))]:
        raise ManifestInvalid(faults)
    return found


def _has_windows(document: Document) -> bool:
    content = document.content
    if not isinstance(content, dict):
        return False
    return content.get("kind") == "Deployment" or any(field in content for field in _FIELDS) or "spec" in content


def _as_models_have_it(content: dict[str, Any], document: Document, path: str) -> dict[str, Any]:
    """Return the content with durations in ISO 8601 and scopes in capitals, and with an id for each window."""
    changed = dict(content)
    if isinstance(content.get("windows"), list):
        changed["windows"] = [
            window_as_written(window, number, document.written.get(f"{path}windows[{number}].duration"))
            for number, window in enumerate(content["windows"])
        ]
    if isinstance(content.get("exclusions"), list):
        changed["exclusions"] = [exclusion_as_written(exclusion) for exclusion in content["exclusions"]]
    return changed


def window_as_written(
    window: Any,  # noqa: ANN401 - whatever the file has
    number: int,
    written: str | None = None,
) -> Any:  # noqa: ANN401 - as above
    """Return a window as its model has it: with an id, and its duration in ISO 8601."""
    if not isinstance(window, dict):
        return window
    filled = {"id": f"window-{number + 1}", **window}
    if "duration" in window:
        filled["duration"] = _iso(written if written is not None else window["duration"])
    return filled


def exclusion_as_written(exclusion: Any) -> Any:  # noqa: ANN401 - whatever the file has
    """Return an exclusion as its model has it: its scope in capitals."""
    if not isinstance(exclusion, dict) or not isinstance(exclusion.get("scope"), str):
        return exclusion
    return {**exclusion, "scope": exclusion["scope"].upper().replace("-", "_")}


def _iso(text: Any) -> Any:  # noqa: ANN401 - whatever the file has
    """Return a duration in ISO 8601, or what was given if it is none."""
    if not isinstance(text, str):
        return text
    if found := _CLOCK.fullmatch(text.strip()):
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return f"PT{hours * 3600 + minutes * 60 + seconds}S"
    if found := _UNITS.fullmatch(text.strip()):
        return f"PT{round(float(found[1] or 0) * 3600) + int(found[2] or 0) * 60}S"
    return text.strip().upper()


def _relative(document: Document, path: str) -> dict[str, str]:
    return {name.removeprefix(path): value for name, value in document.written.items()}


def _placed(problems: list[Problem], document: Document) -> list[Problem]:
    return [problem.model_copy(update={"line": document.line_of(problem.path)}) for problem in problems]
