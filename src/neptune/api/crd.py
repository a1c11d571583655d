"""CustomResourceDefinitions from types: `crd_for(Dataset)` is the manifest that the API server takes.

Invariant: what comes out is a structural schema, or `NotStructural` names the path of the field that prevents it.
Neighbours: the kinds carry a `CrdOptions`; `neptune crds` writes the YAML below `deploy/crds`.
Rules: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/ (structural
schemas, additional printer columns, selectable fields).
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from neptune.errors import NeptuneError

if TYPE_CHECKING:
    from neptune.api.meta import Resource

ColumnType = Literal["integer", "number", "string", "boolean", "date"]


class NotStructural(NeptuneError):
    """A type cannot be expressed as a structural schema; the text names the field and the remedy."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`. `priority` 0 is always shown, 1 only with `-o wide`."""

    name: str
    type: ColumnType
    json_path: str
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class CrdOptions:
    """What a kind's manifest says besides its schema."""

    columns: tuple[Column, ...] = ()
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    status_subresource: bool = True


@dataclass(frozen=True, slots=True)
class ListMap:
    """Marks a list whose items are told apart by `key`, so that appliers of different items do not clash."""

    key: str

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = [self.key]
        return schema


#: JSON Schema words that pydantic emits and a structural schema has too, with the same meaning; in the order in which
#: a person reads them.
_KEPT = (
    "description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems",
    "minimum", "maximum", "multipleOf", "default", "nullable",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string", "required",
)  # fmt: skip
#: Words that are translated, or say nothing to the API server. `additionalProperties: true` beside properties is how
#: `extra="allow"` looks: it is about what we keep when reading, not about what a user may write.
_DROPPED = frozenset({"title", "properties", "items", "additionalProperties", "const"})


def crd_for(cls: type[Resource]) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind, as a JSON object.

    Raises:
        NotStructural: a field's type has no structural schema.
    """
    kind, options = cls.resource, _options(cls)
    schema = cls.model_json_schema(by_alias=True, mode="validation")
    definitions = schema.get("$defs", {})
    properties = {
        name: _structural(part, definitions, name)
        for name, part in schema["properties"].items()
        if name not in {"apiVersion", "kind", "metadata"}
    }
    version: dict[str, Any] = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "description": inspect.cleandoc(cls.__doc__ or ""),
                "type": "object",
                "required": [name for name in schema.get("required", ()) if name in properties],
                "properties": properties,
            }
        },
        "additionalPrinterColumns": [_column(column) for column in options.columns],
    }
    if options.status_subresource:
        version["subresources"] = {"status": {}}
    if options.selectable_fields:
        version["selectableFields"] = [{"jsonPath": path} for path in options.selectable_fields]
    names: dict[str, Any] = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.kind.lower(),
        "shortNames": list(options.short_names),
        "categories": list(options.categories),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _options(cls: type[Resource]) -> CrdOptions:
    return getattr(cls, "crd", CrdOptions())


def _column(column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.json_path,
        "description": column.description,
    }
    if column.priority:
        entry["priority"] = column.priority
    return entry


def _structural(schema: dict[str, Any], definitions: dict[str, Any], path: str) -> dict[str, Any]:
    schema = _resolved(schema, definitions, path)
    unknown = schema.keys() - _DROPPED - {*_KEPT}
    if unknown:
        raise NotStructural(f"{path}: a CRD schema has no {', '.join(sorted(unknown))}; use a simpler type")
    out = {word: schema[word] for word in _KEPT if word in schema}
    if "const" in schema:
        out["enum"] = [schema["const"]]
    if "properties" in schema:
        out["properties"] = {
            name: _structural(part, definitions, f"{path}.{name}") for name, part in schema["properties"].items()
        }
    elif isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = _structural(schema["additionalProperties"], definitions, f"{path}.*")
    elif schema.get("additionalProperties") is True:
        # A mapping of anything; without this the API server would prune all that is in it.
        out["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in schema:
        out["items"] = _structural(schema["items"], definitions, f"{path}[]")
    if "type" not in out and "x-kubernetes-int-or-string" not in out:
        raise NotStructural(f"{path}: any value is allowed; give the field a type")
    return out


def _resolved(schema: dict[str, Any], definitions: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the schema with its reference put in place, and `X | None` as X: absent is how Kubernetes says None."""
    around = {word: value for word, value in schema.items() if word not in {"$ref", "anyOf"}}
    # An empty default is how Python spells "absent"; the API server would write it into the user's object.
    if around.get("default", ...) in (None, ""):
        del around["default"]
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        if path.count(".") > 64:
            raise NotStructural(f"{path}: the type contains itself; a structural schema is finite")
        return {**_resolved(definitions[name], definitions, path), **around}
    if "anyOf" in schema:
        options = [option for option in schema["anyOf"] if option.get("type") != "null"]
        if len(options) != 1:
            raise NotStructural(f"{path}: a choice between types; a structural schema needs one type a field")
        return {**_resolved(options[0], definitions, path), **around}
    return around
