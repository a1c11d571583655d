"""The workers of docs/worker.md, run in folders as an agent makes them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from neptune.testing.processes import Process
from tests.edge.worker.folder import Folder
from tests.support.pages import blocks

WORKERS = {block.file: block.text for block in blocks("docs/worker.md") if block.file}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """The folder of a task on ten samples of one byte each."""
    (tmp_path / "data.txt").write_text("x\n" * 10)
    made = Folder(tmp_path / "task")
    made.put_dataset(str(tmp_path / "data.txt"))
    return made


def start(name: str, folder: Folder) -> Process:
    program = folder.path.parent / name
    program.write_text(WORKERS[name])
    environ = {**os.environ, "NEPTUNE_TASK": str(folder.path)}
    return Process.start([sys.executable, program], log=folder.path.parent / "log", env=environ)


def test_the_worker_of_the_page_completes(folder: Folder) -> None:
    worker = start("train.py", folder)
    worker.wait_until_ended(seconds=30)
    assert worker.returncode == 0, worker.log.read_text()
    (report,) = folder.waiting()
    assert (report["state"], report["metrics"]) == ("Completed", {"length": "1.0", "held": "3"})


def test_a_worker_that_goes_on_takes_a_task_once_and_then_the_next(folder: Folder) -> None:
    worker = start("serve.py", folder)
    for uid in ("u-2", "u-3"):
        worker.wait_until(lambda: bool(folder.names()), seconds=30)
        assert [report["state"] for report in folder.take()] == ["Completed"]
        document = json.loads((folder.path / "task.json").read_text())
        folder.put(**{**document, "uid": uid})
    worker.wait_until(lambda: bool(folder.names()), seconds=30)
    worker.stop(seconds=5)
