"""Counting real files: what is read, what is not, and that the last look has the right number."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune.edge import counting
from neptune.edge.counting import Checkpoint, FileCount, Target
from neptune.edge.looking import Content, Work, look
from neptune.edge.problems import Problem, Reason
from neptune.edge.proof import WHOLE_BYTES
from neptune.edge.sources import FileSource


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data.txt"


def count(file: Path, known: Checkpoint | None = None, *, seconds: float = 60.0) -> tuple[Checkpoint, int]:
    """Count a file and return its checkpoint and how many bytes were read."""
    run = FileCount(Target(str(file), "txt", known))
    try:
        while (outcome := run.step(seconds)) is None:
            pass
    finally:
        run.close()
    assert isinstance(outcome, Checkpoint)
    return outcome, run.bytes_read


def settle() -> None:
    """Let the file's stamps grow old enough to be trusted."""
    time.sleep(0.03)


def write(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    settle()


def append(file: Path, data: bytes) -> None:
    with file.open("ab") as stream:
        stream.write(data)
    settle()


def outcome_of(file: Path, known: Checkpoint) -> Problem | Content | Work:
    return look(str(file), "txt", ["/"], Content({str(file): known})).outcome


def test_an_unchanged_file_is_not_read_again(file: Path) -> None:
    write(file, b"a\nb\n")
    checkpoint, _ = count(file)
    assert outcome_of(file, checkpoint) == Content({str(file): checkpoint})


def test_a_file_that_was_changed_this_moment_is_read_when_its_stamps_can_be_trusted(file: Path) -> None:
    # Two writes within one tick of the kernel leave the same stamps.
    for number in range(20):
        file.write_bytes(b"a\nb\n")
        checkpoint, _ = count(file)
        file.write_bytes(b"a\n\n\n" if number % 2 else b"\n\n\n\n")
        assert isinstance(outcome_of(file, checkpoint), Work)


def test_reading_waits_until_no_change_can_hide(file: Path) -> None:
    # Also where the kernel's stamps are too fine for the test above to fail.
    file.write_bytes(b"a\n")
    source = FileSource.open(str(file))
    assert not isinstance(source, Problem)
    assert time.time_ns() - source.identity.ctime_ns >= 20_000_000
    source.close()


@pytest.mark.parametrize(
    ("before", "added", "samples"),
    [
        (b"a\nb\n", b"c\n", 3),
        (b"a\nb", b"c\n", 2),
        (b"a\nb", b"\nc", 3),
        (b"a\r", b"\n", 1),
        (b"\r", b"\n", 0),
        (b"", b"\n\nx", 1),
        (b"x" * 2**21 + b"\ny", b"y\n", 2),
        (b"x" * 2**21, b"\r\n\r\ny\n", 2),
        (b"x" * 2**21, b"y" * 2**20, 1),
    ],
)
def test_a_file_that_grew_is_continued(file: Path, before: bytes, added: bytes, samples: int) -> None:
    write(file, before)
    checkpoint, _ = count(file)
    append(file, added)
    assert isinstance(outcome_of(file, checkpoint), Work)
    grown, bytes_read = count(file, checkpoint)
    assert (grown.samples, bytes_read) == (
        samples,
        len(added) if file.stat().st_size > WHOLE_BYTES else len(before + added),
    )
    append(file, b"\nlast\n")
    assert count(file, grown)[0].samples == samples + 1


def _replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"x\n" * 50)
    other.replace(file)


CHANGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "truncated": (lambda file: os.truncate(file, 4), 2),
    "emptied": (lambda file: os.truncate(file, 0), 0),
    "rewritten longer": (lambda file: file.write_bytes(b"\n" * 30 + b"1\n"), 1),
    "rewritten to the same size": (lambda file: file.write_bytes(b"\n" * 20), 0),
    "replaced by a longer one": (_replaced, 50),
    "another beginning, and longer": (lambda file: file.write_bytes(b"zzz\n" + b"a\n" * 18), 19),
    "another end, and longer": (lambda file: file.write_bytes(b"a\n" * 9 + b"\n\n" + b"b\n"), 10),
}


@pytest.mark.parametrize(("change", "samples"), CHANGES.values(), ids=CHANGES.keys())
def test_a_file_that_did_anything_but_grow_is_counted_anew(
    file: Path, change: Callable[[Path], object], samples: int
) -> None:
    write(file, b"a\n" * 10)
    checkpoint, _ = count(file)
    assert checkpoint.samples == 10
    change(file)
    settle()
    assert isinstance(outcome_of(file, checkpoint), Work)
    again, bytes_read = count(file, checkpoint)
    assert (again.samples, bytes_read) == (samples, file.stat().st_size)


LONG = b"0123456\n" * 200_000


