"""Which objects a request is about, and what its answer holds: paths, selectors, decoding. No I/O.

Neighbours: `client` and `writer` send what is built here, `watch` and `cache` key their copies by `Query`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal

from pydantic import ValidationError

from neptune.api.meta import Json, R, Resource, ResourceKey
from neptune.api.unstructured import PartialObjectMetadata
from neptune.runtime.answers import parse_object, refuse_cut
from neptune.runtime.errors import ApiUnreachable, DecodeError, error_from_status
from neptune.runtime.http import JSON

#: What the last bookmark of the initial events carries (KEP-3157).
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
#: Fields that an error names of an object that does not fit its type: an Event has 1 KB.
_NAMED_FIELDS = 5
_CHANGES = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK"})


@dataclass(frozen=True, slots=True)
class Query(Generic[R]):
    """Which objects of a kind: all, those of a namespace, those that selectors match (kubectl's grammar)."""

    cls: type[R]
    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""

    @property
    def path(self) -> str:
        """The URL path of the collection."""
        return self.cls.resource.path(self.namespace)

    @property
    def params(self) -> dict[str, str]:
        """The selectors as URL parameters."""
        params = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: value for name, value in params.items() if value}

    def covers(self, namespace: str) -> bool:
        """Tell whether objects of that namespace can be among them; empty asks for all namespaces."""
        return self.namespace in ("", namespace)


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch. `object` of a BOOKMARK holds only `metadata.resourceVersion`, and annotations."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Json

    @property
    def version(self) -> str:
        """The resource version of the change, or that the bookmark marks."""
        version: str = self.object["metadata"]["resourceVersion"]
        return version

    @property
    def ends_initial(self) -> bool:
        """Tell whether this ends the objects that were there when a streaming list began."""
        annotations: dict[str, Any] = self.object["metadata"].get("annotations") or {}
        return self.type == "BOOKMARK" and annotations.get(INITIAL_EVENTS_END) == "true"


def parse_event(line: bytes) -> WatchEvent:
    """Return the event that a line of a watch holds, or raise the ApiError that it stands for."""
    event = parse_object(line)
    item: Any
    kind, item = event.get("type"), event.get("object")
    if kind == "ERROR" and isinstance(item, dict):
        raise error_from_status(item)
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if kind not in _CHANGES or not isinstance(metadata, dict) or not isinstance(metadata.get("resourceVersion"), str):
        raise ApiUnreachable(f"what came on the watch is not an event, is a proxy on the way? {line[:80]!r}")
    return WatchEvent(kind, item)


def decode(cls: type[R], raw: bytes) -> R:
    """Return the object.

    Raises:
        DecodeError: it does not fit its type; the text names it and the field.
        ApiUnreachable: this is no object at all.
    """
    try:
        refuse_cut(raw)
        return cls.from_json(raw)
    except (ValueError, TypeError, RecursionError) as error:
        metadata = parse_object(raw).get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        key = ResourceKey(metadata.get("namespace", ""), metadata.get("name", ""))
        raise DecodeError(
            f"{describe(cls)} {key} does not fit its type, correct it or its schema: {_misfits(error)}"
        ) from error


def _misfits(error: Exception) -> str:
    """Name the fields that do not fit, in one line and without their values, which may be secret."""
    if not isinstance(error, ValidationError):
        return str(error)
    fields = error.errors(include_url=False, include_context=False, include_input=False)
    named = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in fields[:_NAMED_FIELDS]]
    more = [f"and {len(fields) - len(named)} more"] if len(fields) > len(named) else []
    return "; ".join([*named, *more])


def describe(cls: type[Resource]) -> str:
    """Return the name that kubectl uses for the kind, such as `datasets.neptune.io`."""
    return f"{cls.resource.plural}.{cls.resource.group}" if cls.resource.group else cls.resource.plural


@cache
def needs_its_type(cls: type[Resource]) -> bool:
    """Tell whether a class cannot be read without `apiVersion` and `kind`, since it declares them as required."""
    return any(cls.model_fields[name].is_required() for name in ("api_version", "kind"))


def accept(cls: type[Resource], *, many: bool = False) -> str:
    """Return the `Accept` header that makes the server answer with what the class can hold."""
    if not issubclass(cls, PartialObjectMetadata):
        return JSON
    shape = "PartialObjectMetadataList" if many else "PartialObjectMetadata"
    return f"{JSON};as={shape};g=meta.k8s.io;v=v1,{JSON}"


def object_path(cls: type[Resource], key: ResourceKey) -> str:
    """Return the URL path of one object.

    Raises:
        ValueError: the key has no name, or lacks the namespace that the kind needs.
    """
    namespace, name = key
    require_namespace(cls, namespace)
    if not name:
        raise ValueError(f"metadata.name of the {cls.resource.kind} is empty")
    return cls.resource.path(namespace, name)


def require_namespace(cls: type[Resource], namespace: str) -> None:
    """Raise a ValueError when the kind lives in a namespace and none is given."""
    if cls.resource.namespaced and not namespace:
        raise ValueError(f"metadata.namespace is empty; a {cls.resource.kind} lives in a namespace")
