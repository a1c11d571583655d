"""Which node has which task and which model: fills the inventory, and pushes what changed.

Invariants: a node has a task while it takes part and the task is not over, and a model while it has a task with it.
Nothing crosses a namespace. What follows from a change does so in the order of names, so that a simulated run can be
repeated. A change costs in proportion to the tasks that name the object, and their nodes.
Neighbours: `kind` says what a task asks for; `setup` subscribes it to the cache; `reconciler` asks what is placed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from neptune.api import Dataset, Model, Resource, ResourceKey
from neptune.api.meta import R
from neptune.controllers.tasks.kind import AGGREGATOR, PARTICIPANT, Plan, TaskKind, TaskRef
from neptune.log import get_logger
from neptune.protocol.digest import spec_hash
from neptune.protocol.inventory import Inventory, fits
from neptune.protocol.messages import DesiredObject, Json, StatusReport, WorkReport
from neptune.runtime import Cache, DecodeError

log = get_logger()


@dataclass(frozen=True, slots=True)
class Seat:
    """A node that takes part."""

    node: str
    roles: tuple[str, ...]
    datasets: tuple[str, ...]
    part: Json | None

    def order(self, plan: Plan) -> Json:
        """Return what the node gets to know (docs/protocol.md, section 7)."""
        return {
            "roles": [*self.roles],
            "datasets": [*self.datasets],
            "models": [*plan.models],
            "part": self.part,
            "work": plan.work,
        }


@dataclass(frozen=True, slots=True)
class Placed:
    """A task that is not over.

    `items` has what each node that takes part is to have, and `orders` what it has: nothing goes out before all that
    the plan names is there.
    """

    ref: TaskRef
    uid: str
    generation: int
    plan: Plan
    seats: tuple[Seat, ...]
    missing_models: tuple[str, ...]
    missing_datasets: tuple[str, ...]
    homeless_datasets: tuple[str, ...]
    items: Mapping[str, DesiredObject]
    too_large: tuple[str, ...]
    orders: Mapping[str, DesiredObject]

    @property
    def datasets(self) -> set[ResourceKey]:
        """The datasets that it names."""
        return {ResourceKey(self.ref.key.namespace, name) for name in self.plan.datasets}

    @property
    def models(self) -> set[ResourceKey]:
        """The models that it names."""
        return {ResourceKey(self.ref.key.namespace, name) for name in self.plan.models}


@dataclass(frozen=True, slots=True)
class _Data:
    """What tasks need to know of a dataset."""

    node: str
    samples: int | None


@dataclass(slots=True)
class _ModelPlace:
    """Where a model is: nodes with the number of tasks that bring it, and what they were last given."""

    nodes: Counter[str] = field(default_factory=Counter)
    given: DesiredObject | None = None
    holders: frozenset[str] = frozenset()


class Placement:
    """The tasks of all kinds.

    `push(node, uid)` is called when what a node should have of an object changed; `look(ref)` when what a task names
    came, went or moved. Both are called on the loop and must not block.
    """

    def __init__(
        self,
        cache: Cache,
        inventory: Inventory,
        push: Callable[[str, str], None],
        look: Callable[[TaskRef], None],
    ) -> None:
        self._cache = cache
        self._inventory = inventory
        self._push = push
        self._look = look
        self._kinds: dict[str, TaskKind[Any]] = {}
        self._tasks: dict[str, Placed] = {}
        self._uids: dict[TaskRef, str] = {}
        self._data: dict[ResourceKey, _Data | None] = {}
        self._models: dict[ResourceKey, _ModelPlace] = {}
        self._model_keys: dict[str, ResourceKey] = {}
        self._of_dataset: dict[ResourceKey, set[str]] = {}
        self._of_model: dict[ResourceKey, set[str]] = {}
        self._of_node: dict[str, set[str]] = {}

    def of(self, uid: str) -> Placed | None:
        """Return the task of that uid; None when it is over or there is none."""
        return self._tasks.get(uid)

    def on(self, node: str) -> list[TaskRef]:
        """Return the tasks that a node takes part in, whether it has them yet or not."""
        return [self._tasks[uid].ref for uid in sorted(self._of_node.get(node, ()))]

    def object(self, node: str, uid: str) -> DesiredObject | None:
        """Return what a node should have of a task or model."""
        if (placed := self._tasks.get(uid)) is not None:
            return placed.orders.get(node)
        key = self._model_keys.get(uid)
        return self._models[key].given if key and node in self._models[key].holders else None

    def model_uids(self, placed: Placed) -> list[str]:
        """Return the uids of the models that go with a task."""
        return [place.given.uid for key in placed.models if (place := self._models.get(key)) and place.given]

    def samples(self, placed: Placed, seat: Seat) -> int | None:
        """Return how many samples the datasets of a node have; None while one of them is not counted."""
        numbers = [self._data.get(ResourceKey(placed.ref.key.namespace, name)) for name in seat.datasets]
        counted = [data.samples for data in numbers if data is not None and data.samples is not None]
        return sum(counted) if counted and len(counted) == len(numbers) else None

    # What the cache brings

    def task_changed(self, kind: TaskKind[Any], key: ResourceKey, task: Resource | None) -> None:
        """Take in the present state of a task; None when it is gone."""
        ref = TaskRef(kind.cls.resource.kind, key)
        self._kinds[ref.kind] = kind
        plan = None if task is None else kind.plan(task)
        uid = "" if task is None or plan is None else task.metadata.uid
        if (before := self._uids.get(ref)) and before != uid:
            self._remove(self._tasks[before])
        if task is not None and plan is not None:
            self._place(kind, ref, task, plan)

    def dataset_changed(self, key: ResourceKey, dataset: Dataset | None) -> None:
        """Take in the present state of a dataset; None when it is gone."""
        if key not in self._of_dataset:
            return
        before, now = self._data.get(key), _data(dataset)
        self._data[key] = now
        if (before and before.node) != (now and now.node) or (before is None) != (now is None):
            self._place_again(self._of_dataset[key])

    def model_changed(self, key: ResourceKey, model: Model | None) -> None:
        """Take in the present state of a model; None when it is gone."""
        if key not in self._of_model:
            return
        was_there = self._models[key].given is not None
        self._give(key, model)
        if was_there != (model is not None):
            self._place_again(self._of_model[key])

    # Tasks

    def _place_again(self, uids: Iterable[str]) -> None:
        for uid in sorted(uids):
            ref = self._tasks[uid].ref
            kind = self._kinds[ref.kind]
            try:
                task = self._cache.get(kind.cls, ref.key)
                if task is not None and (plan := kind.plan(task)) is not None:
                    self._place(kind, ref, task, plan)
            except Exception:  # a kind is foreign code, and the other tasks still want their place
                log.exception("task cannot be placed, left as it was", kind=ref.kind, key=str(ref.key))
            self._look(ref)

    def _place(self, kind: TaskKind[Any], ref: TaskRef, task: Resource, plan: Plan) -> None:
        before = self._tasks.get(task.metadata.uid)
        self._learn(ref, plan)
        placed = self._placed(ref, task, plan, before)
        self._tasks[placed.uid] = placed
        self._uids[ref] = placed.uid
        self._index(before, placed)
        self._inventory.put(placed.uid, _shares(placed, kind.reported(task)))
        self._tell(placed.uid, before.orders if before else {}, placed.orders)
        self._move_models(before, placed)

    def _remove(self, placed: Placed) -> None:
        del self._tasks[placed.uid], self._uids[placed.ref]
        self._index(placed, None)
        self._inventory.put(placed.uid, {})
        self._tell(placed.uid, placed.orders, {})
        self._move_models(placed, None)

    def _placed(self, ref: TaskRef, task: Resource, plan: Plan, before: Placed | None) -> Placed:
        namespace, generation = ref.key.namespace, task.metadata.generation
        data = {name: self._data[ResourceKey(namespace, name)] for name in plan.datasets}
        seats = _seats(plan, {name: each.node if each else "" for name, each in data.items()})
        missing_models = tuple(name for name in plan.models if self._models[ResourceKey(namespace, name)].given is None)
        missing_datasets = tuple(name for name, each in data.items() if each is None)
        homeless = tuple(name for name, each in data.items() if each is not None and not each.node)
        if before and _content(before.generation, before.seats, before.plan) == _content(generation, seats, plan):
            items, too_large = before.items, before.too_large
        else:
            items = {seat.node: _order(ref, task, seat, plan) for seat in seats}
            too_large = tuple(node for node, item in items.items() if not fits(item))
        is_lacking = missing_models or missing_datasets or homeless or too_large
        orders = {node: item for node, item in items.items() if node not in too_large}
        if is_lacking and not plan.has_begun:
            orders = {}
        uid, missing = task.metadata.uid, (missing_models, missing_datasets, homeless)
        return Placed(ref, uid, generation, plan, seats, *missing, items, too_large, orders)

    def _learn(self, ref: TaskRef, plan: Plan) -> None:
        """Look up what the task names and no other has named."""
        for name in plan.datasets:
            key = ResourceKey(ref.key.namespace, name)
            if key not in self._data:
                self._data[key] = _data(self._find(Dataset, key))
        for name in plan.models:
            key = ResourceKey(ref.key.namespace, name)
            if key not in self._models:
                self._models[key] = _ModelPlace()
                self._give(key, self._find(Model, key))

    def _find(self, cls: type[R], key: ResourceKey) -> R | None:
        try:
            return self._cache.get(cls, key)
        except DecodeError:  # which the cache has reported; nothing can be done with it
            return None

    def _index(self, before: Placed | None, after: Placed | None) -> None:
        uid = after.uid if after else before.uid if before else ""
        nodes = [{seat.node for seat in placed.seats} if placed else set() for placed in (before, after)]
        _reindex(self._of_node, uid, *nodes)
        gone = _reindex(self._of_dataset, uid, before.datasets if before else set(), after.datasets if after else set())
        for key in gone:
            self._data.pop(key, None)
        _reindex(self._of_model, uid, before.models if before else set(), after.models if after else set())

    def _tell(self, uid: str, before: Mapping[str, DesiredObject], after: Mapping[str, DesiredObject]) -> None:
        for node in sorted(before.keys() | after.keys()):
            if before.get(node) != after.get(node):
                self._push(node, uid)

    # Models

    def _move_models(self, before: Placed | None, after: Placed | None) -> None:
        old = {(key, node) for key in before.models for node in before.orders} if before else set()
        new = {(key, node) for key in after.models for node in after.orders} if after else set()
        for key, node in new - old:
            self._models[key].nodes[node] += 1
        for key, node in old - new:
            place = self._models[key]
            place.nodes[node] -= 1
            if not place.nodes[node]:
                del place.nodes[node]
        for key in sorted({key for key, _ in old ^ new}, key=str):
            self._share(key)
        for key in (before.models if before else set()) - self._of_model.keys():
            self._give(key, None)
            del self._models[key]

    def _give(self, key: ResourceKey, model: Model | None) -> None:
        """Take what a model is now; under its name there may be another one."""
        place = self._models[key]
        before, place.given = place.given, None if model is None else _desired(model)
        if place.given is not None:
            self._model_keys[place.given.uid] = key
        if before is not None and (place.given is None or place.given.uid != before.uid):
            del self._model_keys[before.uid]
            self._inventory.put(before.uid, {})
            holders, place.holders = place.holders, frozenset()
            for node in sorted(holders):
                self._push(node, before.uid)
        if before != place.given:
            self._share(key, is_changed=True)

    def _share(self, key: ResourceKey, *, is_changed: bool = False) -> None:
        place = self._models[key]
        if place.given is None:
            return
        before, place.holders = place.holders, frozenset(place.nodes)
        if not is_changed and before == place.holders:
            return
        self._inventory.put(place.given.uid, dict.fromkeys(place.holders, (place.given, None)))
        for node in sorted(before | place.holders if is_changed else before ^ place.holders):
            self._push(node, place.given.uid)


def _seats(plan: Plan, homes: Mapping[str, str]) -> tuple[Seat, ...]:
    """Return who takes part. A dataset whose node is not known is counted as one of a node of its own, so that
    the others' numbers stay when it comes and goes."""
    groups: dict[str, list[str]] = {}
    for name, node in homes.items():
        groups.setdefault(node or f"\0{name}", []).append(name)
    seats = []
    for index, (node, names) in enumerate(groups.items()):
        if not node.startswith("\0"):
            roles = (PARTICIPANT, AGGREGATOR) if node in plan.aggregators else (PARTICIPANT,)
            seats.append(Seat(node, roles, tuple(names), {"index": index, "of": len(groups)}))
    further = [node for node in dict.fromkeys(plan.aggregators) if node not in groups]
    return (*seats, *(Seat(node, (AGGREGATOR,), (), None) for node in further))


