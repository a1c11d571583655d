"""The built-in kinds that the server has without their controllers: types, schemas and columns. Pure data.

Schemas are as deep as this server reads and as wide as the real kinds are at the top. Events of the two groups are one
storage under two shapes, as in the real server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from neptune.embedded.apiserver import jsonpath
from neptune.embedded.apiserver.crds import SCHEMA as CRD_SCHEMA
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.resources import ResourceType, plain
from neptune.embedded.apiserver.table import AGE, NAME, Cell, Column, age

CRD_GROUP = "apiextensions.k8s.io"

_FREE: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_TEXT: Object = {"type": "string"}
_TEXTS: Object = {"type": "object", "additionalProperties": _TEXT}
_BYTES: Object = {"type": "object", "additionalProperties": {"type": "string", "format": "byte"}}
_NUMBER: Object = {"type": "integer"}
_TIME: Object = {"type": "string", "format": "date-time", "nullable": True}


def _schema(**properties: Object) -> Object:
    return {"type": "object", "properties": properties}


def _age(obj: Object, now: datetime) -> Cell:
    return age(obj["metadata"]["creationTimestamp"], now)


def _involved_object(event: Object, _now: datetime) -> Cell:
    involved = event.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _last_seen(event: Object, now: datetime) -> Cell:
    series = (event.get("series") or {}).get("lastObservedTime")
    seen = series or event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp")
    return age(str(seen), now) if seen else "<unknown>"


def _first_seen(event: Object, now: datetime) -> Cell:
    seen = event.get("firstTimestamp") or event.get("eventTime")
    return age(str(seen), now) if seen else "<unknown>"


def _source(event: Object, _now: datetime) -> Cell:
    source = event.get("source") or {}
    parts = [source.get("component") or event.get("reportingComponent"), source.get("host")]
    return ", ".join(part for part in parts if part)


def _count(event: Object, _now: datetime) -> Cell:
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)


def _text(path: str) -> Callable[[Object, datetime], Cell]:
    """Return a column value that prints a field, or nothing."""

    return lambda obj, _now: plain(path, obj)


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
_EVENT_SCHEMA = _schema(
    **dict.fromkeys(("message", "reason", "type", "action", "reportingComponent", "reportingInstance"), _TEXT),
    **dict.fromkeys(("involvedObject", "related"), _schema(**dict.fromkeys(_REFERENCE, _TEXT))),
    source=_schema(component=_TEXT, host=_TEXT),
    series=_schema(count=_NUMBER, lastObservedTime=_TIME),
    **dict.fromkeys(("eventTime", "firstTimestamp", "lastTimestamp"), _TIME),
    count=_NUMBER,
)
_SPEC_AND_STATUS = _schema(spec=_FREE, status=_FREE)
_LEASE_SPEC = _schema(
    **dict.fromkeys(("holderIdentity", "acquireTime", "renewTime", "strategy", "preferredHolder"), _TEXT),
    **dict.fromkeys(("leaseDurationSeconds", "leaseTransitions"), _NUMBER),
)

EVENTS = ResourceType(
    "",
    "v1",
    "Event",
    "events",
    short_names=("ev",),
    schema=_EVENT_SCHEMA,
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
    schema=_SPEC_AND_STATUS,
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
        schema=_schema(data=_TEXTS, binaryData=_BYTES, immutable={"type": "boolean"}),
        columns=(NAME, Column("Data", _count_data), _AGE),
    ),
    ResourceType(
        "",
        "v1",
        "Secret",
        "secrets",
        schema=_schema(data=_BYTES, stringData=_TEXTS, type=_TEXT, immutable={"type": "boolean"}),
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
        schema=_SPEC_AND_STATUS,
        columns=(NAME, Column("Status", _node_status), _AGE, _NODE_VERSION),
        status=True,
    ),
    CRDS,
    ResourceType(
        "coordination.k8s.io",
        "v1",
        "Lease",
        "leases",
        schema=_schema(spec=_LEASE_SPEC),
        columns=(NAME, Column("Holder", _text(".spec.holderIdentity")), _AGE),
        unconditional_update=False,
    ),
    ResourceType(
        "events.k8s.io",
        "v1",
        "Event",
        "events",
        short_names=("ev",),
        schema=_schema(
            **{_EVENT_RENAMES.get(name, name): child for name, child in _EVENT_SCHEMA["properties"].items()}
        ),
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
