"""What users do to FederatedTasks and Models. Their datasets are those that other users have, or not.

Neighbours: `users` has the users of Datasets; `schedule` decides when.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from neptune.testing.simulation.users import NAMES, ask
from neptune.testing.simulation.world import World

_TASKS = tuple(f"t{number}" for number in range(4))
_MODELS = ("m0", "m1")


class TaskUsers:
    """Users of tasks. `actions` are what they do, by name, with how often."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self.actions: dict[str, tuple[int, Callable[[], None]]] = {
            "create_task": (8, self.create), "edit_task": (3, self._edit), "delete_task": (2, self._delete),
            "recreate_task": (2, self._recreate), "create_model": (4, self._create_model),
            "edit_model": (2, self._edit_model), "delete_model": (1, self._delete_model),
        }  # fmt: skip

    def begin(self) -> None:
        """Create what most tasks name, and a task."""
        for node, name in zip(self._world.nodes * len(NAMES), NAMES, strict=False):
            spec = {"url": "/data/0.txt", "format": "txt", "nodeName": node.name}
            self._ask("POST", "datasets", "", self._object("Dataset", name, spec))
        for name in _MODELS:
            self._ask("POST", "models", "", self._object("Model", name, {"url": "/models/0", "format": "npz"}))
        self.create()

    def create(self) -> None:
        """Create a task on one or two datasets, sometimes with an aggregator."""
        self._create(self._rng.choice(_TASKS))

    def _create(self, name: str) -> None:
        datasets = self._rng.sample(NAMES, self._rng.choice((1, 2, 2)))
        spec: dict[str, object] = {
            "model": {"name": self._rng.choice(_MODELS)},
            "participants": [{"dataset": each} for each in datasets],
            "parameters": {"rounds": str(self._rng.randrange(9))},
        }
        if self._rng.random() < 0.3:
            spec["aggregator"] = {"nodeName": self._rng.choice(self._world.nodes).name}
        self._ask("POST", "federatedtasks", "", self._object("FederatedTask", name, spec))

    def _edit(self) -> None:
        change = {"spec": {"parameters": {"rounds": str(self._rng.randrange(9))}}}
        self._ask("PATCH", "federatedtasks", self._rng.choice(_TASKS), change)

    def _delete(self) -> None:
        self._ask("DELETE", "federatedtasks", self._rng.choice(_TASKS))

    def _recreate(self) -> None:
        name = self._rng.choice(_TASKS)
        self._ask("DELETE", "federatedtasks", name)
        self._create(name)

    def _create_model(self) -> None:
        spec = {"url": "/models/1", "format": "npz"}
        self._ask("POST", "models", "", self._object("Model", self._rng.choice(_MODELS), spec))

    def _edit_model(self) -> None:
        change = {"spec": {"url": f"/models/{self._rng.randrange(9)}"}}
        self._ask("PATCH", "models", self._rng.choice(_MODELS), change)

    def _delete_model(self) -> None:
        self._ask("DELETE", "models", self._rng.choice(_MODELS))

    def _ask(self, method: str, plural: str, name: str, body: object = None) -> None:
        ask(self._world, method, plural, name, body)

    @staticmethod
    def _object(kind: str, name: str, spec: object) -> object:
        metadata = {"name": name, "namespace": "default"}
        return {"apiVersion": "neptune.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
