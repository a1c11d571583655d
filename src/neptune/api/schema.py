"""JSON Schema, as pydantic writes it, turned into a structural schema, as the API server wants it.

Invariant: what comes out is a structural schema, or `NotStructural` names the path of the field that prevents it and
what to write instead. Nothing is dropped that a user would miss.
Neighbours: `markers` and `scalars` put Kubernetes' own words into the JSON Schema; `crd` wraps the result.
Rules: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
#specifying-a-structural-schema and k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from neptune.api.markers import ATOMIC, RULES
from neptune.errors import NeptuneError

Schema = dict[str, Any]


class NotStructural(NeptuneError):
    """A type cannot be expressed as a structural schema; the text names the field and the remedy."""


#: What `crd` puts in the place of a type that JSON has no words for: pydantic's name of it.
NO_JSON = "x-neptune-no-json"
#: Words that pydantic emits and a structural schema has too, with the same meaning; in the order in which a person
#: reads them.
_KEPT = (
    "description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems",
    "minProperties", "maxProperties", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf",
    "default", "nullable",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", RULES,
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "required",
)  # fmt: skip
#: Words that are translated, or say nothing to the API server. `additionalProperties: true` beside properties is how
#: `extra="allow"` looks: it is about what we keep when reading, not about what a user may write.
_DROPPED = frozenset(
    {"title", "properties", "items", "additionalProperties", "const", ATOMIC}
    | {"examples", "deprecated", "readOnly", "writeOnly"}
)
#: What else pydantic emits, and what to write in its place.
_REMEDIES = {
    "prefixItems": "a list whose positions have types of their own; make it a class with a name for each position",
    "uniqueItems": "a set, whose order would differ from write to write; use Annotated[list[...], ListSet()]",
    "oneOf": "a choice between types; use one class with an optional field for each choice, and a Cel rule",
    "patternProperties": "keys with a pattern; use dict[str, ...] and a Cel rule: self.all(key, key.matches('...'))",
    "propertyNames": "keys of a given form; use dict[str, ...] and a Cel rule: self.all(key, key in ['...'])",
    "contentMediaType": "JSON inside a string; use dict[str, Any]",
}
#: k8s.io/apiextensions-apiserver/pkg/apiserver/validation/formats.go. Any other format is ignored by the server, which
#: would accept every string.
_FORMATS = frozenset(
    {"int32", "int64", "float", "double", "byte", "password", "date", "date-time", "uri", "email", "hostname", "mac"}
    | {"ipv4", "ipv6", "cidr", "uuid", "uuid3", "uuid4", "uuid5", "isbn", "isbn10", "isbn13", "creditcard", "ssn"}
    | {"hexcolor", "rgbcolor", "bsonobjectid"}
)
_PYTHON_TYPES: dict[str, Any] = {
    "integer": int, "number": (int, float), "string": str, "boolean": bool, "array": list, "object": dict,
}  # fmt: skip
_FORMAT_REMEDIES = {
    "duration": "use neptune.api.Duration, which writes 1h30m as Kubernetes does",
    "binary": "use str, or Annotated[str, Field(json_schema_extra={'format': 'byte'})] for base64",
    "base64": "use Annotated[str, Field(json_schema_extra={'format': 'byte'})]",
}


def structural(schema: Schema, definitions: Mapping[str, Schema], path: str, inside: tuple[str, ...] = ()) -> Schema:
    """Return the structural schema of one type.

    Args:
        schema: the JSON Schema of the type.
        definitions: what its references point to.
        path: where the type is, for errors.
        inside: the definitions that the type is part of.

    Raises:
        NotStructural: it has none; the text begins with the path of the part that is to blame.
    """
    schema, inside = _resolved(schema, definitions, path, inside)
    _check(schema, path)
    schema = _bounded(schema)
    out = {word: schema[word] for word in _KEPT if word in schema}
    if "const" in schema:
        out["enum"] = [schema["const"]]
    if "properties" in schema:
        out["properties"] = {
            name: structural(part, definitions, f"{path}.{name}", inside) for name, part in schema["properties"].items()
        }
    elif isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = structural(schema["additionalProperties"], definitions, f"{path}.*", inside)
    elif schema.get("additionalProperties") is True:
        # A mapping of anything; without this the API server would prune all that is in it.
        out["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in schema:
        out["items"] = structural(schema["items"], definitions, f"{path}[]", inside)
    if isinstance(out.get("default"), dict):
        out["default"] = _filled(out, out["default"])
    if schema.get(ATOMIC):
        if out.get("type") not in {"array", "object"}:
            _refuse(path, "Atomic is for lists and objects; leave it out")
        out["x-kubernetes-list-type" if out["type"] == "array" else "x-kubernetes-map-type"] = "atomic"
    _check_list(out, path)
    if "default" in out:
        _check_default(out, out["default"], path)
    return out


def _resolved(
    schema: Schema, definitions: Mapping[str, Schema], path: str, inside: tuple[str, ...]
) -> tuple[Schema, tuple[str, ...]]:
    """Return the schema with its reference put in place, and `X | None` as X: absent is how Kubernetes says None."""
    around = {word: value for word, value in schema.items() if word not in {"$ref", "anyOf"}}
    # An empty default is how Python spells "absent"; the API server would write it into the user's object.
    if around.get("default", ...) in (None, ""):
        del around["default"]
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        if name in inside:
            _refuse(path, f"the type {name} contains itself, a schema is finite; use dict[str, Any] here")
        inner, inside = definitions[name], (*inside, name)
    elif "anyOf" in schema:
        options = [option for option in schema["anyOf"] if option.get("type") != "null"]
        if len(options) != 1:
            _refuse(path, "a choice between types; use one type, or IntOrString")
        inner = options[0]
    else:
        return around, inside
    inner, inside = _resolved(inner, definitions, path, inside)
    if RULES in inner and RULES in around:
        around[RULES] = [*inner[RULES], *around[RULES]]
    return {**inner, **around}, inside


def _check(schema: Schema, path: str) -> None:
    if name := schema.get(NO_JSON):
        _refuse(path, f"JSON has nothing like pydantic's {name}; use a type that it has")
    if unknown := sorted(schema.keys() - _DROPPED - {*_KEPT}):
        remedies = [_REMEDIES[word] for word in unknown if word in _REMEDIES]
        _refuse(path, remedies[0] if remedies else f"a structural schema has no {unknown[0]}; use a simpler type")
    if "type" not in schema and "x-kubernetes-int-or-string" not in schema:
        if "enum" in schema:
            _refuse(path, "an enumeration of values of several types; use one type")
        _refuse(path, "any value is allowed; give the field a type, or dict[str, Any] for any object")
    if schema.get("type") == "null":
        _refuse(path, "nothing but None is allowed; leave the field out")
    if isinstance(schema.get("multipleOf"), float):
        # Its check of a whole number cuts the factor to a whole one, and finds 0.
        _refuse(path, "the API server takes only whole numbers for multiple_of; use a Cel rule")
    name = schema.get("format")
    if name is not None and name not in _FORMATS:
        _refuse(path, f"the API server does not know the format {name}; {_FORMAT_REMEDIES.get(name, 'use str')}")


def _bounded(schema: Schema) -> Schema:
    """Return the schema with OpenAPI 3.0's bounds: `exclusiveMinimum` is a flag of `minimum`, not a number."""
    schema = dict(schema)
    for word, exclusive, tighter in (("minimum", "exclusiveMinimum", max), ("maximum", "exclusiveMaximum", min)):
        bound = schema.pop(exclusive, None)
        if bound is not None and tighter(bound, schema.get(word, bound)) == bound:
            schema[word], schema[exclusive] = bound, True
    return schema


