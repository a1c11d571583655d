"""Status objects: how the API server says no, worded as the real one does.

Knows nothing of requests or storage; every other module of the package raises `StatusError` through the functions here.
Texts follow k8s.io/apimachinery `pkg/api/errors/errors.go` and `pkg/util/validation/field/errors.go`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from neptune.embedded.apiserver.objects import Object
from neptune.errors import NeptuneError

if TYPE_CHECKING:
    from neptune.embedded.apiserver.resources import ResourceType

CauseType = Literal[
    "FieldValueRequired",
    "FieldValueInvalid",
    "FieldValueTypeInvalid",
    "FieldValueNotSupported",
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueTooLong",
    "FieldValueTooMany",
]

_CAUSE_TEXT: dict[CauseType, str] = {
    "FieldValueRequired": "Required value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueTypeInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
}
_WITHOUT_VALUE = frozenset({"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong"})


class StatusError(NeptuneError):
    """A request was refused. `status` is the Kubernetes Status object, `code` its HTTP status."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            **({"reason": reason} if reason else {}),
            **({"details": details} if details is not None else {}),
            "code": code,
        }


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong: its path, the class of fault, the value and what would be right."""

    field: str
    type: CauseType
    value: Any = None
    detail: str = ""

    @property
    def message(self) -> str:
        """The text without the path, as it stands in `details.causes`."""
        text = _CAUSE_TEXT[self.type]
        if self.type not in _WITHOUT_VALUE:
            text += f": {json.dumps(self.value, separators=(',', ':'), ensure_ascii=False)}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def not_supported(path: str, value: Any, allowed: Sequence[Any]) -> FieldError:
    """Return the error for a value outside an enumeration."""
    values = ", ".join(json.dumps(v if isinstance(v, str) else json.dumps(v)) for v in allowed)
    return FieldError(path, "FieldValueNotSupported", value, f"supported values: {values}")


def not_found(kind: ResourceType, name: str) -> StatusError:
    """Return 404: no such object."""
    return StatusError(404, "NotFound", f'{kind.qualified} "{name}" not found', _details(kind, name))


def already_exists(kind: ResourceType, name: str) -> StatusError:
    """Return 409: a create met an object of that name."""
    return StatusError(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', _details(kind, name))


def conflict(group: str, noun: str, name: str, why: str) -> StatusError:
    """Return 409: a precondition (resourceVersion, uid) does not hold. `noun` is the resource, for some the kind."""
    qualified = f"{noun}.{group}" if group else noun
    message = f'Operation cannot be fulfilled on {qualified} "{name}": {why}'
    details = {"name": name, "group": group, "kind": noun}
    return StatusError(409, "Conflict", message, {k: v for k, v in details.items() if v})


def apply_conflict(conflicts: Sequence[tuple[str, str]]) -> StatusError:
    """Return 409: an apply would change fields of others. `conflicts` has (manager, field), a manager's ones in a row.

    Texts are those of apimachinery `pkg/util/managedfields/internal/conflict.go`.
    """
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": field}
        for manager, field in conflicts
    ]
    if len(conflicts) == 1:
        manager, field = conflicts[0]
        text = f"1 conflict: conflict with {manager}: {field}"
    else:
        lines = []
        for manager in dict.fromkeys(manager for manager, _ in conflicts):
            lines += [f"conflicts with {manager}:", *(f"- {field}" for owner, field in conflicts if owner == manager)]
        text = f"{len(conflicts)} conflicts: " + "\n".join(lines)
    return StatusError(409, "Conflict", f"Apply failed with {text}", {"causes": causes})


def forbidden(kind: ResourceType, name: str, why: str) -> StatusError:
    """Return 403: the request is understood and not allowed."""
    message = f'{kind.qualified} "{name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, _details(kind, name))


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> StatusError:
    """Return 422 that lists every field in `errors`."""
    texts = list(dict.fromkeys(str(error) for error in errors))  # ToAggregate drops repeated texts
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = f"{kind}.{group}" if group else kind
    causes = [{"reason": e.type, "message": e.message, "field": e.field} for e in errors]
    details = {"name": name, "group": group, "kind": kind, "causes": causes}
    message = f'{qualified} "{name}" is invalid: {joined}'
    return StatusError(422, "Invalid", message, {k: v for k, v in details.items() if v})


def bad_request(message: str) -> StatusError:
    """Return 400."""
    return StatusError(400, "BadRequest", message)


def expired(message: str) -> StatusError:
    """Return 410: the history that the request needs was compacted; list again."""
    return StatusError(410, "Expired", message)


def unknown_path() -> StatusError:
    """Return 404 for a path of the core group that no resource owns; other groups get plain text."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def not_supported_on(kind: ResourceType, action: str) -> StatusError:
    """Return 405 for a verb that a resource or subresource does not know."""
    details = {name: value for name, value in (("group", kind.group), ("kind", kind.plural)) if value}
    message = f'{action} is not supported on resources of kind "{kind.qualified}"'
    return StatusError(405, "MethodNotAllowed", message, details)


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    """Return 415 that names the content types that would do."""
    return StatusError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted),
    )


def too_large_resource_version(asked: int, current: int) -> StatusError:
    """Return 504: the client has seen a version that this server has not."""
    return StatusError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {current}",
        {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )


def _details(kind: ResourceType, name: str) -> Object:
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return {k: v for k, v in details.items() if v}
