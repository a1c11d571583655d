"""The rule of `jsonl`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.edge.formats.jsonl import Jsonl

TABLE = {
    "nothing": (b"", 0),
    "one value": (b'{"a": 1}\n', 1),
    "no final line ending": (b"1\n2", 2),
    "CRLF": (b"1\r\n2\r\n", 2),
    "blank lines": (b"1\n\n\r\n  \n\t\n2\n \t\r", 2),
    "space around a value": (b"  1  \n", 1),
    "what is no JSON": (b"{\n}\nnever closed: {\n", 3),
    "an LF in a text is escaped": (b'"a\\nb"\n', 1),
    "another space of Unicode is no space of JSON": ("\u00a0\n".encode(), 1),
}


def count(data: bytes) -> int:
    counter = Jsonl().counter()
    counter.feed(data)
    return counter.samples


@pytest.mark.parametrize(("data", "samples"), TABLE.values(), ids=TABLE.keys())
def test_the_table(data: bytes, samples: int) -> None:
    assert count(data) == samples


@given(st.text("\r\n\t a{", max_size=40).map(str.encode))
def test_random_lines_as_a_plain_loop_has_them(data: bytes) -> None:
    assert count(data) == sum(bool(line.strip(b" \t\r")) for line in data.split(b"\n"))
