"""The folder of a task: what is never followed, and what a crash leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neptune.edge.tasks.folder import Folder, others

DOCUMENT = {"version": 1, "uid": "t1", "generation": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path.resolve() / "tasks" / "shop" / "digits")
    folder.path.parent.parent.mkdir()
    folder.write(DOCUMENT)
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (outside / "1.json").write_text('{"state": "Running"}')
    return outside


def test_the_folder_of_the_same_task_is_gone_on_with_and_that_of_another_is_removed(folder: Folder) -> None:
    (folder.reports / "1.json").write_text("{}")
    assert Folder(folder.path).open("t1") == DOCUMENT
    assert folder.names(10) == ["1.json"]
    assert Folder(folder.path).open("t2") is None
    assert not folder.path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '"uid"', "[" * 100_000])
def test_a_task_file_that_cannot_be_read_is_none(folder: Folder, text: str) -> None:
    (folder.path / "task.json").write_text(text)
    assert Folder(folder.path).open("t1") is None


def test_a_link_in_place_of_reports_is_not_followed_and_gives_way(folder: Folder, outside: Path) -> None:
    folder.reports.rmdir()
    folder.reports.symlink_to(outside)
    with pytest.raises(OSError, match=r"reports"):
        folder.names(10)
    assert not folder.is_whole()
    folder.write(DOCUMENT)
    assert folder.is_whole()
    assert (oct(outside.stat().st_mode)[-3:], [path.name for path in outside.iterdir()]) == ("700", ["1.json"])


def test_a_link_in_place_of_rejected_is_not_followed(folder: Folder, outside: Path) -> None:
    (folder.path / "rejected").symlink_to(outside)
    (folder.reports / "1.json").write_text("no JSON")
    folder.refuse([("1.json", "no JSON")])
    assert (outside / "1.json").read_text() == '{"state": "Running"}'
    assert (folder.path / "rejected" / "1.json").read_text() == "no JSON"


def test_names_come_in_their_order_and_unfinished_ones_do_not(folder: Folder) -> None:
    for name in ("3.json", "1.json", ".tmp-0", "2.json"):
        (folder.reports / name).touch()
    assert folder.names(2) == ["1.json", "2.json"]


def test_a_name_that_is_too_long_to_add_to_is_cut_and_one_that_is_no_text_is_kept(folder: Folder) -> None:
    names = ["x" * 250 + ".json", os.fsdecode(b"\xff.json")]
    for name in names:
        (folder.reports / name).write_text("{}")
    folder.refuse([(name, "reason") for name in names])
    assert folder.names(10) == []
    assert len(list((folder.path / "rejected").iterdir())) == 4


def test_removing_takes_whatever_lies_there_and_follows_no_link(folder: Folder, outside: Path) -> None:
    (folder.reports / "deep" / "deeper").mkdir(parents=True)
    (folder.reports / "link").symlink_to(outside)
    os.mkfifo(folder.reports / "fifo")
    folder.remove()
    assert not folder.path.parent.exists()
    assert (outside / "1.json").exists()


def test_what_is_left_of_a_removal_that_was_cut_short_is_found(folder: Folder) -> None:
    folder.path.rename(folder.path.with_name(".gone-digits"))
    Folder(folder.path.with_name("kept")).write(DOCUMENT)
    root = folder.path.parent.parent
    assert others(root, {("shop", "kept")}) == [folder.path.with_name(".gone-digits")]
    assert others(root / "nowhere", set()) == []
