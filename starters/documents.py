"""YAML as a door reads it: every value with its line and as it was written.

Refused, because each one surprises somebody: duplicate keys (the last would win), aliases and merge keys (a few lines
may stand for gigabytes), tags, keys that are not text, and nesting or size beyond what an order can need.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from domain.problem import Problem

LONGEST_TEXT = 256 * 1024
"""Characters of one file."""
DEEPEST_NESTING = 20

_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null"))


class DocumentsInvalid(Exception):  # noqa: N818 - it names what is so, as style has it
    """The text cannot be read as YAML; `problem` says where."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's where it was built in
    """A safe loader to which a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TAG + "timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Document:
    """One document of a file."""

    content: Any
    """Dictionaries, lists, strings, numbers, booleans and None, as in JSON."""
    line: int
    """Where it begins, from 1."""
    lines: dict[str, int] = field(default_factory=dict)
    """Line of each value, keyed by path (`spec.regions[0]`)."""
    written: dict[str, str] = field(default_factory=dict)
    """Each scalar as it was written, keyed by path: `1.30` where the content says 1.3."""
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with its form though it could be read."""

    def line_of(self, path: str) -> int:
        """Return the line of a value, or for what is not there that of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, self.line)


def read_documents(text: str) -> tuple[Document, ...]:
    """Return the documents of a file that are not empty, in order.

    Raises:
        DocumentsInvalid: the text is not YAML, or uses what is refused as a whole.
    """
    if len(text) > LONGEST_TEXT:
        raise DocumentsInvalid(
            Problem(path="", message=f"the file has {len(text)} characters", allowed=f"at most {LONGEST_TEXT}")
        )
    try:
        _refuse_aliases_and_depth(text)
        nodes = list(yaml.compose_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or " ".join(str(error).split())
        line = mark.line + 1 if mark else None
        raise DocumentsInvalid(Problem(path="", message=f"this is not YAML: {what}", line=line)) from error
    documents = [_document(node) for node in nodes if node is not None]
    return tuple(document for document in documents if document.content is not None)


def _refuse_aliases_and_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.AliasEvent):
            raise DocumentsInvalid(
                Problem(path="", line=line, message=f"alias *{event.anchor} is not allowed", allowed="the value itself")
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST_NESTING:
            raise DocumentsInvalid(
                Problem(path="", line=line, message="nested too deeply", allowed=f"{DEEPEST_NESTING} levels")
            )


def _document(root: Node) -> Document:
    document = Document(content=None, line=root.start_mark.line + 1)
    content = _value(root, "", document)
    return Document(content, document.line, document.lines, document.written, document.problems)


def _value(node: Node, path: str, document: Document) -> Any:  # noqa: ANN401 - it is whatever the file says
    document.lines.setdefault(path, node.start_mark.line + 1)
    match node:
        case MappingNode() if node.tag == _TAG + "map":
            return _mapping(node, path, document)
        case SequenceNode() if node.tag == _TAG + "seq":
            return [_value(item, f"{path}[{number}]", document) for number, item in enumerate(node.value)]
        case ScalarNode() if node.tag in _SCALARS:
            return _scalar(node, path, document)
    _report(document, path, node, f"tag {node.tag.removeprefix(_TAG)} is not allowed", "plain values")
    return None


def _mapping(node: MappingNode, path: str, document: Document) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        if not isinstance(key_node, ScalarNode) or key_node.tag != _TAG + "str":
            shown = key if isinstance(key_node, ScalarNode) else "of several parts"
            _report(document, path, key_node, f"key {shown} is not text", "a field's name")
            continue
        inner = f"{path}.{key}" if path else key
        if key in content:
            first = document.lines[inner]
            _report(document, inner, key_node, f'"{key}" is given twice, first on line {first}', "each field once")
            continue
        document.lines[inner] = key_node.start_mark.line + 1
        content[key] = _value(value_node, inner, document)
    return content


def _scalar(node: ScalarNode, path: str, document: Document) -> Any:  # noqa: ANN401 - it is whatever the file says
    document.written[path] = node.value
    try:
        return SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError):
        _report(
            document,
            path,
            node,
            f'"{node.value[:40]}" cannot be read as {node.tag.removeprefix(_TAG)}',
            "text in quotes",
        )
        return None


def _report(document: Document, path: str, node: Node, message: str, allowed: str) -> None:
    line = node.start_mark.line + 1
    value = node.value if isinstance(node, ScalarNode) else ""
    document.problems.append(Problem(path=path, value=value, line=line, message=message, allowed=allowed))
