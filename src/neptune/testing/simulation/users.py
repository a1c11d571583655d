"""What users do to Datasets, and programs of theirs to files. One schedule has one of these.

Neighbours: `schedule` decides when, `task_users` has the users of tasks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from neptune.protocol import codec
from neptune.protocol.cloud import SNAPSHOT_OBJECTS
from neptune.runtime.errors import ApiError
from neptune.testing.simulation.judge import Judge
from neptune.testing.simulation.world import Node, World

NAMES = tuple(f"d{number}" for number in range(7))
#: So many that a node with most of them is asked for the digests of its buckets, and a part of them is a mass.
MANY = tuple(f"m{number}" for number in range(2 * SNAPSHOT_OBJECTS))
PATHS = tuple(f"/data/{number}.txt" for number in range(4))
_MERGE = "application/merge-patch+json"
#: So long that a few objects fill a message, and an answer has several parts.
_LONG = "/data/" + "x" * 4000
LINES = (b"", b"one\n", b"one\n\ntwo\r\n", b"a\nb\nc", b"1\n2\n3\n4\n5\n6\n7\n8\n9\n")


def ask(world: World, method: str, plural: str, name: str, body: object = None) -> None:
    """Ask the API server as a user does; who is refused goes on with something else."""
    collection = f"/apis/neptune.io/v1alpha1/namespaces/default/{plural}"
    path = f"{collection}/{name}" if name else collection
    try:
        world.host.ask(method, path, body, _MERGE if method == "PATCH" else "application/json")
    except ApiError as error:
        world.trace.say("user", method, path=path, error=error.reason)
    else:
        world.trace.say("user", method, name=name, body=json.dumps(body)[:300])


class Users:
    """Users of Datasets. `actions` are what they do, by name, with how often."""

    def __init__(self, world: World, judge: Judge, rng: Random) -> None:
        self._world = world
        self._judge = judge
        self._rng = rng
        #: What users work with.
        self._names = NAMES
        self._last_edited = NAMES[0]
        self._last_written = (world.nodes[0], PATHS[0])
        self.actions: dict[str, tuple[int, Callable[[], None]]] = {
            "create": (8, self.create), "edit": (4, self._edit), "edit_again": (4, self._edit_again),
            "move": (4, self._move), "delete": (3, self._delete), "recreate": (3, self._recreate),
            "write_file": (8, self._write_file), "write_again": (6, self._write_again),
            "delete_file": (2, self._delete_file), "create_many": (1, self._create_many),
            "delete_many": (1, self._delete_many),
        }  # fmt: skip

    def have_many(self) -> None:
        """Work with many datasets from now on."""
        self._names = MANY
        self._create_many()

    def create(self, name: str = "", node: str = "", url: str = "") -> None:
        """Create a dataset, of whatever is not given."""
        name = name or self._rng.choice(self._names)
        spec = {"url": url or self._rng.choice(PATHS), "format": "txt", "nodeName": node or self._a_node_name()}
        body = {
            "apiVersion": "neptune.io/v1alpha1", "kind": "Dataset",
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        }  # fmt: skip
        ask(self._world, "POST", "datasets", "", body)

    def _create_many(self) -> None:
        node = self._a_node().name
        for name in self._names:
            self.create(name, node)

    def create_large(self) -> None:
        """Create so large objects that an answer has several parts."""
        for number in range(codec.BATCH_BYTES // len(_LONG) + 2):
            self.create(f"large{number}", self._world.nodes[0].name, _LONG)

    def _edit(self) -> None:
        there = [item["metadata"]["name"] for item in self._judge.objects()]
        self._last_edited = self._rng.choice(there or self._names)
        self._edit_again()

    def _edit_again(self) -> None:
        change = self._rng.choice(({"url": self._rng.choice(PATHS)}, {"format": "txt"}, {"format": "parquet"}))
        ask(self._world, "PATCH", "datasets", self._last_edited, {"spec": change})

    def _move(self) -> None:
        name = self._rng.choice(self._names)
        ask(self._world, "PATCH", "datasets", name, {"spec": {"nodeName": self._a_node_name()}})

    def _delete(self) -> None:
        ask(self._world, "DELETE", "datasets", self._rng.choice(self._names))

    def _delete_many(self) -> None:
        for name in self._rng.sample(self._names, k=len(self._names) * 2 // 3):
            ask(self._world, "DELETE", "datasets", name)

    def _recreate(self) -> None:
        name = self._rng.choice(self._names)
        ask(self._world, "DELETE", "datasets", name)
        self.create(name)

    def _write_file(self) -> None:
        self._last_written = self._a_node(), self._rng.choice(PATHS)
        self._write_again()

    def _write_again(self) -> None:
        (node, path), lines = self._last_written, self._rng.choice(LINES)
        how = self._rng.choice(("append", "replace", "truncate"))
        self._world.trace.say(node.name, how, path=path, lines=lines)
        match how:
            case "append":
                node.files.change(path, (node.files.read(path) or b"") + lines)
            case "replace":
                node.files.write(path, lines)
            case _:
                node.files.change(path, (node.files.read(path) or b"")[:2])

    def _delete_file(self) -> None:
        node, path = self._a_node(), self._rng.choice(PATHS)
        self._world.trace.say(node.name, "delete", path=path)
        node.files.delete(path)

    def _a_node(self) -> Node:
        return self._rng.choice(self._world.nodes)

    def _a_node_name(self) -> str:
        names = [node.name for node in self._world.nodes]
        return self._rng.choice([*names * 5, "", "ghost"])