def _filled(schema: Schema, value: Schema) -> Schema:
    """Return a default with those of its fields: the API server checks rules on it as it is written."""
    inner = {name: part["default"] for name, part in schema.get("properties", {}).items() if "default" in part}
    return {**inner, **value}


def _check_list(schema: Schema, path: str) -> None:
    """Refuse what the API server refuses about list types; it would name the field by an index into the versions."""
    if "x-kubernetes-list-type" in schema and schema.get("type") != "array":
        _refuse(path, "ListMap and ListSet are for lists; leave it out")
    items = schema.get("items", {})
    match schema.get("x-kubernetes-list-type"):
        case "map":
            properties = items.get("properties")
            if properties is None:
                _refuse(path, "the items of a ListMap must be objects; use ListSet for plain values")
            if not schema["x-kubernetes-list-map-keys"]:
                _refuse(path, "a ListMap without a key; name the fields that tell its items apart")
            for key in schema["x-kubernetes-list-map-keys"]:
                if key not in properties:
                    _refuse(path, f"the items have no field {key} to tell them apart; name one by its JSON name")
                if key not in items.get("required", ()) and "default" not in properties[key]:
                    _refuse(
                        f"{path}[].{key}", "a key of a ListMap must be required, or have a default that is not empty"
                    )
        case "set" if items.get("type") in {"object", "array"}:
            _refuse(path, "the items of a ListSet must be plain values; use ListMap for objects")


def _check_default(schema: Schema, value: Any, path: str) -> None:
    """Refuse a default that breaks its own type, which pydantic does not look at and the API server refuses."""
    kind = schema.get("type", "")
    is_number = kind in {"integer", "number"}
    if not isinstance(value, _PYTHON_TYPES.get(kind, object)) or (is_number and isinstance(value, bool)):
        _refuse(path, f"the default {value!r} is not of the type {kind}; correct one of them")
    if value not in schema.get("enum", (value,)):
        _refuse(path, f"the default {value!r} is none of the values that are allowed; correct one of them")
    if is_number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        _refuse(path, f"the default {value!r} is out of the bounds; correct one of them")
    for item in value if kind == "array" else ():
        _check_default(schema.get("items", {}), item, f"{path}[]")
    for name, item in value.items() if kind == "object" else ():
        inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
        _check_default(inner, item, f"{path}.{name}")


def _refuse(path: str, reason: str) -> NoReturn:
    raise NotStructural(f"{path}: {reason}")
