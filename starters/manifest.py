"""The door for files: deployments and accounts as YAML in Kubernetes' manner.

    apiVersion: byoc.dev/v1
    kind: Deployment
    metadata: {name: acme-prod}
    spec: {account: acme-aws, region: eu-central-1, endpoint: {domain: prod.db.acme.example}}

Whatever is wrong with a file is reported at once, each problem with its line, field, value and what is allowed. Form is
checked strictly here (`extra="forbid"`, no coercion); the same models tolerate more inside histories.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints, ValidationError

from domain.account import AccountSpec
from domain.catalogue import Catalogue
from domain.deployment import DeploymentSpec
from domain.model import DnsLabel, OrderedModel
from domain.order import check_account, check_order
from domain.problem import Problem, nearest
from starters.documents import Document, DocumentsInvalid, read_documents
from starters.form import problems_of_form

API_VERSION: Literal["byoc.dev/v1"] = "byoc.dev/v1"

_STAND_INS = {"account": "stand-in", "region": "", "endpoint": {"domain": "stand-in.example.com"}}
"""What required fields hold while the rules are asked about the others (`check_order`, `unknown`)."""

_KUBERNETES_MINOR = re.compile(r"[0-9]+\.[0-9]+")

LabelText = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$", max_length=63)]
"""Kubernetes' syntax of a label's value."""


class Metadata(OrderedModel):
    """What names a manifest."""

    name: DnsLabel
    labels: dict[str, LabelText] = Field(default_factory=dict)
    """Words of the customer's own by which deployments are found; keyed by name."""


class DeploymentManifest(OrderedModel):
    """A deployment as ordered in a file."""

    api_version: Literal["byoc.dev/v1"] = API_VERSION
    kind: Literal["Deployment"] = "Deployment"
    metadata: Metadata
    spec: DeploymentSpec


class AccountManifest(OrderedModel):
    """A customer's account as described in a file; its name is that of the metadata."""

    api_version: Literal["byoc.dev/v1"] = API_VERSION
    kind: Literal["Account"] = "Account"
    metadata: Metadata
    spec: AccountSpec


Manifest = DeploymentManifest | AccountManifest

KINDS: dict[str, type[Manifest]] = {
    "Account": AccountManifest,
    "Deployment": DeploymentManifest,
}


