"""Samples at random: what iteration gives, whatever the format, the growth, the slice and the process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neptune.edge.formats import load_format
from neptune.edge.problems import Problem
from neptune.edge.split import IndexFailed, Samples, SamplesUnreadable, format_of, index, open_samples
from neptune.errors import SettingsError

Open = Callable[..., Samples]

FORMATS = ["csv", "jsonl", "txt"]
# Everything that means something to one of the formats.
data = st.lists(st.sampled_from([b"a", b" ", b",", b'"', b"\r", b"\n", b"\r\n", b"1\n", b'"x\n"'])).map(b"".join)


@pytest.fixture
def open_(tmp_path: Path) -> Open:
    def open_it(content: bytes | None = None, *, name: str = "data.txt", **options: object) -> Samples:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        return open_samples(path, index_folder=tmp_path / "index", **options)  # type: ignore[arg-type]  # as given

    return open_it


def reference(content: bytes, name: str) -> list[bytes]:
    rules = load_format(name)
    assert not isinstance(rules, Problem)
    return [content[span.start : span.end] for span in rules.samples([content])]


@given(data, st.sampled_from(FORMATS))
@settings(deadline=None)
def test_random_access_equals_iteration_and_the_formats_own_samples(content: bytes, name: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        path.write_bytes(content)
        samples = open_samples(path, name, index_folder=folder)
        expected = reference(content, name)
        assert list(samples) == expected == [samples[i] for i in range(len(samples))]
        assert [samples[-i - 1] for i in range(len(samples))] == expected[::-1]


@given(data, data, st.sampled_from(FORMATS))
@example(b"\r", b"\na", "txt")  # what was a sample is a blank line
@settings(deadline=None, max_examples=50)  # each file waits 20 ms until its stamps can be trusted
def test_a_grown_file_reads_as_one_that_was_never_seen(before: bytes, more: bytes, name: str) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "WHOLE_BYTES", 0)  # as if it were a large file, which is continued
        path = Path(folder) / "data"
        path.write_bytes(before)
        old = open_samples(path, name, index_folder=folder)
        with path.open("ab") as file:
            file.write(more)
        assert list(open_samples(path, name, index_folder=folder)) == reference(before + more, name)
        assert len(old) == len(reference(before, name))
        assert list(old)[:-1] == reference(before, name)[:-1]


@given(st.integers(0, 60), st.data())
@settings(deadline=None, max_examples=50)
def test_slices_of_parts_of_shards_are_what_lists_would_give(count: int, draw: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        path.write_bytes(b"".join(b"%d\n" % i for i in range(count)))
        found = open_samples(path, "txt", index_folder=folder)
        shard = draw.draw(st.integers(1, 4))
        part = found.shard(shard, 4).split({"a": 0.7, "b": 0.2, "c": 0.1}, seed=5)["a"]
        where = draw.draw(st.slices(max(1, len(part))))
        again = draw.draw(st.slices(max(1, len(part))))
        assert list(part[where]) == list(part)[where]
        assert list(part[where][again]) == list(part)[where][again]
        assert set(part) <= set(list(found)[shard - 1 :: 4])


def test_growth_reads_only_what_is_new(open_: Open, tmp_path: Path) -> None:
    open_(b"".join(b"%d\n" % i for i in range(200_000)))
    with (tmp_path / "data.txt").open("ab") as file:
        file.write(b"one more\n")
    seen: list[tuple[int, int]] = []
    samples = open_(progress=lambda done, total: seen.append((done, total)))
    assert samples[-1] == b"one more"
    assert len(seen) == 1
    assert not open_(progress=lambda done, total: seen.append((done, total)))[0:0]
    assert len(seen) == 1


def test_a_replaced_or_rewritten_file_is_indexed_anew(open_: Open, tmp_path: Path) -> None:
    assert list(open_(b"a\nb\n")) == [b"a", b"b"]
    (tmp_path / "other").write_bytes(b"c\nd\n")
    (tmp_path / "other").rename(tmp_path / "data.txt")
    assert list(open_()) == [b"c", b"d"]
    assert list(open_(b"\nxyz\n")) == [b"xyz"]
    assert list(open_(b"longer than before\nand other\n")) == [b"longer than before", b"and other"]


def test_an_edit_in_a_small_file_that_has_also_grown_is_seen(open_: Open, tmp_path: Path) -> None:
    open_(b"aaaa\n" * 4000)
    with (tmp_path / "data.txt").open("r+b") as file:
        file.seek(9000)
        file.write(b"\n" * 500)
        file.seek(0, os.SEEK_END)
        file.write(b"more\n")
    assert len(open_()) == 3901


def test_a_damaged_index_is_made_anew(open_: Open, tmp_path: Path) -> None:
    open_(b"a\nb\n")
    (index,) = (tmp_path / "index").glob("*.index")
    whole = index.read_bytes()
    for damaged in (b"", b"{", whole[:-1], b"[" * 600, whole.replace(b'"version": 1', b'"version": 9')):
        index.write_bytes(damaged)
        assert list(open_()) == [b"a", b"b"]
        assert index.read_bytes() == whole


def test_an_open_sequence_outlives_growth_and_refuses_another_file(open_: Open, tmp_path: Path) -> None:
    samples = open_(b"a\nb")
    sent = pickle.dumps(samples)
    with (tmp_path / "data.txt").open("ab") as file:
        file.write(b"c\nd\n")
    assert list(open_()) == [b"a", b"bc", b"d"]
    assert list(samples) == [b"a", b"b"] == list(pickle.loads(sent))  # noqa: S301 - our own bytes
    os.truncate(tmp_path / "data.txt", 2)
    with pytest.raises(SamplesUnreadable, match="was cut after it was opened"):
        samples[1]
    with pytest.raises(SamplesUnreadable, match="replaced or rewritten"):
        pickle.loads(sent)[0]  # noqa: S301 - our own bytes


def test_a_sequence_does_not_take_a_rewritten_file_for_its_own(open_: Open, tmp_path: Path) -> None:
    sent = pickle.dumps(open_(b"a\nb\n"))
    assert list(open_(b"xyz\nanother\n")) == [b"xyz", b"another"]  # the same inode, and the index anew
    with pytest.raises(SamplesUnreadable, match="replaced or rewritten"):
        pickle.loads(sent)[0]  # noqa: S301 - our own bytes


def test_forked_readers_see_the_same(open_: Open) -> None:
    samples = open_(b"".join(b"%d\n" % i for i in range(500)))
    assert samples[0] == b"0"  # opened here before the fork
    parts = [samples.shard(k, 3) for k in (1, 2, 3)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        found: list[list[bytes]] = list(pool.map(list, parts))
    assert sorted(int(sample) for part in found for sample in part) == list(range(500))


def test_a_sequence_can_be_sent_to_a_fresh_process(open_: Open) -> None:
    part = open_(b"".join(b"%d\n" % i for i in range(500))).split({"a": 0.9, "b": 0.1}, seed=3)["b"][5:15]
    code = "import pickle, sys; part = pickle.load(sys.stdin.buffer); print(*(item.decode() for item in part))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(part), capture_output=True, check=True, timeout=60
    )
    assert done.stdout.split() == list(part)


def test_threads_share_one_sequence(open_: Open) -> None:
    samples = open_(b"".join(b"%d\n" % i for i in range(2000)))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(samples.__getitem__, range(2000))) == [b"%d" % i for i in range(2000)]


def test_builders_at_the_same_time_agree(open_: Open, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_bytes(b"line\n" * 50_000)
    barrier = threading.Barrier(4)

    def build() -> int:
        barrier.wait()
        return len(open_())

    with ThreadPoolExecutor(4) as pool:
        assert [call.result() for call in [pool.submit(build) for _ in range(4)]] == [50_000] * 4
    assert [path.suffix for path in sorted((tmp_path / "index").iterdir())] == [".index", ".lock"]


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nothing_stays_open_when_a_sequence_is_gone(open_: Open) -> None:
    before = descriptors()
    samples = open_(b"a\n")
    assert samples[0] == b"a"
    assert descriptors() == before + 2
    del samples
    assert descriptors() == before


@pytest.mark.parametrize("name", ["data.txt.gz", "data.csv.zst", "DATA.TXT.GZ"])
def test_compressed_data_is_refused_with_the_way_round(open_: Open, name: str) -> None:
    with pytest.raises(SamplesUnreadable, match="unpack it first"):
        open_(b"", name=name)


def test_the_name_of_the_file_behind_a_link_says_whether_it_is_compressed(open_: Open, tmp_path: Path) -> None:
    (tmp_path / "data.gz").write_bytes(b"")
    (tmp_path / "packed.txt").symlink_to("data.gz")
    with pytest.raises(SamplesUnreadable, match="unpack it first"):
        open_(name="packed.txt")


def test_what_cannot_be_opened_says_why(open_: Open, tmp_path: Path) -> None:
    with pytest.raises(SamplesUnreadable, match="does not exist"):
        open_(name="missing.txt")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SamplesUnreadable, match="is a FIFO"):
        open_(name="pipe")
    with pytest.raises(SettingsError, match="it knows csv, jsonl, txt"):
        open_(b"", format="parquet")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IndexFailed, match="give another index folder"):
        open_samples(tmp_path / "file", index_folder=tmp_path / "file")


@pytest.mark.parametrize(("k", "n"), [(0, 3), (4, 3), (1, 0), (-1, 2)])
def test_a_shard_that_does_not_exist_is_refused(open_: Open, k: int, n: int) -> None:
    with pytest.raises(SettingsError, match="there is no shard"):
        open_(b"a\n").shard(k, n)


def test_the_name_tells_the_format() -> None:
    names: list[str | Path] = ["a.csv", "a.JSONL", "a.csv.gz", "a.txt.zst", "a", "a.dat", Path("b/c.jsonl"), "A.CSV.GZ"]
    assert [format_of(name) for name in names] == ["csv", "jsonl", "csv", "txt", "txt", "txt", "jsonl", "csv"]
