"""The rule of `txt`, as a table, and against a reference that has the whole data in its hands."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune.edge.formats import vector
from neptune.edge.formats.lines import tally
from neptune.edge.formats.txt import Txt

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


def count(data: bytes) -> int:
    counter = Txt().counter()
    counter.feed(data)
    return counter.samples


@pytest.mark.parametrize(("data", "samples"), TABLE.values(), ids=TABLE.keys())
def test_the_table(data: bytes, samples: int) -> None:
    assert count(data) == samples == reference(data)


# Few symbols, so that line endings meet each other.
lines = st.text("\r\na ", max_size=40).map(str.encode) | st.binary(max_size=40)


@given(lines)
def test_random_lines_as_the_reference_has_them(data: bytes) -> None:
    assert count(data) == reference(data)


@given(lines)
def test_a_sample_is_the_line_without_its_ending(data: bytes) -> None:
    found = [data[start:end] for start, end in Txt().samples([data])]
    whole = [re.sub(rb"\r?\n$", b"", line) for line in re.findall(rb"[^\n]*\n|[^\n]+$", data)]
    assert found == [line for line in whole if line]


@settings(max_examples=40, deadline=None)
@given(st.text("\nab ", max_size=60).map(str.encode))
def test_random_lines_as_grep_counts_them(data: bytes) -> None:
    found = subprocess.run(["grep", "-c", "."], input=data, stdout=subprocess.PIPE, env={"LC_ALL": "C"}, check=False)
    assert count(data) == int(found.stdout)


@given(lines.filter(lambda data: b"\n" in data))
def test_numpy_and_pure_python_agree(data: bytes) -> None:
    assert vector.tally(data) == tally(data)


def test_numpy_and_pure_python_agree_on_a_block_of_any_size() -> None:
    data = b"a\n\n\r\nbc\r\n" * 40_000
    assert vector.tally(data) == tally(data) == 79_999
