"""Launch templates, with everything that their callers put into them."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

from typing import Any

from ministack.services import ec2

from simulators.aws import authorization, fabric, scope
from simulators.aws.ec2.listing import Document, Guard, Listing, Operation, tags_given
from simulators.aws.identifiers import new_id
from simulators.aws.refusals import Refusal
from simulators.clock import Clock


class LaunchTemplates:
    """The operations on launch templates."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def operations(self) -> dict[str, Operation]:
        """Return the operations, keyed by name."""
        return {
            "CreateLaunchTemplate": self._create,
            "CreateLaunchTemplateVersion": self._create_version,
            "DescribeLaunchTemplates": _describe,
            "DescribeLaunchTemplateVersions": _describe_versions,
            "DeleteLaunchTemplate": _delete,
        }

    def guards(self) -> dict[str, Guard]:
        """Nothing is guarded here."""
        return {}

    def _create(self, parameters: Document) -> Document:
        """CreateLaunchTemplate."""
        name = parameters["LaunchTemplateName"]
        if any(record["LaunchTemplateName"] == name for record in ec2._launch_templates.values()):
            raise Refusal("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
        id_ = new_id("lt")
        record: dict[str, Any] = {
            "LaunchTemplateId": id_,
            "LaunchTemplateName": name,
            "CreateTime": self._clock.time(),
            "CreatedBy": _caller(),
            "DefaultVersionNumber": 1,
            "LatestVersionNumber": 1,
            "Versions": [],
        }
        record["Versions"].append(self._version(record, 1, parameters))
        ec2._launch_templates[id_] = record
        fabric.set_tags(id_, tags_given(parameters, "launch-template"))
        return {"LaunchTemplate": _TEMPLATES.complete(record)}

    def _create_version(self, parameters: Document) -> Document:
        """CreateLaunchTemplateVersion, from nothing or from an earlier version."""
        record = _template(parameters)
        number = record["LatestVersionNumber"] + 1
        version = self._version(record, number, parameters)
        if source := parameters.get("SourceVersion"):
            version["LaunchTemplateData"] = {
                **_numbered(record, source)["LaunchTemplateData"],
                **version["LaunchTemplateData"],
            }
        record["Versions"].append(version)
        record["LatestVersionNumber"] = number
        return {"LaunchTemplateVersion": version}

    def _version(self, record: dict[str, Any], number: int, parameters: Document) -> dict[str, Any]:
        return {
            "LaunchTemplateId": record["LaunchTemplateId"],
            "LaunchTemplateName": record["LaunchTemplateName"],
            "VersionNumber": number,
            "VersionDescription": parameters.get("VersionDescription"),
            "CreateTime": self._clock.time(),
            "CreatedBy": _caller(),
            "DefaultVersion": number == 1,
            "LaunchTemplateData": parameters.get("LaunchTemplateData") or {},
        }


def _describe(parameters: Document) -> Document:
    """DescribeLaunchTemplates, by id or by name."""
    names = parameters.get("LaunchTemplateNames") or []
    known = {record["LaunchTemplateName"]: record["LaunchTemplateId"] for record in ec2._launch_templates.values()}
    if unknown := [name for name in names if name not in known]:
        message = f"At least one of the launch templates specified in the request does not exist: {unknown[0]}"
        raise Refusal("InvalidLaunchTemplateName.NotFoundException", message)
    ids = [*(parameters.get("LaunchTemplateIds") or ()), *(known[name] for name in names)]
    return _TEMPLATES.describe({**parameters, "LaunchTemplateIds": ids})


def _describe_versions(parameters: Document) -> Document:
    """DescribeLaunchTemplateVersions."""
    record = _template(parameters)
    asked = parameters.get("Versions")
    versions = [_numbered(record, text) for text in asked] if asked else record["Versions"]
    return {"LaunchTemplateVersions": versions}


def _delete(parameters: Document) -> Document:
    """DeleteLaunchTemplate."""
    record = _template(parameters)
    described = _TEMPLATES.complete(record)
    ec2._launch_templates.pop(record["LaunchTemplateId"], None)
    ec2._tags.pop(record["LaunchTemplateId"], None)
    return {"LaunchTemplate": described}


def _template(parameters: Document) -> dict[str, Any]:
    id_, name = parameters.get("LaunchTemplateId"), parameters.get("LaunchTemplateName")
    for record in ec2._launch_templates.values():
        if record["LaunchTemplateId"] == id_ or record["LaunchTemplateName"] == name:
            found: dict[str, Any] = record
            return found
    kind = "Id" if id_ else "Name"
    message = f"The specified launch template, with template {kind.lower()} {id_ or name}, does not exist."
    raise Refusal(f"InvalidLaunchTemplate{kind}.NotFound" + ("Exception" if name else ""), message)


def _numbered(record: dict[str, Any], text: str) -> dict[str, Any]:
    number = {"$Latest": record["LatestVersionNumber"], "$Default": record["DefaultVersionNumber"]}.get(text)
    for version in record["Versions"]:
        if str(version["VersionNumber"]) == str(number or text):
            found: dict[str, Any] = version
            return found
    raise Refusal("InvalidLaunchTemplateId.VersionNotFound", f"Could not find launch template version {text}")


def _caller() -> str:
    request = authorization.current_request.get()
    return request.principal if request is not None else f"arn:aws:iam::{scope.current().account}:root"


_TEMPLATES = Listing(
    "LaunchTemplates", "LaunchTemplateId", "LaunchTemplateIds", "InvalidLaunchTemplateId.NotFound", "launch template",
    ec2._launch_templates.values,
    filters={"launch-template-name": "LaunchTemplateName", "create-time": "CreateTime"},
)  # fmt: skip
