"""Programs that a component's image runs to their end, in Jobs: backups, restores, migrations and a first try."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.kubernetes.applications.components import (
    Component,
    component_in,
    component_of,
    container_of,
    epoch_in,
    epoch_of,
    pods_of,
)
from simulators.kubernetes.applications.documents import documents
from simulators.kubernetes.applications.schema import Schema
from simulators.kubernetes.objects import Object, name_of, namespace_of

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster


@dataclass(frozen=True)
class Termination:
    """How a container ended."""

    exit_code: int
    message: str
    """What it wrote to its termination log; Kubernetes keeps the first 4096 bytes."""
    reason: str = ""
    """`Completed` or `Error` by the exit code, if empty."""


class UsageError(Exception):
    """The command line lacks an option that the program needs, or has an argument that it does not know."""


class ProgramError(Exception):
    """The program could not do its work; the text is what it says about it."""


@dataclass(frozen=True)
class _Command:
    """One command line, in its pod."""

    cluster: Cluster
    pod: Object
    arguments: tuple[str, ...]
    """What is no option, in order."""
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
        outcome = program(_command(cluster, pod, words))
    except UsageError as error:
        return Termination(2, str(error))
    except ProgramError as error:
        return Termination(1, str(error)[:4096])
    return Termination(0, json.dumps(outcome))


def refusal_to_start(cluster: Cluster, pod: Object) -> Termination | None:
    """Return how the pod of a store ends that cannot work with the schema on its volumes; None for any that can.

    The first store that starts on empty volumes makes the schema of its own epoch.
    """
    container = container_of(pod, Component.STORE) if component_of(pod) is Component.STORE else None
    epoch = epoch_in(container or {})
    if epoch is None:
        return None
    kept = documents(cluster)
    schema = kept.schema(namespace_of(pod))
    if schema is None:
        kept.set_schema(namespace_of(pod), Schema(active=epoch, expanded=epoch, oldest=epoch))
        return None
    complaint = schema.complaint(epoch)
    return Termination(1, complaint) if complaint else None


def _migrate(command: _Command) -> dict[str, int | str]:
    """Do one phase of a migration to `--epoch`: what is done already is left as it is.

    `activate` is refused while a component runs that cannot read the epoch.
    """
    if len(command.arguments) != 1 or not command.option("epoch").isdecimal():
        raise UsageError("migrate takes one of expand, activate, contract, and --epoch NUMBER")
    (phase,), epoch = command.arguments, int(command.option("epoch"))
    kept = documents(command.cluster)
    before = kept.schema(command.namespace) or Schema(active=epoch - 1, expanded=epoch - 1, oldest=epoch - 1)
    if phase == "activate" and epoch > before.active:
        for pod in (pod for component in Component for pod in pods_of(command.cluster, command.namespace, component)):
            found = epoch_of(pod)
            if found is not None and found < epoch:
                raise ProgramError(f"pod {name_of(pod)} reads schema epochs up to {found}, not {epoch}")
    try:
        after = before.moved(phase, epoch)
    except ValueError as error:
        raise ProgramError(str(error)) from error
    kept.set_schema(command.namespace, after)
    return {"phase": phase, "epoch": epoch, "active": after.active}


def _try_machine(command: _Command) -> dict[str, int | str]:
    """See whether the machine can run the server at all."""
    return {"node": str(command.pod["spec"].get("nodeName", ""))}


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
    (Component.STORE, "migrate"): _migrate,
    (Component.STORE, "try-machine"): _try_machine,
}


def _words(container: Object) -> list[str]:
    """Return command and arguments with `$(NAME)` replaced by the container's variables, from the program's name on."""
    variables = {entry["name"]: entry.get("value", "") for entry in container.get("env") or ()}
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    expanded = [re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), word) for word in words]
    names = {name for _, name in _PROGRAMS}
    start = next((index for index, word in enumerate(expanded) if word in names), 0)
    return expanded[start:]


def _command(cluster: Cluster, pod: Object, words: list[str]) -> _Command:
    """Return the command line; options are given as `--name value` or `--name=value`."""
    options: dict[str, str] = {}
    arguments: list[str] = []
    remaining = iter(words[1:])
    for word in remaining:
        if not word.startswith("--"):
            arguments.append(word)
            continue
        name, separator, value = word[2:].partition("=")
        options[name] = value if separator else next(remaining, "")
    if arguments and words[0] != "migrate":
        raise UsageError(f"unexpected argument {arguments[0]!r}")
    return _Command(cluster, pod, tuple(arguments), options)
