from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.schema import apply_defaults, merge_applied, prune
from tests.support.contract_crd import CRD

SCHEMA: Object = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
NAMES = st.sampled_from(["spec", "url", "copies", "tags", "options", "free", "split", "train", "foo", "conditions"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["a", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)


@given(OBJECTS)
def test_pruned_value_has_nothing_more_to_prune(value: Object) -> None:
    before = copy.deepcopy(value)
    pruned, unknown = prune(SCHEMA, value)
    assert value == before
    assert prune(SCHEMA, pruned) == (pruned, [])
    assert bool(unknown) is (pruned != value)


@given(OBJECTS)
def test_defaults_are_filled_in_once(value: Object) -> None:
    before = copy.deepcopy(value)
    filled = apply_defaults(SCHEMA, value)
    assert value == before
    assert apply_defaults(SCHEMA, filled) == filled


def test_default_is_not_shared_between_objects() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object", "default": {"b": []}}}}
    apply_defaults(schema, {})["a"]["b"].append(1)
    assert apply_defaults(schema, {}) == {"a": {"b": []}}


def test_unknown_fields_are_named_by_their_path() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {"b": {}}}}},
    }
    _, unknown = prune(schema, {"a": [{"b": 1}, {"c": 2}], "d": 3})
    assert unknown == ["a[1].c", "d"]


def test_embedded_resource_keeps_its_identity() -> None:
    schema = {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}}
    pruned, unknown = prune(schema, {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "foo": 1})
    assert pruned == {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}}
    assert unknown == ["foo"]


@pytest.mark.parametrize(
    ("schema", "current", "applied", "expected"),
    [
        ({}, {"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({}, [1, 2], [3], [3]),
        ({"x-kubernetes-list-type": "set"}, [1, 2], [2, 3], [1, 2, 3]),
        ({"x-kubernetes-map-type": "atomic"}, {"a": 1}, {"b": 2}, {"b": 2}),
        (
            {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]},
            [{"k": 1, "v": 1}, {"k": 2, "w": 2}],
            [{"k": 2, "v": 3}, {"k": 4}],
            [{"k": 1, "v": 1}, {"k": 2, "w": 2, "v": 3}, {"k": 4}],
        ),
    ],
)
def test_applied_value_merges_by_the_schema(schema: Object, current: Any, applied: Any, expected: Any) -> None:
    assert merge_applied(schema, current, applied) == expected
