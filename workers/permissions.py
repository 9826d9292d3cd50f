"""The table for the customer's security review: every permission, and which step of which lifecycle needs it, and why.

The activities say what they need; the workflows' own code says in which lifecycle an activity runs. Neither is said
anywhere a second time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from types import CodeType, FunctionType

from activities.needs import Need, Permission
from domain.account import AccountAccess
from domain.clouds import Purpose
from domain.permission import PermissionLine, PermissionTable, PermissionUse, TemplateForm
from domain.text import table
from workflows import steps
from workflows.steps import Step, Undo

_PURPOSES = {
    Purpose.OBSERVE: "look, and change nothing",
    Purpose.OPERATE: "make and change deployments",
    Purpose.DELETE: "take deployments away",
}


@dataclass(frozen=True)
class Occurrence:
    """Where an activity runs."""

    step: str
    """The step's sentence; of one that runs for several things, without their names."""
    lifecycles: tuple[str, ...]


def occurrences(workflows: Iterable[type]) -> Mapping[str, Occurrence]:
    """Return where each activity runs, keyed by its name: which of the steps the workflows' methods name.

    What a lifecycle makes it also takes back, should it be aborted.
    """
    sentences: dict[str, str] = {}
    lifecycles: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for workflow in workflows:
        lifecycle = workflow.__name__.lower()
        for step in _steps_of(workflow):
            # The lifecycles that came first speak more plainly: "Take a backup" and not "before the upgrade".
            sentences.setdefault(step.name, " ".join(step.summary.replace("{about}", "").split()))
            lifecycles[step.name][lifecycle] = None
            for undo in step.undo if isinstance(step, Step) else ():
                sentences.setdefault(undo.name, undo.summary)
                lifecycles[undo.name][f"{lifecycle}, if aborted"] = None
    return {name: Occurrence(sentence, tuple(lifecycles[name])) for name, sentence in sentences.items()}


def table_of(
    permissions: Iterable[Permission],
    workflows: Iterable[type],
    access: AccountAccess,
    regions: Iterable[str],
    *,
    principal: str,
    protections: tuple[str, ...],
) -> PermissionTable:
    """Return the table of what a template grants to `principal`: every permission, with who needs it, where and why."""
    where = occurrences(workflows)
    return PermissionTable(
        access=access,
        regions=tuple(sorted(regions)),
        principal=principal,
        protections=protections,
        lines=tuple(
            PermissionLine(
                action=permission.action,
                purpose=permission.purpose,
                resources=permission.resources,
                conditions=permission.conditions,
                uses=tuple(_use(need, where) for need in permission.needs),
            )
            for permission in permissions
        ),
    )


def _use(need: Need, where: Mapping[str, Occurrence]) -> PermissionUse:
    found = where.get(need.activity, Occurrence("", ()))
    return PermissionUse(activity=need.activity, step=found.step, lifecycles=found.lifecycles, why=need.why)


def rendered(permissions: PermissionTable, form: TemplateForm, *, in_regions: str = "") -> str:
    """Return the table as Markdown, or as JSON for programs."""
    if form is TemplateForm.TABLE:
        return as_markdown(permissions, in_regions=in_regions)
    return permissions.model_dump_json(by_alias=True) + "\n"


def as_markdown(permissions: PermissionTable, *, in_regions: str = "") -> str:
    """Return the table as Markdown: what protects the customer, then each role, service by service.

    `in_regions` begins the condition that nearly every line of a cloud has, to name our regions; the text says it once.
    """
    access = permissions.access
    parts = [
        f"# What {access.customer} grants in {access.cloud} account {access.cloud_account_id}, and why",
        " ".join(permissions.protections),
        *([f"“Our regions” are {', '.join(permissions.regions)}."] if in_regions else []),
    ]
    for purpose, lines in groupby(permissions.lines, key=lambda line: line.purpose):
        parts.append(f"## {purpose.title()}: {_PURPOSES[purpose]}")
        for service, of_service in groupby(lines, key=lambda line: line.service):
            rows = [_row(line, in_regions) for line in of_service]
            parts.append(f"### {purpose.title()}, {service}\n\n{table(_HEAD, rows)}")
    return "\n\n".join(parts) + "\n"


_HEAD = ("Action", "Resource", "Condition", "Step (lifecycles): why")


def _row(line: PermissionLine, in_regions: str) -> tuple[str, str, str, str]:
    shortened = ["our regions" if in_regions and each.startswith(in_regions) else each for each in line.conditions]
    needed_by = "; ".join(f"{use.step} ({' · '.join(use.lifecycles)}): {use.why}" for use in line.uses)
    return line.action, ", ".join(line.resources), "; ".join(shortened) or "none", needed_by


def _steps_of(workflow: type) -> Iterator[Step[object, object] | Undo]:
    """Yield the steps that the methods of a workflow name, and those of the classes to which it leaves a part."""
    names = set(_names_of(workflow))
    for name, value in vars(steps).items():
        if name in names and isinstance(value, Step | Undo):
            yield value


def _names_of(of: type) -> Iterator[str]:
    """Yield the names that the methods of a class use, and those of the classes of this package that they use."""
    for member in vars(of).values():
        if not isinstance(member, FunctionType):
            continue
        for name in _names_in(member.__code__):
            yield name
            part = member.__globals__.get(name)
            if isinstance(part, type) and part is not of and part.__module__.startswith("workflows."):
                yield from _names_of(part)


def _names_in(code: CodeType) -> Iterator[str]:
    """Yield the names that a function's code uses, and those that the functions in it do."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
