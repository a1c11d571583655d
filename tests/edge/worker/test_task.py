"""A worker's task: taken when it is there, over when it is gone or another, and its samples are those of the data."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from neptune.edge.split import SamplesUnreadable
from neptune.edge.worker import (
    Part,
    ReportNotWritten,
    TaskDataset,
    TaskModel,
    TaskOver,
    TaskUnreadable,
    wait_for_task,
)
from neptune.errors import SettingsError
from tests.edge.worker.folder import TASK, Folder


def test_a_task_says_what_the_agent_wrote(folder: Folder) -> None:
    task = wait_for_task(folder.path)
    assert (task.kind, task.namespace, task.name, task.uid) == ("FederatedTask", "shop", "digits", "u-1")
    assert (task.generation, task.node, task.roles, task.part) == (1, "edge0", ("participant",), Part(0, 3))
    assert task.parameters == {"rounds": "5"}
    assert task.models == (TaskModel("digits", "/models/digits", "npz"),)
    assert task.datasets == (TaskDataset("digits-0", "/data/digits-0.txt", "txt"),)
    assert task.datasets[0].samples == 600


def test_an_aggregator_without_data_has_no_part(folder: Folder) -> None:
    folder.put(roles=["aggregator"], part=None, datasets=[], work={})
    task = wait_for_task(folder.path)
    assert (task.part, task.datasets, task.parameters) == (None, (), {})


def test_a_worker_may_be_there_before_its_task(tmp_path: Path) -> None:
    folder, found = Folder(tmp_path / "later"), []
    worker = threading.Thread(target=lambda: found.append(wait_for_task(folder.path, timeout=20)))
    worker.start()
    folder.put()
    worker.join(20)
    assert [task.name for task in found] == ["digits"]


def test_the_folder_is_what_the_environment_names(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEPTUNE_TASK", str(folder.path))
    assert wait_for_task().folder == folder.path


def test_a_worker_without_a_folder_is_told_how_to_name_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NEPTUNE_TASK", raising=False)
    with pytest.raises(SettingsError, match="set NEPTUNE_TASK to <state>/tasks"):
        wait_for_task()
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="file is no folder"):
        wait_for_task(tmp_path / "file")
    with pytest.raises(TimeoutError, match="is the agent running"):
        wait_for_task(tmp_path, timeout=0)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "{}", '{"version": 1}', '{"version": 2}', '{"version": 1, "part": 3}', "[" * 100_000]
)
def test_what_is_no_task_is_told_from_none(folder: Folder, text: str) -> None:
    (folder.path / "task.json").write_text(text)
    with pytest.raises(TaskUnreadable, match=r"task\.json is no task of version 1"):
        wait_for_task(folder.path)


def test_samples_are_those_of_the_dataset_with_parts_and_shards(folder: Folder, tmp_path: Path) -> None:
    data = tmp_path / "data" / "digits.txt"
    data.parent.mkdir()
    data.write_text("".join(f"{n}\n" for n in range(100)))
    folder.put_dataset(f"file://{data}")
    samples = wait_for_task(folder.path).samples()
    assert (len(samples), samples[42], samples.shard(2, 10)[0]) == (100, b"42", b"1")
    parts = samples.split({"train": 0.8, "eval": 0.2}, seed=7)
    assert sorted([*parts["train"], *parts["eval"]]) == sorted(samples)
    assert wait_for_task(folder.path).samples("digits-0").split({"eval": 0.2, "train": 0.8}, seed=7).keys()
    # Agents watch the folder of the data: nothing may come into it.
    assert [path.name for path in data.parent.iterdir()] == ["digits.txt"]


def test_a_worker_that_may_only_report_keeps_the_index_in_its_cache(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("x\n")
    folder.put_dataset(str(tmp_path / "a.txt"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # As for another user of the agent's group; root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder.path)
    assert list(wait_for_task(folder.path).samples()) == [b"x"]
    assert sorted(path.name for path in folder.path.iterdir()) == ["reports", "task.json"]
    assert (tmp_path / "cache" / "neptune" / "samples").is_dir()


def test_of_several_datasets_one_has_to_be_named(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("x\n")
    entry = TASK["datasets"][0]
    folder.put(datasets=[{**entry, "name": "a"}, {**entry, "name": "b", "url": str(tmp_path / "b.txt")}])
    task = wait_for_task(folder.path)
    assert list(task.samples("b")) == [b"x"]
    for name in (None, "c"):
        with pytest.raises(ValueError, match="on node edge0, which has a, b"):
            task.samples(name)


def test_data_that_is_no_file_of_the_node_is_an_error_that_says_so(folder: Folder) -> None:
    folder.put_dataset("https://example.com/digits.txt")
    with pytest.raises(SamplesUnreadable, match="digits-0 is no plain file of node edge0"):
        wait_for_task(folder.path).samples()


@pytest.mark.parametrize(
    "change", [{"generation": 2}, {"uid": "u-2"}, {"work": {"parameters": {"rounds": "6"}}}, {"models": []}]
)
def test_a_changed_task_takes_no_reports_of_the_old_one(folder: Folder, change: dict[str, object]) -> None:
    task = wait_for_task(folder.path)
    assert not task.is_over()
    folder.put(**change)
    assert task.is_over()
    assert task.wait_until_over()
    for say in (task.report, task.complete, task.raise_if_over):
        with pytest.raises(TaskOver):
            say()
    assert folder.names() == []


def test_a_new_count_of_the_samples_changes_nothing(folder: Folder) -> None:
    task = wait_for_task(folder.path)
    folder.put_dataset("/data/digits-0.txt", samples=601)
    assert not task.is_over()
    assert not task.wait_until_over(timeout=0)


def test_a_task_that_was_taken_away_takes_no_reports(folder: Folder) -> None:
    task = wait_for_task(folder.path)
    (folder.path / "task.json").unlink()
    with pytest.raises(TaskOver, match="task shop/digits is over"):
        task.report()
    shutil.rmtree(folder.path)
    with pytest.raises(TaskOver):
        task.fail("too late")


def test_a_report_says_what_was_given(folder: Folder) -> None:
    task = wait_for_task(folder.path)
    task.report({"loss": 0.25, "epoch": 3, "stage": "warm"}, progress=41.9, samples=600, message="going well")
    (report,) = folder.waiting()
    assert report.pop("time").endswith("Z")
    assert report == {
        "uid": "u-1", "generation": 1, "state": "Running", "progress": 41, "samples": 600, "message": "going well",
        "metrics": {"loss": "0.25", "epoch": "3", "stage": "warm"},
    }  # fmt: skip


def test_numbers_of_numpy_are_numbers(folder: Folder) -> None:
    scores = np.array([0.5, 1.0])
    wait_for_task(folder.path).complete(
        {"mean": scores.mean(), "half": np.float32(0.5), "n": np.int64(2)}, samples=np.arange(3).sum()
    )
    (report,) = folder.waiting()
    assert report["metrics"] == {"mean": "0.75", "half": "0.5", "n": "2"}
    assert (report["state"], report["samples"], report["progress"]) == ("Completed", 3, 100)


@pytest.mark.parametrize(
    ("say", "why"),
    [
        ({"metrics": {"loss": float("nan")}}, "metric 'loss': .*nan, which is not a finite"),
        ({"metrics": {"loss": np.float64("inf")}}, "metric 'loss': .*inf, which is not a finite"),
        ({"metrics": {"loss": "nan"}}, "loss"),
        ({"metrics": {"loss": None}}, "metric 'loss'"),
        ({"metrics": {"": 1}}, "name is empty"),
        ({"metrics": {f"m{n}": n for n in range(257)}}, "257 metrics; at most 256"),
        ({"metrics": {f"m{n}": "x" * 1000 for n in range(256)}}, "bytes of JSON"),
        ({"progress": 101}, "progress 101"),
        ({"progress": float("nan")}, "progress is nan"),
        ({"samples": -1}, "samples"),
        ({"samples": "many"}, "samples is 'many'"),
        ({"message": "x" * 1025}, "the message has 1025 characters"),
    ],
)
def test_what_nobody_could_read_is_refused_before_it_is_written(
    folder: Folder, say: dict[str, object], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        wait_for_task(folder.path).report(**say)  # type: ignore[arg-type]  # wrong on purpose
    assert folder.names() == []


def test_nothing_follows_the_last_word(folder: Folder) -> None:
    task = wait_for_task(folder.path)
    task.complete()
    assert task.is_over()
    with pytest.raises(TaskOver):
        task.report()
    assert [report["state"] for report in folder.waiting()] == ["Completed"]
    # It goes on being the task of the folder until every node has completed.
    assert not task.wait_until_over(timeout=0)


def test_an_exception_fails_the_task_and_goes_on(folder: Folder) -> None:
    with pytest.raises(ZeroDivisionError), wait_for_task(folder.path):
        _ = 1 / 0
    (report,) = folder.waiting()
    assert (report["state"], report["message"]) == ("Failed", "ZeroDivisionError: division by zero")


def test_an_error_of_any_length_and_content_can_be_told(folder: Folder) -> None:
    wait_for_task(folder.path).fail("\0\udcff" + "x" * 5000)
    (report,) = folder.waiting()
    assert report["message"] == "??" + "x" * 1019 + "..."


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, TaskOver])
def test_the_end_of_the_worker_is_no_failure_of_the_task(folder: Folder, error: type[BaseException]) -> None:
    with pytest.raises(error), wait_for_task(folder.path):
        raise error
    assert folder.names() == []


def test_an_exception_behind_the_last_word_takes_nothing_back(folder: Folder) -> None:
    task = wait_for_task(folder.path)
    task.complete()
    with pytest.raises(ZeroDivisionError), task:
        _ = 1 / 0
    assert [report["state"] for report in folder.waiting()] == ["Completed"]


def test_a_folder_that_takes_nothing_is_an_error_with_its_reason(folder: Folder) -> None:
    task = wait_for_task(folder.path)
    task.report()
    folder.take()
    folder.reports.rmdir()
    folder.reports.touch()
    with pytest.raises(ReportNotWritten, match="Not a directory"):
        task.report()
