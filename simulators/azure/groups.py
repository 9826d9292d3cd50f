"""Microsoft.Resources: subscriptions, resource groups, registered namespaces, and lists of everything in them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import partial

from simulators.azure.api import Reply, Request
from simulators.azure.cloud import Cloud
from simulators.azure.ids import group_scope
from simulators.azure.operations import Operations
from simulators.azure.records import Group, Record, merged
from simulators.azure.refusals import Json, Refusal, conflict, group_not_found, invalid
from simulators.azure.resource_manager import Route
from simulators.azure.resources import REGIONS, Resources

_SUBSCRIPTION = r"/subscriptions/(?P<subscription>[^/]+)"
_GROUP = rf"{_SUBSCRIPTION}/resourcegroups/(?P<group>[^/]+)"
_GROUP_SCOPE = "/subscriptions/{subscription}/resourceGroups/{group}"
_SUBSCRIPTION_SCOPE = "/subscriptions/{subscription}"
_GROUP_ACTION = "Microsoft.Resources/subscriptions/resourceGroups"
_TAG_FILTER = re.compile(r"tagName eq '([^']*)'(?: and tagValue eq '([^']*)')?", re.IGNORECASE)
_TYPE_FILTER = re.compile(r"resourceType eq '([^']*)'", re.IGNORECASE)
_GROUP_NAME = re.compile(r"[-\w.()]{0,89}[-\w()]")
_ROUNDS = 20
"""How often what remains of a group is looked through, because one thing keeps another."""


class Groups:
    """The resource groups of every subscription."""

    def __init__(self, cloud: Cloud, resources: Resources, operations: Operations) -> None:
        self._cloud = cloud
        self._resources = resources
        self._operations = operations

    def routes(self) -> Iterator[Route]:
        """Yield what is served."""
        name, action = "subscriptions/read", "Microsoft.Resources/subscriptions/read"
        yield Route("GET", r"/subscriptions", "resources", name, self._subscriptions)
        yield Route("GET", _SUBSCRIPTION, "resources", name, self._subscription, action, _SUBSCRIPTION_SCOPE)
        for method, deed, verb in (
            ("PUT", self._put, "write"),
            ("PATCH", self._patch, "write"),
            ("GET", self._get, "read"),
            ("HEAD", self._head, "read"),
            ("DELETE", self._delete, "delete"),
        ):
            operation = f"subscriptions/resourceGroups/{verb}"
            yield Route(method, _GROUP, "resources", operation, deed, f"{_GROUP_ACTION}/{verb}", _GROUP_SCOPE)
        name = "subscriptions/resourceGroups/read"
        path = rf"{_SUBSCRIPTION}/resourcegroups"
        yield Route("GET", path, "resources", name, self._list, f"{_GROUP_ACTION}/read", _SUBSCRIPTION_SCOPE)
        for path, scope, action in (
            (_SUBSCRIPTION, _SUBSCRIPTION_SCOPE, "Microsoft.Resources/subscriptions/resources/read"),
            (_GROUP, _GROUP_SCOPE, f"{_GROUP_ACTION}/resources/read"),
        ):
            yield Route("GET", f"{path}/resources", "resources", "resources/read", self._everything, action, scope)
        provider = rf"{_SUBSCRIPTION}/providers/(?P<namespace>[\w.]+)"
        read = "Microsoft.Resources/subscriptions/providers/read"
        yield Route("GET", provider, "resources", "providers/read", self._provider, read, _SUBSCRIPTION_SCOPE)
        for verb, deed in (("register", self._register), ("unregister", self._unregister)):
            action, name = f"{{namespace}}/{verb}/action", f"{verb}/action"
            yield Route("POST", f"{provider}/{verb}", "resources", name, deed, action, _SUBSCRIPTION_SCOPE)
        poll = rf"{_SUBSCRIPTION}(?:/providers/[\w.]+/locations/\w+)?/operation(?P<kind>s|results)/(?P<id>[-\w]+)"
        yield Route("GET", poll, "resources", "operations/read", self._poll)

    def _subscriptions(self, request: Request, _: re.Match[str]) -> Reply:
        assert request.principal is not None
        tenant = request.principal.tenant
        found = [entry for entry in self._cloud.identities.subscriptions.values() if entry.tenant == tenant]
        return Reply({"value": [_subscription(entry.id, entry.tenant) for entry in found]})

    def _subscription(self, request: Request, _: re.Match[str]) -> Reply:
        found = self._cloud.identities.subscriptions[request.subscription]
        return Reply(_subscription(found.id, found.tenant))

    def _put(self, request: Request, found: re.Match[str]) -> Reply:
        key = group_scope(request.subscription, found["group"]).lower()
        body = request.body
        location = str(body.get("location") or "").replace(" ", "").lower()
        current = self._cloud.records.groups.get(key)
        if not _GROUP_NAME.fullmatch(found["group"]):
            raise invalid("InvalidResourceGroup", f"The provided resource group name '{found['group']}' is not valid.")
        if location not in REGIONS:
            message = f"The provided location '{location}' is not available for resource group. List of available"
            raise invalid("LocationNotAvailableForResourceGroup", f"{message} regions is '{','.join(REGIONS)}'.")
        if current is not None and current.document["location"] != location:
            message = (
                f"Invalid resource group location '{location}'. The Resource group already exists in location"
                f" '{current.document['location']}'."
            )
            raise conflict("InvalidResourceGroupLocation", message)
        if current is not None and current.deleting:
            raise _being_deleted(found["group"])
        document = {
            "id": group_scope(request.subscription, current.document["name"] if current else found["group"]),
            "name": current.document["name"] if current else found["group"],
            "type": "Microsoft.Resources/resourceGroups",
            "location": location,
            "tags": body.get("tags") or {},
            "properties": {"provisioningState": "Succeeded"},
        }
        if body.get("managedBy"):
            document["managedBy"] = body["managedBy"]
        request.had_effect = current is None or current.document != document
        self._cloud.records.groups[key] = Group(str(document["id"]), document)
        return Reply(document, 201 if current is None else 200)

    def _patch(self, request: Request, found: re.Match[str]) -> Reply:
        group = self._existing(request, found)
        changed = merged(group.document, {"tags": request.body.get("tags") or {}})
        request.had_effect = changed != group.document
        group.document = changed
        return Reply(changed)

    def _get(self, request: Request, found: re.Match[str]) -> Reply:
        return Reply(self._existing(request, found).document)

    def _head(self, request: Request, found: re.Match[str]) -> Reply:
        key = group_scope(request.subscription, found["group"]).lower()
        return Reply(status=204 if key in self._cloud.records.groups else 404)

    def _list(self, request: Request, _: re.Match[str]) -> Reply:
        prefix = f"/subscriptions/{request.subscription}/"
        groups = [group.document for key, group in self._cloud.records.groups.items() if key.startswith(prefix)]
        return Reply({"value": [group for group in groups if _selected(group, request.query.get("$filter", ""))]})

    def _delete(self, request: Request, found: re.Match[str]) -> Reply:
        group = self._existing(request, found)
        if group.deleting:
            raise _being_deleted(found["group"])
        self._refuse_locked(group)
        group.deleting = True
        group.document["properties"]["provisioningState"] = "Deleting"
        seconds = self._cloud.durations.group_deletion

        def failed(_: Refusal) -> None:
            group.deleting = False
            group.document["properties"]["provisioningState"] = "Succeeded"

        operation = self._operations.start(
            request,
            f"/subscriptions/{request.subscription}",
            seconds,
            partial(self._empty, group),
            fail=failed,
            result=lambda: Reply(status=200),
        )
        return Reply(status=202, headers=self._operations.headers(request, operation, by_location=True))

    def _refuse_locked(self, group: Group) -> None:
        key = group.id.lower()
        for lock in self._cloud.records.of_type("Microsoft.Authorization/locks"):
            scope = lock.id.scope.lower()
            if scope.startswith(f"{key}/") or f"{key}/".startswith(f"{scope}/"):
                raise conflict(
                    "ScopeLocked",
                    f"The scope '{group.id}' cannot perform delete operation because following scope(s) are locked:"
                    f" '{lock.id.scope}'. Please remove the lock and try again.",
                )

    def _empty(self, group: Group) -> None:
        """Delete everything in a group, and then the group; what is used from outside keeps it."""
        refusals: list[Refusal] = []
        for _ in range(_ROUNDS):
            remaining = [record for record in self._cloud.records.below(group.id) if not record.kind.is_child]
            refusals = [refusal for record in remaining if (refusal := self._removed(record)) is not None]
            if not refusals:
                break
        if refusals:
            message = f"Deletion of resource group '{group.document['name']}' failed as resources with identifiers"
            blocked = refusals[0].error()
            text = f"{message} could not be deleted. {blocked['message']}"
            raise Refusal(409, "ResourceGroupDeletionBlocked", text, details=(blocked,))
        self._cloud.records.groups.pop(group.id.lower(), None)

    def _removed(self, record: Record) -> Refusal | None:
        if self._cloud.records.get(record.id.key) is None:
            return None
        try:
            self._resources.may_delete(record)
        except Refusal as refusal:
            return refusal
        self._resources.remove(record)
        return None

    def _everything(self, request: Request, _: re.Match[str]) -> Reply:
        wanted = request.query.get("$filter", "")
        scope = request.resource.rpartition("/")[0]
        group = scope.lower()
        if "/resourcegroups/" in group and group not in self._cloud.records.groups:
            raise group_not_found(scope.rpartition("/")[2])
        found = [record for record in self._cloud.records.below(scope) if record.kind.regional]
        shown = [{key: value for key, value in record.document.items() if key != "properties"} for record in found]
        return Reply({"value": [document for document in shown if _selected(document, wanted)]})

    def _provider(self, request: Request, found: re.Match[str]) -> Reply:
        return Reply(self._namespace(request.subscription, found["namespace"]))

    def _register(self, request: Request, found: re.Match[str]) -> Reply:
        subscription = self._cloud.identities.subscriptions[request.subscription]
        namespace = found["namespace"].lower()
        request.had_effect = namespace not in subscription.registered
        self._cloud.work.start(
            self._cloud.durations.registration, lambda: subscription.registered.add(namespace), fault=request.fault
        )
        document = self._namespace(request.subscription, found["namespace"])
        return Reply(document | ({"registrationState": "Registering"} if request.had_effect else {}))

    def _unregister(self, request: Request, found: re.Match[str]) -> Reply:
        self._cloud.identities.subscriptions[request.subscription].registered.discard(found["namespace"].lower())
        return Reply(self._namespace(request.subscription, found["namespace"]))

    def _namespace(self, subscription: str, namespace: str) -> Json:
        kinds = [kind for kind in self._resources.kinds.values() if kind.type.lower().startswith(namespace.lower())]
        registered = namespace.lower() in self._cloud.identities.subscriptions[subscription].registered
        return {
            "id": f"/subscriptions/{subscription}/providers/{namespace}",
            "namespace": namespace,
            "registrationState": "Registered" if registered else "NotRegistered",
            "registrationPolicy": "RegistrationRequired",
            "resourceTypes": [{"resourceType": kind.short_type, "locations": list(REGIONS)} for kind in kinds],
        }

    def _poll(self, request: Request, found: re.Match[str]) -> Reply:
        if found["kind"].lower() == "s":
            return self._operations.status(found["id"])
        return self._operations.result(found["id"], request)

    def _existing(self, request: Request, found: re.Match[str]) -> Group:
        group = self._cloud.records.groups.get(group_scope(request.subscription, found["group"]).lower())
        if group is None:
            raise group_not_found(found["group"])
        return group


def _subscription(subscription: str, tenant: str) -> Json:
    return {
        "id": f"/subscriptions/{subscription}",
        "subscriptionId": subscription,
        "tenantId": tenant,
        "displayName": f"Subscription {subscription[:8]}",
        "state": "Enabled",
    }


def _selected(document: Json, wanted: str) -> bool:
    """Return whether a document fits a filter of tag or type."""
    if (found := _TYPE_FILTER.search(wanted)) and document["type"].lower() != found[1].lower():
        return False
    if found := _TAG_FILTER.search(wanted):
        tags = {key.lower(): value for key, value in copy.copy(document.get("tags") or {}).items()}
        return found[1].lower() in tags and (found[2] is None or tags[found[1].lower()] == found[2])
    return True


def _being_deleted(group: str) -> Refusal:
    return conflict(
        "ResourceGroupBeingDeleted",
        f"The resource group '{group}' is in deprovisioning state and cannot perform this operation.",
    )
