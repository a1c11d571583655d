"""What a report of work may hold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neptune.protocol import codec
from neptune.protocol.messages import WORK_BYTES, Header, StatusReport, StatusUpdate, WorkReport
from neptune.protocol.work import STATES, check, is_finite_number, metric_text

GOOD = WorkReport("1764008365000000000-1-000001", "Running", "2026-11-24T18:19:25Z", 40, 1200, {"loss": "0.31"}, "2/5")


@pytest.mark.parametrize(
    "changes",
    [
        *({"state": state} for state in STATES),
        {"progress": None, "samples": None, "metrics": {}, "message": ""},
        {"progress": 0, "samples": 0},
        {"progress": 100, "samples": 2**53 - 1},
        {"time": "2026-11-24T18:19:25.123456789Z"},
        {"metrics": {"k" * 253: "v" * 1024, "phase": "warm up", "n": "-1e3", "空": "好"}},
        {"metrics": {f"m{number}": "0.5" for number in range(256)}},
        {"message": "é" * 1024},
        {"id": "a"},
        {"id": "x" * 128},
    ],
)
def test_what_a_worker_may_say_passes_and_arrives_as_it_was(changes: dict[str, Any]) -> None:
    work = replace(GOOD, **changes)
    check(work)
    report = StatusReport("u1", 1, 1, None, None, (), None, work)
    _, body = codec.decode(codec.encode(Header("e", 1), StatusUpdate((report,))))
    assert body == StatusUpdate((report,))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"state": "Done"}, "state 'Done'"),
        ({"state": None}, "state NoneType"),
        ({"state": []}, "state list"),
        ({"id": ""}, "the id"),
        ({"id": "x" * 129}, "the id"),
        ({"id": "a/b"}, "the id"),
        ({"id": "a\n"}, "the id"),
        ({"id": 7}, "the id"),
        ({"time": "yesterday"}, "time 'yesterday'"),
        ({"time": "2026-13-24T18:19:25Z"}, "RFC 3339"),
        ({"time": "2026-11-24T18:19:25+02:00"}, "in UTC"),
        ({"time": 1}, "time 1"),
        ({"progress": 101}, "progress 101"),
        ({"progress": -1}, "progress"),
        ({"progress": True}, "progress"),
        ({"progress": 0.5}, "progress 0.5"),
        ({"samples": -1}, "samples"),
        ({"samples": 2**53}, "samples"),
        ({"samples": "7"}, "samples '7'"),
        ({"metrics": []}, "metrics"),
        ({"metrics": {f"m{number}": "" for number in range(257)}}, "257 metrics"),
        ({"metrics": {"": "1"}}, "name is empty"),
        ({"metrics": {"k" * 254: "1"}}, "254 characters"),
        ({"metrics": {"m": "v" * 1025}}, "1025 characters"),
        ({"metrics": {"m": 1}}, "'m' is not a text"),
        ({"metrics": {1: "1"}}, "name is not a text"),
        ({"metrics": {"m": "nan"}}, "not a finite number"),
        ({"metrics": {"m": " -Infinity "}}, "not a finite number"),
        ({"metrics": {"m": "1e999"}}, "not a finite number"),
        ({"metrics": {"m": "\ud800"}}, "surrogate"),
        ({"metrics": {"m\0": "1"}}, "NUL"),
        ({"message": "m" * 1025}, "1025 characters"),
        ({"message": None}, "message is not a text"),
        ({"metrics": {f"m{number}": "v" * 1024 for number in range(17)}}, f"at most {WORK_BYTES}"),
    ],
)
def test_what_is_not_usable_is_refused_with_what_is_wrong(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named) as refused:
        check(replace(GOOD, **changes))
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("value", "text"), [("0.31", "0.31"), ("", ""), (3, "3"), (-0.5, "-0.5"), (0.1 + 0.2, "0.30000000000000004")]
)
def test_a_metric_becomes_a_text_that_reads_as_itself(value: object, text: str) -> None:
    assert metric_text(value) == text


@pytest.mark.parametrize("value", [True, None, [], {}, math.nan, math.inf, 10**400])
def test_a_metric_that_is_neither_text_nor_finite_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="metric"):
        metric_text(value)


def test_numbers_of_numpy_are_numbers() -> None:
    assert (metric_text(np.float64(0.5)), metric_text(np.float32(0.5)), metric_text(np.int64(7))) == ("0.5", "0.5", "7")


@pytest.mark.parametrize(
    ("text", "is_one"), [("1", True), ("1e3", True), ("nan", False), ("-inf", False), ("warm", False), ("", False)]
)
def test_a_number_is_what_can_be_reckoned_with(text: str, is_one: bool) -> None:
    assert is_finite_number(text) is is_one
