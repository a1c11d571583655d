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
from neptune.embedded.apiserver.builtin import CRDS
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.resources import ResourceType
from neptune.embedded.apiserver.schema import METADATA, apply_defaults, prune
from neptune.embedded.apiserver.status import FieldError, StatusError, bad_request, invalid
from neptune.embedded.apiserver.store import Key
from neptune.embedded.apiserver.validation import type_name


@dataclass(slots=True)
class Call:
    """One write: on what, when, and with which options. `warnings` collects what the client is told besides.

    `name` is empty for a creation until the object has one. `validation` is Strict, Warn or Ignore. `manager` is who
    the client says that it is, `agent` what its program is called; `force` lets an apply take the fields of others.
    """

    kind: ResourceType
    namespace: str
    name: str
    now: datetime
    status: bool = False
    dry_run: bool = False
    validation: str = "Warn"
    manager: str = ""
    agent: str = ""
    force: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """Where the object of the call is stored."""
        return Key(self.kind.storage, self.namespace, self.name)


def identified(call: Call, body: Any, *, default_name: bool = False) -> Object:
    """Return a copy of `body` that names its kind and namespace; its name has to be that of the URL, if there is one.

    `default_name` lets it be absent then, as in an apply.

    Raises:
        StatusError: 400, the body is no object or says that it is another one than the URL.
    """
    kind = call.kind
    if not isinstance(body, dict) or (not kind.strategic_merge and not body.get("kind")):
        shown = json.dumps(body)
        why = f"Object 'Kind' is missing in '{shown}'" if isinstance(body, dict) else f"{shown} is no JSON object"
        raise bad_request(f"the object provided is unrecognized (must be of type {kind.kind}): {why}")
    if not isinstance(body.get("metadata") or {}, dict):
        raise mistyped(kind, body["metadata"], "Go value of type v1.ObjectMeta")
    metadata = dict(body.get("metadata") or {})
    version, named = body.get("apiVersion") or kind.api_version, body.get("kind") or kind.kind
    if version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )
    if named != kind.kind:
        error = FieldError("kind", "FieldValueInvalid", named, f"must be {kind.kind}")
        raise invalid(kind.group, named, metadata.get("name") or "", [error])
    if kind.namespaced and (metadata.get("namespace") or call.namespace) != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if kind.namespaced:
        metadata["namespace"] = call.namespace
    if default_name:
        metadata["name"] = metadata.get("name") or call.name
    if call.name and not metadata.get("name"):
        raise bad_request(
            f"the name of the object ({call.name} based on URL) was undeterminable: name must be provided"
        )
    if call.name and metadata["name"] != call.name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({call.name})"
        )
    return {**body, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def pruned(kind: ResourceType, obj: Object) -> tuple[Object, list[str]]:
    """Return an object without the fields that its kind does not know, and the paths of those fields."""
    metadata, unknown = prune(METADATA, obj["metadata"], "metadata")
    own = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": _typed_metadata(kind, metadata)}
    rest = {name: value for name, value in obj.items() if name not in own}
    rest, more = prune(kind.schema, rest)
    unknown = [*more, *unknown]
    if kind is CRDS:
        rest, more = crds.prune_schemas(rest)
        unknown += more
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
    filled: Object = apply_defaults(kind.schema, obj)
    return filled


def undeclared(kind: ResourceType, sent: Object, unknown: list[str]) -> StatusError:
    """Return the error of an apply that sends unknown fields; the real server answers 500 for them."""
    metadata = sent.get("metadata") or {}
    where = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    fields = "\n".join(f".{path}: field not declared in schema" for path in unknown)
    many = f"errors:\n  {fields}" if len(unknown) > 1 else fields
    message = f"failed to create typed patch object ({where}; {kind.api_version}, Kind={kind.kind}): {many}"
    return StatusError(500, "", message)


def mistyped(kind: ResourceType, value: Any, where: str) -> StatusError:
    """Return 400 for a part of an object that Go's decoder would not take."""
    found = "number" if isinstance(value, int | float) and not isinstance(value, bool) else type_name(value)
    head = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
    return bad_request(f"{head}: json: cannot unmarshal {found.replace('boolean', 'bool')} into {where}")


def _typed_metadata(kind: ResourceType, metadata: Object) -> Object:
    """Return metadata without empty parts (ObjectMeta has omitempty throughout), once every part has its type."""
    kept = {name: value for name, value in metadata.items() if value not in (None, "", {}, [])}
    for name, value in kept.items():
        python_type, go_type = _TYPES[METADATA["properties"][name]["type"]]
        if name in ("labels", "annotations", "finalizers"):
            go_type = "[]string" if name == "finalizers" else "map[string]string"
            texts = list(value.values()) if isinstance(value, dict) else value
            for text in texts if isinstance(value, python_type) else ():
                if not isinstance(text, str):
                    raise mistyped(kind, text, f"Go struct field ObjectMeta.{name} of type string")
        if not isinstance(value, python_type):
            raise mistyped(kind, value, f"Go struct field ObjectMeta.{name} of type {go_type}")
    return kept


_TYPES: dict[str, tuple[type, str]] = {
    "string": (str, "string"),
    "integer": (int, "int64"),
    "object": (dict, "map[string]string"),
    "array": (list, "[]v1.OwnerReference"),
}
