"""What a worker may write."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from neptune.edge.tasks.reports import parse
from neptune.protocol.messages import WorkReport

WRITTEN = datetime(2026, 1, 2, 3, 4, 5, 999, tzinfo=UTC)


def parsed(**content: Any) -> WorkReport:
    return parse("7", json.dumps({"state": "Running", **content}).encode(), "u1", 2, WRITTEN)


def test_all_but_the_state_may_be_left_out() -> None:
    assert parsed() == WorkReport("7", "Running", "2026-01-02T03:04:05Z")
    assert parsed(uid="u1", generation=2) == parsed()


def test_numbers_become_texts_that_read_as_themselves() -> None:
    metrics = {"loss": 0.1, "steps": 12, "phase": "warm up", "rate": 1e-05}
    assert parsed(metrics=metrics).metrics == {"loss": "0.1", "steps": "12", "phase": "warm up", "rate": "1e-05"}


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("2026-11-24T18:19:25Z", "2026-11-24T18:19:25Z"),
        ("2026-11-24T18:19:25.75+02:00", "2026-11-24T16:19:25Z"),
        (None, "2026-01-02T03:04:05Z"),
    ],
)
def test_times_are_in_utc_to_the_second(time: str | None, shown: str) -> None:
    assert parsed(time=time).time == shown


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"uid": "u0"}, "of another task"),
        ({"uid": 1}, "of another task"),
        ({"generation": 1}, "of generation 1; the task's is 2"),
        ({"generation": True}, "of generation True"),
        ({"generation": "2"}, "of generation 2"),
        ({"state": "Pending"}, "the agent's word"),
        ({"state": "running"}, "'running' is none of"),
        ({"time": "2026-11-24T18:19:25"}, "RFC 3339"),
        ({"time": 7}, "RFC 3339"),
        ({"time": "0001-01-01T00:00:00+23:00"}, "RFC 3339"),
        ({"metrics": {"a": None}}, "a text or a number"),
        ({"metrics": [1]}, "values by name"),
        ({"message": 7}, "message is not a text"),
    ],
)
def test_what_is_wrong_is_said(content: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parsed(**content)


@pytest.mark.parametrize(
    ("data", "named"),
    [(b"", "not JSON"), (b"\xff", "not JSON"), (b"7", "not a JSON object"), (b" " * 40_000, "larger than 32768 bytes")],
)
def test_what_is_no_object_is_said(data: bytes, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse("7", data, "u1", 2, WRITTEN)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "1" + "0" * 5000])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match=r"number|digits"):
        parse("7", f'{{"state": "Running", "metrics": {{"loss": {number}}}}}'.encode(), "u1", 2, WRITTEN)
