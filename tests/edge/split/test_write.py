"""Parts on disk: what can be read again, whole or not there, and never the original."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path

import pytest

from neptune.edge.split import CannotWriteParts, Samples, open_samples, write_files, write_index
from neptune.errors import SettingsError


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    path = tmp_path / "people.csv"
    path.write_bytes(b"name,note\r\n" + b"".join(b'n%d,"two\nlines"\r\n\r\n' % i for i in range(10)))
    return open_samples(path, index_folder=tmp_path / "index")


def test_files_have_the_header_and_together_all_records(samples: Samples, tmp_path: Path) -> None:
    parts = samples.split({"train": 0.8, "eval": 0.2}, seed=1)
    files = write_files(parts, tmp_path / "out", {"seed": 1})
    rows = {name: list(csv.reader(StringIO(path.read_bytes().decode(), newline=""))) for name, path in files.items()}
    assert {name: path.name for name, path in files.items()} == {"train": "train.csv", "eval": "eval.csv"}
    assert all(found[0] == ["name", "note"] for found in rows.values())
    assert [len(found) for found in rows.values()] == [9, 3]
    assert sorted(row[0] for found in rows.values() for row in found[1:]) == [f"n{i}" for i in range(10)]
    assert all(open_samples(path, index_folder=tmp_path)[0] == parts[name][0] for name, path in files.items())


def test_an_index_names_places_in_the_original(samples: Samples, tmp_path: Path) -> None:
    parts = samples.split({"train": 0.8, "eval": 0.2}, seed=1)
    files = write_index(parts, tmp_path / "out", {})
    content = (tmp_path / "people.csv").read_bytes()
    for name, path in files.items():
        rows = list(csv.DictReader(path.read_text().splitlines()))
        assert [content[int(row["start"]) : int(row["end"])] for row in rows] == list(parts[name])
        assert [int(row["sample"]) for row in rows] == list(parts[name].numbers())


def test_the_manifest_says_how_the_parts_were_drawn(samples: Samples, tmp_path: Path) -> None:
    write_files(samples.split({"all": 1}), tmp_path / "out", {"seed": 0})
    found = json.loads((tmp_path / "out" / "split.json").read_text())
    assert found == {"seed": 0, "parts": {"all": {"file": "all.csv", "samples": 10}}}


def test_a_header_alone_gives_files_of_a_header(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_bytes(b"name,note\n")
    parts = open_samples(path, index_folder=tmp_path).split({"a": 0.5, "b": 0.5})
    files = write_files(parts, tmp_path / "out", {})
    assert [file.read_bytes() for file in files.values()] == [b"name,note\n"] * 2


def test_the_original_is_never_written_to(samples: Samples, tmp_path: Path) -> None:
    with pytest.raises(CannotWriteParts, match="give another output folder"):
        write_files(samples.split({"people": 1}), tmp_path, {})


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a/b", "a\n"])
def test_a_name_that_is_no_file_name_is_refused(samples: Samples, tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be a file"):
        write_files(samples.split({name: 1}), tmp_path / "out", {})


def test_a_part_does_not_take_the_place_of_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_bytes(b"{}\n")
    samples = open_samples(tmp_path / "data.json", "jsonl", index_folder=tmp_path)
    with pytest.raises(SettingsError, match=r"would be split\.json"):
        write_files(samples.split({"split": 1}), tmp_path / "out", {})


def test_a_folder_that_cannot_be_written_is_named(samples: Samples, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(CannotWriteParts, match="cannot write the parts to"):
        write_files(samples.split({"all": 1}), tmp_path / "out", {})
