"""The catalogue as data: shapes, releases, and what each cloud offers. `load()` returns it validated.

Beside what can be ordered, `durations()` and `prices()` return what plans estimate from.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from domain.catalogue import Catalogue
from domain.clouds import Cloud
from domain.cost import Prices
from domain.durations import Durations
from domain.model import Model

Table = TypeVar("Table", bound=Model)

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where it was built in: it parses these files ten times faster."""


class CatalogueInvalid(Exception):  # noqa: N818 - it names what is so, as style has it
    """The catalogue's files contradict their models or each other; the message names file, field and value."""


@cache
def load() -> Catalogue:
    """Return the catalogue that comes with this version of the control plane; read and validated once.

    Raises:
        CatalogueInvalid: a file is malformed, or the files contradict each other.
    """
    return parse(
        {file.name: file.read_text("utf-8") for file in resources.files(__name__).iterdir() if _is_data(file.name)}
    )


def parse(files: dict[str, str]) -> Catalogue:
    """Return the catalogue that these files describe.

    Args:
        files: text, keyed by name: `shapes.yaml`, `releases.yaml`, and one for each cloud, `aws.yaml`.

    Raises:
        CatalogueInvalid: a file is missing or malformed, or the files contradict each other.
    """
    content = {
        "shapes": _mapping("shapes.yaml", files).get("shapes"),
        "releases": _mapping("releases.yaml", files).get("releases"),
        "clouds": {cloud.value: _mapping(f"{cloud}.yaml", files) for cloud in Cloud},
    }
    try:
        return Catalogue.model_validate(content, extra="forbid")
    except ValidationError as error:
        raise CatalogueInvalid("the catalogue is invalid:\n" + _described(error)) from error


@cache
def durations(file: Path | None = None) -> Durations:
    """Return how long steps take: the table of this version, or one that `byoc durations learn` has written.

    Raises:
        CatalogueInvalid: The file cannot be read, or is malformed.
    """
    return _table(Durations, "durations.yaml", file)


@cache
def prices() -> Prices:
    """Return the list prices that come with this version.

    Raises:
        CatalogueInvalid: The file is malformed.
    """
    return _table(Prices, "prices.yaml", None)


def _table(model: type[Table], name: str, file: Path | None) -> Table:
    source = file or resources.files(__name__) / name
    try:
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueInvalid(f"{source} cannot be read: {error}") from error
    try:
        return model.model_validate(_mapping(name, {name: text}), extra="forbid")
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise CatalogueInvalid(f"{source} is invalid:\n" + "\n".join(lines)) from error


def _mapping(name: str, files: dict[str, str]) -> dict[str, Any]:
    if name not in files:
        raise CatalogueInvalid(f"the catalogue has no file {name}")
    try:
        content = yaml.load(files[name], Loader=_LOADER)  # noqa: S506 - every one of the loaders is a safe one
    except yaml.YAMLError as error:
        raise CatalogueInvalid(f"{name} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise CatalogueInvalid(f"{name} is not a mapping")
    return content


def _described(error: ValidationError) -> str:
    """Return one line for each fault, `aws.yaml: regions.3.zones: Input should be a valid tuple (given: 'a')`."""
    lines = []
    for fault in error.errors():
        location = [str(part) for part in fault["loc"]]
        if location[:1] == ["clouds"] and len(location) > 1:
            where = f"{location[1]}.yaml: {'.'.join(location[2:])}: "
        else:
            where = f"{location[0]}.yaml: {'.'.join(location)}: " if location else ""
        given = "" if isinstance(fault["input"], dict) else f" (given: {fault['input']!r})"
        lines.append(f"  {where}{fault['msg']}{given}")
    return "\n".join(lines)


def _is_data(name: str) -> bool:
    return name.endswith(".yaml")
