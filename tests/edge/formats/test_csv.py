"""The rule of `csv`, as a table, and against Python's own reader."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.edge.formats import Span
from neptune.edge.formats.csv import Csv

TABLE = {
    "nothing": (b"", 0),
    "a header alone": (b"a,b\n", 0),
    "a header without its line ending": (b"a,b", 0),
    "one record": (b"a,b\n1,2\n", 1),
    "no final line ending": (b"a,b\n1,2\n3,4", 2),
    "CRLF": (b"a,b\r\n1,2\r\n3,4\r\n", 2),
    "blank lines are no records": (b"\n\na\n\n1\n\r\n2\n\n", 2),
    "an LF between quotes": (b'a,b\n1,"x\ny"\n2,z\n', 2),
    "CRLF between quotes": (b'a,b\r\n"x\r\n\r\ny",1\r\n', 1),
    "a quoted header": (b'"a\nb",c\n1,2\n', 1),
    "a doubled quote": (b'a\n"x ""y\n"" z"\n1\n', 2),
    "an empty field between quotes": (b'a\n""\n', 1),
    "a quote inside a plain field": (b'a,b\n5" pipe,1\n6" pipe,2\n', 2),
    "text behind a closing quote": (b'a\n"x" y"\n1\n', 2),
    "a quote that never ends": (b'a\n"1\n2\n3\n', 1),
    "a BOM before a quoted header": (b'\xef\xbb\xbf"a\nb"\n1\n', 1),
    "only the first bytes of a BOM": (b'\xef\xbb"a\nb"\n1\n', 2),
    "spaces are content": (b"a\n \n", 1),
}


def count(*parts: bytes) -> int:
    counter = Csv().counter()
    for part in parts:
        counter.feed(part)
    return counter.samples


@pytest.mark.parametrize(("data", "samples"), TABLE.values(), ids=TABLE.keys())
def test_the_table(data: bytes, samples: int) -> None:
    assert count(data) == samples
    assert count(*(bytes([byte]) for byte in data)) == samples


def test_a_sample_is_the_record_as_it_stands() -> None:
    data = b'a,b\r\n1,"x\ny"\r\n\r\n"2",z'
    assert [data[start:end] for start, end in Csv().samples([data])] == [b'1,"x\ny"', b'"2",z']
    assert next(Csv().samples([data[5:]], 5)) == Span(5, 12)


# A CR by itself ends a record for Python's reader, and not for RFC 4180.
text = st.lists(st.sampled_from(["\n", "\r\n", '"', '""', ",", "a", " ", '"\n"', ',"']), max_size=30).map("".join)


@given(text)
def test_random_records_as_pythons_reader_has_them(data: str) -> None:
    rows = [row for row in csv.reader(io.StringIO(data, newline="")) if row]
    assert count(data.encode()) == max(0, len(rows) - 1)
