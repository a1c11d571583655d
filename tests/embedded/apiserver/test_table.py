from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from neptune.embedded.apiserver.table import NAME, Column, age, human_duration, render

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [
        (timedelta(seconds=-5), "<invalid>"),
        (timedelta(seconds=-1), "0s"),
        (timedelta(seconds=5), "5s"),
        (timedelta(seconds=119), "119s"),
        (timedelta(seconds=120), "2m"),
        (timedelta(seconds=130), "2m10s"),
        (timedelta(minutes=10, seconds=5), "10m"),
        (timedelta(minutes=179), "179m"),
        (timedelta(hours=3), "3h"),
        (timedelta(hours=7, minutes=59), "7h59m"),
        (timedelta(hours=47, minutes=59), "47h"),
        (timedelta(days=3, hours=4), "3d4h"),
        (timedelta(days=8), "8d"),
        (timedelta(days=729), "729d"),
        (timedelta(days=731), "2y1d"),
        (timedelta(days=365 * 9), "9y"),
    ],
)
def test_duration_has_two_or_three_figures(elapsed: timedelta, expected: str) -> None:
    assert human_duration(elapsed) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-12-31T23:59:50Z", "10s"),
        ("2025-12-31T23:59:50.123456Z", "9s"),
        ("2026-01-01T01:00:00+02:00", "60m"),
        ("yesterday", "<invalid>"),
        ("2025-12-31T23:59:50", "<invalid>"),
    ],
)
def test_age_is_counted_from_the_time_given(text: str, expected: str) -> None:
    assert age(text, NOW) == expected


@pytest.mark.parametrize(
    ("type_", "value", "cell"),
    [
        ("string", "x", "x"),
        ("string", 3, "3"),
        ("string", True, "true"),
        ("string", {"b": [1], "a": None}, '{"a":null,"b":[1]}'),
        ("integer", 0, 0),
        ("integer", 3.0, 3),
        ("integer", "3", None),
        ("integer", True, None),
        ("number", 1, 1.0),
        ("boolean", False, False),
        ("boolean", "false", None),
        ("date", "2025-12-31T23:59:50Z", "10s"),
        ("date", 3, None),
        ("string", None, None),
    ],
)
def test_cell_has_the_type_of_its_column(type_: str, value: Any, cell: Any) -> None:
    columns = [NAME, Column("C", ".value", type=type_)]
    table = render(columns, [{"metadata": {"name": "a"}, "value": value}], metadata={}, now=NOW)
    assert table["rows"][0]["cells"] == ["a", cell]


def test_rows_carry_as_much_of_the_object_as_asked() -> None:
    obj = {"metadata": {"name": "a"}, "spec": 1}
    shown = [
        render([NAME], [obj], metadata={}, now=NOW, include=include)["rows"][0]["object"]
        for include in ("None", "Metadata", "Object")
    ]
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}}
    assert shown == [None, partial, obj]
