"""Which resources are served now: the built-in ones, and those of the stored CRDs. `registry` keeps it up to date."""

from __future__ import annotations

from collections.abc import Iterator

from neptune.embedded.apiserver.builtin import BUILT_IN
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.resources import ResourceType
from neptune.embedded.apiserver.table import AGE, NAME, Column


class Catalog:
    """The served resource types by (group, version, plural)."""

    def __init__(self) -> None:
        self._types: dict[tuple[str, str, str], ResourceType] = {}
        for kind in BUILT_IN:
            self._types[kind.group, kind.version, kind.plural] = kind

    def __iter__(self) -> Iterator[ResourceType]:
        return iter(self._types.values())

    def find(self, group: str, version: str, plural: str) -> ResourceType | None:
        """Return the type, or None when it is not served."""
        return self._types.get((group, version, plural))

    def serve(self, crd: Object) -> None:
        """Serve what a CRD declares, in the place of what it declared before."""
        self.withdraw(crd)
        for kind in from_crd(crd):
            self._types[kind.group, kind.version, kind.plural] = kind

    def withdraw(self, crd: Object) -> None:
        """Stop serving the versions of a CRD."""
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        for key in [key for key in self._types if (key[0], key[2]) == (group, plural)]:
            del self._types[key]


def from_crd(crd: Object) -> Iterator[ResourceType]:
    """Yield the type of each served version of a complete CustomResourceDefinition."""
    spec, names = crd["spec"], crd["spec"]["names"]
    for version in spec["versions"]:
        if not version["served"]:
            continue
        subresources = version.get("subresources") or {}
        yield ResourceType(
            group=spec["group"],
            version=version["name"],
            kind=names["kind"],
            plural=names["plural"],
            namespaced=spec["scope"] == "Namespaced",
            singular=names.get("singular", ""),
            list_kind=names.get("listKind", ""),
            short_names=tuple(names.get("shortNames", ())),
            categories=tuple(names.get("categories", ())),
            schema=_without_metadata(version["schema"]["openAPIV3Schema"]),
            columns=(NAME, *(tuple(_column(each) for each in version.get("additionalPrinterColumns", ())) or (AGE,))),
            status="status" in subresources,
            generation=True,
            selectable=tuple(each["jsonPath"] for each in version.get("selectableFields", ())),
            unconditional_update=False,
            strategic_merge=False,
        )


def _without_metadata(schema: Object) -> Object:
    """Return the schema for everything but apiVersion, kind and metadata, whose rules are the server's own."""
    own = ("apiVersion", "kind", "metadata")
    declared = {name: child for name, child in (schema.get("properties") or {}).items() if name not in own}
    required = [name for name in schema.get("required", ()) if name not in own]
    return {**schema, "properties": declared, "required": required}


def _column(declared: Object) -> Column:
    return Column(
        name=declared["name"],
        value=declared["jsonPath"],
        type=declared["type"],
        format=declared.get("format", ""),
        description=declared.get("description", ""),
        priority=declared.get("priority", 0),
    )
