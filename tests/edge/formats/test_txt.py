"""The rule of `txt`, as a table, and against a reference that has the whole data in its hands."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.edge.formats.txt import TxtCounter

TABLE = {
    "nothing": (b"", 0),
    "one LF": (b"\n", 0),
    "one CRLF": (b"\r\n", 0),
    "one line": (b"a\n", 1),
    "no final line ending": (b"a\nb", 2),
    "CRLF": (b"a\r\nb\r\n", 2),
    "CRLF and blank lines": (b"a\r\n\r\nb\r\n\r\n", 2),
    "LF and CRLF mixed": (b"a\r\nb\n\r\n\nc", 3),
    "a CR inside a line": (b"a\rb\n", 1),
    "a line that is one CR before CRLF": (b"\r\r\n", 1),
    "one CR and no LF": (b"\r", 1),
    "a CR at the very end": (b"a\n\r", 2),
    "only spaces and tabs": (b" \n\t\n", 2),
    "a run of blank lines": (b"a\n\n\n\n\nb\n", 2),
    "blank lines first": (b"\n\n\na", 1),
    "NUL bytes": (b"\0\n\0\0\n\n", 2),
    "bytes that are no UTF-8": (b"\xff\xfe\n\x80\n", 2),
    "a BOM before text": (b"\xef\xbb\xbfa\nb\n", 2),
    "a BOM alone is content": (b"\xef\xbb\xbf\n", 1),
    "other separators of Unicode": ("a\u2028b\x85c\x0bd\n".encode(), 1),
}


def reference(data: bytes) -> int:
    lines = re.findall(rb"[^\n]*\n|[^\n]+$", data)
    return sum(bool(re.sub(rb"\r?\n$", b"", line)) for line in lines)


@pytest.mark.parametrize(("data", "samples"), TABLE.values(), ids=TABLE.keys())
def test_the_table(data: bytes, samples: int) -> None:
    counter = TxtCounter()
    counter.feed(data)
    assert counter.samples == samples == reference(data)


# Few symbols, so that line endings meet the cuts.
blocks = st.lists(st.binary(max_size=3) | st.text("\r\na ", max_size=6).map(str.encode), max_size=12)


@given(blocks)
def test_where_the_data_is_cut_does_not_matter(parts: list[bytes]) -> None:
    counter = TxtCounter()
    for part in parts:
        counter.feed(part)
    assert counter.samples == reference(b"".join(parts))


@given(blocks, blocks)
def test_a_counter_that_was_put_away_goes_on_and_was_right_meanwhile(before: list[bytes], after: list[bytes]) -> None:
    first = TxtCounter()
    for part in before:
        first.feed(part)
    assert first.samples == reference(b"".join(before))
    second = TxtCounter(first.state())
    for part in after:
        second.feed(part)
    assert second.samples == reference(b"".join(before + after))
