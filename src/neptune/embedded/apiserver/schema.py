"""Structural schemas applied to values: unknown fields pruned, defaults filled in. Pure; arguments stay untouched.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/ has the rules.
`validation` judges the outcome; `registry` calls both on every write of a resource that has a schema.
"""

from __future__ import annotations

import copy
from typing import Any

from neptune.embedded.apiserver.objects import Object

#: The parts of ObjectMeta that a client may send, as a schema; the rest is unknown to the real server too.
METADATA: Object = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("name", "generateName", "namespace", "uid", "selfLink")},
        **{name: {"type": "string"} for name in ("resourceVersion", "creationTimestamp", "deletionTimestamp")},
        "generation": {"type": "integer"},
        "deletionGracePeriodSeconds": {"type": "integer"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "finalizers": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "ownerReferences": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "items": {
                "type": "object",
                "x-kubernetes-map-type": "atomic",
                "properties": {
                    **{name: {"type": "string"} for name in ("apiVersion", "kind", "name", "uid")},
                    "controller": {"type": "boolean"},
                    "blockOwnerDeletion": {"type": "boolean"},
                },
            },
        },
        "managedFields": {
            "type": "array",
            "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    },
}


def prune(schema: Object, value: Any, path: str = "") -> tuple[Any, list[str]]:
    """Return a copy of `value` without the fields that `schema` does not know, and the paths of those fields."""
    unknown: list[str] = []
    return _prune(schema, value, path, unknown), unknown


def apply_defaults(schema: Object, value: Any) -> Any:
    """Return a copy of `value` with the schema's defaults where a property is absent, or null and not nullable."""
    if isinstance(value, list):
        items = schema.get("items")
        return [apply_defaults(items, item) for item in value] if items else value
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for name, child in schema.get("properties", {}).items():
        absent = name not in filled or (filled[name] is None and not child.get("nullable"))
        if absent and "default" in child:
            filled[name] = copy.deepcopy(child["default"])
        elif absent:
            # A null that may not be null is the same as nothing ("Defaulting and Nullable" in the page above).
            filled.pop(name, None)
        if name in filled:
            filled[name] = apply_defaults(child, filled[name])
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        declared = schema.get("properties", {})
        return {k: v if k in declared else apply_defaults(extra, v) for k, v in filled.items()}
    return filled


def merge_applied(schema: Object | None, current: Any, applied: Any) -> Any:
    """Return `current` with `applied` merged in, as server-side apply does before it looks at the owners.

    Objects merge by key, lists by `x-kubernetes-list-type`: `map` by its keys, `set` by value, anything else whole.
    """
    schema = schema or {}
    if isinstance(current, dict) and isinstance(applied, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        merged = dict(current)
        for name, value in applied.items():
            merged[name] = merge_applied(child_schema(schema, name), current.get(name), value)
        return merged
    if isinstance(current, list) and isinstance(applied, list):
        return _merge_lists(schema, current, applied)
    return applied


def child_schema(schema: Object, name: str) -> Object | None:
    """Return the schema of a property or, failing that, of additional properties."""
    declared: Object | None = schema.get("properties", {}).get(name)
    extra = schema.get("additionalProperties")
    return declared if declared is not None else extra if isinstance(extra, dict) else None


def map_key(schema: Object, item: Any) -> tuple[str, ...]:
    """Return what identifies `item` in a list of type `map`."""
    if not isinstance(item, dict):
        return (repr(item),)
    return tuple(repr(value) for value in map_key_fields(schema, item).values())


def map_key_fields(schema: Object, item: Object) -> Object:
    """Return the fields that identify an object in a list of type `map`; one that is absent has its default."""
    declared = (schema.get("items") or {}).get("properties", {})
    names = schema.get("x-kubernetes-list-map-keys", ())
    return {name: item.get(name, declared.get(name, {}).get("default")) for name in names}


def _merge_lists(schema: Object, current: list[Any], applied: list[Any]) -> list[Any]:
    match schema.get("x-kubernetes-list-type"):
        case "set":
            return [*current, *(item for item in applied if item not in current)]
        case "map":
            merged = {map_key(schema, item): item for item in current}
            for item in applied:
                key = map_key(schema, item)
                merged[key] = merge_applied(schema.get("items"), merged.get(key), item)
            return list(merged.values())
        case _:
            return applied


def _prune(schema: Object, value: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(value, list):
        items = schema.get("items", {"x-kubernetes-preserve-unknown-fields": True})
        return [_prune(items, item, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    keep_unknown = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("additionalProperties") is True
    kept = {}
    for name, item in value.items():
        child = child_schema(schema, name)
        here = f"{path}.{name}" if path else name
        if child is not None:
            kept[name] = _prune(child, item, here, unknown)
        elif keep_unknown or (embedded and name in ("apiVersion", "kind", "metadata")):
            kept[name] = copy.deepcopy(item)
        else:
            unknown.append(here)
    return kept