class ManifestInvalid(Exception):  # noqa: N818 - it names what is so, as style has it
    """A file cannot be accepted; `problems` has everything that is wrong with it, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True)
class _Read:
    """One document: the manifest if it has the right form, and everything that is wrong with it."""

    document: Document
    subject: str
    manifest: Manifest | None
    problems: tuple[Problem, ...]


def read_manifests(
    text: str, *, catalogue: Catalogue, accounts: Mapping[str, AccountSpec] | None = None
) -> tuple[Manifest, ...]:
    """Return the manifests of a file, valid and complete: newest release and default Kubernetes version filled in.

    Args:
        text: one or several YAML documents.
        catalogue: what is offered.
        accounts: the accounts that are known, keyed by name; those of the file itself are added. A deployment whose
            account is not among them is checked against the catalogue alone.

    Raises:
        ManifestInvalid: with every problem of every document.
    """
    try:
        documents = read_documents(text)
    except DocumentsInvalid as error:
        raise ManifestInvalid([error.problem]) from error
    if not documents:
        raise ManifestInvalid([Problem(path="", message="the file has no document", allowed=f"kind: {_kinds()}")])

    known = dict(accounts or {})
    accounts_first = sorted(documents, key=lambda document: _kind_of(document) != "Account")
    results = []
    for document in accounts_first:
        result = _read(document, catalogue, known)
        results.append(result)
        if isinstance(result.manifest, AccountManifest):
            known[result.manifest.spec.name] = result.manifest.spec

    several = len(documents) > 1
    problems = [_placed(problem, result, several=several) for result in results for problem in result.problems]
    problems += [_placed(problem, result, several=several) for result, problem in _given_twice(results)]
    if problems:
        raise ManifestInvalid(problems)
    results.sort(key=lambda result: result.document.line)
    return tuple(result.manifest for result in results if result.manifest)


def render(manifest: Manifest) -> str:
    """Return the manifest as YAML that `read_manifests` accepts and reads as the same manifest."""
    content = manifest.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(manifest, AccountManifest):
        del content["spec"]["name"]
    elif manifest.spec.network.existing:
        del content["spec"]["network"]["cidr"]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _read(document: Document, catalogue: Catalogue, accounts: Mapping[str, AccountSpec]) -> _Read:
    if problems := _envelope_problems(document):
        return _Read(document, "", None, (*document.problems, *problems))
    content = document.content
    kind = content["kind"]
    metadata = content.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    subject = f"{kind} {name}" if isinstance(name, str) else kind
    manifest: Manifest | None
    if kind == "Account":
        manifest, problems = _read_account(document, catalogue)
    else:
        manifest, problems = _read_deployment(document, catalogue, accounts)
    unread = tuple(problem.path for problem in document.problems)
    problems = [problem for problem in problems if not problem.path.startswith(unread)]
    return _Read(document, subject, manifest, (*document.problems, *problems))


def _envelope_problems(document: Document) -> list[Problem]:
    content = document.content
    if not isinstance(content, dict):
        return [Problem(path="", message="a document must be a mapping", allowed="apiVersion, kind, metadata, spec")]
    problems = []
    for field, options in (("apiVersion", [API_VERSION]), ("kind", list(KINDS))):
        given = content.get(field)
        if given in options:
            continue
        shown = document.written.get(field, "")
        message = f'"{shown}" is not known{nearest(shown, options)}' if field in content else "is required"
        problems.append(Problem(path=field, value=shown, message=message, allowed=", ".join(options)))
    return problems


def _read_account(document: Document, catalogue: Catalogue) -> tuple[AccountManifest | None, list[Problem]]:
    content, spec = document.content, document.content.get("spec")
    if isinstance(spec, dict):
        if "name" in spec:
            return None, [
                Problem(path="spec.name", message="the name is given in the metadata", allowed="metadata.name alone")
            ]
        metadata = content.get("metadata")
        content = {**content, "spec": {**spec, "name": metadata.get("name") if isinstance(metadata, dict) else None}}
    try:
        manifest = AccountManifest.model_validate_json(json.dumps(content), strict=True, extra="forbid", by_name=False)
    except ValidationError as error:
        problems = problems_of_form(error, AccountManifest, document.written)
        return None, [problem for problem in problems if problem.path != "spec.name"]
    return manifest, list(check_account(manifest.spec, catalogue))


def _read_deployment(
    document: Document, catalogue: Catalogue, accounts: Mapping[str, AccountSpec]
) -> tuple[DeploymentManifest | None, list[Problem]]:
    content, spec = document.content, document.content.get("spec")
    problems = []
    if isinstance(spec, dict):
        account = accounts.get(spec["account"]) if isinstance(spec.get("account"), str) else None
        content = {**content, "spec": _with_defaults(spec, catalogue, account)}
        problems += _network_given_twice(spec)
    try:
        manifest = DeploymentManifest.model_validate_json(
            json.dumps(content), strict=True, extra="forbid", by_name=False
        )
    except ValidationError as error:
        problems += problems_of_form(error, DeploymentManifest, document.written)
        wrong = {
            str(fault["loc"][1]) for fault in error.errors() if fault["loc"][0] == "spec" and len(fault["loc"]) > 1
        }
        if isinstance(spec, dict):
            problems += _problems_of_the_rest(content["spec"], wrong, catalogue, account)
        return None, problems
    return manifest, [*problems, *check_order(manifest.spec, catalogue, account, today=_today())]


def _with_defaults(spec: dict[str, Any], catalogue: Catalogue, account: AccountSpec | None) -> dict[str, Any]:
    """Return the specification with the newest release and the default Kubernetes version where it names none."""
    filled = dict(spec)
    region = spec.get("region")
    cloud = account.cloud if account else catalogue.cloud_of_region(region) if isinstance(region, str) else None
    if "release" not in filled:
        kubernetes = spec.get("kubernetes")
        asked = kubernetes if isinstance(kubernetes, str) and _KUBERNETES_MINOR.fullmatch(kubernetes) else ""
        release = catalogue.newest_release(asked) or catalogue.newest_release()
        filled["release"] = release.version if release else ""
    if "kubernetes" not in filled:
        release = catalogue.release(filled["release"]) if isinstance(filled["release"], str) else None
        clouds = [cloud] if cloud else list(catalogue.clouds)
        offered = (catalogue.default_kubernetes(cloud, release) for cloud in clouds)
        filled["kubernetes"] = next((version for version in offered if version), "")
    return filled


def _network_given_twice(spec: dict[str, Any]) -> list[Problem]:
    network = spec.get("network")
    if isinstance(network, dict) and "cidr" in network and network.get("existing") is not None:
        return [
            Problem(
                path="spec.network.cidr",
                value=str(network["cidr"]),
                message="a range is given beside an existing network, which has its own",
                allowed="either cidr or existing",
            )
        ]
    return []


def _problems_of_the_rest(
    spec: dict[str, Any], wrong: set[str], catalogue: Catalogue, account: AccountSpec | None
) -> tuple[Problem, ...]:
    """Return what the rules say about those fields that have the right form while others, `wrong`, have not."""
    aliases = {info.alias or name: name for name, info in DeploymentSpec.model_fields.items()}
    sound = {field: value for field, value in spec.items() if field in aliases and field not in wrong}
    stand_ins = {field: value for field, value in _STAND_INS.items() if field not in sound}
    whole = _with_defaults({**stand_ins, **sound}, catalogue, account)
    unknown = {aliases[field] for field in wrong | set(stand_ins) if field in aliases}
    rest = DeploymentSpec.model_validate_json(json.dumps(whole), strict=True, by_name=False)
    return check_order(rest, catalogue, account, unknown=frozenset(unknown), today=_today())


def _today() -> date:
    return datetime.now(UTC).date()


def _given_twice(results: Iterable[_Read]) -> list[tuple[_Read, Problem]]:
    first: dict[str, int] = {}
    twice = []
    for result in sorted(results, key=lambda result: result.document.line):
        line = first.setdefault(result.subject, result.document.line)
        if result.manifest and line != result.document.line:
            message = f"{result.subject} is described twice, first on line {line}"
            twice.append((result, Problem(path="metadata.name", message=message, allowed="each object once")))
    return twice


def _placed(problem: Problem, result: _Read, *, several: bool) -> Problem:
    """Return the problem with its line, and with the object's name where the file has several."""
    line = problem.line or result.document.line_of(problem.path)
    return problem.model_copy(update={"line": line, "subject": result.subject if several else ""})


def _kind_of(document: Document) -> object:
    return document.content.get("kind") if isinstance(document.content, dict) else None


def _kinds() -> str:
    return " or ".join(KINDS)
