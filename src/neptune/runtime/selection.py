"""Whether an object is among those of a query, told from its JSON as the API server does. Pure.

Invariant: what cannot be known counts as left out, for who waits for an object that never comes waits in vain.
Neighbours: `informer` asks it about our own writes.

A field selector names a path of the JSON: always with custom resources (selectableFields of a CustomResourceDefinition,
where an absent field is empty), and with Kubernetes' own kinds but for a few, such as `source` of an Event, which is
`source.component` (pkg/apis/core/v1/conversion.go and pkg/registry/core/*/strategy.go of Kubernetes).
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from neptune.api import selectors


class Selection:
    """The two selectors of a query, each in kubectl's grammar."""

    def __init__(self, labels: str, fields: str) -> None:
        self._labels = labels
        self._fields = fields

    def matches(self, raw: bytes) -> bool:
        """Tell whether the object is known to match both; also where there is nothing to match."""
        if not self._labels and not self._fields:
            return True
        item = json.loads(raw)
        if self._parsed is None:
            return False
        labels, fields = self._parsed
        return selectors.matches(labels, item["metadata"].get("labels") or {}) and selectors.matches(
            fields, {each.key: _text(item, each.key) for each in fields}
        )

    @cached_property
    def _parsed(self) -> tuple[selectors.Selector, selectors.Selector] | None:
        try:
            return selectors.parse_labels(self._labels), selectors.parse_fields(self._fields)
        except ValueError:
            return None  # of a grammar to come, or one that the server refuses too


def _text(item: Any, path: str) -> str:
    """Return the value at a path of JSON names, in the words of a selector."""
    for name in path.split("."):
        item = item.get(name) if isinstance(item, dict) else None
    if isinstance(item, bool):
        return str(item).lower()
    return str(item) if isinstance(item, str | int) else ""
