"""What the server serves: a `ResourceType` for each built-in kind and for each served version of a CRD. Pure data.

Built-in kinds have no schema here, so their fields are stored as sent; Events of the two groups are one storage under
two shapes, as in the real server. `registry` looks types up in a `Catalog`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from neptune.embedded.apiserver import jsonpath
from neptune.embedded.apiserver.crds import SCHEMA as CRD_SCHEMA
from neptune.embedded.apiserver.status import Object
from neptune.embedded.apiserver.table import AGE, NAME, Cell, Column, age

CRD_GROUP = "apiextensions.k8s.io"


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One resource in one version, with everything that decides how its objects are treated."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    singular: str = ""
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    schema: Object | None = None
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
            hits = jsonpath.find(path, obj)
            known[path.removeprefix(".")] = _plain(hits[0]) if hits else ""
        return known

    def field_names(self) -> frozenset[str]:
        """Return the names that a field selector may use."""
        return frozenset({"metadata.name", "metadata.namespace", *(p.removeprefix(".") for p in self.selectable)})


class Catalog:
    """The served resource types by (group, version, plural): the built-in ones, and those of the stored CRDs."""

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


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _age(obj: Object, now: datetime) -> Cell:
    return age(obj["metadata"]["creationTimestamp"], now)


def _involved_object(event: Object, _now: datetime) -> Cell:
    involved = event.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _last_seen(event: Object, now: datetime) -> Cell:
    series = (event.get("series") or {}).get("lastObservedTime")
    seen = series or event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp")
    return age(seen, now) if seen else "<unknown>"


def _first_seen(event: Object, now: datetime) -> Cell:
    seen = event.get("firstTimestamp") or event.get("eventTime")
    return age(seen, now) if seen else "<unknown>"


def _source(event: Object, _now: datetime) -> Cell:
    source = event.get("source") or {}
    parts = [source.get("component") or event.get("reportingComponent"), source.get("host")]
    return ", ".join(part for part in parts if part)


def _count(event: Object, _now: datetime) -> Cell:
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)


def _text(path: str) -> Callable[[Object, datetime], Cell]:
    """Return a column value that prints a field, or nothing."""

    def value(obj: Object, _now: datetime) -> Cell:
        hits = jsonpath.find(path, obj)
        return _plain(hits[0]) if hits else ""

    return value


def _node_status(node: Object, _now: datetime) -> Cell:
    ready = jsonpath.find('.status.conditions[?(@.type=="Ready")].status', node)
    return {"True": "Ready", "False": "NotReady"}.get(ready[0], "Unknown") if ready else "Unknown"


def _count_data(obj: Object, _now: datetime) -> Cell:
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


def _as_core(column: Column) -> Column:
    """Return a column of core Events for the shape of events.k8s.io."""
    names = {here: there for there, here in _EVENT_RENAMES.items()}
    core_value = column.value

    def value(event: Object, now: datetime) -> Cell:
        core = {names.get(name, name): item for name, item in event.items()}
        return core_value(core, now) if callable(core_value) else None

    return replace(column, value=value)


# Columns of built-in kinds: kubernetes pkg/printers/internalversion/printers.go.
_NAME_LAST = Column("Name", _text(".metadata.name"), format="name", priority=1)
_AGE = Column("Age", _age, description=AGE.description)
_NODE_VERSION = Column("Version", _text(".status.nodeInfo.kubeletVersion"))
_EVENT_COLUMNS = (
    Column("Last Seen", _last_seen),
    Column("Type", _text(".type")),
    Column("Reason", _text(".reason")),
    Column("Object", _involved_object),
    Column("Subobject", _text(".involvedObject.fieldPath"), priority=1),
    Column("Source", _source, priority=1),
    Column("Message", _text(".message")),
    Column("First Seen", _first_seen, priority=1),
    Column("Count", _count, priority=1),
    _NAME_LAST,
)
#: events.k8s.io/v1 to core/v1: pkg/apis/events/v1/conversion.go.
_EVENT_RENAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

EVENTS = ResourceType(
    "",
    "v1",
    "Event",
    "events",
    short_names=("ev",),
    columns=_EVENT_COLUMNS,
    selectable=(
        *(f".involvedObject.{name}" for name in _REFERENCE),
        ".reason",
        ".type",
        ".reportingComponent",
    ),
)
NAMESPACES = ResourceType(
    "",
    "v1",
    "Namespace",
    "namespaces",
    namespaced=False,
    short_names=("ns",),
    columns=(NAME, Column("Status", _text(".status.phase")), _AGE),
    status=True,
    selectable=(".status.phase",),
)
CRDS = ResourceType(
    CRD_GROUP,
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    schema=CRD_SCHEMA,
    columns=(NAME, Column("Created At", _text(".metadata.creationTimestamp"), type="date")),
    status=True,
    generation=True,
    unconditional_update=False,
)
BUILT_IN = (
    NAMESPACES,
    EVENTS,
    ResourceType(
        "",
        "v1",
        "ConfigMap",
        "configmaps",
        short_names=("cm",),
        columns=(NAME, Column("Data", _count_data), _AGE),
    ),
    ResourceType(
        "",
        "v1",
        "Secret",
        "secrets",
        columns=(NAME, Column("Type", _text(".type")), Column("Data", _count_data), _AGE),
        selectable=(".type",),
    ),
    ResourceType(
        "",
        "v1",
        "Node",
        "nodes",
        namespaced=False,
        short_names=("no",),
        columns=(NAME, Column("Status", _node_status), _AGE, _NODE_VERSION),
        status=True,
    ),
    CRDS,
    ResourceType(
        "coordination.k8s.io",
        "v1",
        "Lease",
        "leases",
        columns=(NAME, Column("Holder", _text(".spec.holderIdentity")), _AGE),
        unconditional_update=False,
    ),
    ResourceType(
        "events.k8s.io",
        "v1",
        "Event",
        "events",
        short_names=("ev",),
        columns=tuple(_as_core(column) for column in _EVENT_COLUMNS),
        selectable=(
            *(f".regarding.{name}" for name in _REFERENCE),
            ".reason",
            ".type",
            ".reportingController",
        ),
        storage_group="",
        renames=_EVENT_RENAMES,
    ),
)
