"""`neptune split` as a shell runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).parent / "neptune"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.txt").write_bytes(b"".join(b"%d\n\n" % i for i in range(1000)))
    return tmp_path


def split(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, "split", *args], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
    )  # fmt: skip


def test_parts_are_counted_exactly(folder: Path) -> None:
    done = split(folder, "data.txt", "--train", "0.8", "--eval", "0.2")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [["train", "800"], ["eval", "200"]]
    assert sorted(path.name for path in folder.iterdir()) == ["cache", "data.txt"]


def test_parts_are_written_out_and_growth_only_adds_to_them(folder: Path) -> None:
    command = ("data.txt", "--train", "0.8", "--eval", "0.2", "--seed", "7", "--output-dir", "out")
    assert split(folder, *command).returncode == 0
    before = {name: (folder / "out" / name).read_bytes() for name in ("train.txt", "eval.txt")}
    lines = b"".join(before.values()).split()
    assert sorted(map(int, lines)) == list(range(1000))
    with (folder / "data.txt").open("ab") as file:
        file.writelines(b"%d\n" % i for i in range(1000, 2000))
    assert split(folder, *command).returncode == 0
    after = {name: (folder / "out" / name).read_bytes() for name in before}
    assert all(after[name].startswith(content) for name, content in before.items())
    assert [len(content.split()) for content in after.values()] == [1600, 400]


def test_json_says_what_was_done(folder: Path) -> None:
    done = split(
        folder, "data.txt", "--part", "a=1/3", "--part", "b=2/3", "--shard", "2/10", "--output", "json",
        "--output-dir", "out", "--write", "index",
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["parts"] == {
        "a": {"samples": 33, "file": "out/a.index.csv"},
        "b": {"samples": 67, "file": "out/b.index.csv"},
    }
    manifest = json.loads((folder / "out" / "split.json").read_text())
    assert {key: manifest[key] for key in ("samples", "shard", "ratios", "seed", "format")} == {
        "samples": 1000, "shard": "2/10", "ratios": {"a": "1/3", "b": "2/3"}, "seed": 0, "format": "txt",
    }  # fmt: skip


def test_a_shard_alone_is_one_part(folder: Path) -> None:
    assert split(folder, "data.txt", "--shard", "3/3").stdout.split() == ["shard-3-of-3", "333"]


def test_contiguous_parts_follow_each_other(folder: Path) -> None:
    split(folder, "data.txt", "--train", "0.9", "--eval", "0.1", "--contiguous", "--output-dir", "out")
    assert (folder / "out" / "eval.txt").read_bytes().split()[0] == b"900"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no part is named"),
        (["--train", "0.8"], "add up to 0.8, not 1"),
        (["--train", "most"], "such as 0.8 or 4/5"),
        (["--shard", "4/3"], "there is no shard 4 of 3"),
        (["--shard", "one"], "write K/N"),
        (["--part", "0.5"], "NAME=RATIO"),
        (["--part", "../x=1", "--output-dir", "out"], "cannot be a file"),
        (["--train", "1", "--write", "index"], "--write index needs --output-dir"),
        (["--train", "1", "--format", "parquet"], "it knows csv, jsonl, txt"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_line(folder: Path, args: list[str], message: str) -> None:
    done = split(folder, "data.txt", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_cannot_be_split_ends_with_1_and_one_line(folder: Path) -> None:
    (folder / "data.txt.gz").write_bytes(b"")
    for name, message in (
        ("missing", "does not exist on this node\n"),
        ("data.txt.gz", "unpack it first, gunzip data.txt.gz"),
    ):
        done = split(folder, name, "--train", "1")
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert message in done.stderr
