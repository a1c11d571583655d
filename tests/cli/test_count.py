"""`neptune count` as a shell runs it: numbers on standard output, a line a fault on standard error."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).parent / "neptune"


def count(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, "count", *args], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_each_file_has_a_line_and_several_have_a_total(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"1\n\n2\n")
    (tmp_path / "b.csv").write_bytes(b'h\n"x\ny"\n')
    done = count(tmp_path, "a.txt", "b.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [["2", "a.txt"], ["1", "b.csv"], ["3", "total"]]
    assert count(tmp_path, "a.txt").stdout.split() == ["2", "a.txt"]


def test_a_folder_a_pattern_and_packed_files_count_as_the_agent_has_them(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.txt").write_bytes(b"1\n2\n")
    (tmp_path / "logs" / "b.txt.gz").write_bytes(gzip.compress(b"3\n"))
    done = count(tmp_path, "logs", "logs/*.txt", "logs/b.txt.gz")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["3", "2", "1", "6"]


def test_a_file_url_is_taken_as_in_a_spec(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_bytes(b"h\n1\n")
    done = count(tmp_path, f"file://{tmp_path}/a%20b.csv")
    assert (done.returncode, done.stdout.split()[0]) == (0, "1"), done.stderr


def test_the_folder_above_a_link_is_that_of_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "far" / "folder").mkdir(parents=True)
    (tmp_path / "far" / "a.txt").write_bytes(b"1\n2\n")
    (tmp_path / "a.txt").write_bytes(b"1\n")
    (tmp_path / "link").symlink_to("far/folder")
    assert count(tmp_path, "link/../a.txt").stdout.split()[0] == "2"


def test_an_empty_name_is_not_the_folder_where_one_is(tmp_path: Path) -> None:
    done = count(tmp_path, "")
    assert (done.returncode, done.stdout) == (2, "")


def test_json_is_an_object_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"1\n")
    (tmp_path / "b.csv").write_bytes(b"1\n2\n")
    done = count(tmp_path, "a.txt", "b.csv", "--output", "json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"path": "a.txt", "format": "txt", "samples": 1},
        {"path": "b.csv", "format": "csv", "samples": 1},
    ]
    done = count(tmp_path, "b.csv", "--format", "TXT", "--output", "json")
    assert json.loads(done.stdout) == {"path": "b.csv", "format": "txt", "samples": 2}


def test_a_file_that_cannot_be_counted_is_named_and_the_others_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"1\n")
    os.mkfifo(tmp_path / "pipe")
    done = count(tmp_path, "missing", "pipe", "a.txt", "--output", "json")
    assert (done.returncode, json.loads(done.stdout)["samples"]) == (1, 1)
    assert [line.partition("/")[0] for line in done.stderr.splitlines()] == ["neptune: ", "neptune: "]
    assert done.stderr.splitlines()[0].endswith("missing does not exist on this node")
    assert "pipe is a FIFO" in done.stderr


def test_an_unknown_format_is_bad_usage_and_lists_those_that_are_known(tmp_path: Path) -> None:
    done = count(tmp_path, "a.txt", "--format", "parquet")
    assert (done.returncode, done.stdout) == (2, "")
    assert "it knows csv, jsonl, txt" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [["count", "a.txt"], ["split", "a.txt", "--train", "1"]])
def test_an_installation_without_extras_is_enough(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "a.txt").write_bytes(b"1\n2\n")
    extras = ["aiohttp", "kubernetes", "obstore", "prometheus_client", "pydantic", "rich", "yaml"]
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({extras!r}))\n")
    environ = {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [SCRIPT, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False, env=environ
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "2" in done.stdout.split()