def _swapped(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(LONG[:8000] + b"\n" * 16 + LONG[8016:] + b"more\n")
    other.replace(file)


@pytest.mark.parametrize(
    ("change", "samples"),
    [
        (lambda file: file.write_bytes(b"\n" * 16 + LONG[16:] + b"more\n"), 199_999),
        (lambda file: file.write_bytes(LONG[:-16] + b"\n" * 16 + b"more\n"), 199_999),
        (_swapped, 199_999),
        (lambda file: file.write_bytes(LONG[:800_000] + b"\n" + LONG[800_000:] + b"more\n"), 200_001),
        (lambda file: file.write_bytes(LONG[:655_360] + b"\n" * 16 + LONG[655_376:] + b"more\n"), 199_999),
    ],
    ids=["another head", "another tail", "another file", "shifted", "overwritten where a block is kept"],
)
def test_each_proof_of_growth_counts_by_itself(file: Path, change: Callable[[Path], object], samples: int) -> None:
    write(file, LONG)
    checkpoint, _ = count(file)
    change(file)
    settle()
    again, bytes_read = count(file, checkpoint)
    assert (again.samples, bytes_read) == (samples, file.stat().st_size)


def test_a_large_file_that_grew_is_continued(file: Path) -> None:
    write(file, LONG)
    checkpoint, _ = count(file)
    append(file, b"more\n")
    again, bytes_read = count(file, checkpoint)
    assert (again.samples, bytes_read) == (200_001, 5)
    assert again == count(file)[0]


def test_a_state_that_the_format_does_not_know_is_no_state(file: Path) -> None:
    write(file, LONG)
    checkpoint, _ = count(file)
    append(file, b"more\n")
    assert count(file, checkpoint._replace(state=(1, 2, 3)))[0].samples == 200_001


def test_a_line_longer_than_any_block_is_one_sample(file: Path) -> None:
    write(file, b"a\n" + b"x" * (3 * counting.BLOCK_BYTES) + b"\nb\n")
    assert count(file)[0].samples == 3


def test_a_sparse_file_is_one_line_of_nul_bytes(file: Path) -> None:
    file.touch()
    os.truncate(file, 8 * 2**20)
    assert count(file)[0].samples == 1
    with file.open("r+b") as stream:
        stream.seek(2 * 2**20)
        stream.write(b"\na\n")
    holes, _ = count(file)
    file.write_bytes(file.read_bytes())
    assert count(file)[0].proof == holes.proof
    assert holes.samples == 3


def test_a_sparse_file_that_grows_again_and_again_is_continued(file: Path) -> None:
    file.touch()
    os.truncate(file, 8 * 2**20)
    checkpoint, _ = count(file)
    for number in range(3):
        append(file, b"\n" + b"x" * 1023)
        checkpoint, bytes_read = count(file, checkpoint)
        assert (checkpoint.samples, bytes_read) == (number + 2, 1024)


def test_steps_can_be_as_short_as_one_block(file: Path) -> None:
    write(file, b"line\n" * 100_000)
    checkpoint, bytes_read = count(file, seconds=0.0)
    assert (checkpoint.samples, bytes_read) == (100_000, 500_000)


def test_a_step_does_not_unpack_a_whole_block_that_holds_a_thousand_times_as_much(tmp_path: Path) -> None:
    file = tmp_path / "data.csv.gz"
    write(file, gzip.compress(b"h\n" + b"a,b\n" * 1_000_000))
    assert file.stat().st_size < counting.BLOCK_BYTES
    run = FileCount(Target(str(file), "csv", None))
    assert [run.step(0.0) for _ in range(50)] == [None] * 50
    found = run.step(60.0)
    assert isinstance(found, Checkpoint)
    assert found.samples == 1_000_000


def test_a_file_that_grows_while_it_is_read_is_counted_to_its_first_size_then_continued(file: Path) -> None:
    write(file, b"line\n" * 50_000)
    run = FileCount(Target(str(file), "txt", None))
    assert run.step(0.0) is None
    append(file, b"more\n" * 10)
    while (outcome := run.step(0.0)) is None:
        assert run.progress[1] == 250_000
    run.close()
    assert isinstance(outcome, Checkpoint)
    assert outcome.samples == 50_000
    assert isinstance(outcome_of(file, outcome), Work)
    assert count(file, outcome)[0] == count(file)[0]


def test_a_file_that_is_cut_while_it_is_read_ends_with_the_right_number(file: Path) -> None:
    write(file, b"line\n" * 50_000)
    run = FileCount(Target(str(file), "txt", None))
    assert run.step(0.0) is None
    os.truncate(file, 10)
    settle()
    outcome = run.step(60.0)
    run.close()
    assert isinstance(outcome, Checkpoint)
    assert isinstance(outcome_of(file, outcome), Work)
    assert count(file, outcome)[0].samples == 2


def test_a_file_that_is_rewritten_while_it_is_read_ends_with_the_right_number(file: Path) -> None:
    write(file, b"line\n" * 50_000)
    run = FileCount(Target(str(file), "txt", None))
    assert run.step(0.0) is None
    with file.open("r+b") as stream:
        stream.write(b"\n" * 5000)
    settle()
    outcome = run.step(60.0)
    run.close()
    assert isinstance(outcome, Checkpoint)
    assert isinstance(outcome_of(file, outcome), Work)
    assert count(file, outcome)[0].samples == 49_000


def test_a_file_that_vanished_before_it_was_opened_is_a_problem(file: Path) -> None:
    found = FileCount(Target(str(file), "txt", None)).step(1.0)
    assert isinstance(found, Problem)
    assert found.reason is Reason.NOT_FOUND


def test_memory_does_not_grow_with_the_line(file: Path) -> None:
    import tracemalloc

    write(file, b"x" * (32 * 2**20))
    tracemalloc.start()
    try:
        assert count(file)[0].samples == 1
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


edits = st.lists(
    st.tuples(st.sampled_from(["append", "write", "cut"]), st.text("a\r\n", max_size=12).map(str.encode)), max_size=8
)


@settings(max_examples=40, deadline=None)
@given(edits=edits)
def test_whatever_is_done_to_a_file_a_checkpoint_never_leads_astray(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, bytes]]
) -> None:
    file = tmp_path_factory.mktemp("edits") / "data.txt"
    file.touch()
    known: Checkpoint | None = None
    for verb, data in edits:
        match verb:
            case "append":
                with file.open("ab") as stream:
                    stream.write(data)
            case "write":
                file.write_bytes(data)
            case _:
                os.truncate(file, file.stat().st_size // 2)
        known, _ = count(file, known)
        assert known.samples == count(file)[0].samples
