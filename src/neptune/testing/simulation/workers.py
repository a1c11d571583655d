"""Workers of a node's tasks, as programs of any language: they read `task.json` and drop reports by rename.

What a worker remembers is a file of its own in the task's folder, so it is as old as the disk, and gone with the task.
A worker starts anew when `task.json` is another file than it was; one whose last word was said stays silent. Some go
on without looking, and report for a generation that is no more.
Neighbours: `world.Node.disk` is where the agent has its folders; `judge_tasks` knows who wrote which report.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from neptune.edge.agent import TASKS
from neptune.edge.tasks.folder import REPORTS, TASK
from neptune.protocol.work import COMPLETED, FAILED, RUNNING, TERMINAL
from neptune.testing.simulation.world import Node, World

_MEMORY = "worker.json"
#: How often a worker looks, and how long it takes for a report (seconds), at most.
_LOOK_SECONDS, _WORK_SECONDS = 6.0, 4.0
#: How many reports a worker writes before it is done, or silent.
_MOST_REPORTS = 4


@dataclass(frozen=True, slots=True)
class Said:
    """A report that a worker wrote. Its number is its only metric, by the name of the node, so that a Model tells whose
    reports made its metrics."""

    number: int
    node: str
    uid: str
    generation: int
    state: str

    @property
    def id(self) -> str:
        """The id of the report; ids sort in order of writing."""
        return f"{self.number:06}"


@dataclass
class Workers:
    """The workers of all nodes, and all that they have ever said."""

    world: World
    rng: Random
    said: list[Said] = field(default_factory=list)

    def start(self) -> None:
        """Let them work until the world ends."""
        for node in self.world.nodes:
            self._later(_LOOK_SECONDS, node)

    def find(self, report_id: str) -> Said | None:
        """Return what a worker said under that id."""
        return self.said[int(report_id)] if report_id.isdecimal() and int(report_id) < len(self.said) else None

    def _later(self, seconds: float, node: Node) -> None:
        self.world.later(self.rng.uniform(0, seconds), lambda: self._look(node))

    def _look(self, node: Node) -> None:
        for folder in folders(node):
            found = read(folder / TASK)
            if found is not None and self.rng.random() < 0.6:
                self._take(node, folder, found)
        self._later(_LOOK_SECONDS, node)

    def _take(self, node: Node, folder: Path, task: Any) -> None:
        memory, file = memory_of(folder, task), (folder / TASK).stat().st_ino
        if memory is None or (memory["file"] != file and memory["state"] not in TERMINAL):
            end = self.rng.choice((COMPLETED, COMPLETED, FAILED, RUNNING))
            memory = {
                "uid": task["uid"], "generation": task["generation"], "file": file, "id": None, "state": None,
                "left": self.rng.randint(1, _MOST_REPORTS), "end": end,
            }  # fmt: skip
            _write(folder, _MEMORY, memory)
        if memory["left"]:
            is_careful = self.rng.random() < 0.7
            delay = self.rng.choice((0.0, self.rng.uniform(0, _WORK_SECONDS)))
            self.world.later(delay, lambda: self._report(node, folder, task, is_careful=is_careful))

    def _report(self, node: Node, folder: Path, task: Any, *, is_careful: bool) -> None:
        if folder.parents[2] != node.disk or not (folder / REPORTS).is_dir():
            return  # the machine was switched off meanwhile, or the task was taken away
        now = read(folder / TASK)
        if (now is not None and now["uid"] != task["uid"]) or (is_careful and now != task):
            return
        memory = memory_of(folder, task)
        if memory is not None and not memory["left"]:
            return
        state = memory["end"] if memory is not None and memory["left"] == 1 else RUNNING
        said = Said(len(self.said), node.name, task["uid"], task["generation"], state)
        self.said.append(said)
        content = {
            "generation": said.generation, "state": state, "time": "2030-01-01T00:00:00Z",
            "metrics": {node.name: said.number}, "samples": 1 + said.number % 3,
        }  # fmt: skip
        _write(folder / REPORTS, f"{said.id}.json", content)
        self.world.trace.say(
            node.name, "worker reports", id=said.id, uid=said.uid, generation=said.generation, state=state
        )
        if memory is not None:
            _write(folder, _MEMORY, {**memory, "left": memory["left"] - 1, "id": said.id, "state": state})


def folders(node: Node) -> Iterator[Path]:
    """Yield the folders of a node's tasks, by name."""
    return (path for path in sorted((node.disk / TASKS).glob("*/*")) if not path.name.startswith("."))


def memory_of(folder: Path, task: Any) -> Any:
    """Return what the worker of a task in its present generation remembers; None for nothing."""
    memory = read(folder / _MEMORY)
    is_of_it = memory is not None and (memory["uid"], memory["generation"]) == (task["uid"], task["generation"])
    return memory if is_of_it else None


def read(path: Path) -> Any:
    """Return the content of a JSON file, None where there is none."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write(folder: Path, name: str, content: Any) -> None:
    part = folder / f".tmp-{name}"
    part.write_text(json.dumps(content))
    part.replace(folder / name)
