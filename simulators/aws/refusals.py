"""Saying no: an exception that carries the error reply of a service."""

from __future__ import annotations

from simulators.aws.errors import ApiError, error_reply


class Refusal(Exception):  # noqa: N818 - named by what it is
    """The service refuses the call."""

    def __init__(self, code: str, message: str, status: int = 400, **details: object) -> None:
        """`details` are further members of the error's shape, for JSON services."""
        super().__init__(f"{code}: {message}")
        self.error = ApiError(status, code, message, details)

    def reply(self, protocol: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body as `protocol` spells them."""
        status, headers, body = error_reply(protocol, self.error)
        return status, dict(headers), body
