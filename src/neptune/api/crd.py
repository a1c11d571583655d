"""CustomResourceDefinitions from types: `crd_for(Dataset)` is the manifest that the API server takes.

Invariant: what comes out is a manifest with a structural schema, or `NotStructural` names what prevents it.
Neighbours: `schema` turns types into schemas; the kinds carry a `CrdOptions`; `neptune crds` writes the YAML below
`deploy/crds`.
Rules: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/ (additional
printer columns, selectable fields).
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ForwardRef, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaError
from pydantic_core.core_schema import WithDefaultSchema

from neptune.api.schema import NO_JSON, NotStructural, structural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from neptune.api.meta import Resource

#: How a path goes on into the parts of a type.
_STEPS = {list: "[]", dict: ".*"}

ColumnType = Literal["integer", "number", "string", "boolean", "date"]


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
    """What a kind's manifest says besides its schema.

    Attributes:
        columns: of `kubectl get`, in their order; without any, kubectl shows the age.
        short_names: further names for kubectl, such as `dset`.
        categories: groups of kinds that `kubectl get CATEGORY` shows together.
        selectable_fields: JSON paths such as `.spec.nodeName` that field selectors understand.
        status_subresource: keep `status` apart from the rest, so that writers of one cannot touch the other.
    """

    columns: tuple[Column, ...] = ()
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    status_subresource: bool = True


def crd_for(cls: type[Resource]) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind, as a JSON object.

    Fields become properties, docstrings and `Field(description=...)` descriptions. A default is the server's too,
    except None and "", which mean absent, and what a `default_factory` makes.

    Raises:
        NotStructural: a field's type has no structural schema, or the kind's group is not one for custom resources.
    """
    kind, options = cls.resource, _options(cls)
    if "." not in kind.group:
        raise NotStructural(
            f"{cls.__name__}.resource: the group {kind.group!r} is Kubernetes' own; use a domain of yours, example.com"
        )
    version: dict[str, Any] = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _schema(cls)},
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


class _Generator(GenerateJsonSchema):
    """Writes a default in the words of its type, `1h30m`, which pydantic does for its other mode alone.

    What JSON has no words for it marks, where pydantic forgets which field it was.
    """

    def handle_invalid_for_json_schema(self, _schema: Any, error_info: str) -> dict[str, Any]:
        return {NO_JSON: error_info}

    def get_default_value(self, schema: WithDefaultSchema) -> Any:
        default = super().get_default_value(schema)
        inner: Any = schema["schema"]
        while "serialization" not in inner and "schema" in inner:
            inner = inner["schema"]
        written = inner.get("serialization", {})
        if written.get("type") == "function-plain" and default is not None:
            return written["function"](default)
        return default


def _schema(cls: type[Resource]) -> dict[str, Any]:
    try:
        schema = cls.model_json_schema(by_alias=True, mode="validation", schema_generator=_Generator)
    except PydanticUserError as error:
        raise NotStructural(next(_undefined(cls, cls.__name__), f"{cls.__name__}: {error.message}")) from error
    except SchemaError as error:  # such as a pattern that is none
        *path, reason = re.split(r"SchemaError: ", str(error))
        names = [to_camel(field[1]) for part in path if (field := re.match(r'Field "(\w+)"', part))]
        raise NotStructural(f"{'.'.join([cls.__name__, *names])}: {' '.join(reason.split())}") from error
    definitions = schema.pop("$defs", {})
    inside: tuple[str, ...] = ()
    if "$ref" in schema:  # the kind is a part of itself
        inside = (schema["$ref"].rsplit("/", 1)[-1],)
        schema = definitions[inside[0]]
    # The server has its own schema for these three, and refuses another.
    own = {name: part for name, part in schema["properties"].items() if name not in {"apiVersion", "kind", "metadata"}}
    required = [name for name in schema.get("required", ()) if name in own]
    whole = {
        **schema, "properties": own, "required": required, "description": inspect.cleandoc(cls.__doc__ or "")
    }  # fmt: skip
    return structural(whole, definitions, cls.__name__, inside)


def _undefined(annotation: Any, path: str, inside: tuple[type[BaseModel], ...] = ()) -> Iterator[str]:
    """Say of each part of a type that names what is not there where it is, and what to do."""
    if isinstance(annotation, ForwardRef):
        text = annotation.__forward_arg__.strip("'\"")
        yield (
            f"{path}: a type in {text} is not defined; define it before the manifest is made, or import it for the "
            "running program too, not only under TYPE_CHECKING"
        )
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation not in inside:
            for name, field in annotation.model_fields.items():
                yield from _undefined(
                    field.annotation, f"{path}.{field.alias or to_camel(name)}", (*inside, annotation)
                )
    else:
        step = _STEPS.get(get_origin(annotation), "")
        for part in get_args(annotation):
            yield from _undefined(part, path + step, inside)
