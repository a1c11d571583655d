"""Federated tasks with the real programs, API server and broker: work goes down, results come up, whoever dies."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neptune.edge.store import stored_uids
from neptune.testing.binaries import find_kubectl
from neptune.testing.processes import Process
from tests.integration.world import World

EXAMPLE = Path(__file__).parents[2] / "examples" / "federated"
NODES = ("edge0", "edge1", "edge2")
EXAMPLE_WORKER = shlex.join([sys.executable, str(EXAMPLE / "worker.py")])


class Field:
    """A world with one federated task, `digits`."""

    def __init__(self, world: World) -> None:
        self.world = world

    def start_nodes(self, worker: str = EXAMPLE_WORKER) -> None:
        for node in NODES:
            self.start_node(node, worker)

    def start_node(self, node: str, worker: str = EXAMPLE_WORKER) -> None:
        self.world.start_edge(node, "--task-command", worker)

    def apply(self) -> None:
        """Apply the manifests of the example, with data in this world's folder."""
        subprocess.run([sys.executable, EXAMPLE / "digits.py", self.world.data], check=True)
        text = (EXAMPLE / "task.yaml").read_text().replace("/tmp/neptune", str(self.world.data))
        self.world.kubectl("apply", "-f", "-", stdin=text)

    def get(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.world.kubectl("get", kind, "digits", "-o", "json"))
        return found

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("federatedtask").get("status", {})
        return found

    def metrics(self, node: str) -> dict[str, str]:
        rows = [row for row in self.status.get("participants", []) if row["node"] == node]
        return rows[0].get("metrics", {}) if rows else {}

    def model_metrics(self) -> dict[str, str]:
        return {each["key"]: each["value"] for each in self.get("model").get("status", {}).get("metrics", [])}

    def expect(self, **status: str) -> None:
        self.world.until(
            lambda: status.items() <= self.status.items(), lambda: f"{self.status}, not {status}\n{self.outputs()}"
        )

    def expect_round(self, node: str, number: int) -> None:
        self.world.until(
            lambda: int(self.metrics(node).get("round", 0)) >= number, lambda: f"{self.status}\n{self.outputs()}"
        )

    def folder(self, node: str) -> Path:
        return self.world.folder / node / "tasks" / self.world.namespace / "digits"

    def outputs(self) -> str:
        """What the workers printed, for a test that fails."""
        found = [self.folder(node) / "output.log" for node in NODES]
        return "\n".join(path.read_text() for path in found if path.exists())


@pytest.fixture
def field(world: World) -> Field:
    return Field(world)


@pytest.fixture
def watch(field: Field) -> Iterator[Process]:
    """Give `kubectl get federatedtasks -w`, which runs all the time."""
    executable, world = find_kubectl(os.environ), field.world
    assert executable is not None
    flags = ["--kubeconfig", str(world.kubeconfig), "--namespace", world.namespace]
    process = Process.start(
        [executable, *flags, "get", "federatedtasks", "--watch"], log=world.folder / "watch.log", env=dict(os.environ)
    )
    yield process
    process.stop(seconds=5)


def test_the_result_arrives_though_a_node_is_killed_in_the_middle(field: Field, watch: Process) -> None:
    world = field.world
    world.start_cloud()
    field.start_nodes()
    field.apply()
    field.expect_round("edge1", 5)
    world.processes["edge1"].kill()
    field.expect(reason="NodeOffline")
    assert 5 <= int(field.metrics("edge1")["round"]) < 40
    field.start_node("edge1")
    field.expect(phase="Completed")

    metrics = field.model_metrics()
    assert list(metrics) == ["accuracy", "rounds"]
    assert float(metrics["accuracy"]) > 0.9
    assert metrics == field.status["aggregator"]["metrics"]
    assert [(row["node"], row["state"]) for row in field.status["participants"]] == [(n, "Completed") for n in NODES]
    assert field.get("model")["status"]["updateTime"] <= field.status["completionTime"]

    rows = [re.split(r" {2,}", line.strip()) for line in watch.log.read_text().splitlines()]
    assert rows[0] == ["NAME", "PHASE", "PROGRESS", "MODEL", "REASON", "AGE"]
    phases = [row[1] for row in rows if len(row) == 6]
    assert list(dict.fromkeys(phases))[-2:] == ["Running", "Completed"]
    assert "NodeOffline" in watch.log.read_text()
    told = world.kubectl("describe", "federatedtask", "digits").partition("Events:")[2]
    for reason in ("Scheduled", "Started", "NodeOffline", "NodesOnline", "AggregatorCompleted", "Completed"):
        assert reason in told


def test_a_task_that_is_over_leaves_nothing_on_its_nodes(field: Field) -> None:
    field.world.start_cloud()
    field.start_nodes()
    field.apply()
    field.expect(phase="Completed")
    field.world.until(
        lambda: all(len(stored_uids(field.world.folder / node)) == 1 for node in NODES),
        lambda: "a node keeps more than its dataset",
    )
    field.world.until(
        lambda: not any(field.folder(node).exists() for node in NODES), lambda: "a folder of the task is left"
    )


def test_a_result_waits_on_the_node_until_cloud_and_broker_are_back(field: Field) -> None:
    world = field.world
    world.start_cloud()
    field.start_nodes()
    field.apply()
    field.expect_round("edge2", 5)
    world.processes["cloud-controller"].kill()
    world.broker.kill()
    world.until((world.data / "digits-model" / "model.npz").exists, lambda: f"never trained\n{field.outputs()}")
    assert field.model_metrics() == {}
    world.broker.start()
    world.start_cloud()
    field.expect(phase="Completed")
    assert float(field.model_metrics()["accuracy"]) > 0.9


def test_a_worker_that_fails_fails_the_task_with_its_words_and_changes_no_model(field: Field, tmp_path: Path) -> None:
    program = tmp_path / "fails.py"
    program.write_text(
        "from neptune.edge.worker import wait_for_task\n"
        "with wait_for_task() as task:\n"
        "    task.report({'accuracy': 0.5})\n"
        "    raise RuntimeError(f'no camera on {task.node}')\n"
    )
    field.world.start_cloud()
    field.start_nodes(shlex.join([sys.executable, str(program)]))
    field.apply()
    field.expect(phase="Failed")
    assert "RuntimeError: no camera on edge" in field.status["message"]
    assert field.model_metrics() == {}
    assert "no camera" in field.world.kubectl("describe", "federatedtask", "digits").partition("Events:")[2]


def test_a_task_that_is_deleted_stops_its_workers(field: Field) -> None:
    world = field.world
    world.start_cloud()
    field.start_nodes()
    field.apply()
    field.expect_round("edge0", 3)
    world.kubectl("delete", "federatedtask", "digits")
    world.until(lambda: not any(field.folder(node).exists() for node in NODES), lambda: "a folder is left")
    assert not [environ for environ in workers() if str(world.folder) in environ]
    assert field.model_metrics() == {}


def test_an_edit_starts_the_work_anew(field: Field) -> None:
    field.world.start_cloud()
    field.start_nodes()
    field.apply()
    field.expect_round("edge0", 3)
    patch = {"spec": {"parameters": {"rounds": "2"}}}
    field.world.kubectl("patch", "federatedtask", "digits", "--type=merge", "-p", json.dumps(patch))
    field.expect(phase="Completed")
    assert field.model_metrics()["rounds"] == "2"
    assert field.status["observedGeneration"] == 2


def workers() -> list[str]:
    """Return the environments of all programs that run a worker of the example."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(EXAMPLE / "worker.py") in (process / "cmdline").read_text():
                found.append((process / "environ").read_text())
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return found
