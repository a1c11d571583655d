"""A request body made into an object of its resource: identity, unknown fields, defaults. Pure.

Texts follow k8s.io/apiserver `pkg/endpoints/handlers` (rest.go, patch.go) and apimachinery's strict decoding errors.
`registry` calls this before it looks at anything else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from neptune.embedded.apiserver import crds
from neptune.embedded.apiserver.resources import CRDS, ResourceType
from neptune.embedded.apiserver.schema import METADATA, apply_defaults, prune
from neptune.embedded.apiserver.status import FieldError, Object, StatusError, bad_request, invalid
from neptune.embedded.apiserver.store import Key


@dataclass(slots=True)
class Call:
    """One write: on what, when, and with which options. `warnings` collects what the client is told besides.

    `name` is empty for a creation until the object has one. `validation` is Strict, Warn or Ignore.
    """

    kind: ResourceType
    namespace: str
    name: str
    now: datetime
    status: bool = False
    dry_run: bool = False
    validation: str = "Warn"
    manager: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """Where the object of the call is stored."""
        return Key(self.kind.storage, self.namespace, self.name)


def identified(call: Call, body: Any) -> Object:
    """Return a copy of `body` that names its kind, namespace and name.

    Raises:
        StatusError: 400, the body is no object or says that it is another one than the URL.
    """
    kind = call.kind
    if not isinstance(body, dict) or not isinstance(body.get("metadata") or {}, dict):
        raise bad_request(f"the body of the request is not a {kind.kind}")
    version, name = body.get("apiVersion") or kind.api_version, body.get("kind") or kind.kind
    if version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )
    if name != kind.kind:
        raise bad_request(f"the kind in the data ({name}) does not match the expected kind ({kind.kind})")
    metadata = dict(body.get("metadata") or {})
    if kind.namespaced and (metadata.get("namespace") or call.namespace) != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if kind.namespaced:
        metadata["namespace"] = call.namespace
    if call.name and (metadata.get("name") or call.name) != call.name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({call.name})"
        )
    if call.name:
        metadata["name"] = call.name
    return {**body, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def pruned(kind: ResourceType, obj: Object) -> tuple[Object, list[str]]:
    """Return an object without the fields that its kind does not know, and the paths of those fields."""
    metadata, unknown = prune(METADATA, obj["metadata"], "metadata")
    own = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": _typed_metadata(kind, metadata)}
    rest = {name: value for name, value in obj.items() if name not in own}
    if kind.schema is not None:
        rest, more = prune(kind.schema, rest)
        unknown = [*more, *unknown]
    if kind is CRDS:
        unknown += crds.unknown_schema_keys(rest)
    return {**own, **rest}, unknown


def cleaned(call: Call, obj: Object, *, is_patch: bool = False) -> Object:
    """Return an identified object pruned and with defaults; unknown fields become an error or warnings.

    Raises:
        StatusError: 400, or 422 for a patch, an unknown field under Strict.
    """
    kind = call.kind
    known, unknown = pruned(kind, obj)
    if unknown and call.validation == "Strict":
        text = "strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in unknown)
        if is_patch:
            value = json.dumps(obj, separators=(",", ":"))
            raise invalid("", "", "", [FieldError("patch", "FieldValueInvalid", value, text)])
        raise bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {text}')
    if call.validation == "Warn":
        call.warnings += [f'unknown field "{path}"' for path in unknown]
    return with_defaults(kind, known)


def with_defaults(kind: ResourceType, obj: Object) -> Object:
    """Return an object with the defaults of its schema."""
    filled: Object = apply_defaults(kind.schema, obj) if kind.schema else obj
    return filled


def undeclared(kind: ResourceType, sent: Object, unknown: list[str]) -> StatusError:
    """Return the error of an apply that sends unknown fields; the real server answers 500 for them."""
    metadata = sent.get("metadata") or {}
    where = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    fields = "\n".join(f".{path}: field not declared in schema" for path in unknown)
    many = f"errors:\n  {fields}" if len(unknown) > 1 else fields
    message = f"failed to create typed patch object ({where}; {kind.api_version}, Kind={kind.kind}): {many}"
    return StatusError(500, "", message)


def _typed_metadata(kind: ResourceType, metadata: Object) -> Object:
    """Return metadata without empty parts (ObjectMeta has omitempty throughout); refuse strings that are none."""
    kept = {name: value for name, value in metadata.items() if value not in (None, "", {}, [])}
    for name, value in kept.items():
        wanted = METADATA["properties"][name]
        strings = list(value.values()) if isinstance(value, dict) else value if name == "finalizers" else []
        fits = isinstance(value, _PYTHON_TYPES[wanted["type"]]) and all(isinstance(each, str) for each in strings)
        if not fits:
            raise bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
                f"metadata.{name} is not of type {wanted['type']}"
                + (" of strings" if "additionalProperties" in wanted or name == "finalizers" else "")
            )
    return kept


_PYTHON_TYPES: dict[str, type] = {"string": str, "integer": int, "object": dict, "array": list}
