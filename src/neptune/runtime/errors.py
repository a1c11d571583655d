"""What can go wrong between us and a Kubernetes API server. Knows nothing but the root of all errors.

NeptuneError
├── ApiError                  the API server refused; has `status`, `reason`, `message`, `details`
│   ├── BadRequest            400  the request makes no sense to the server
│   ├── Unauthorized          401  who we are is not known
│   ├── Forbidden             403  we are known, and not allowed
│   ├── NotFound              404  no such object, or no such kind
│   ├── Conflict              409  somebody else changed the object since we read it, or owns an applied field
│   │   └── AlreadyExists     409  an object of that name is there
│   ├── Gone                  410  the version asked for is no longer kept ("Expired")
│   ├── Invalid               422  the object breaks its schema; `details` has the causes
│   ├── TooManyRequests       429  has `retry_after` in seconds
│   ├── ServerError           5xx  may have `retry_after` in seconds
│   └── ApiUnreachable        no answer at all; status 0
├── NotWatched                the cache was asked for a kind that it does not watch
└── TerminalError             raised by a reconciler: do not try again until the object changes
    └── DecodeError           an object does not fit its type

Source of the names: metav1.Status and StatusReason in k8s.io/apimachinery/pkg/apis/meta/v1/types.go.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar, NamedTuple

from neptune.errors import NeptuneError

#: NewApplyConflict and its callers in k8s.io/apimachinery and sigs.k8s.io/structured-merge-diff (merge/conflict.go).
_MANAGER = re.compile(r'conflict with "([^"]*)"')


class ApiError(NeptuneError):
    """An answer of the API server that is not a success.

    Attributes:
        status: the HTTP status, 0 when there was no answer.
        reason: one CamelCase word for programs, such as `NotFound`.
        message: a sentence for people.
        details: the `details` of the Status object: kind, name, causes.
        retry_after: seconds after which the server wants to be asked again, when it said so.
    """

    default_reason: ClassVar[str] = "Unknown"

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.retry_after = retry_after


class BadRequest(ApiError):
    """400: the request makes no sense to the server."""

    default_reason = "BadRequest"


class Unauthorized(ApiError):
    """401: the credentials are missing, wrong or out of date."""

    default_reason = "Unauthorized"


class Forbidden(ApiError):
    """403: the user is known and lacks the right; the message names the user, the verb and the resource."""

    default_reason = "Forbidden"


class NotFound(ApiError):
    """404: no such object, or the server does not know the kind."""

    default_reason = "NotFound"


class FieldConflict(NamedTuple):
    """A field that another manager owns: who, and the field's path such as `.spec.url`."""

    manager: str
    field: str


class Conflict(ApiError):
    """409: the object changed since it was read, or a precondition failed. Read it again and decide anew.

    After a server-side apply: other managers own fields that it states; `conflicts` names them.
    """

    default_reason = "Conflict"

    @property
    def conflicts(self) -> tuple[FieldConflict, ...]:
        """The fields that other managers own, for a server-side apply; else empty."""
        return tuple(
            FieldConflict(manager[1], cause.get("field", ""))
            for cause in self.details.get("causes") or ()
            if (manager := _MANAGER.search(cause.get("message", "")))
        )


class AlreadyExists(Conflict):
    """409: an object of that name exists."""

    default_reason = "AlreadyExists"


class Gone(ApiError):
    """410: the resource version or the continue token is no longer kept. List again."""

    default_reason = "Expired"


class Invalid(ApiError):
    """422: the object breaks its schema or a validation rule; `details["causes"]` names the fields."""

    default_reason = "Invalid"


class TooManyRequests(ApiError):
    """429: the server is busy, or an eviction is not allowed now."""

    default_reason = "TooManyRequests"


class ServerError(ApiError):
    """5xx: the server failed; the request may or may not have been carried out."""

    default_reason = "InternalError"


class ApiUnreachable(ApiError):
    """There was no answer. The message names the server and what to check."""

    def __init__(self, message: str) -> None:
        super().__init__(0, "Unreachable", message)


class NotWatched(NeptuneError):
    """The cache does not watch this kind; the message says how to make it."""


class TerminalError(NeptuneError):
    """Raise it from a reconciler when trying again is useless until the object changes."""


class DecodeError(TerminalError):
    """An object that the server stored does not fit its type; the message names the object and the field."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def error_for(status: int, body: bytes, *, asked: str = "", retry_after: float | None = None) -> ApiError:
    """Return the error for an HTTP answer; the body is a metav1.Status, or whatever a proxy on the way wrote.

    That names nothing, nor does the server where it knows no such kind: then what was `asked` for stands in the text.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        said = body[:500].decode(errors="replace").strip() or f"the API server answered {status}"
        answer = {"message": f"{said} ({asked})" if asked else said}
    # The code of HTTP counts: a gateway on the way writes one of its own into the body.
    return error_from_status({**answer, "code": status}, retry_after=retry_after)


def error_from_status(status: dict[str, Any], *, retry_after: float | None = None) -> ApiError:
    """Return the error that a metav1.Status stands for, as an ERROR event of a watch carries one."""
    code = status.get("code")
    code = code if isinstance(code, int) and code else 500
    cls = _BY_STATUS.get(code, ServerError if code >= 500 else ApiError)
    reason = str(status.get("reason") or cls.default_reason)
    if reason == AlreadyExists.default_reason:
        cls = AlreadyExists
    details = status.get("details")
    details = details if isinstance(details, dict) else {}
    message = str(status.get("message") or f"the API server answered {code}")
    if retry_after is None and isinstance(seconds := details.get("retryAfterSeconds"), int):
        retry_after = float(seconds)
    return cls(code, reason, message, details, retry_after=retry_after)
