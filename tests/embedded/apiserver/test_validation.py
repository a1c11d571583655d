"""What the contract tests, which compare texts with the real server, leave out."""

from __future__ import annotations

from typing import Any

import pytest

from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.validation import validate


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"minimum": 1, "exclusiveMinimum": True}, 2, 1),
        ({"maximum": 1, "exclusiveMaximum": True}, 0, 1),
        ({"multipleOf": 3}, 6, 7),
        ({"type": "integer"}, 3.0, 3.5),
        ({"type": "number"}, 3, "3"),
        ({"type": "boolean"}, False, 0),
        ({"type": "string", "nullable": True}, None, 1),
        ({"minItems": 1}, [1], []),
        ({"minProperties": 1, "maxProperties": 2}, {"a": 1}, {}),
        ({"maxProperties": 1}, {"a": 1}, {"a": 1, "b": 2}),
        ({"enum": [1, None]}, 1, 2),
        ({"allOf": [{"minimum": 1}, {"maximum": 3}]}, 2, 4),
        ({"anyOf": [{"maximum": 1}, {"minimum": 5}]}, 5, 3),
        ({"oneOf": [{"maximum": 5}, {"minimum": 3}]}, 2, 4),
        ({"oneOf": [{"maximum": 1}, {"minimum": 3}]}, 1, 2),
        ({"not": {"enum": ["x"]}}, "y", "x"),
        ({"format": "date-time"}, "2026-01-01T00:00:00.5+02:00", "2026-01-01T00:00:00"),
        ({"format": "datetime"}, "2026-01-01T00:00:00Z", "2026-13-01T00:00:00Z"),
        ({"format": "date"}, "2026-01-01", "2026-1-1"),
        ({"format": "byte"}, "YQ==", "%"),
        ({"format": "uuid"}, "123e4567-e89b-12d3-a456-426614174000", "x"),
        ({"format": "unheard-of"}, "anything", None),
        ({"additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": "x"}),
    ],
)
def test_schema_tells_good_from_bad(schema: Object, good: Any, bad: Any) -> None:
    assert validate(schema, good, "f") == []
    if bad is not None:
        assert validate(schema, bad, "f")


def test_value_that_was_stored_before_may_stay_though_invalid() -> None:
    schema = {"properties": {"a": {"maximum": 1}, "b": {"maximum": 1}}}
    before = {"a": 5, "b": 0}
    assert validate(schema, {"a": 5, "b": 1}, before=before) == []
    assert [each.field for each in validate(schema, {"a": 6, "b": 2}, before=before)] == ["a", "b"]


def test_list_item_that_was_stored_before_is_known_by_its_key() -> None:
    schema = {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
        "items": {"properties": {"v": {"maximum": 1}}},
    }
    before = [{"k": 1, "v": 5}]
    after = [{"k": 2, "v": 0}, {"k": 1, "v": 5}]
    assert validate(schema, after, "f", before) == []
    assert [each.field for each in validate(schema, [{"k": 2, "v": 5}], "f", before)] == ["f[0].v"]
