"""The federated example's worker in folders as an agent makes them: three nodes, one of which is killed on the way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neptune.testing.processes import Process
from tests.edge.worker.folder import Folder

EXAMPLE = Path(__file__).parents[1] / "examples" / "federated"
NODES = ("edge0", "edge1", "edge2")
#: Sends this process a SIGINT when the named module is looked for.
IMPATIENT = """
import os, signal

class Impatient:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Impatient())
"""


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Folder]:
    """The folder of each node; the first aggregates."""
    subprocess.run([sys.executable, EXAMPLE / "digits.py", tmp_path / "data"], check=True)
    made = {}
    for index, node in enumerate(NODES):
        made[node] = Folder(tmp_path / node)
        made[node].put(
            node=node,
            roles=["participant", "aggregator"] if index == 0 else ["participant"],
            part={"index": index, "of": len(NODES)},
            work={"parameters": {"rounds": "40", "steps": "5", "rate": "1"}},
            models=[{"name": "digits", "url": str(tmp_path / "model"), "format": "npz"}],
            datasets=[{"name": node, "url": str(tmp_path / "data" / f"digits-{index}.txt"), "format": "txt"}],
        )
    return made


def start(folder: Folder) -> Process:
    environ = {**os.environ, "NEPTUNE_TASK": str(folder.path)}
    return Process.start([sys.executable, EXAMPLE / "worker.py"], log=folder.path / "output.log", env=environ)


def last(folder: Folder) -> dict[str, Any]:
    """What was said last; the worker may be writing, but what it has written stays whole."""
    while True:
        try:
            return (folder.waiting() or [{}])[-1]
        except FileNotFoundError:
            continue


def round_of(folder: Folder) -> int:
    return int(last(folder).get("metrics", {}).get("round", 0))


@pytest.mark.parametrize("victim", ["edge0", "edge1"])
def test_the_result_arrives_though_a_node_is_killed_in_the_middle(folders: dict[str, Folder], victim: str) -> None:
    workers = {node: start(folder) for node, folder in folders.items()}
    workers[victim].wait_until(lambda: round_of(folders[victim]) >= 5, seconds=60)
    workers[victim].kill()
    reached = round_of(folders[victim])
    assert reached < 40
    other = next(node for node in NODES if node != victim)
    assert workers[other].running
    workers[victim] = start(folders[victim])
    for node, worker in workers.items():
        worker.wait_until_ended(seconds=60)
        assert worker.returncode == 0, folders[node].path.joinpath("output.log").read_text()
    results = {node: last(folder) for node, folder in folders.items()}
    assert {result["state"] for result in results.values()} == {"Completed"}
    assert float(results["edge0"]["metrics"]["accuracy"]) > 0.9
    assert 1400 < sum(result["samples"] for result in results.values()) < 1797


def test_a_worker_whose_task_was_taken_away_ends_without_a_last_word(folders: dict[str, Folder]) -> None:
    alone = folders["edge1"]
    worker = start(alone)
    rounds = alone.path.parent / "model"
    worker.wait_until(lambda: any(rounds.glob("*/round-1/edge1.npz")), seconds=30)
    (alone.path / "task.json").unlink()
    worker.wait_until_ended(seconds=30)
    assert worker.returncode != 0
    assert alone.names() == []


def test_the_average_weighs_by_samples(folders: dict[str, Folder], tmp_path: Path) -> None:
    for node in NODES:
        parameters = {"rounds": "1", "steps": "1", "rate": "1"}
        task = {"node": node, "work": {"parameters": parameters}}
        folders[node].put(**{**json.loads((folders[node].path / "task.json").read_text()), **task})
    for worker in [start(folder) for folder in folders.values()]:
        worker.wait_until_ended(seconds=60)
        assert worker.returncode == 0
    parts = [np.load(path) for path in (tmp_path / "model").glob("*/round-1/*.npz")]
    weights = sum(part["weights"] * part["samples"] for part in parts) / sum(part["samples"] for part in parts)
    assert np.allclose(weights, np.load(tmp_path / "model" / "model.npz")["weights"])


def test_the_worker_is_short() -> None:
    assert len((EXAMPLE / "worker.py").read_text().splitlines()) < 80


def demo(folder: Path) -> Process:
    environ = {"TMPDIR": str(folder / "tmp"), "PYTHONUNBUFFERED": "1", "PATH": os.environ["PATH"]}
    (folder / "tmp").mkdir()
    return Process.start([sys.executable, EXAMPLE / "demo.py"], log=folder / "log", env=environ)


def left_by(folder: Path) -> list[str]:
    """Return the programs that speak of a folder on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # ended meanwhile
            found.append(path.read_text().replace("\0", " "))
    return [line for line in found if str(folder / "tmp") in line]


def test_the_demo_ends_with_the_model_s_metrics_and_leaves_nothing(tmp_path: Path) -> None:
    played = demo(tmp_path)
    played.wait_until_ended(seconds=120)
    shown = played.log.read_text()
    assert played.returncode == 0, shown
    assert '{"key":"accuracy","value":"0.9' in shown
    assert "Normal   Completed" in shown
    assert list((tmp_path / "tmp").iterdir()) == []
    assert left_by(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    played = demo(tmp_path)
    played.wait_until(lambda: "Running" in played.log.read_text(), seconds=60)
    assert len(left_by(tmp_path)) >= 4
    played.signal(number)
    played.wait_until_ended(seconds=30)
    assert played.returncode == 130
    assert "Traceback" not in played.log.read_text()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert left_by(tmp_path) == []


@pytest.mark.parametrize("module", ["asyncio", "sklearn", "neptune.cli.stage"])
def test_a_demo_that_is_interrupted_while_it_loads_ends_quietly(module: str) -> None:
    program = f"import sys; sys.path.insert(0, {str(EXAMPLE)!r})\n{IMPATIENT}import demo"
    result = subprocess.run(
        [sys.executable, "-c", program, module], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
