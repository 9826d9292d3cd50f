"""The EC2 query protocol: flat parameters to the SDK's input shape, the SDK's output shape to XML.

Source: botocore's service model of EC2 and its serializer and parser for the protocol `ec2`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4
from xml.etree.ElementTree import Element, SubElement, tostring

from botocore.loaders import create_loader
from botocore.model import ListShape, OperationModel, ServiceModel, Shape, StructureShape

_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


def operation_model(operation: str) -> OperationModel | None:
    """Return botocore's model of an operation, or None if EC2 has none of that name."""
    models = _service()
    return models.operation_model(operation) if operation in models.operation_names else None


@functools.cache
def _service() -> ServiceModel:
    return ServiceModel(create_loader().load_service_model("ec2", "service-2"), "ec2")


def read_input(operation: OperationModel, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters as the SDK's caller gave them; unknown ones are left out."""
    shape = operation.input_shape
    value = _read(shape, "", parameters) if shape is not None else None
    return value if isinstance(value, dict) else {}


def _read(shape: Shape, prefix: str, parameters: Mapping[str, str]) -> object:
    """Return the value of `shape` whose parameters begin with `prefix`, or None if there are none."""
    if isinstance(shape, StructureShape):
        members = {}
        for name, member in shape.members.items():
            serialized = member.serialization.get("queryName") or _capitalized(member.serialization.get("name", name))
            value = _read(member, f"{prefix}.{serialized}" if prefix else serialized, parameters)
            if value is not None:
                members[name] = value
        return members or None
    if isinstance(shape, ListShape):
        items: list[object] = []
        while (item := _read(shape.member, f"{prefix}.{len(items) + 1}", parameters)) is not None:
            items.append(item)
        return items or None
    text = parameters.get(prefix)
    if text is None:
        return None
    match shape.type_name:
        case "boolean":
            return text.lower() == "true"
        case "integer" | "long":
            return int(text)
        case _:
            return text


def _capitalized(name: str) -> str:
    return name[:1].upper() + name[1:]


def write_output(operation: OperationModel, result: Mapping[str, Any]) -> bytes:
    """Return the XML reply that the SDK reads as `result`; members that the shape does not have are left out."""
    root = Element(f"{operation.name}Response", {"xmlns": _NAMESPACE})
    SubElement(root, "requestId").text = str(uuid4())
    if isinstance(operation.output_shape, StructureShape):
        _write_members(root, operation.output_shape, result)
    else:
        SubElement(root, "return").text = "true"
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _write_members(parent: Element, shape: StructureShape, value: Mapping[str, Any]) -> None:
    for name, member in shape.members.items():
        if value.get(name) is not None:
            _write(parent, member.serialization.get("name", name), member, value[name])


def _write(parent: Element, name: str, shape: Shape, value: object) -> None:
    element = SubElement(parent, name)
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        _write_members(element, shape, value)
    elif isinstance(shape, ListShape) and isinstance(value, list | tuple):
        for item in value:
            _write(element, "item", shape.member, item)
    elif isinstance(value, bool):
        element.text = "true" if value else "false"
    elif shape.type_name == "timestamp" and isinstance(value, int | float):
        element.text = datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    else:
        element.text = str(value)
