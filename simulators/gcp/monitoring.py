"""Cloud Monitoring: alert policies and the channels that they notify."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping

from simulators.gcp.api import Check, Checks, Method, Request, Rpc, RpcService, needs, page_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.filters import filtered
from simulators.gcp.refusals import Json, failed_precondition, invalid, not_found

_PACKAGE = "google.monitoring.v3"
_KINDS: Mapping[str, str] = {"AlertPolicy": "alertPolicies", "NotificationChannel": "notificationChannels"}
_EMPTY = "google.protobuf.Empty"
_FILTER_FIELD = re.compile(r"\b(display_name|user_labels)\b")
_CAMEL = {"display_name": "displayName", "user_labels": "userLabels"}


class MonitoringService(RpcService):
    """Fulfils the alert policies and notification channels of `google.monitoring.v3`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._resources: dict[str, Json] = {}

    def rpcs(self) -> Iterator[Rpc]:
        """Return the methods."""
        for kind, collection in _KINDS.items():
            plural = collection[0].upper() + collection[1:]
            field = kind[0].lower() + kind[1:]
            for verb, deed, response, mutating, checks in (
                ("Create", self._create, f"{_PACKAGE}.{kind}", True, _needs(collection, "create")),
                ("Get", self._get, f"{_PACKAGE}.{kind}", False, _needs(collection, "get")),
                ("List", self._list, f"{_PACKAGE}.List{plural}Response", False, _needs(collection, "list")),
                ("Update", self._update, f"{_PACKAGE}.{kind}", True, _needs_of(field, collection)),
                ("Delete", self._delete, _EMPTY, True, _needs(collection, "delete")),
            ):
                name = f"{verb}{plural if verb == 'List' else kind}"
                method = Method("monitoring", name, deed, mutating, checks)
                interface = f"{_PACKAGE}.{kind}Service"
                yield Rpc(interface, name, f"{_PACKAGE}.{name}Request", response, method)

    def of(self, project: str) -> list[Json]:
        """Return everything that a project has."""
        prefix = f"projects/{project}/"
        return [document for name, document in sorted(self._resources.items()) if name.startswith(prefix)]

    def _existing(self, name: str) -> Json:
        found = self._resources.get(name)
        if found is None:
            raise not_found(f"Could not find resource {name}")
        return found

    def _create(self, request: Request) -> Json:
        kind = request.method.name.removeprefix("Create")
        wanted = dict(request.parameters.get(kind[0].lower() + kind[1:]) or {})
        name = f"projects/{request.project}/{_KINDS[kind]}/{secrets.randbelow(10**19)}"
        document: Json = {**wanted, "name": name}
        if kind == "AlertPolicy":
            self._check_policy(wanted)
            moment = {"mutateTime": self._cloud.now(), "mutatedBy": request.principal.partition(":")[2]}
            document |= {"creationRecord": moment, "mutationRecord": moment}
            document.setdefault("enabled", True)
            document["conditions"] = [
                {**condition, "name": f"{name}/conditions/{secrets.randbelow(10**19)}"}
                for condition in wanted["conditions"]
            ]
        elif not wanted.get("type"):
            raise invalid("Field notification_channel.type is required.")
        self._resources[name] = document
        return document

    def _check_policy(self, wanted: Json) -> None:
        if not wanted.get("displayName"):
            raise invalid("Field alert_policy.display_name is required.")
        if not wanted.get("conditions"):
            raise invalid("Field alert_policy.conditions must have at least one condition.")
        if wanted.get("combiner", "COMBINE_UNSPECIFIED") == "COMBINE_UNSPECIFIED":
            raise invalid("Field alert_policy.combiner is required.")
        for channel in wanted.get("notificationChannels") or ():
            self._existing(channel)

    def _get(self, request: Request) -> Json:
        return self._existing(request.parameters["name"])

    def _list(self, request: Request) -> Json:
        plural = request.method.name.removeprefix("List")
        collection = plural[0].lower() + plural[1:]
        text = _FILTER_FIELD.sub(lambda found: _CAMEL[found[1]], request.parameters.get("filter", ""))
        found = [document for document in self.of(request.project) if f"/{collection}/" in document["name"]]
        return page_of(filtered(found, text), collection, request.parameters)

    def _update(self, request: Request) -> Json:
        kind = request.method.name.removeprefix("Update")
        wanted = request.parameters.get(kind[0].lower() + kind[1:]) or {}
        document = self._existing(wanted.get("name", ""))
        fields = [field for field in request.parameters.get("updateMask", "").split(",") if field]
        changes = {field: wanted.get(field) for field in fields} if fields else dict(wanted)
        merged = {key: value for key, value in {**document, **changes}.items() if value is not None}
        if kind == "AlertPolicy":
            self._check_policy(merged)
        request.had_effect = merged != document
        document.clear()
        document.update(merged)
        return document

    def _delete(self, request: Request) -> Json:
        name = request.parameters["name"]
        self._existing(name)
        users = [
            entry["name"] for entry in self._resources.values() if name in (entry.get("notificationChannels") or ())
        ]
        if users and not request.parameters.get("force"):
            raise failed_precondition(f"{name} is used by {users[0]}.")
        del self._resources[name]
        return {}

    def forget(self) -> None:
        """Forget everything."""
        self._resources.clear()


def _needs(collection: str, verb: str) -> Checks:
    return needs(f"monitoring.{collection}.{verb}")


def _needs_of(field: str, collection: str) -> Checks:
    def checks(request: Request, /) -> Iterator[Check]:
        name = str((request.parameters.get(field) or {}).get("name", ""))
        yield Check(f"monitoring.{collection}.update", name)

    return checks
