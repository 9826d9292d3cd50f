"""What is wrong with the form of a file, in the file's own words: pydantic's errors as problems."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from domain.problem import Problem, nearest

_NAME_PATTERN = "^[a-z]([a-z0-9-]*[a-z0-9])?$"
_NAME_FORM = "lower-case letters, digits and hyphens, beginning with a letter and ending with a letter or digit"
_QUOTED = re.compile(r"'([^']*)'")
_SECRET_FIELDS = ("url",)
"""Fields whose malformed value is not repeated: it may contain credentials."""

_KIND_OF_VALUE = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "time_delta_type": "a duration in ISO 8601, such as PT72H",
    "time_delta_parsing": "a duration in ISO 8601, such as PT72H",
    **dict.fromkeys(
        ("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "timezone_naive"),
        "a local date and time without an offset, such as 2026-01-04T02:00",
    ),
    **dict.fromkeys(
        ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"),
        "a date, such as 2026-12-24",
    ),
}
"""What was expected, keyed by the type of pydantic's error."""


def problems_of_form(error: ValidationError, model: type[BaseModel], written: Mapping[str, str]) -> list[Problem]:
    """Return one problem for each error.

    Args:
        error: what pydantic found.
        model: the model that was validated; it knows which fields there are.
        written: each scalar as the file has it, keyed by path.
    """
    return [_problem(fault, model, written) for fault in error.errors(include_url=False)]


def path_of(location: tuple[int | str, ...]) -> str:
    """Return a location as a path, `spec.regions[0]`."""
    parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location if part != "[key]")
    return parts.removeprefix(".")


def _problem(fault: ErrorDetails, model: type[BaseModel], written: Mapping[str, str]) -> Problem:
    location = fault["loc"]
    path = path_of(location)
    is_field_name = fault["type"] == "extra_forbidden" or location[-1] == "[key]"
    given = (
        str(location[-1 if location[-1] != "[key]" else -2]) if is_field_name else _shown(path, fault["input"], written)
    )
    message, allowed = _described(fault, given, model)
    return Problem(path=path, value="" if fault["type"] == "missing" else given, message=message, allowed=allowed)


def _described(fault: ErrorDetails, given: str, model: type[BaseModel]) -> tuple[str, str]:
    """Return what is wrong, and what is allowed instead."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "missing":
        return "is required", _purpose(model, fault["loc"])
    if kind == "extra_forbidden":
        fields = _fields(model, fault["loc"][:-1])
        return f'there is no field "{given}"{nearest(given, fields)}', ", ".join(fields)
    if kind in ("enum", "literal_error"):
        options = _QUOTED.findall(context["expected"])
        return f'"{given}" is not known{nearest(given, options)}', ", ".join(options)
    if kind in _KIND_OF_VALUE:
        return _wrong_kind(fault["input"], given, _KIND_OF_VALUE[kind])
    if fault["loc"][-1] == "cidr":
        return f'"{given}" is not a network range', _range_like(given)
    return _out_of_bounds(fault, given)


def _out_of_bounds(fault: ErrorDetails, given: str) -> tuple[str, str]:
    context = fault.get("ctx", {})
    match fault["type"]:
        case "string_pattern_mismatch":
            allowed = _NAME_FORM if context["pattern"] == _NAME_PATTERN else context["pattern"]
            return f'"{given}" has characters that are not allowed there', allowed
        case "string_too_short":
            return f'"{given}" is too short', f"at least {context['min_length']} characters"
        case "string_too_long":
            return f'"{given}" is too long', f"at most {context['max_length']} characters"
        case "greater_than_equal":
            return f"{given} is too small", f"at least {context['ge']}"
        case "less_than_equal":
            return f"{given} is too large", f"at most {context['le']}"
        case _:
            return f'"{given}" is not valid', fault["msg"].removeprefix("Value error, ")


def _wrong_kind(value: object, given: str, expected: str) -> tuple[str, str]:
    if value is None:
        return "is empty", expected
    if expected == "text" and isinstance(value, bool | int | float):
        return (
            f"{given} is a {'truth value' if isinstance(value, bool) else 'number'} in YAML",
            f'text in quotes: "{given}"',
        )
    return f'"{given}" is not {expected}', expected


def _range_like(given: str) -> str:
    """Return the range that was probably meant: `10.0.0.0/16` for `10.0.0.1/16`."""
    try:
        return str(IPv4Network(given, strict=False))
    except ValueError:
        return "a range such as 10.64.0.0/16"


def _shown(path: str, value: object, written: Mapping[str, str]) -> str:
    if path.endswith(_SECRET_FIELDS):
        return "***"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return written.get(path, "" if value is None else str(value))


def _purpose(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Return the first sentence of a field's description."""
    inner = _model_at(model, location[:-1])
    for name, info in inner.model_fields.items() if inner else ():
        if (info.alias or name) == location[-1] and info.description:
            return info.description.split(". ")[0].rstrip(".")
    return ""


def _fields(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    inner = _model_at(model, location)
    return [info.alias or name for name, info in inner.model_fields.items()] if inner else []


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the model that describes the value at a location; keys of mappings and numbers of lists stay in theirs."""
    current: type[BaseModel] | None = model
    for part in location:
        fields = {info.alias or name: info for name, info in current.model_fields.items()} if current else {}
        if part in fields:
            current = _model_in(fields[str(part)].annotation)
    return current


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - annotations have no common type
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_in(argument))), None)
