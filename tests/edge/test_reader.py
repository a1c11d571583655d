"""What a look at real files reads by itself, and what it leaves to a count."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neptune.edge.looking import Content, Look, Work
from neptune.edge.problems import Problem, Reason
from neptune.edge.reader import AT_ONCE_BYTES, DiskReader
from neptune.edge.schedule import Ticket


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[DiskReader]:
    reader = DiskReader([str(tmp_path)])
    yield reader
    await reader.close()


async def looked(reader: DiskReader, path: Path, known: Content | None = None) -> Look:
    (found,) = await reader.look([Ticket("u1", 1, str(path), "txt", known)])
    return found.look


async def test_a_very_small_file_is_counted_by_the_look_and_so_is_what_it_grew_by(
    reader: DiskReader, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"1\n2\n")
    first = (await looked(reader, path)).outcome
    assert isinstance(first, Content)
    with path.open("ab") as file:
        file.write(b"3\n")
    second = (await looked(reader, path, first)).outcome
    assert isinstance(second, Content)
    assert (first.samples, second.samples) == (2, 3)


async def test_what_is_larger_or_packed_is_work(reader: DiskReader, tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_bytes(b"1\n" * (AT_ONCE_BYTES // 2))
    (tmp_path / "large.txt").write_bytes(b"1\n" * (AT_ONCE_BYTES // 2 + 1))
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(b"1\n"))
    kinds = [
        type((await looked(reader, tmp_path / name)).outcome) for name in ("small.txt", "large.txt", "packed.txt.gz")
    ]
    assert kinds == [Content, Work, Work]


async def test_small_files_that_are_much_together_are_work(reader: DiskReader, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_bytes(b"1\n" * (AT_ONCE_BYTES // 4))
    assert isinstance((await looked(reader, tmp_path)).outcome, Work)


async def test_a_very_small_file_that_cannot_be_read_is_a_problem(
    reader: DiskReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"1\n")
    monkeypatch.setattr("neptune.edge.reader.FileCount.step", lambda self, seconds: Problem(Reason.READ_FAILED, "no"))
    assert (await looked(reader, path)).outcome == Problem(Reason.READ_FAILED, "no")


async def test_one_whose_count_takes_long_after_all_is_work(
    reader: DiskReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"1\n")
    monkeypatch.setattr("neptune.edge.reader.FileCount.step", lambda self, seconds: None)
    assert isinstance((await looked(reader, path)).outcome, Work)
