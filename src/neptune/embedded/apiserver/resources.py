"""What decides how objects of one resource are treated: `ResourceType`. Pure data.

`builtin` has those of the built-in kinds, `catalog` makes the others of CRDs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neptune.embedded.apiserver import jsonpath
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.table import AGE, NAME, Column


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One resource in one version, with everything that decides how its objects are treated."""

    group: str
    version: str
    kind: str
    plural: str
    schema: Object
    namespaced: bool = True
    singular: str = ""
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: tuple[Column, ...] = (NAME, AGE)
    status: bool = False
    #: Whether metadata.generation counts the changes outside metadata and, with a status subresource, outside status.
    generation: bool = False
    #: JSONPaths that field selectors may name beside metadata.name and metadata.namespace.
    selectable: tuple[str, ...] = ()
    #: Whether an update may leave resourceVersion out (rest.AllowUnconditionalUpdate).
    unconditional_update: bool = True
    #: Whether strategic merge patches are taken, which custom resources refuse.
    strategic_merge: bool = True
    #: The group that stores the objects, where it is another one, and field names there to field names here.
    storage_group: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`plural.group`, as error texts name the resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def storage(self) -> str:
        """The name under which the store keeps the objects; the same for every version."""
        group = self.group if self.storage_group is None else self.storage_group
        return f"{self.plural}.{group}" if group else self.plural

    @property
    def qualified_kind(self) -> str:
        """`Kind.group`, as validation errors name the kind."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    def present(self, stored: Object) -> Object:
        """Return a stored object in this version's shape."""
        shaped = {self.renames.get(name, name): value for name, value in stored.items()}
        return {**shaped, "apiVersion": self.api_version, "kind": self.kind}

    def to_storage(self, obj: Object) -> Object:
        """Return an object of this version in the shape that is stored."""
        names = {here: there for there, here in self.renames.items()}
        return {names.get(name, name): value for name, value in obj.items()}

    def fields(self, obj: Object) -> dict[str, str]:
        """Return the values that field selectors compare."""
        metadata = obj["metadata"]
        known = {"metadata.name": metadata["name"], "metadata.namespace": metadata.get("namespace", "")}
        for path in self.selectable:
            known[path.removeprefix(".")] = plain(path, obj)
        return known

    def field_names(self) -> frozenset[str]:
        """Return the names that a field selector may use."""
        return frozenset({"metadata.name", "metadata.namespace", *(p.removeprefix(".") for p in self.selectable)})


def plain(path: str, obj: Object) -> str:
    """Return the first value at a JSONPath as text, empty where there is none."""
    value: Any = next(iter(jsonpath.find(path, obj)), None)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
