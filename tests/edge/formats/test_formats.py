"""The registry of formats."""

from __future__ import annotations

import pytest

from neptune.edge.formats import find_format
from neptune.edge.formats.txt import TxtCounter
from neptune.edge.problems import Problem, Reason


@pytest.mark.parametrize("name", ["txt", "TXT"])
def test_a_format_is_found_in_whatever_case(name: str) -> None:
    assert find_format(name) is TxtCounter


@pytest.mark.parametrize("name", ["parquet", "", None, 7])
def test_an_unknown_format_is_told_with_the_known_ones(name: object) -> None:
    found = find_format(name)
    assert isinstance(found, Problem)
    assert found.reason is Reason.UNKNOWN_FORMAT
    assert "txt" in found.message
