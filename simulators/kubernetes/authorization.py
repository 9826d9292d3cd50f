"""Who may do what: operators may do everything, anybody what the cloud's permissions allow.

Everybody may ask who they are and what they may do.
"""

from __future__ import annotations

from simulators.kubernetes import kinds
from simulators.kubernetes.errors import bad_request, forbidden, no_such_path
from simulators.kubernetes.objects import Object
from simulators.kubernetes.provider import ADMINISTRATORS, OPERATORS, CloudProvider, User
from simulators.kubernetes.request import Request

AUTHENTICATION = "authentication.k8s.io"
AUTHORIZATION = "authorization.k8s.io"
REVIEWS: dict[tuple[str, str], str] = {
    (AUTHENTICATION, "tokenreviews"): "TokenReview",
    (AUTHENTICATION, "selfsubjectreviews"): "SelfSubjectReview",
    (AUTHORIZATION, "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
    (AUTHORIZATION, "subjectaccessreviews"): "SubjectAccessReview",
    (AUTHORIZATION, "selfsubjectrulesreviews"): "SelfSubjectRulesReview",
}
"""Kinds that are asked and answered, never stored, keyed by (group, plural)."""


def may_do_everything(user: User) -> bool:
    """Return whether the user is an administrator or an operator."""
    return ADMINISTRATORS in user.groups or OPERATORS in user.groups


def authorize(request: Request) -> None:
    """Raise ApiError Forbidden, as RBAC words it, unless the user may do what the request asks for."""
    target = request.target
    if not may_do_everything(request.user) and not request.user.may(request.verb, target.kind, target.subresource):
        raise forbidden(
            request.user.name,
            request.verb,
            target.kind,
            namespace=target.namespace,
            name=target.name,
            subresource=target.subresource,
        )


def review_of(path: str) -> tuple[str, str] | None:
    """Return (group, plural) if the path is that of a review, or None."""
    steps = path.strip("/").split("/")
    if len(steps) == 4 and steps[0] == "apis" and steps[2] == "v1" and (steps[1], steps[3]) in REVIEWS:
        return (steps[1], steps[3])
    return None


def review(resource: tuple[str, str], body: Object, user: User, provider: CloudProvider, cluster_id: str) -> Object:
    """Return the review with its answer; raises ApiError BadRequest."""
    if not isinstance(body, dict):
        raise bad_request("the body of the request is not an object")
    spec = body.get("spec") or {}
    return {
        "kind": REVIEWS[resource],
        "apiVersion": f"{resource[0]}/v1",
        "metadata": {"creationTimestamp": None},
        "spec": spec,
        "status": _answer(resource[1], spec, user, provider, cluster_id),
    }


def _answer(plural: str, spec: Object, user: User, provider: CloudProvider, cluster_id: str) -> Object:
    match plural:
        case "tokenreviews":
            found = provider.authenticate(cluster_id, spec.get("token", ""))
            return {"authenticated": True, "user": _user_info(found)} if found else {"authenticated": False, "user": {}}
        case "selfsubjectreviews":
            return {"userInfo": _user_info(user)}
        case "selfsubjectaccessreviews":
            return _access(user, spec)
        case "subjectaccessreviews":
            return _access(User(spec.get("user", ""), tuple(spec.get("groups") or ())), spec)
        case "selfsubjectrulesreviews":
            everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            rules = [everything] if may_do_everything(user) else []
            return {"resourceRules": rules, "nonResourceRules": [], "incomplete": False}
    raise no_such_path()


def _access(user: User, spec: Object) -> Object:
    if may_do_everything(user):
        return {"allowed": True, "reason": f'RBAC: allowed by a binding to a group of "{user.name}"'}
    asked = spec.get("resourceAttributes") or {}
    kind = kinds.BY_PLURAL.get((asked.get("group", ""), asked.get("resource", "")))
    if kind is not None and user.may(asked.get("verb", ""), kind, asked.get("subresource", "")):
        return {"allowed": True, "reason": "access granted by IAM permissions."}
    return {"allowed": False}


def _user_info(user: User) -> Object:
    return {"username": user.name, "groups": [*user.groups, "system:authenticated"]}
