"""What Resource Manager does with resources of every kind: put, read, change, delete and list them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial

from simulators.azure.api import Check, Reply, Request
from simulators.azure.cloud import Cloud
from simulators.azure.ids import ResourceId, group_of, group_scope, parsed, references, subscription_of
from simulators.azure.kinds import LINKED, Kind
from simulators.azure.operations import Operations
from simulators.azure.records import Record, merged
from simulators.azure.refusals import Json, Refusal, conflict, group_not_found, invalid, not_found

REGIONS = ("westeurope", "northeurope", "germanywestcentral", "eastus", "eastus2", "uksouth", "swedencentral")
"""Where resources can be."""


class Resources:
    """The resources of every kind."""

    def __init__(self, cloud: Cloud, operations: Operations) -> None:
        self.cloud = cloud
        self.operations = operations
        self.kinds: dict[str, Kind] = {}
        """Keyed by type in lower case."""

    def register(self, *kinds: Kind) -> None:
        """Let resources of these kinds be made."""
        self.kinds |= {kind.type.lower(): kind for kind in kinds}

    def kind_of(self, resource: ResourceId) -> Kind | None:
        """Return the kind of a resource or collection, or None for one that is not simulated."""
        return self.kinds.get(resource.type.lower())

    def put(self, request: Request, resource: ResourceId, kind: Kind) -> Reply:
        """Make a resource, or bring it in line with the request."""
        return self._write(request, resource, kind, request.body, kind.attributes(request, None))

    def patch(self, request: Request, resource: ResourceId, kind: Kind) -> Reply:
        """Change some of a resource."""
        self._authorize(request, resource, kind, "write")
        record = self._existing(resource)
        wanted = merged(kind.shown(self.cloud, record), request.body)
        if "tags" in request.body:
            # Tags are replaced as a whole.
            wanted["tags"] = request.body["tags"]
        reply = self._write(request, resource, kind, wanted, {})
        return Reply(reply.body, 200 if reply.status == 201 else reply.status, reply.headers)

    def get(self, request: Request, resource: ResourceId, kind: Kind) -> Reply:
        """Return a resource."""
        self._authorize(request, resource, kind, "read")
        found = self.cloud.records.get(resource.key)
        if found is None and (default := kind.default(self.cloud, resource)) is not None:
            return Reply(default)
        return self.shown(found or self._existing(resource))

    def list(self, request: Request, collection: ResourceId, kind: Kind) -> Reply:
        """Return the resources of a kind below a scope."""
        scope = collection.parent.text if collection.parent is not None else collection.scope
        self.cloud.require(request, Check(f"{kind.type}/read", scope))
        if collection.parent is not None:
            self._existing(collection.parent)
        elif group_of(scope) and group_scope_key(scope) not in self.cloud.records.groups:
            raise group_not_found(group_of(scope))
        found = self.cloud.records.of_type(kind.type, scope)
        return Reply({"value": [self.shown(record).body for record in found]})

    def delete(self, request: Request, resource: ResourceId, kind: Kind) -> Reply:
        """Begin to delete a resource; one that is not there is no error."""
        record = self.cloud.records.get(resource.key)
        check = Check(f"{kind.type}/delete", resource.text, attributes=kind.attributes(request, record))
        self.cloud.require(request, check)
        self._unlocked(resource.text, "delete")
        if record is None:
            request.had_effect = False
            return Reply(status=204)
        self._matches(request, record)
        self.may_delete(record)
        if not kind.takes("delete"):
            body = self.shown(record).body if not kind.has_state else None
            self.remove(record)
            return Reply(body, 200)
        record.enter("Deleting")
        operation = self.operations.start(
            request,
            self._operation_path(record),
            float(getattr(self.cloud.durations, kind.takes("delete"))),
            lambda: self.remove(record),
            fail=partial(kind.failed, self.cloud, record),
            result=lambda: Reply(status=204),
        )
        headers = self.operations.headers(request, operation)
        return Reply(status=202, headers=headers)

    def shown(self, record: Record) -> Reply:
        """Return a resource as it is read."""
        document = copy.deepcopy(record.kind.shown(self.cloud, record))
        headers: Mapping[str, str] = {}
        if record.kind.tag:
            quoted = record.etag if record.kind.tag == "eTag" else f'W/"{record.etag}"'
            document[record.kind.tag] = quoted
            headers = {"ETag": quoted}
        return Reply(document, headers=headers)

    def may_delete(self, record: Record) -> None:
        """Refuse to delete what is changing or in use."""
        self._idle(record)
        record.kind.may_delete(self.cloud, record)
        user = next(self.cloud.records.users_of(record), None) if record.kind.in_use else None
        if user is not None:
            raise Refusal(
                record.kind.in_use_status,
                record.kind.in_use,
                f"{record.kind.short_type.rpartition('/')[2]} {record.id.text} is in use by {user.id.text} and cannot"
                " be deleted.",
            )

    def remove(self, record: Record) -> None:
        """Let a resource and its children be gone at once."""
        for child in self.cloud.records.below(record.id.text):
            child.kind.removed(self.cloud, child)
        self.cloud.records.remove(record)
        record.kind.removed(self.cloud, record)

    def _write(
        self, request: Request, resource: ResourceId, kind: Kind, wanted: Json, attributes: Mapping[str, str]
    ) -> Reply:
        check = Check(f"{kind.type}/write", resource.text, attributes=attributes)
        self.cloud.require(request, check)
        self._registered(request, resource)
        group = group_of(resource.scope)
        if group and group_scope_key(resource.scope) not in self.cloud.records.groups:
            raise group_not_found(group)
        if group and self.cloud.records.groups[group_scope_key(resource.scope)].deleting:
            raise conflict(
                "ResourceGroupBeingDeleted",
                f"The resource group '{group}' is in deprovisioning state and cannot perform this operation.",
            )
        self._unlocked(resource.text, "write")
        record = self.cloud.records.get(resource.key)
        self._parent(resource, kind)
        self._matches(request, record)
        if record is not None:
            self._idle(record)
        # What the caller sends is what is looked at: a change of tags needs nothing on what the resource links to.
        self._links(request, kind, request.body, resource)
        for further in kind.checks(request, self.cloud, resource):
            self.cloud.require(request, further)
        return self._stored(request, resource, kind, wanted, record)

    def _stored(
        self, request: Request, resource: ResourceId, kind: Kind, wanted: Json, current: Record | None
    ) -> Reply:
        before = copy.deepcopy(current.document) if current is not None else None
        document = copy.deepcopy(wanted)
        for shown in ("etag", "eTag", "systemData"):
            document.pop(shown, None)
        document |= {"id": resource.text, "name": resource.name, "type": kind.type}
        document.setdefault("properties", {})
        if kind.regional:
            self._place(document, before, kind)
        record = Record(resource, kind, document)
        if before is not None:
            record.id = current.id if current is not None else resource
            document["id"], document["name"] = before["id"], before["name"]
        kind.prepare(self.cloud, request, record, before)
        if kind.has_state and before is not None:
            document["properties"]["provisioningState"] = before["properties"].get("provisioningState")
        request.had_effect = document != before
        if current is not None:
            current.document = document
            record = current
            if request.had_effect:
                record.touched()
        else:
            self.cloud.records.add(record)
        status = kind.created if before is None else kind.changed
        duration = kind.takes("create" if before is None else "update")
        if not duration:
            if kind.has_state:
                record.properties["provisioningState"] = "Succeeded"
            kind.finish(self.cloud, record)
            return self._answer(record, status)
        record.enter(kind.passing(record, before))
        return self._begun(request, record, status, kind.lasts(self.cloud, record, before))

    def _begun(self, request: Request, record: Record, status: int, seconds: float) -> Reply:
        """Return the answer to a change that takes its time."""

        def finish() -> None:
            record.kind.finish(self.cloud, record)
            record.settle()

        operation = self.operations.start(
            request,
            self._operation_path(record),
            seconds,
            finish,
            fail=partial(record.kind.failed, self.cloud, record),
            result=lambda: self.shown(record),
            about=record.id.key,
        )
        headers = self.operations.headers(request, operation)
        reply = self._answer(record, status)
        return Reply(reply.body, status, {**reply.headers, **headers})

    def _answer(self, record: Record, status: int) -> Reply:
        reply = self.shown(record)
        return Reply(reply.body, status, reply.headers)

    def _authorize(self, request: Request, resource: ResourceId, kind: Kind, verb: str) -> None:
        self.cloud.require(request, Check(f"{kind.type}/{verb}", resource.text))

    def _existing(self, resource: ResourceId) -> Record:
        record = self.cloud.records.get(resource.key)
        if record is not None:
            return record
        group = group_of(resource.scope)
        if group and group_scope_key(resource.scope) not in self.cloud.records.groups:
            raise group_not_found(group)
        raise not_found(f"{resource.type}/{resource.names}", group)

    def _registered(self, request: Request, resource: ResourceId) -> None:
        subscription = self.cloud.identities.subscriptions[request.subscription]
        if resource.namespace.lower() not in subscription.registered:
            message = (
                f"The subscription is not registered to use namespace '{resource.namespace}'. See"
                " https://aka.ms/rps-not-found for how to register subscriptions."
            )
            details = ({"code": "MissingSubscriptionRegistration", "target": resource.namespace, "message": message},)
            raise Refusal(409, "MissingSubscriptionRegistration", message, details=details)

    def _parent(self, resource: ResourceId, kind: Kind) -> None:
        parent = resource.parent if kind.is_child else None
        if parent is None:
            return
        found = self.cloud.records.get(parent.key)
        if found is not None:
            self._idle(found)
            return
        parent_kind = self.kind_of(parent)
        if parent_kind is None or parent_kind.default(self.cloud, parent) is None:
            raise Refusal(
                404,
                "ParentResourceNotFound",
                f"Failed to perform 'write' on resource(s) of type '{kind.short_type}', because the parent resource"
                f" '{parent.text}' could not be found.",
            )

    @staticmethod
    def _matches(request: Request, record: Record | None) -> None:
        """Refuse a call whose condition on the entity tag does not hold."""
        wanted = request.headers.get("if-match", "*")
        if wanted != "*" and (record is None or wanted.removeprefix("W/").strip('"') != record.etag):
            raise Refusal(412, "PreconditionFailed", f"The condition 'If-Match: {wanted}' does not hold.")
        if request.headers.get("if-none-match") == "*" and record is not None:
            raise Refusal(412, "PreconditionFailed", "The resource exists, and 'If-None-Match: *' was asked for.")

    def _idle(self, record: Record) -> None:
        record.kind.require_idle(self.cloud, record)

    def _unlocked(self, scope: str, verb: str) -> None:
        for lock in self.cloud.records.of_type("Microsoft.Authorization/locks"):
            locked = lock.id.scope
            if lock.id.key == scope.lower() or not f"{scope.lower()}/".startswith(f"{locked.lower()}/"):
                continue
            if verb == "delete" or lock.properties["level"] == "ReadOnly":
                raise conflict(
                    "ScopeLocked",
                    f"The scope '{scope}' cannot perform {verb} operation because following scope(s) are locked:"
                    f" '{locked}'. Please remove the lock and try again.",
                )

    def _links(self, request: Request, kind: Kind, wanted: Json, resource: ResourceId) -> None:
        """Refuse links to what does not exist, or to what the caller may not use."""
        for reference in dict.fromkeys(references(wanted)):
            linked = parsed(reference)
            if linked is None or not linked.is_resource or linked.type.lower() not in LINKED:
                continue
            if f"{linked.key}/".startswith(f"{resource.key}/"):
                continue
            action = f"{self.kinds[linked.type.lower()].type}/{LINKED[linked.type.lower()]}"
            if not self.cloud.allows(request, Check(action, linked.text)):
                assert request.principal is not None
                raise Refusal(
                    403,
                    "LinkedAuthorizationFailed",
                    f"The client '{request.principal.client_id}' with object id '{request.principal.object_id}' has"
                    f" permission to perform action '{kind.type}/write' on scope '{resource.text}'; however, it does"
                    f" not have permission to perform action(s) '{action}' on the linked scope(s) '{linked.text}'"
                    " (respectively) or the linked scope(s) are invalid.",
                )
            if self.cloud.records.get(linked.key) is None:
                raise invalid(
                    "InvalidResourceReference",
                    f"Resource {linked.text} referenced by resource {resource.text} was not found. Please make sure"
                    " that the referenced resource exists, and that both resources are in the same region.",
                )

    @staticmethod
    def _place(document: Json, before: Json | None, kind: Kind) -> None:
        given = str(document.get("location") or (before or {}).get("location") or "")
        location = given.replace(" ", "").lower()
        if not location:
            raise invalid("LocationRequired", "The location property is required for this definition.")
        if location not in REGIONS and location != "global":
            raise invalid(
                "LocationNotAvailableForResourceType",
                f"The provided location '{given}' is not available for resource type '{kind.type}'. List of available"
                f" regions for the resource type is '{','.join(REGIONS)}'.",
            )
        if before is not None and location != before["location"]:
            raise conflict(
                "InvalidResourceLocation",
                f"The resource '{document['name']}' already exists in location '{before['location']}' in resource"
                f" group '{group_of(document['id'])}'. A resource with the same name cannot be created in location"
                f" '{location}'. Please select a new resource name.",
            )
        document["location"] = location

    def _operation_path(self, record: Record) -> str:
        subscription = subscription_of(record.id.text)
        location = record.location or REGIONS[0]
        return f"/subscriptions/{subscription}/providers/{record.id.namespace}/locations/{location}"


def group_scope_key(scope: str) -> str:
    """Return the key of the resource group in a scope."""
    return group_scope(subscription_of(scope), group_of(scope)).lower()
