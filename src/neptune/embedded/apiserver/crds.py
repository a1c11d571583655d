"""CustomResourceDefinitions as objects: what makes one valid, its defaults, and the status that says it is served.

Pure. Checks what `resources.from_crd` relies on and what authors get wrong most (unknown schema keys, a missing type);
the real server's CEL cost limits and conversion webhooks do not exist here. Rules in `x-kubernetes-validations` are
accepted and not evaluated: CEL is a language of its own, and the two Python implementations are not worth their weight.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from neptune.embedded.apiserver import jsonpath
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.schema import child_schema
from neptune.embedded.apiserver.status import FieldError, not_supported
from neptune.embedded.apiserver.table import timestamp
from neptune.embedded.apiserver.validation import validate

#: JSONSchemaProps, apiextensions/v1 types_jsonschema.go.
_SCHEMA_KEYS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "$schema", "$ref", "description", "type", "format", "title", "pattern"), str),
    **dict.fromkeys(("x-kubernetes-list-type", "x-kubernetes-map-type"), str),
    **dict.fromkeys(("maximum", "minimum", "multipleOf"), (int, float)),
    **dict.fromkeys(("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"), int),
    **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "uniqueItems", "nullable"), bool),
    **dict.fromkeys(("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"), bool),
    "x-kubernetes-int-or-string": bool,
    **dict.fromkeys(("enum", "required", "allOf", "oneOf", "anyOf"), list),
    **dict.fromkeys(("x-kubernetes-list-map-keys", "x-kubernetes-validations"), list),
    **dict.fromkeys(("properties", "items", "not", "patternProperties", "dependencies", "definitions"), dict),
    **dict.fromkeys(("additionalProperties", "additionalItems"), (dict, bool)),
    **dict.fromkeys(("default", "example", "externalDocs"), object),
}
#: Groups of Kubernetes itself, among them those of the built-in kinds (apiextensions validation.go).
_PROTECTED = (".k8s.io", ".kubernetes.io")
_APPROVAL = "api-approved.kubernetes.io"

_STRING: Object = {"type": "string"}
_STRINGS: Object = {"type": "array", "items": _STRING}
_ANY: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _object(required: tuple[str, ...] = (), /, **properties: Object) -> Object:
    return {"type": "object", "required": list(required), "properties": properties}


_COLUMN = _object(
    ("jsonPath", "name", "type"),
    name=_STRING,
    type=_STRING,
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


def prune_schemas(crd: Object) -> tuple[Object, list[str]]:
    """Return a CRD whose schemas hold only keys that JSON schemas have, and the paths of the keys left out."""
    unknown: list[str] = []
    versions = next(iter(jsonpath.find(".spec.versions", crd)), None)
    if not isinstance(versions, list):
        return crd, unknown
    kept = []
    for index, version in enumerate(versions):
        root = jsonpath.find(".schema.openAPIV3Schema", version)
        if root and isinstance(root[0], dict):
            pruned = _prune_schema(root[0], f"spec.versions[{index}].schema.openAPIV3Schema", unknown)
            kept.append({**version, "schema": {"openAPIV3Schema": pruned}})
        else:
            kept.append(version)
    return {**crd, "spec": {**crd["spec"], "versions": kept}}, unknown


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
    if spec["group"].endswith(_PROTECTED) and _APPROVAL not in crd["metadata"].get("annotations", {}):
        detail = (
            "protected groups must have approval annotation, see https://github.com/kubernetes/enhancements/pull/1111"
        )
        found.append(FieldError(f"metadata.annotations[{_APPROVAL}]", "FieldValueRequired", detail=detail))
    if sum(version["storage"] for version in spec["versions"]) != 1:
        detail = "must have exactly one version marked as storage version"
        found.append(FieldError("spec.versions", "FieldValueInvalid", spec["versions"], detail))
    for index, version in enumerate(spec["versions"]):
        # The real server keeps one version's parts at the top and names them there.
        alone = len(spec["versions"]) == 1
        found += _schema_errors(version, "spec.validation" if alone else f"spec.versions[{index}].schema")
        if not found:
            found += _field_errors(version, "spec" if alone else f"spec.versions[{index}]")
    return found


def has_rules(crd: Object) -> bool:
    """Tell whether a CRD has validation rules in CEL, which this server ignores."""
    roots = [version["schema"]["openAPIV3Schema"] for version in crd["spec"]["versions"]]
    return any("x-kubernetes-validations" in node for root in roots for _, node in _nodes(root, ""))


def _condition(name: str, reason: str, message: str, since: str) -> Object:
    return {"type": name, "status": "True", "lastTransitionTime": since, "reason": reason, "message": message}


def _prune_schema(node: Any, path: str, unknown: list[str]) -> Any:
    if not isinstance(node, dict):
        return node
    kept: Object = {}
    for key, value in node.items():
        if key not in _SCHEMA_KEYS:
            unknown.append(f"{path}.{key}")
        elif key == "properties" and isinstance(value, dict):
            kept[key] = {name: _prune_schema(child, f"{path}.{key}.{name}", unknown) for name, child in value.items()}
        elif key in ("items", "additionalProperties", "not"):
            kept[key] = _prune_schema(value, f"{path}.{key}", unknown)
        elif key in ("allOf", "anyOf", "oneOf") and isinstance(value, list):
            kept[key] = [_prune_schema(child, f"{path}.{key}[{i}]", unknown) for i, child in enumerate(value)]
        else:
            kept[key] = value
    return kept


def _schema_errors(version: Object, path: str) -> Iterator[FieldError]:
    root = (version.get("schema") or {}).get("openAPIV3Schema")
    where = f"{path}.openAPIV3Schema"
    if not root:
        yield FieldError(where.replace("spec.validation", "spec.versions[0].schema"), "FieldValueRequired")
        return
    if mistyped := list(_type_errors(root, where)):
        yield from mistyped
        return
    if "type" not in root:
        yield FieldError(f"{where}.type", "FieldValueRequired", detail="must not be empty at the root")
        return
    if root["type"] != "object":
        yield FieldError(f"{where}.type", "FieldValueInvalid", root["type"], "must be object at the root")
    for node_path, node in _nodes(root, where):
        yield from _node_errors(node, node_path)


def _type_errors(node: Any, path: str) -> Iterator[FieldError]:
    """Yield what makes a schema none at all: parts of the wrong JSON type."""
    if not isinstance(node, dict):
        yield FieldError(path, "FieldValueTypeInvalid", node, "must be a schema")
        return
    for key, value in node.items():
        here = f"{path}.{key}"
        texts = value if key in ("required", "x-kubernetes-list-map-keys") and isinstance(value, list) else ()
        fits = isinstance(value, _SCHEMA_KEYS[key]) and all(isinstance(text, str) for text in texts)
        if not fits:
            yield FieldError(here, "FieldValueTypeInvalid", value, "is of the wrong type")
        elif key == "properties":
            for name, child in value.items():
                yield from _type_errors(child, f"{here}[{name}]")
        elif key in ("allOf", "anyOf", "oneOf"):
            for index, child in enumerate(value):
                yield from _type_errors(child, f"{here}[{index}]")
        elif key in ("items", "not") or (key == "additionalProperties" and isinstance(value, dict)):
            yield from _type_errors(value, here)


def _node_errors(node: Object, path: str) -> Iterator[FieldError]:
    if "pattern" in node and not _compiles(node["pattern"]):
        yield FieldError(f"{path}.pattern", "FieldValueInvalid", node["pattern"], "must be a valid regular expression")
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


def _field_errors(version: Object, path: str) -> Iterator[FieldError]:
    types = ("boolean", "date", "integer", "number", "string")
    for index, column in enumerate(version.get("additionalPrinterColumns", ())):
        here = f"{path}.additionalPrinterColumns[{index}]"
        if column["type"] not in types:
            yield FieldError(f"{here}.type", "FieldValueInvalid", column["type"], f"must be one of {','.join(types)}")
        if not column["jsonPath"].startswith(".") or not _is_readable(column["jsonPath"]):
            detail = "must be a simple json path starting with ."
            yield FieldError(f"{here}.JSONPath", "FieldValueInvalid", column["jsonPath"], detail)
    root = (version.get("schema") or {}).get("openAPIV3Schema")
    for index, selectable in enumerate(version.get("selectableFields", ())):
        here = f"{path}.selectableFields[{index}].jsonPath"
        if not _is_scalar(root, selectable["jsonPath"]):
            detail = "is an invalid path: does not refer to a valid field"
            yield FieldError(here, "FieldValueInvalid", selectable["jsonPath"], detail)


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _is_readable(path: str) -> bool:
    try:
        jsonpath.find(path, {})
    except jsonpath.JSONPathError:
        return False
    return True


def _is_scalar(root: Object | None, path: str) -> bool:
    node = root
    for name in path.removeprefix(".").split("."):
        node = child_schema(node or {}, name)
    return bool(node) and (node or {}).get("type") in ("string", "boolean", "integer")


def _nodes(node: Any, path: str) -> Iterator[tuple[str, Object]]:
    """Yield each structural node of a schema with its path."""
    if not isinstance(node, dict):
        return
    yield path, node
    properties = node.get("properties")
    for name, child in properties.items() if isinstance(properties, dict) else ():
        yield from _nodes(child, f"{path}.properties[{name}]")
    yield from _nodes(node.get("items"), f"{path}.items")
    yield from _nodes(node.get("additionalProperties"), f"{path}.additionalProperties")
