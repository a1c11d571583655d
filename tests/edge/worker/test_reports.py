"""Reports on the disk: whole, in order and few, whatever ends the worker and however long nobody takes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from neptune.edge.worker import wait_for_task
from tests.edge.worker.folder import Folder

_LOOP = """
from neptune.edge.worker import wait_for_task
task = wait_for_task()
for number in range(1_000_000):
    task.report({"number": number})
    print(number, flush=True)
"""


def test_of_many_reports_that_nobody_takes_the_newest_stays(folder: Folder) -> None:
    task = wait_for_task(folder.path)
    for number in range(200):
        task.report({"number": number})
    assert [report["metrics"] for report in folder.waiting()] == [{"number": "199"}]
    task.complete()
    assert [report["state"] for report in folder.waiting()] == ["Completed"]


def test_reports_that_were_taken_are_followed_by_others_in_order(folder: Folder) -> None:
    task, names, numbers = wait_for_task(folder.path), [], []
    for number in range(10):
        task.report({"number": number})
        names += folder.names()
        numbers += [report["metrics"]["number"] for report in folder.take()]
    assert numbers == [str(number) for number in range(10)]
    assert names == sorted(set(names))


def test_a_worker_that_starts_again_replaces_what_the_one_before_it_left(folder: Folder) -> None:
    # The clock went back meanwhile: the name of the earlier report lies in the future.
    (folder.reports / f"{9 * 10**18}-7-000001.json").write_text('{"state": "Running"}')
    (folder.reports / ".tmp-1").touch()
    (folder.reports / "somebody-else.json").write_text('{"state": "Running"}')
    wait_for_task(folder.path).report({"number": 2})
    ours, other = sorted(path.name for path in folder.reports.iterdir())
    assert other == "somebody-else.json"
    assert ours > f"{9 * 10**18}-7-000001.json"


@pytest.mark.parametrize("last", ['{"state": "Completed"}', '{"state": "Failed"}', "torn", "[]"])
def test_a_last_word_that_nobody_took_stays(folder: Folder, last: str) -> None:
    name = f"{10**18}-7-000001.json"
    (folder.reports / name).write_text(last)
    wait_for_task(folder.path).report()
    assert folder.names()[0] == name
    assert len(folder.names()) == 2


@pytest.fixture
def worker(folder: Folder) -> Iterator[subprocess.Popen[str]]:
    environ = {**os.environ, "NEPTUNE_TASK": str(folder.path)}
    with subprocess.Popen([sys.executable, "-c", _LOOP], env=environ, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("after", range(0, 60, 12))
def test_a_kill_in_the_middle_leaves_whole_reports_and_loses_none_that_was_made(
    folder: Folder, worker: subprocess.Popen[str], after: int
) -> None:
    assert worker.stdout is not None
    for _ in range(after + 1):
        worker.stdout.readline()
    worker.kill()
    made = [after, *(int(line) for line in worker.stdout if line.endswith("\n"))][-1]
    # One more may be there, and the one before it: the kill came between its rename and the print.
    left = [folder.reports / name for name in folder.names()]
    assert 1 <= len(left) <= 2
    numbers = [int(json.loads(path.read_text())["metrics"]["number"]) for path in left]
    assert numbers == sorted(numbers)
    assert numbers[-1] in (made, made + 1)
    wait_for_task(folder.path).report({"number": -1})
    assert [report["metrics"]["number"] for report in folder.waiting()] == ["-1"]
    assert folder.names()[0] > left[-1].name
