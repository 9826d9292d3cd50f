"""Programs that a component's image runs to their end, in Jobs: taking a backup and restoring one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.kubernetes.applications.components import Component, component_in
from simulators.kubernetes.applications.documents import documents
from simulators.kubernetes.objects import Object, namespace_of

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster


@dataclass(frozen=True)
class Termination:
    """How a container ended."""

    exit_code: int
    message: str
    """What it wrote to its termination log; Kubernetes keeps the first 4096 bytes."""


class UsageError(Exception):
    """The command line lacks an option that the program needs, or has an argument that it does not know."""


class ProgramError(Exception):
    """The program could not do its work; the text is what it says about it."""


@dataclass(frozen=True)
class _Command:
    """One command line, in its pod."""

    cluster: Cluster
    pod: Object
    options: Mapping[str, str]
    """Keyed by name without dashes."""

    @property
    def namespace(self) -> str:
        return namespace_of(self.pod)

    @property
    def service_account(self) -> str:
        """The pod's identity, as in the subject of its tokens."""
        name = self.pod["spec"].get("serviceAccountName") or "default"
        return f"system:serviceaccount:{self.namespace}:{name}"

    def option(self, name: str) -> str:
        if not self.options.get(name):
            raise UsageError(f"option --{name} is required")
        return self.options[name]


def run(cluster: Cluster, pod: Object, container: Object) -> Termination:
    """Run the container's program to its end; other software than the server's does nothing and succeeds."""
    component = component_in(container)
    if component is None:
        return Termination(0, "")
    words = _words(container)
    name = words[0] if words else ""
    program = _PROGRAMS.get((component, name))
    if program is None:
        return Termination(2, f"{component} has no program {name!r}")
    try:
        outcome = program(_Command(cluster, pod, _options(words[1:])))
    except UsageError as error:
        return Termination(2, str(error))
    except ProgramError as error:
        return Termination(1, str(error)[:4096])
    return Termination(0, json.dumps(outcome))


def _back_up(command: _Command) -> dict[str, int | str]:
    """Write every document of the namespace's store to one object."""
    body = documents(command.cluster).dump(command.namespace)
    bucket, key = command.option("bucket"), command.option("key")
    error = command.cluster.provider.put_object(command.cluster.id, command.service_account, bucket, key, body)
    if error is not None:
        raise ProgramError(error)
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), "records": body.count(b"\n")}


def _restore(command: _Command) -> dict[str, int | str]:
    """Read a backup into the namespace's store, after comparing its checksum with `--sha256` if that is given."""
    bucket, key = command.option("bucket"), command.option("key")
    body = command.cluster.provider.get_object(command.cluster.id, command.service_account, bucket, key)
    if isinstance(body, str):
        raise ProgramError(body)
    checksum = hashlib.sha256(body).hexdigest()
    expected = command.options.get("sha256")
    if expected and expected != checksum:
        raise ProgramError(f"checksum mismatch: expected {expected}, found {checksum}")
    try:
        records = documents(command.cluster).load(command.namespace, body)
    except ValueError as error:
        raise ProgramError(f"s3://{bucket}/{key} is not a backup: {error}") from error
    return {"records": records, "sha256": checksum}


_PROGRAMS: Final[Mapping[tuple[Component, str], Callable[[_Command], dict[str, int | str]]]] = {
    (Component.STORE, "backup"): _back_up,
    (Component.STORE, "restore"): _restore,
}


def _words(container: Object) -> list[str]:
    """Return command and arguments with `$(NAME)` replaced by the container's variables, from the program's name on."""
    variables = {entry["name"]: entry.get("value", "") for entry in container.get("env") or ()}
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    expanded = [re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), word) for word in words]
    names = {name for _, name in _PROGRAMS}
    start = next((index for index, word in enumerate(expanded) if word in names), 0)
    return expanded[start:]


def _options(words: list[str]) -> dict[str, str]:
    """Return options given as `--name value` or `--name=value`, keyed by name."""
    options: dict[str, str] = {}
    remaining = iter(words)
    for word in remaining:
        if not word.startswith("--"):
            raise UsageError(f"unexpected argument {word!r}")
        name, separator, value = word[2:].partition("=")
        options[name] = value if separator else next(remaining, "")
    return options
