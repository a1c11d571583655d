"""The truth table: what is on the disk and the exact number, through a real monitor; and random files against grep."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune.edge.counting import BLOCK_BYTES, Checkpoint, FileCount, Target
from tests.edge.bench import dataset, eventually
from tests.edge.test_monitor import monitoring

MIB = 2**20
TABLE = {
    "an empty file": (b"", 0),
    "one newline": (b"\n", 0),
    "no final newline": (b"a\nb", 2),
    "CRLF": (b"a\r\n\r\nb\r\n", 2),
    "mixed endings": (b"a\nb\r\nc\rd\n\r\ne", 4),
    "a lone CR": (b"\r", 1),
    "a lone CR on its line": (b"a\n\r\r\nb\n", 3),
    "lines of white space": (b" \n\t\n  \t \n\x0b\n", 4),
    "runs of blank lines": (b"\n" * 1000 + b"a" + b"\n" * 1000 + b"b" + b"\r\n" * 1000, 2),
    "NUL bytes": (b"\0\n\0\0\n\n", 2),
    "invalid UTF-8": (b"\xff\n\xc3\n\xed\xa0\x80\n\n", 3),
    "a BOM": (b"\xef\xbb\xbfa\n\xef\xbb\xbf\n", 2),
    "UTF-16, which is bytes like any others": ("a\n\nb\n".encode("utf-16-le"), 4),
    "a line of 5 MiB between two others": (b"a\n" + b"x" * 5 * MIB + b"\nb\n", 3),
    "a CRLF that two blocks share": (b"x" * (BLOCK_BYTES - 1) + b"\r\n\r\ny", 2),
    "a blank line that two blocks share": (b"x" * (BLOCK_BYTES - 2) + b"\n\r\ny", 2),
    "more lines than fit into a block": (b"ab\n\n" * MIB, MIB),
}


@pytest.mark.parametrize(("data", "samples"), TABLE.values(), ids=TABLE.keys())
async def test_the_bytes_of_a_file_have_this_number(tmp_path: Path, data: bytes, samples: int) -> None:
    file = tmp_path / "data.txt"
    file.write_bytes(data)
    async with monitoring(tmp_path) as (monitor, heard):
        monitor.put(dataset(str(file)))
        await eventually(lambda: heard.reason() == "Counted")
        assert heard.samples() == samples


async def test_a_line_of_100_mib_and_a_sparse_file_of_10_gib_are_one_sample_each(tmp_path: Path) -> None:
    line, sparse = tmp_path / "line.txt", tmp_path / "sparse.txt"
    with line.open("wb") as stream:
        for _ in range(100):
            stream.write(b"x" * MIB)
    sparse.touch()
    os.truncate(sparse, 10 * 2**30)
    async with monitoring(tmp_path) as (monitor, heard):
        monitor.put(dataset(str(line), uid="line"))
        monitor.put(dataset(str(sparse), uid="sparse"))
        await eventually(lambda: heard.samples("line") == 1, seconds=60.0)
        await eventually(lambda: heard.samples("sparse") == 1, seconds=60.0)
        with sparse.open("ab") as stream:
            stream.write(b"\nmore\n")
        await eventually(lambda: heard.samples("sparse") == 2)


def _append(data: bytes) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        with file.open("ab") as stream:
            stream.write(data)

    return change


def _rename(data: bytes) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        other = file.with_name("other")
        other.write_bytes(data)
        other.replace(file)

    return change


def _rewrite_in_place(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"\n\n")


def _directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _fifo(file: Path) -> None:
    (file / "part").unlink()
    file.rmdir()
    os.mkfifo(file)


STORY: dict[str, tuple[Callable[[Path], object], int | str]] = {
    "one more": (_append(b"3\n"), 3),
    "an open end": (_append(b"4"), 4),
    "which goes on": (_append(b"4"), 4),
    "and ends": (_append(b"\n"), 4),
    "rewritten in place": (_rewrite_in_place, 3),
    "truncated": (lambda file: os.truncate(file, 4), 1),
    "truncated to nothing": (lambda file: os.truncate(file, 0), 0),
    "replaced": (_rename(b"1\n2\n3\n4\n5\n"), 5),
    "replaced by one of the same size": (_rename(b"1\n2\n\n\n\n\n\n"), 2),
    "deleted": (Path.unlink, "NotFound"),
    "back": (lambda file: file.write_bytes(b"1\n"), 1),
    "a directory instead": (_directory, 0),
    "a file in it": (lambda file: (file / "part").write_bytes(b"1\n2\n"), 2),
    "a FIFO instead": (_fifo, "NotAFile"),
    "a file again": (_rename(b"1\n2\n3\n"), 3),
}


@pytest.mark.parametrize("poll_seconds", [3600.0, 0.05], ids=["by events", "by the poll"])
async def test_whatever_happens_to_a_file_its_number_follows(
    tmp_path: Path, poll_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if poll_seconds < 1.0:
        monkeypatch.setattr("neptune.edge.watches.Watches._open", lambda _: None)
    file = tmp_path / "data.txt"
    file.write_bytes(b"1\n2\n")
    async with monitoring(tmp_path, poll_seconds=poll_seconds) as (monitor, heard):
        monitor.put(dataset(str(file)))
        await eventually(lambda: heard.samples() == 2)
        for step, (change, expected) in STORY.items():
            change(file)
            told = heard.reason if isinstance(expected, str) else heard.samples
            await eventually(partial(_tells, told, expected))
            assert isinstance(expected, str) or heard.reason() == "Counted", step


def _tells(told: Callable[[], object], expected: object) -> bool:
    return told() == expected


# Endings, blanks and long lines in every mixture; grep knows no CRLF, so that there is none.
pieces = st.sampled_from([b"\n", b"\n\n", b"a", b" ", b"\t\n", b"x" * 70_000, b"\n" * 70_000, b"ab\n" * 30_000])


@settings(max_examples=40, deadline=None)
@given(st.lists(pieces, max_size=8))
def test_random_files_have_the_number_that_grep_has(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    file = tmp_path_factory.mktemp("random") / "data.txt"
    file.write_bytes(b"".join(parts))
    count = FileCount(Target(str(file), "txt", None))
    found = count.step(60.0)
    count.close()
    grep = subprocess.run(["grep", "-c", ".", file], stdout=subprocess.PIPE, env={"LC_ALL": "C"}, check=False)
    assert isinstance(found, Checkpoint)
    assert (
        found.samples == int(grep.stdout) == sum(line.strip(b"\r\n") != b"" for line in file.read_bytes().split(b"\n"))
    )
