from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.embedded.apiserver.fieldowners import Claim, applied, read, updated, write
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.status import StatusError

SCHEMA: Object = {
    "properties": {
        "a": {},
        "b": {"additionalProperties": {}},
        "k": {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["n", "p"],
            "items": {"properties": {"n": {}, "p": {"default": 1}, "v": {}}},
        },
        "s": {"x-kubernetes-list-type": "set", "items": {}},
        "m": {"x-kubernetes-map-type": "atomic"},
    }
}
SCALARS = st.integers(0, 2) | st.none() | st.text("xé", max_size=1)
ITEMS = st.fixed_dictionaries({"n": st.integers(0, 2)}, optional={"p": st.integers(0, 1), "v": SCALARS})
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "a": SCALARS | st.lists(SCALARS, max_size=2),
        "b": st.dictionaries(st.sampled_from("xyz"), SCALARS | st.dictionaries(st.just("w"), SCALARS), max_size=3),
        "k": st.lists(ITEMS, max_size=3, unique_by=lambda item: (item["n"], item.get("p", 1))),
        "s": st.lists(st.integers(0, 3), max_size=3, unique=True),
        "m": st.dictionaries(st.sampled_from("xyz"), SCALARS, max_size=2),
    },
)


def claim(manager: str, operation: str = "Apply") -> Claim:
    return Claim(manager, operation, "v1", "", "2026-01-01T00:00:00Z")


@given(OBJECTS, OBJECTS)
def test_claims_survive_being_stored(before: Object, after: Object) -> None:
    claims = updated(SCHEMA, claim("one", "Update"), {}, before, [])
    claims = updated(SCHEMA, claim("two", "Update"), before, after, claims)
    assert {each.owner: each for each in read(write(claims))} == {each.owner: each for each in claims}


@given(OBJECTS)
def test_applying_again_changes_nothing(config: Object) -> None:
    first, claims = applied(SCHEMA, claim("me"), {}, config, [], force=False)
    assert applied(SCHEMA, claim("me"), first, config, claims, force=False) == (first, claims)


@given(OBJECTS, OBJECTS)
def test_sole_manager_gets_what_it_applies(first: Object, second: Object) -> None:
    before = copy.deepcopy((first, second))
    live, claims = applied(SCHEMA, claim("me"), {}, first, [], force=False)
    live, _ = applied(SCHEMA, claim("me"), live, second, claims, force=False)
    assert contents(live) == contents(second)
    assert (first, second) == before


@given(OBJECTS, OBJECTS)
def test_apply_of_what_another_applied_is_no_conflict_and_force_settles_any(one: Object, two: Object) -> None:
    live, claims = applied(SCHEMA, claim("one"), {}, one, [], force=False)
    live, claims = applied(SCHEMA, claim("two"), live, one, claims, force=False)
    live, claims = applied(SCHEMA, claim("two"), live, two, claims, force=True)
    again, _ = applied(SCHEMA, claim("two"), live, two, claims, force=False)
    assert again == live


def contents(obj: Object) -> Object:
    """Return what an object holds: order and empty lists aside, an absent key of an item filled in."""
    shown = {name: value for name, value in obj.items() if name not in ("k", "s")}
    shown["k"] = {(item["n"], item.get("p", 1)): {**item, "p": item.get("p", 1)} for item in obj.get("k", ())}
    shown["s"] = set(obj.get("s", ()))
    return shown


def test_absent_key_of_an_item_is_its_default() -> None:
    live, claims = applied(SCHEMA, claim("me"), {}, {"k": [{"n": 0, "v": 1}]}, [], force=False)
    live["k"][0]["p"] = 1
    with pytest.raises(StatusError, match=r'conflict with "me": \.k\[n=0,p=1\]\.v'):
        applied(SCHEMA, claim("other"), live, {"k": [{"n": 0, "p": 1, "v": 2}]}, claims, force=False)


def test_time_moves_with_a_change_only() -> None:
    claims = updated(SCHEMA, claim("me", "Update"), {}, {"a": 1}, [])
    later = Claim("me", "Update", "v1", "", "2026-01-02T00:00:00Z")
    assert updated(SCHEMA, later, {"a": 1}, {"a": 1}, claims) == claims
    assert updated(SCHEMA, later, {"a": 1}, {"a": 2}, claims)[0].time == later.time


@pytest.mark.parametrize("entry", [1, {}, {"operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:a": 1}}])
def test_entry_that_is_no_claim_is_refused(entry: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        read([entry])
