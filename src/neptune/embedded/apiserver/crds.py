"""CustomResourceDefinitions as objects: what makes one valid, its defaults, and the status that says it is served.

Pure. Checks what `resources.from_crd` relies on and what authors get wrong most (unknown schema keys, a missing type);
the real server's CEL cost limits and conversion webhooks do not exist here. Rules in `x-kubernetes-validations` are
accepted and not evaluated: CEL is a language of its own, and the two Python implementations are not worth their weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from neptune.embedded.apiserver import jsonpath
from neptune.embedded.apiserver.schema import child_schema
from neptune.embedded.apiserver.status import FieldError, Object, not_supported
from neptune.embedded.apiserver.table import timestamp
from neptune.embedded.apiserver.validation import validate

#: JSONSchemaProps, apiextensions/v1 types_jsonschema.go.
_SCHEMA_KEY_NAMES = """
id $schema $ref description type format title default maximum exclusiveMaximum minimum exclusiveMinimum maxLength
minLength pattern maxItems minItems uniqueItems multipleOf enum maxProperties minProperties required items allOf
oneOf anyOf not properties additionalProperties patternProperties dependencies additionalItems definitions
externalDocs example nullable x-kubernetes-preserve-unknown-fields x-kubernetes-embedded-resource x-kubernetes-int-
or-string x-kubernetes-list-map-keys x-kubernetes-list-type x-kubernetes-map-type x-kubernetes-validations
"""
_SCHEMA_KEYS = frozenset(_SCHEMA_KEY_NAMES.split())
_STRING: Object = {"type": "string"}
_STRINGS: Object = {"type": "array", "items": _STRING}
_ANY: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _object(required: tuple[str, ...] = (), /, **properties: Object) -> Object:
    return {"type": "object", "required": list(required), "properties": properties}


_COLUMN = _object(
    ("jsonPath", "name", "type"),
    name=_STRING,
    type={"type": "string", "enum": ["boolean", "date", "integer", "number", "string"]},
    format=_STRING,
    description=_STRING,
    priority={"type": "integer"},
    jsonPath=_STRING,
)
_VERSION = _object(
    ("name", "served", "storage"),
    name=_STRING,
    served={"type": "boolean"},
    storage={"type": "boolean"},
    deprecated={"type": "boolean"},
    deprecationWarning=_STRING,
    schema=_object((), openAPIV3Schema=_ANY),
    subresources=_object((), status=_ANY, scale=_ANY),
    additionalPrinterColumns={"type": "array", "items": _COLUMN},
    selectableFields={"type": "array", "items": _object(("jsonPath",), jsonPath=_STRING)},
)
#: The shape of a CRD, for pruning, strict decoding and validation.
SCHEMA: Object = _object(
    ("spec",),
    spec=_object(
        ("group", "names", "scope", "versions"),
        group=_STRING,
        scope={"type": "string", "enum": ["Cluster", "Namespaced"]},
        names=_object(
            ("kind", "plural"),
            plural=_STRING,
            singular=_STRING,
            kind=_STRING,
            listKind=_STRING,
            shortNames=_STRINGS,
            categories=_STRINGS,
        ),
        versions={"type": "array", "minItems": 1, "items": _VERSION},
        conversion=_ANY,
        preserveUnknownFields={"type": "boolean"},
    ),
    status=_ANY,
)


def complete(crd: Object, now: datetime, before: Object | None = None) -> Object:
    """Return a CRD with its defaults and with the status of one that is being served. It has the shape of `SCHEMA`."""
    spec = crd["spec"]
    names = dict(spec["names"])
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", f"{names['kind']}List")
    spec = {**spec, "names": names, "conversion": spec.get("conversion") or {"strategy": "None"}}
    since = timestamp(now)
    if before:
        since = before["status"]["conditions"][0]["lastTransitionTime"]
    storage = next(version["name"] for version in spec["versions"] if version["storage"])
    stored = (before or {}).get("status", {}).get("storedVersions", [])
    status = {
        "conditions": [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", since),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", since),
        ],
        "acceptedNames": names,
        "storedVersions": [*stored, *([] if storage in stored else [storage])],
    }
    return {**crd, "spec": spec, "status": status}


def unknown_schema_keys(crd: Object) -> list[str]:
    """Return the paths of keys that no JSON schema has, for strict decoding."""
    found = []
    for index, version in enumerate(crd.get("spec", {}).get("versions", ())):
        root = (version.get("schema") or {}).get("openAPIV3Schema")
        if isinstance(root, dict):
            path = f"spec.versions[{index}].schema.openAPIV3Schema"
            found += [f"{where}.{key}" for where, node in _nodes(root, path) for key in node if key not in _SCHEMA_KEYS]
    return found


def errors(crd: Object) -> list[FieldError]:
    """Return what is wrong with a CRD."""
    found = validate(SCHEMA, {name: crd[name] for name in ("spec", "status") if name in crd})
    if found:
        return found
    spec = crd["spec"]
    expected = f"{spec['names']['plural']}.{spec['group']}"
    if crd["metadata"].get("name") != expected:
        detail = 'must be spec.names.plural+"."+spec.group'
        found.append(FieldError("metadata.name", "FieldValueInvalid", crd["metadata"].get("name"), detail))
    if sum(version["storage"] for version in spec["versions"]) != 1:
        detail = "must have exactly one version marked as storage version"
        found.append(FieldError("spec.versions", "FieldValueInvalid", spec["versions"], detail))
    for index, version in enumerate(spec["versions"]):
        found += _version_errors(version, f"spec.versions[{index}]")
    return found


def has_rules(crd: Object) -> bool:
    """Tell whether a CRD has validation rules in CEL, which this server ignores."""
    roots = [version["schema"]["openAPIV3Schema"] for version in crd["spec"]["versions"]]
    return any("x-kubernetes-validations" in node for root in roots for _, node in _nodes(root, ""))


def _condition(name: str, reason: str, message: str, since: str) -> Object:
    return {"type": name, "status": "True", "lastTransitionTime": since, "reason": reason, "message": message}


def _version_errors(version: Object, path: str) -> Iterator[FieldError]:
    root = (version.get("schema") or {}).get("openAPIV3Schema")
    where = f"{path}.schema.openAPIV3Schema"
    if not root:
        yield FieldError(where, "FieldValueRequired", detail="schemas are required")
        return
    if root.get("type") != "object":
        yield FieldError(f"{where}.type", "FieldValueInvalid", root.get("type", ""), "must be object at the root")
    for node_path, node in _nodes(root, where):
        yield from _schema_errors(node, node_path)
    for index, column in enumerate(version.get("additionalPrinterColumns", ())):
        yield from _path_errors(column["jsonPath"], f"{path}.additionalPrinterColumns[{index}].jsonPath")
    for index, selectable in enumerate(version.get("selectableFields", ())):
        here = f"{path}.selectableFields[{index}].jsonPath"
        if not _is_scalar(root, selectable["jsonPath"]):
            detail = "must point to a field of type string, boolean or integer"
            yield FieldError(here, "FieldValueInvalid", selectable["jsonPath"], detail)


def _schema_errors(node: Object, path: str) -> Iterator[FieldError]:
    types = ("array", "boolean", "integer", "number", "object", "string")
    free = node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-int-or-string")
    if "type" not in node and not free:
        yield FieldError(f"{path}.type", "FieldValueRequired", detail="must not be empty for specified object fields")
    elif "type" in node and node["type"] not in types:
        yield not_supported(f"{path}.type", node["type"], types)
    if node.get("type") == "array" and "items" not in node:
        yield FieldError(f"{path}.items", "FieldValueRequired", detail="must be specified")
    if node.get("x-kubernetes-list-type") == "map" and not node.get("x-kubernetes-list-map-keys"):
        detail = "must not be empty if x-kubernetes-list-type is map"
        yield FieldError(f"{path}.x-kubernetes-list-map-keys", "FieldValueRequired", detail=detail)


def _path_errors(text: str, path: str) -> Iterator[FieldError]:
    try:
        jsonpath.find(text, {})
    except jsonpath.JSONPathError as error:
        yield FieldError(path, "FieldValueInvalid", text, str(error))


def _is_scalar(root: Object, path: str) -> bool:
    node: Object | None = root
    for name in path.removeprefix(".").split("."):
        node = child_schema(node or {}, name)
    return bool(node) and (node or {}).get("type") in ("string", "boolean", "integer")


def _nodes(node: Any, path: str) -> Iterator[tuple[str, Object]]:
    """Yield each structural node of a schema with its path."""
    if not isinstance(node, dict):
        return
    yield path, node
    for name, child in (node.get("properties") or {}).items():
        yield from _nodes(child, f"{path}.properties[{name}]")
    yield from _nodes(node.get("items"), f"{path}.items")
    yield from _nodes(node.get("additionalProperties"), f"{path}.additionalProperties")
