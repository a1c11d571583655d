"""What a type says to the API server besides its Python type: rules in CEL, and how lists and objects merge.

Each marker stands in an `Annotated`, beside pydantic's own `Field(pattern=..., ge=..., max_length=...)`. Neighbours:
`schema` turns them into the words of a structural schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

RULES = "x-kubernetes-validations"
#: Not a word of Kubernetes: `schema` writes the list's or the object's own word in its place.
ATOMIC = "x-neptune-atomic"

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Cel:
    """A rule that the API server checks on each write: `self` is the value, `oldSelf` what it was before.

    On a field: `size: Annotated[int, Cel("self % 2 == 0", "must be even")]`. On a class, for what concerns several
    fields: `@Cel("self.low <= self.high", "low must not be above high")`; a subclass inherits it. A rule with `oldSelf`
    is checked on updates only. The server estimates what a rule costs and refuses the CRD when that may be too much:
    give the strings and lists that a rule walks through a `max_length`. Field names are the JSON names.

    Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
    """

    rule: str
    message: str

    def __call__(self, cls: type[M]) -> type[M]:
        """Put the rule on a class."""
        extra: Any = cls.model_config.get("json_schema_extra") or {}
        if not isinstance(extra, dict):
            raise TypeError(f"{cls.__name__}: json_schema_extra is a function; a rule needs it to be a dict")
        cls.model_config["json_schema_extra"] = {**extra, RULES: [*extra.get(RULES, []), self._entry()]}
        return cls

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        schema[RULES] = [*schema.get(RULES, []), self._entry()]
        return schema

    def _entry(self) -> dict[str, Any]:
        return {"rule": self.rule, "message": self.message}


class ListMap:
    """Marks a list whose items are told apart by these fields, so that appliers of different items do not clash.

    Each field must be required in the item, or have a default; names are the JSON names.
    """

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = list(self.keys)
        return schema


class ListSet:
    """Marks a list of plain values in which each occurs once; appliers each own the values that they name."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        schema["x-kubernetes-list-type"] = "set"
        return schema


class Atomic:
    """Marks a list or an object that has one owner: an applier replaces it whole. Lists are so by default."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        schema[ATOMIC] = True
        return schema
