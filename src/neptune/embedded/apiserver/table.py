"""Objects as the rows of `kubectl get`: printer columns, cells and ages. Pure; the time is an argument.

Follows apiextensions-apiserver `pkg/registry/customresource/tableconvertor` and, for ages, apimachinery's
`duration.HumanDuration`. `resources` holds each kind's columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from neptune.embedded.apiserver import jsonpath
from neptune.embedded.apiserver.objects import Object

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column; those of priority above 0 are for `-o wide`.

    `value` is a JSONPath, whose hit `type` turns into a cell, or a function of the object and the time that returns
    the cell.
    """

    name: str
    value: str | Callable[[Object, datetime], Cell]
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0

    @property
    def definition(self) -> Object:
        """The column as it stands in `columnDefinitions`."""
        fallback = f"Custom resource definition column (in JSONPath format): {self.value}"
        if callable(self.value):
            fallback = ""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description or fallback,
            "priority": self.priority,
        }


NAME = Column("Name", ".metadata.name", format="name", description="Name must be unique within a namespace.")
AGE = Column(
    "Age",
    ".metadata.creationTimestamp",
    type="date",
    description="CreationTimestamp is a timestamp representing the server time when this object was created.",
)


def render(
    columns: Sequence[Column],
    items: Sequence[Object],
    *,
    metadata: Object,
    now: datetime,
    include: str = "Metadata",
    headers: bool = True,
) -> Object:
    """Return a meta.k8s.io/v1 Table.

    Args:
        columns: the columns, as a rule `NAME` first.
        items: the objects, a row each.
        metadata: the table's own, that is the list's.
        now: what ages count from.
        include: what each row carries of its object: `None`, `Metadata` or `Object`.
        headers: False in the later events of a watch, as in the real server.
    """
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [column.definition for column in columns] if headers else [],
        "rows": [_row(columns, item, include, now) for item in items],
    }


def partial_metadata(obj: Object) -> Object:
    """Return the PartialObjectMetadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def human_duration(elapsed: timedelta) -> str:
    """Return a duration with two or three significant figures: `5s`, `2m10s`, `47h`, `3d4h`."""
    seconds = int(elapsed.total_seconds())
    if seconds < 0:
        # client-go tolerates two seconds of disagreement between clocks.
        return "<invalid>" if seconds < -1 else "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    bounds: tuple[tuple[bool, Callable[[], str]], ...] = (
        (seconds < 120, lambda: f"{seconds}s"),
        (minutes < 10, lambda: _pair(minutes, "m", seconds % 60, "s")),
        (minutes < 180, lambda: f"{minutes}m"),
        (hours < 8, lambda: _pair(hours, "h", minutes % 60, "m")),
        (hours < 48, lambda: f"{hours}h"),
        (hours < 24 * 8, lambda: _pair(days, "d", hours % 24, "h")),
        (days < 365 * 2, lambda: f"{days}d"),
        (days < 365 * 8, lambda: _pair(days // 365, "y", days % 365, "d")),
    )
    return next((text() for inside, text in bounds if inside), f"{days // 365}y")


def age(timestamp: str, now: datetime) -> str:
    """Return how long ago an RFC 3339 time was, or `<invalid>`."""
    try:
        then = datetime.fromisoformat(timestamp)
    except ValueError:
        return "<invalid>"
    return human_duration(now - then) if then.tzinfo else "<invalid>"


def timestamp(now: datetime) -> str:
    """Return a time as metav1.Time prints it: UTC, whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _pair(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


def _row(columns: Sequence[Column], obj: Object, include: str, now: datetime) -> Object:
    row: Object = {"cells": [_cell(column, obj, now) for column in columns], "object": None}
    if include == "Metadata":
        row["object"] = partial_metadata(obj)
    elif include == "Object":
        row["object"] = obj
    return row


def _cell(column: Column, obj: Object, now: datetime) -> Cell:
    if callable(column.value):
        return column.value(obj, now)
    hits = jsonpath.find(column.value, obj)
    found = hits[0] if hits else None
    number = found if isinstance(found, int | float) and not isinstance(found, bool) else None
    cell: Cell = None
    match column.type:
        case "string" if found is not None:
            cell = _printed(found)
        case "date" if isinstance(found, str):
            cell = age(found, now)
        case "integer" if number is not None:
            cell = int(number)
        case "number" if number is not None:
            cell = float(number)
        case "boolean" if isinstance(found, bool):
            cell = found
    return cell


def _printed(value: Any) -> str:
    """Return a value as client-go's JSONPath prints it: strings bare, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)
