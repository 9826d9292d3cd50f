"""The JSON API of Cloud Storage."""

from __future__ import annotations

import email
import email.policy
import json
import re
import secrets
from collections.abc import Callable, Iterator

from simulators.gcp.api import Answer, Check, HttpService, Media, Method, Place, Request, page_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.creation import Keys
from simulators.gcp.iam.policy_methods import MODIFIED_GRANTS
from simulators.gcp.refusals import Json, invalid, not_found
from simulators.gcp.storage.buckets import Bucket, Buckets, StoredObject, condition_not_met

_BUCKET = "/b/(?P<bucket>[^/]+)"
_OBJECT = _BUCKET + "/o/(?P<object>[^/]+)"
_READING = frozenset({"get", "list", "getIamPolicy", "testIamPermissions"})
_ON_THE_PROJECT = {
    "buckets.list": "storage.buckets.list",
    "projects.serviceAccount.get": "resourcemanager.projects.get",
}
"""The permissions that methods need on the project itself."""


class StorageService(HttpService):
    """Fulfils `storage.googleapis.com`: buckets, their policies, and objects."""

    def __init__(self, cloud: Cloud, keys: Keys) -> None:
        self._cloud = cloud
        self.buckets = Buckets(cloud, keys)
        self._uploads: dict[str, tuple[str, str, Json]] = {}
        """Bucket, name and metadata of the resumable uploads under way, keyed by id."""
        self._routes = tuple(self._make_routes())

    def _make_routes(self) -> Iterator[tuple[str, re.Pattern[str], Method]]:
        root, upload, download = "/storage/v1", "/upload/storage/v1", "/download/storage/v1"
        for http_method, path, name, deed in (
            ("POST", f"{root}/b", "buckets.insert", self._insert_bucket),
            ("GET", f"{root}/b", "buckets.list", self._list_buckets),
            ("GET", f"{root}{_BUCKET}", "buckets.get", self._get_bucket),
            ("PATCH", f"{root}{_BUCKET}", "buckets.patch", self._patch_bucket),
            ("DELETE", f"{root}{_BUCKET}", "buckets.delete", self._delete_bucket),
            ("POST", f"{root}{_BUCKET}/lockRetentionPolicy", "buckets.lockRetentionPolicy", self._lock),
            ("GET", f"{root}{_BUCKET}/iam", "buckets.getIamPolicy", self._get_policy),
            ("PUT", f"{root}{_BUCKET}/iam", "buckets.setIamPolicy", self._set_policy),
            ("GET", f"{root}{_BUCKET}/iam/testPermissions", "buckets.testIamPermissions", self._test_permissions),
            ("GET", f"{root}/projects/(?P<project>[^/]+)/serviceAccount", "projects.serviceAccount.get", self._agent),
            ("GET", f"{root}{_BUCKET}/o", "objects.list", self._list_objects),
            ("GET", f"(?:{root}|{download}){_OBJECT}", "objects.get", self._get_object),
            ("PATCH", f"{root}{_OBJECT}", "objects.patch", self._patch_object),
            ("DELETE", f"{root}{_OBJECT}", "objects.delete", self._delete_object),
            ("POST", f"{root}{_OBJECT}/restore", "objects.restore", self._restore_object),
            ("POST", f"{upload}{_BUCKET}/o", "objects.insert", self._insert_object),
            ("PUT", f"{upload}{_BUCKET}/o", "objects.insert", self._continue_upload),
        ):
            verb = name.rpartition(".")[2]
            method = Method("storage", name, deed, verb not in _READING, self._checks, place=self._place)
            yield http_method, re.compile(path), method

    def route(self, http_method: str, path: str) -> tuple[Method, Json] | None:
        """Return the method behind a path."""
        for known_method, pattern, method in self._routes:
            if known_method == http_method and (found := pattern.fullmatch(path.rstrip("?"))):
                return method, found.groupdict()
        return None

    def _place(self, parameters: Json) -> Place:
        name = parameters.get("bucket", "")
        bucket = self.buckets.find(name)
        project = bucket.project if bucket is not None else parameters.get("project", "")
        region = str(bucket.document["location"]).lower() if bucket is not None else ""
        body = parameters.get("body") or {}
        resource = "/".join(
            filter(None, (name, parameters.get("object") or parameters.get("name") or body.get("name")))
        )
        return Place(project, region, resource)

    def _checks(self, request: Request, /) -> Iterator[Check]:
        given, operation = request.parameters, request.method.name
        bucket = f"projects/_/buckets/{given.get('bucket') or request.body.get('name', '')}"
        if given.get("bucket") and self.buckets.find(given["bucket"]) is None:
            raise not_found("The specified bucket does not exist.")
        kind, _, verb = operation.partition(".")
        stored = f"{bucket}/objects/{given.get('object') or _upload_name(request)}"
        type_ = f"storage.googleapis.com/{'Object' if kind == 'objects' else 'Bucket'}"
        match operation:
            case "buckets.testIamPermissions":
                return
            case "buckets.list" | "projects.serviceAccount.get":
                yield Check(_ON_THE_PROJECT[operation], f"projects/{request.project}")
            case "buckets.insert" | "buckets.patch" | "buckets.lockRetentionPolicy":
                verb = "create" if verb == "insert" else "update"
                yield Check(f"storage.buckets.{verb}", bucket, type_)
                yield from _checks_of_retention(request, bucket, type_)
            case "buckets.setIamPolicy":
                modified = self._cloud.policies.modified_roles(bucket, request.body)
                yield Check("storage.buckets.setIamPolicy", bucket, type_, {MODIFIED_GRANTS: modified})
            case "objects.list":
                yield Check("storage.objects.list", bucket, "storage.googleapis.com/Bucket")
            case "objects.insert":
                yield Check("storage.objects.create", stored, type_)
                if _upload_name(request) in self.buckets.get(given["bucket"]).objects:
                    yield Check("storage.objects.delete", stored, type_)
            case "objects.patch":
                yield Check("storage.objects.update", stored, type_)
                yield from _checks_of_retention(request, stored, type_)
            case _:
                yield Check(f"storage.{kind}.{verb}", stored if kind == "objects" else bucket, type_)

    def _insert_bucket(self, request: Request) -> Json:
        bucket = self.buckets.create(request.project, request.body)
        if _is_true(request.parameters.get("enableObjectRetention")):
            bucket.document["objectRetention"] = {"mode": "Enabled"}
        return bucket.document

    def _list_buckets(self, request: Request) -> Json:
        prefix = request.parameters.get("prefix", "")
        found = [bucket.document for bucket in self.buckets.of(request.project) if bucket.name.startswith(prefix)]
        return {"kind": "storage#buckets", **page_of(found, "items", request.parameters)}

    def _bucket(self, request: Request) -> Bucket:
        bucket = self.buckets.get(request.parameters["bucket"])
        _require(request, "ifMetagenerationMatch", bucket.document["metageneration"])
        return bucket

    def _get_bucket(self, request: Request) -> Json:
        return self._bucket(request).document

    def _patch_bucket(self, request: Request) -> Json:
        bucket = self._bucket(request)
        request.had_effect = self.buckets.patch(bucket, request.body)
        return bucket.document

    def _delete_bucket(self, request: Request) -> Json:
        self.buckets.delete(self._bucket(request))
        return {}

    def _lock(self, request: Request) -> Json:
        bucket = self.buckets.get(request.parameters["bucket"])
        metageneration = request.parameters.get("ifMetagenerationMatch")
        if metageneration is None:
            raise invalid("Required parameter: ifMetagenerationMatch", legacy="required")
        request.had_effect = self.buckets.lock(bucket, metageneration)
        return bucket.document

    def _get_policy(self, request: Request) -> Json:
        name = f"projects/_/buckets/{request.parameters['bucket']}"
        version = int(request.parameters.get("optionsRequestedPolicyVersion") or 0)
        return {"kind": "storage#policy", "resourceId": name, **self._cloud.policies.get(name, version)}

    def _set_policy(self, request: Request) -> Json:
        name = f"projects/_/buckets/{request.parameters['bucket']}"
        self._cloud.identities.require_members(
            member for binding in request.body.get("bindings") or () for member in binding.get("members") or ()
        )
        kept, request.had_effect = self._cloud.policies.set(name, request.body)
        return {"kind": "storage#policy", "resourceId": name, **kept}

    def _test_permissions(self, request: Request) -> Json:
        resource = f"projects/_/buckets/{request.parameters['bucket']}"
        asked = str(request.parameters.get("permissions", "")).split(",")
        held = [
            permission
            for permission in asked
            if self._cloud.allows(
                request.principal, Check(permission, resource, "storage.googleapis.com/Bucket"), request.project
            )
        ]
        return {"kind": "storage#testIamPermissionsResponse", **({"permissions": held} if held else {})}

    def _agent(self, request: Request) -> Json:
        agent = self._cloud.identities.asked_for_agent("storage", request.project)
        return {"kind": "storage#serviceAccount", "email_address": agent.partition(":")[2]}

    def _list_objects(self, request: Request) -> Json:
        bucket = self._bucket(request)
        prefix = request.parameters.get("prefix", "")
        if _is_true(request.parameters.get("softDeleted")):
            stored = [entry for entry in self.buckets.soft_deleted(bucket) if entry.document["name"].startswith(prefix)]
        else:
            stored = [entry for name, entry in sorted(bucket.objects.items()) if name.startswith(prefix)]
        found = [self.buckets.described(bucket, entry) for entry in stored]
        return {"kind": "storage#objects", **page_of(found, "items", request.parameters)}

    def _object(self, request: Request) -> tuple[Bucket, StoredObject]:
        bucket = self.buckets.get(request.parameters["bucket"])
        stored = self.buckets.object(bucket, request.parameters["object"])
        _require(request, "ifGenerationMatch", stored.document["generation"])
        _require(request, "ifMetagenerationMatch", stored.document["metageneration"])
        if request.parameters.get("generation") not in (None, stored.document["generation"]):
            raise not_found(f"No such object: {bucket.name}/{stored.document['name']}")
        return bucket, stored

    def _get_object(self, request: Request) -> Answer:
        bucket, stored = self._object(request)
        if request.parameters.get("alt") != "media":
            return self.buckets.described(bucket, stored)
        document, content = stored.document, self.buckets.content(bucket, stored)
        headers = {
            "Content-Type": document["contentType"],
            "X-Goog-Generation": document["generation"],
            "X-Goog-Hash": f"crc32c={document['crc32c']},md5={document['md5Hash']}",
            "X-Goog-Stored-Content-Length": document["size"],
        }
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", str(request.parameters["headers"].get("Range", "")))
        if asked is None:
            return Media(content, headers)
        start, end = int(asked[1]), int(asked[2] or len(content) - 1)
        part = content[start : end + 1]
        headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        return Media(part, headers, 206)

    def _patch_object(self, request: Request) -> Json:
        bucket, stored = self._object(request)
        allowed = {"metadata", "temporaryHold", "eventBasedHold", "contentType"}
        changes = {key: value for key, value in request.body.items() if key in allowed}
        if "retention" in request.body:
            override = _is_true(request.parameters.get("overrideUnlockedRetention"))
            changes["retention"] = self.buckets.retention_of(bucket, stored, request.body["retention"], override)
        request.had_effect = any(stored.document.get(key) != value for key, value in changes.items())
        stored.document.update(changes)
        if stored.document.get("retention", {}) is None:
            del stored.document["retention"]
        if request.had_effect:
            stored.document["metageneration"] = str(int(stored.document["metageneration"]) + 1)
        return self.buckets.described(bucket, stored)

    def _delete_object(self, request: Request) -> Json:
        bucket, _ = self._object(request)
        self.buckets.remove(bucket, request.parameters["object"])
        return {}

    def _restore_object(self, request: Request) -> Json:
        bucket = self.buckets.get(request.parameters["bucket"])
        generation = request.parameters.get("generation", "")
        return self.buckets.described(bucket, self.buckets.restore(bucket, request.parameters["object"], generation))

    def _insert_object(self, request: Request) -> Answer:
        """Write an object in one request, or begin an upload in several."""
        kinds: dict[str, Callable[[Request], Answer]] = {
            "media": self._simple,
            "multipart": self._multipart,
            "resumable": self._begin_upload,
        }
        kind = request.parameters.get("uploadType", "")
        if kind not in kinds:
            raise invalid(f"Invalid upload type: {kind!r}")
        return kinds[kind](request)

    def _simple(self, request: Request) -> Json:
        content_type = request.parameters["headers"].get("Content-Type", "")
        return self._write(
            request, request.parameters["name"], request.parameters["content"], {"contentType": content_type}
        )

    def _multipart(self, request: Request) -> Json:
        metadata, body = _parts(request)
        return self._write(request, metadata["name"], body, metadata)

    def _begin_upload(self, request: Request) -> Answer:
        upload = secrets.token_hex(16)
        name = _upload_name(request)
        self._require_generation(request, name)
        self._uploads[upload] = (request.parameters["bucket"], name, request.body)
        request.had_effect = False
        bucket = request.parameters["bucket"]
        location = (
            f"{request.parameters['base']}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={upload}"
        )
        return Media(b"", {"Location": location, "X-GUploader-UploadID": upload})

    def _continue_upload(self, request: Request) -> Answer:
        """Take one chunk of a resumable upload; the last one makes the object."""
        upload = request.parameters.get("upload_id", "")
        if upload not in self._uploads:
            raise not_found(f"No such upload: {upload}")
        _, name, metadata = self._uploads[upload]
        received = metadata.setdefault("received", bytearray())
        received += request.parameters["content"]
        total = str(request.parameters["headers"].get("Content-Range", "")).rpartition("/")[2]
        if total in ("", "*") or len(received) >= int(total):
            del self._uploads[upload]
            content = bytes(metadata.pop("received"))
            return self._write(request, name, content, metadata)
        request.had_effect = False
        return Media(b"", {"Range": f"bytes=0-{len(received) - 1}"}, 308)

    def _write(self, request: Request, name: str, body: bytes, metadata: Json) -> Json:
        bucket = self.buckets.get(request.parameters["bucket"])
        self._require_generation(request, name)
        wanted = {**metadata, **({"kmsKeyName": key} if (key := request.parameters.get("kmsKeyName")) else {})}
        return self.buckets.described(bucket, self.buckets.put(bucket, name, body, wanted))

    def _require_generation(self, request: Request, name: str) -> None:
        """Refuse if the object's generation is not what the request expects; 0 stands for no object."""
        stored = self.buckets.get(request.parameters["bucket"]).objects.get(name)
        _require(request, "ifGenerationMatch", stored.document["generation"] if stored else "0")

    def forget(self) -> None:
        """Forget every bucket and upload."""
        self.buckets.forget()
        self._uploads.clear()


