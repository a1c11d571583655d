"""What holds for every format, and how formats are found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from neptune.edge import formats
from neptune.edge.formats import BUILT_IN, Counter, Format, Span, State, format_name, known_formats, load_format
from neptune.edge.problems import Problem, Reason

# Few symbols, so that line endings, quotes and cuts meet.
blocks = st.lists(st.binary(max_size=3) | st.text('\r\na ,"', max_size=8).map(str.encode), max_size=12)
each_format = st.sampled_from(sorted(BUILT_IN)).map(BUILT_IN.__getitem__)


def count(format_: Format, parts: Iterable[bytes], state: State = ()) -> Counter:
    counter = format_.counter(state)
    for part in parts:
        counter.feed(part)
    return counter


@given(each_format, blocks)
def test_where_the_data_is_cut_does_not_matter(format_: Format, parts: list[bytes]) -> None:
    whole = [b"".join(parts)]
    assert count(format_, parts).samples == count(format_, whole).samples
    assert list(format_.samples(parts)) == list(format_.samples(whole))


@given(each_format, blocks, blocks)
def test_a_counter_that_was_put_away_goes_on(format_: Format, before: list[bytes], after: list[bytes]) -> None:
    resumed = count(format_, after, count(format_, before).state())
    assert resumed.samples == count(format_, before + after).samples


@given(each_format, blocks)
def test_iterating_finds_as_many_samples_as_counting(format_: Format, parts: list[bytes]) -> None:
    spans = list(format_.samples(parts))
    assert len(spans) == count(format_, parts).samples
    assert spans == sorted(spans)
    assert all(first.end < second.start for first, second in pairwise(spans))


@given(each_format, blocks, st.data())
def test_iterating_goes_on_at_the_start_of_any_sample(format_: Format, parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    spans = list(format_.samples([whole]))
    if spans:
        number = data.draw(st.integers(0, len(spans) - 1))
        start = spans[number].start
        assert list(format_.samples([whole[start:]], start)) == spans[number:] or start == 0


@given(each_format, blocks)
def test_samples_that_are_written_out_are_the_same_samples(format_: Format, parts: list[bytes]) -> None:
    whole = b"".join(parts)
    spans = list(format_.samples([whole]))
    # A CR at the end of a sample would become half of its ending.
    assume(not any(whole[start:end].endswith(b"\r") for start, end in spans))
    header = whole[: spans[0].start] if spans and format_.has_header else b""
    written = header + b"".join(whole[start:end] + format_.ending for start, end in spans[:-1])
    assert count(format_, [written]).samples == len(spans[:-1])


@pytest.mark.parametrize("name", ["txt", "TXT"])
def test_a_format_is_found_in_whatever_case(name: str) -> None:
    assert format_name(name) == "txt"
    assert load_format(name) is BUILT_IN["txt"]


@pytest.mark.parametrize("name", ["parquet", "", None, 7])
def test_an_unknown_format_is_told_with_the_known_ones(name: object) -> None:
    found = load_format(name)
    assert isinstance(found, Problem)
    assert found == format_name(name)
    assert found.reason is Reason.UNKNOWN_FORMAT
    assert "csv, jsonl, txt" in found.message


class Fixed:
    """A plug-in's format: a sample is four bytes."""

    ending = b""
    has_header = False

    class _Counter:
        def __init__(self, state: State) -> None:
            (self._length,) = state or (0,)

        @property
        def samples(self) -> int:
            return self._length // 4

        def feed(self, block: bytes) -> None:
            self._length += len(block)

        def state(self) -> State:
            return (self._length,)

    def counter(self, state: State = ()) -> Counter:
        return self._Counter(state)

    def samples(self, blocks: Iterable[bytes], offset: int = 0) -> Iterator[Span]:
        end = offset + sum(map(len, blocks))
        return (Span(start, start + 4) for start in range(offset, end - 3, 4))


def install(site: Path, points: str) -> None:
    """Put a distribution with these entry points on the path, as pip would."""
    folder = site / "plug_in-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-in\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(f"[{formats.GROUP}]\n{points}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    formats._plug_ins.cache_clear()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    formats._plug_ins.cache_clear()


def test_a_plug_in_is_known_by_its_entry_point_and_counts(site: Path) -> None:
    install(site, f"Fixed4 = {__name__}:Fixed")
    assert known_formats() == ["csv", "fixed4", "jsonl", "txt"]
    found = load_format("FIXED4")
    assert not isinstance(found, Problem)
    assert count(found, [b"123", b"45678", b"9"]).samples == 2


@pytest.mark.parametrize("target", ["no_such_module:Format", "math:no_such_name"])
def test_a_plug_in_that_cannot_be_loaded_says_why(site: Path, target: str) -> None:
    install(site, f"odd = {target}")
    found = load_format("odd")
    assert isinstance(found, Problem)
    assert found.reason is Reason.UNKNOWN_FORMAT
    assert "no_such" in found.message


@pytest.mark.parametrize("target", ["math:pi", "builtins:object"])
def test_a_plug_in_that_is_no_format_says_what_it_lacks(site: Path, target: str) -> None:
    install(site, f"odd = {target}")
    found = load_format("odd")
    assert isinstance(found, Problem)
    assert "no attribute 'counter'" in found.message


def test_a_plug_in_never_takes_the_place_of_a_built_in_format(site: Path) -> None:
    install(site, "txt = no_such_module:Format")
    assert load_format("txt") is BUILT_IN["txt"]