def _content(generation: int, seats: tuple[Seat, ...], plan: Plan) -> tuple[object, ...]:
    """Return what the orders of a task are made of."""
    return generation, seats, plan.models, plan.work


def _order(ref: TaskRef, task: Resource, seat: Seat, plan: Plan) -> DesiredObject:
    meta, order = task.metadata, seat.order(plan)
    return DesiredObject(ref.kind, meta.namespace, meta.name, meta.uid, meta.generation, order, spec_hash(order))


def _shares(placed: Placed, reported: Mapping[str, WorkReport]) -> dict[str, tuple[DesiredObject, StatusReport | None]]:
    def status(node: str) -> StatusReport | None:
        work = reported.get(node)
        return StatusReport(placed.uid, 0, placed.generation, None, None, (), None, work) if work else None

    return {node: (item, status(node)) for node, item in placed.orders.items()}


def _data(dataset: Dataset | None) -> _Data | None:
    return None if dataset is None else _Data(dataset.spec.node_name, dataset.status.number_of_samples)


def _desired(model: Model) -> DesiredObject:
    """Return what a node gets to know of a model: the spec."""
    meta, spec = model.metadata, model.spec.to_dict()
    kind = Model.resource.kind
    return DesiredObject(kind, meta.namespace, meta.name, meta.uid, meta.generation, spec, spec_hash(spec))


def _reindex(index: dict[Any, set[str]], uid: str, before: set[Any], after: set[Any]) -> list[Any]:
    """Move a uid in an index, and return what nobody is under any more."""
    for key in after - before:
        index.setdefault(key, set()).add(uid)
    gone = []
    for key in before - after:
        index[key].discard(uid)
        if not index[key]:
            del index[key]
            gone.append(key)
    return gone