def _require(request: Request, condition: str, current: str) -> None:
    if request.parameters.get(condition) not in (None, current):
        raise condition_not_met()


def _checks_of_retention(request: Request, resource: str, type_: str) -> Iterator[Check]:
    """Yield what objects' own retention needs beside what the call needs anyway."""
    if _is_true(request.parameters.get("enableObjectRetention")):
        yield Check("storage.buckets.enableObjectRetention", resource, type_)
    if "retention" in request.body:
        yield Check("storage.objects.setRetention", resource, type_)
    if _is_true(request.parameters.get("overrideUnlockedRetention")):
        yield Check("storage.objects.overrideUnlockedRetention", resource, type_)


def _is_true(value: object) -> bool:
    """Read a flag; the SDK writes its own language's `True`."""
    return str(value).lower() == "true"


def _upload_name(request: Request) -> str:
    """Return the name of the object that an upload writes, empty if the request is none or continues one."""
    given = request.parameters
    if given.get("uploadType") == "multipart":
        return str(_parts(request)[0].get("name", ""))
    return str(given.get("name") or request.body.get("name") or "")


def _parts(request: Request) -> tuple[Json, bytes]:
    """Return metadata and content of a `multipart/related` body."""
    content_type = request.parameters["headers"].get("Content-Type", "")
    whole = f"Content-Type: {content_type}\r\n\r\n".encode() + request.parameters["content"]
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    if boundary is None:
        raise invalid("Multipart body without a boundary.")
    first, second = whole.split(b"--" + boundary[1].encode())[1:3]
    metadata = json.loads(first.partition(b"\r\n\r\n")[2])
    head, _, body = second.partition(b"\r\n\r\n")
    kind = email.message_from_bytes(head.lstrip(), policy=email.policy.default).get_content_type()
    if metadata.get("name") is None and request.parameters.get("name"):
        metadata["name"] = request.parameters["name"]
    return {"contentType": kind, **metadata}, body.removesuffix(b"\r\n")
