"""The lists of the blob service, in its XML."""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import format_datetime
from xml.etree.ElementTree import Element, SubElement, tostring

from simulators.azure.api import Reply, Request
from simulators.azure.blobs import Blobs, Version
from simulators.azure.records import Record

_PAGE = 5000
_XML = {"Content-Type": "application/xml"}


def container_list(account: Record, containers: Iterable[Record]) -> Reply:
    """Return the containers of an account."""
    root = Element("EnumerationResults", ServiceEndpoint=account.properties["primaryEndpoints"]["blob"])
    listed = SubElement(root, "Containers")
    for record in containers:
        entry = SubElement(listed, "Container")
        _text(entry, "Name", record.id.name)
        properties = SubElement(entry, "Properties")
        _text(properties, "Etag", f'"{record.etag}"')
        _text(properties, "LeaseStatus", "unlocked")
        _text(properties, "LeaseState", "available")
    SubElement(root, "NextMarker")
    return _reply(root)


def blob_list(request: Request, container: Record, blobs: Blobs) -> Reply:
    """Return a page of the blobs of a container, with versions and their locks where the caller asks for them."""
    include = {part.strip().lower() for part in request.query.get("include", "").split(",")}
    entries: list[tuple[str, Version, bool]] = []
    for blob in blobs.listed(request.query.get("prefix", "")):
        versions = blob.versions if "versions" in include else [blob.current] if blob.current is not None else []
        entries += [(blob.name, version, version is blob.current) for version in versions]
    start = int(request.query.get("marker") or 0)
    end = start + min(int(request.query.get("maxresults") or _PAGE), _PAGE)
    root = Element("EnumerationResults", ContainerName=container.id.name)
    listed = SubElement(root, "Blobs")
    for name, version, current in entries[start:end]:
        _entry(listed, name, version, include, current=current)
    _text(root, "NextMarker", str(end) if end < len(entries) else "")
    return _reply(root)


def _entry(parent: Element, name: str, version: Version, include: set[str], *, current: bool) -> None:
    entry = SubElement(parent, "Blob")
    _text(entry, "Name", name)
    if "versions" in include:
        _text(entry, "VersionId", version.id)
        if current:
            _text(entry, "IsCurrentVersion", "true")
    properties = SubElement(entry, "Properties")
    _text(properties, "Creation-Time", format_datetime(version.modified, usegmt=True))
    _text(properties, "Last-Modified", format_datetime(version.modified, usegmt=True))
    _text(properties, "Etag", version.etag.strip('"'))
    _text(properties, "Content-Length", str(len(version.body)))
    _text(properties, "Content-Type", version.content_type)
    _text(properties, "Content-MD5", version.digest)
    _text(properties, "BlobType", "BlockBlob")
    _text(properties, "LeaseStatus", "unlocked")
    _text(properties, "LeaseState", "available")
    _text(properties, "ServerEncrypted", "true")
    if "immutabilitypolicy" in include and version.locked_until is not None:
        _text(properties, "ImmutabilityPolicyUntilDate", format_datetime(version.locked_until, usegmt=True))
        _text(properties, "ImmutabilityPolicyMode", version.lock_mode.lower())
    if "legalhold" in include and version.legal_hold:
        _text(properties, "LegalHold", "true")
    if "metadata" in include:
        metadata = SubElement(entry, "Metadata")
        for key, value in version.metadata.items():
            _text(metadata, key, value)


def _text(parent: Element, tag: str, value: str) -> None:
    SubElement(parent, tag).text = value


def _reply(root: Element) -> Reply:
    return Reply(tostring(root, encoding="utf-8", xml_declaration=True), headers=_XML)
