from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.api.selectors import matches, parse_fields, parse_labels

LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["x", "y", ""]))


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("a=x", {"a": "x"}, True),
        ("a = x", {"a": "x"}, True),
        ("a!=x", {}, True),
        ("a in (x,y),b", {"a": "y", "b": ""}, True),
        ("a in (x, y)", {"a": "z"}, False),
        ("a in ()", {"a": ""}, True),
        ("! a", {}, True),
        ("example.com/a_b=x-1.y", {"example.com/a_b": "x-1.y"}, True),
        ("n>5", {"n": "6"}, True),
        ("n<5", {"n": "6"}, False),
        ("n>5", {"n": "many"}, False),
        ("n>5", {}, False),
    ],
)
def test_selector_matches(text: str, labels: dict[str, str], expected: bool) -> None:
    assert matches(parse_labels(text), labels) is expected


@given(LABELS, st.sampled_from("abc"), st.sampled_from(["x", "y"]))
def test_operators_come_in_opposite_pairs(labels: dict[str, str], key: str, value: str) -> None:
    def holds(text: str) -> bool:
        return matches(parse_labels(text), labels)

    assert holds(f"{key}={value}") is not holds(f"{key}!={value}")
    assert holds(f"{key} in ({value})") is not holds(f"{key} notin ({value})")
    assert holds(key) is not holds(f"!{key}")


@given(st.text(max_size=20))
def test_any_text_is_a_selector_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        parse_labels(text)
    with suppress(ValueError):
        parse_fields(text, frozenset({"metadata.name"}))


def test_field_selector_knows_three_operators() -> None:
    known = frozenset({"a", "b", "c"})
    selector = parse_fields("a=1,b==2,c!=3", known)
    assert matches(selector, {"a": "1", "b": "2", "c": "4"})
    assert not matches(selector, {"a": "1", "b": "2", "c": "3"})
