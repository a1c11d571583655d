"""What a look counts itself, and what it leaves to `count`, on real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from neptune.edge.counting import Checkpoint, FileCount, Target
from neptune.edge.looking import Content, Work
from neptune.edge.problems import Problem, Reason
from neptune.edge.reader import AT_ONCE_BYTES, DiskReader, Found
from neptune.edge.schedule import Ticket
from tests.support.files import settled


async def found_at(path: Path, known: Content | None = None) -> Found:
    reader = DiskReader([str(path.parent)])
    try:
        (found,) = await reader.look([Ticket("u1", 1, str(path), "txt", known)])
    finally:
        await reader.close()
    return found


async def test_a_small_file_is_counted_where_it_is_looked_at(tmp_path: Path) -> None:
    found = await found_at(settled(tmp_path / "a.txt", b"x" * (AT_ONCE_BYTES - 1) + b"\n"))
    assert isinstance(found.look.outcome, Work)
    assert isinstance(found.counted, Content)
    assert found.counted.samples == 1


async def test_what_a_small_file_grew_by_is_counted_as_well(tmp_path: Path) -> None:
    known = (await found_at(settled(tmp_path / "a.txt", b"1\n2\n"))).counted
    assert isinstance(known, Content)
    found = await found_at(settled(tmp_path / "a.txt", b"1\n2\n3\n"), known)
    assert isinstance(found.counted, Content)
    assert (known.samples, found.counted.samples) == (2, 3)


async def test_a_small_file_that_cannot_be_read_is_a_count_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem(Reason.READ_FAILED, "no")
    monkeypatch.setattr("neptune.edge.reader.FileCount.step", lambda self, seconds: problem)
    found = await found_at(settled(tmp_path / "a.txt", b"1\n"))
    assert isinstance(found.look.outcome, Work)
    assert found.counted == problem


async def test_a_look_leaves_alone_what_takes_longer(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    settled(folder / "a.txt", b"1\n")
    larger = settled(tmp_path / "larger.txt", b"x" * AT_ONCE_BYTES + b"\n")
    packed = settled(tmp_path / "a.txt.gz", b"1\n")
    for path in (folder, larger, packed):
        found = await found_at(path)
        assert isinstance(found.look.outcome, Work), path
        assert found.counted is None, path


async def test_what_takes_longer_than_it_looked_like_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neptune.edge.reader._STEP_SECONDS", 0.0)
    file = settled(tmp_path / "a.txt", b"1\n" * AT_ONCE_BYTES)
    counted = FileCount(Target(str(file), "txt", None)).step(60.0)
    assert isinstance(counted, Checkpoint)
    settled(file, b"2\n" * (AT_ONCE_BYTES + 1))
    found = await found_at(file, Content({str(file): counted}))
    assert isinstance(found.look.outcome, Work)
    assert found.look.outcome.size == 2, "as if one line had come"
    assert found.counted is None
