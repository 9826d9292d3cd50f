"""The failures of the Kubernetes API, in the `Status` shape that clients parse."""

from __future__ import annotations

from collections.abc import Sequence

from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object


class ApiError(Exception):
    """A refused request: HTTP status, the machine-readable reason, the message, and causes (reason, message, field)."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        details: Object | None = None,
        causes: Sequence[Object] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = dict(details or {})
        if causes:
            self.details["causes"] = list(causes)
        self.retry_after = retry_after
        """Seconds, for the Retry-After header."""
        if retry_after is not None:
            self.details["retryAfterSeconds"] = retry_after

    def body(self) -> Object:
        """Return the `Status` object of the reply."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.status,
        }


def _about(kind: Kind, name: str) -> Object:
    details = {"name": name, "kind": kind.plural}
    return {**details, "group": kind.group} if kind.group else details


def not_found(kind: Kind, name: str) -> ApiError:
    """There is no such object."""
    return ApiError(404, "NotFound", f'{kind.resource} "{name}" not found', details=_about(kind, name))


def no_such_path() -> ApiError:
    """The server does not serve that path."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(kind: Kind, name: str) -> ApiError:
    """An object of that name is there already."""
    return ApiError(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', details=_about(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> ApiError:
    """The object is no longer the one that the caller read."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_about(kind, name))


def invalid(kind: Kind, name: str, causes: Sequence[Object]) -> ApiError:
    """The object breaks rules; each cause names reason, message and field."""
    listed = [f"{cause['field']}: {cause['message']}" for cause in causes]
    text = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    qualified = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    message = f'{qualified} "{name}" is invalid: {text}'
    details = {"name": name, "kind": kind.kind, **({"group": kind.group} if kind.group else {})}
    return ApiError(422, "Invalid", message, details=details, causes=causes)


def bad_request(message: str) -> ApiError:
    """The request makes no sense."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """The bearer token stands for nobody."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(user: str, verb: str, kind: Kind, *, namespace: str, name: str, subresource: str = "") -> ApiError:
    """The caller's roles do not allow the request."""
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    subject = f'{kind.resource} "{name}" is forbidden' if name else f"{kind.resource} is forbidden"
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = f'{subject}: User "{user}" cannot {verb} resource "{resource}" in API group "{kind.group}" {where}'
    return ApiError(403, "Forbidden", message, details=_about(kind, name))


def namespace_terminates(kind: Kind, name: str, namespace: str) -> ApiError:
    """Nothing new may be made in a namespace that is going away."""
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    message = f'{kind.resource} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, details=_about(kind, name), causes=[cause])


def expired(resource_version: int, oldest: int) -> ApiError:
    """The watch would have to start before the history that is kept."""
    return ApiError(410, "Expired", f"too old resource version: {resource_version} ({oldest})")
