"""Who has which task and which model, as objects come, change and go; and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from neptune.api import Dataset, FederatedTask, Model, Resource, ResourceKey
from neptune.controllers.tasks.federated import FederatedTasks
from neptune.controllers.tasks.kind import TaskRef
from neptune.controllers.tasks.placement import Placement
from neptune.protocol.inventory import Inventory, Shares
from neptune.protocol.messages import DesiredObject
from neptune.runtime import Cache, Client
from neptune.runtime.watch import Deleted, Listed, Stored, snapshot

KINDS: tuple[type[Resource], ...] = (Dataset, FederatedTask, Model)


class World:
    """A cache that a test fills by hand, and what the placement makes of it."""

    def __init__(self) -> None:
        self.cache = Cache(Client())
        self.inventory = Inventory(self._object_of)
        self.pushed: list[tuple[str, str]] = []
        self.looked: list[str] = []
        self.placement = Placement(
            self.cache,
            self.inventory,
            lambda node, uid: self.pushed.append((node, uid)),
            lambda ref: self.looked.append(ref.key.name),
        )
        kind = FederatedTasks()
        take: dict[type[Resource], Callable[[ResourceKey, Any], None]] = {
            Dataset: self.placement.dataset_changed,
            Model: self.placement.model_changed,
            FederatedTask: lambda key, task: self.placement.task_changed(kind, key, task),
        }
        self._version = 0
        for cls in KINDS:
            informer = self.cache.watch(cls)
            informer.apply(Listed([], "1"))
            informer.subscribe(
                lambda change, cls=cls: take[cls](change.key, change.new.decode() if change.new else None)  # type: ignore[misc]  # bound at once
            )

    def _object_of(self, node: str, uid: str) -> DesiredObject | None:
        return self.placement.object(node, uid)

    def put(self, cls: type[Resource], name: str, *, generation: int = 1, namespace: str = "ns", **data: Any) -> None:
        self._version += 1
        metadata = {
            "namespace": namespace, "name": name, "generation": generation, "resourceVersion": str(self._version),
            "uid": data.pop("uid", f"{cls.__name__}-{name}"),
        }  # fmt: skip
        self.cache.watch(cls).apply(Stored(snapshot(cls, {"metadata": metadata, **data})))

    def delete(self, cls: type[Resource], name: str, namespace: str = "ns") -> None:
        item = self.cache.watch(cls).get(ResourceKey(namespace, name))
        assert item is not None
        self.cache.watch(cls).apply(Deleted(item))

    def dataset(self, name: str, node: str, **more: Any) -> None:
        status = {"numberOfSamples": more.pop("samples")} if "samples" in more else {}
        self.put(Dataset, name, spec={"url": f"/{name}", "format": "txt", "nodeName": node}, status=status, **more)

    def model(self, name: str = "m", url: str = "/m", **more: Any) -> None:
        self.put(Model, name, spec={"url": url, "format": "npz"}, **more)

    def task(
        self, name: str, *datasets: str, model: str = "m", status: dict[str, Any] | None = None, **more: Any
    ) -> None:
        spec = {"model": {"name": model}, "participants": [{"dataset": each} for each in datasets]}
        if hub := more.pop("hub", ""):
            spec["aggregator"] = {"nodeName": hub}
        spec |= more.pop("spec", {})
        self.put(FederatedTask, name, spec=spec, status=status or {}, **more)

    def has(self, node: str) -> set[str]:
        """Return the uids of what a node should have, and check that all of it can be sent."""
        uids = set(self.inventory.desired(node).entries())
        assert all(self.inventory.object(node, uid) for uid in uids)
        return uids

    def order(self, node: str, name: str) -> dict[str, Any]:
        item = self.inventory.object(node, f"FederatedTask-{name}")
        assert item is not None
        return item.spec


@pytest.fixture
def world() -> World:
    world = World()
    world.dataset("d0", "edge0")
    world.dataset("d1", "edge1", samples=30)
    world.model()
    return world


TASK, MODEL = "FederatedTask-t", "Model-m"
DONE = {"observedGeneration": 1, "phase": "Completed"}
BEGUN = {"observedGeneration": 1, "phase": "Running", "startTime": "2026-01-31T12:00:00Z"}


def test_each_participant_has_its_order_and_the_model(world: World) -> None:
    world.task("t", "d0", "d1", hub="hub", spec={"parameters": {"rounds": "5"}})
    assert [world.has(node) for node in ("edge0", "edge1", "hub", "edge9")] == [{TASK, MODEL}] * 3 + [set()]
    assert world.order("edge1", "t") == {
        "roles": ["participant"], "datasets": ["d1"], "models": ["m"], "part": {"index": 1, "of": 2},
        "work": {"parameters": {"rounds": "5"}},
    }  # fmt: skip
    assert world.order("hub", "t") == {
        "roles": ["aggregator"], "datasets": [], "models": ["m"], "part": None, "work": {"parameters": {"rounds": "5"}},
    }  # fmt: skip
    assert sorted(world.pushed) == sorted((node, uid) for node in ("edge0", "edge1", "hub") for uid in (TASK, MODEL))


def test_datasets_on_one_node_share_a_worker_which_may_aggregate_too(world: World) -> None:
    world.dataset("d2", "edge0")
    world.task("t", "d0", "d1", "d2", hub="edge0")
    order = world.order("edge0", "t")
    assert (order["roles"], order["datasets"]) == (["participant", "aggregator"], ["d0", "d2"])
    assert [world.order(node, "t")["part"] for node in ("edge0", "edge1")] == [
        {"index": 0, "of": 2},
        {"index": 1, "of": 2},
    ]


@pytest.mark.parametrize("missing", [(Model, "m"), (Dataset, "d1")])
def test_nothing_goes_out_until_all_is_there_and_then_everything(
    world: World, missing: tuple[type[Resource], str]
) -> None:
    world.delete(*missing)
    world.task("t", "d0", "d1")
    assert (world.has("edge0"), world.pushed) == (set(), [])
    placed = world.placement.of(TASK)
    assert placed is not None
    assert placed.missing_models + placed.missing_datasets == (missing[1],)
    world.model() if missing[0] is Model else world.dataset("d1", "edge1")
    assert world.has("edge0") == world.has("edge1") == {TASK, MODEL}
    assert world.looked == ["t"]


def test_a_dataset_without_a_node_holds_up_the_start(world: World) -> None:
    world.dataset("d1", "")
    world.task("t", "d0", "d1")
    assert world.has("edge0") == set()
    placed = world.placement.of(TASK)
    assert placed is not None
    assert placed.homeless_datasets == ("d1",)


def test_what_goes_missing_after_the_start_is_taken_from_nobody_else(world: World) -> None:
    world.dataset("d2", "edge2")
    world.task("t", "d2", "d0", "d1", status=BEGUN)
    before = world.order("edge1", "t")
    world.pushed.clear()
    world.delete(Dataset, "d0")
    assert (world.has("edge0"), world.has("edge1")) == (set(), {TASK, MODEL})
    assert sorted(world.pushed) == [("edge0", TASK), ("edge0", MODEL)]
    world.delete(Dataset, "d2")
    assert world.order("edge1", "t") == before, "its number stays, so its worker goes on"
    world.delete(Model, "m")
    assert world.has("edge1") == {TASK}


def test_a_move_takes_the_task_and_the_model_along(world: World) -> None:
    world.task("t", "d0", "d1")
    world.pushed.clear()
    world.dataset("d1", "edge2", generation=2)
    assert [world.has(node) for node in ("edge0", "edge1", "edge2")] == [{TASK, MODEL}, set(), {TASK, MODEL}]
    assert sorted(world.pushed) == sorted((node, uid) for node in ("edge1", "edge2") for uid in (TASK, MODEL))
    assert world.looked == ["t"]


@pytest.mark.parametrize("status", [DONE, DONE | {"phase": "Failed"}])
def test_a_task_that_is_over_is_nowhere_and_what_changes_later_does_not_matter(
    world: World, status: dict[str, Any]
) -> None:
    world.task("t", "d0", "d1")
    world.task("t", "d0", "d1", status=status)
    assert (world.has("edge0"), world.has("edge1"), world.inventory.nodes) == (set(), set(), 0)
    world.pushed.clear()
    world.dataset("d0", "edge5", generation=2)
    world.model(url="/other", generation=2)
    assert (world.pushed, world.looked) == ([], [])
    world.task("t", "d0", "d1", status=status, generation=2)
    assert world.has("edge5") == {TASK, MODEL}, "an edit starts it anew"


def test_a_model_stays_while_one_task_needs_it_and_is_never_where_none_does(world: World) -> None:
    world.model("unused")
    world.task("t", "d0")
    world.task("t2", "d0", "d1")
    world.delete(FederatedTask, "t")
    assert (world.has("edge0"), world.has("edge1")) == ({"FederatedTask-t2", MODEL}, {"FederatedTask-t2", MODEL})
    world.delete(FederatedTask, "t2")
    assert (world.has("edge0"), world.has("edge1")) == (set(), set())
    world.task("t", "d0")
    assert world.has("edge0") == {TASK, MODEL}


def test_an_edit_of_the_model_is_pushed_to_those_who_have_it_and_its_status_to_nobody(world: World) -> None:
    world.task("t", "d0")
    world.pushed.clear()
    world.model(status={"metrics": [{"key": "a", "value": "1"}]})
    assert world.pushed == []
    world.model(url="/new", generation=2)
    assert world.pushed == [("edge0", MODEL)]
    item = world.inventory.object("edge0", MODEL)
    assert item is not None
    assert item.spec == {"url": "/new", "format": "npz"}, "the spec alone"


def test_a_model_made_anew_under_its_name_is_another_one(world: World) -> None:
    world.task("t", "d0", status=BEGUN)
    world.model(uid="second")
    assert world.has("edge0") == {TASK, "second"}
    assert ("edge0", MODEL) in world.pushed
    assert world.inventory.object("edge0", MODEL) is None


def test_a_task_made_anew_under_its_name_is_another_one(world: World) -> None:
    world.task("t", "d0")
    world.task("t", "d1", uid="second")
    assert (world.has("edge0"), world.has("edge1")) == (set(), {"second", MODEL})
    assert world.placement.of(TASK) is None


def test_a_changed_task_goes_to_new_nodes_and_leaves_old_ones(world: World) -> None:
    world.model("other")
    world.task("t", "d0")
    world.task("t", "d1", model="other", generation=2)
    assert (world.has("edge0"), world.has("edge1")) == (set(), {TASK, "Model-other"})


def test_namespaces_never_mix(world: World) -> None:
    world.model(namespace="other", uid="foreign-model")
    world.dataset("d0", "edge7", namespace="other", uid="foreign-dataset")
    world.task("t", "d0")
    world.task("t", "d0", namespace="other", uid="foreign")
    assert world.has("edge0") == {TASK, MODEL}
    assert world.has("edge7") == {"foreign", "foreign-model"}
    world.delete(Model, "m", "other")
    assert world.has("edge0") == {TASK, MODEL}


def test_a_report_changes_the_digest_of_that_node_s_status_and_nothing_else(world: World) -> None:
    world.task("t", "d0", "d1", status=BEGUN)
    world.pushed.clear()
    roots = [(world.inventory.desired(node).root, world.inventory.statuses(node).root) for node in ("edge0", "edge1")]
    row = {"node": "edge0", "state": "Running", "reportID": "7-1", "reportTime": "2026-01-31T12:00:00Z"}
    world.task("t", "d0", "d1", status=BEGUN | {"participants": [row]})
    now = [(world.inventory.desired(node).root, world.inventory.statuses(node).root) for node in ("edge0", "edge1")]
    assert [desired for desired, _ in now] == [desired for desired, _ in roots]
    assert now[0][1] != roots[0][1]
    assert (now[1], world.pushed) == (roots[1], [])
    assert len(world.inventory.statuses("edge0")) == 1


def test_samples_of_a_seat_are_known_when_all_of_its_datasets_are_counted(world: World) -> None:
    world.dataset("d2", "edge1")
    world.task("t", "d0", "d1", "d2")

    def samples() -> list[int | None]:
        placed = world.placement.of(TASK)
        assert placed is not None
        return [world.placement.samples(placed, seat) for seat in placed.seats]

    assert samples() == [None, None]
    world.dataset("d2", "edge1", samples=12)
    assert samples() == [None, 42]
    assert world.looked == [], "a number is no news for a task"


def test_too_large_an_order_is_not_sent(world: World) -> None:
    world.task("t", "d0", spec={"parameters": {f"p{number}": "x" * 1024 for number in range(64)}})
    placed = world.placement.of(TASK)
    assert placed is not None
    assert (placed.too_large, world.has("edge0")) == (("edge0",), set())


def test_a_change_costs_what_it_touches_however_many_others_there_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        world.dataset(f"x{number}", f"edge{number}")
        world.task(f"t{number}", f"x{number}")
    touched: list[str] = []
    put = Inventory.put

    def noted(self: Inventory, uid: str, shares: Shares) -> None:
        touched.append(uid)
        put(self, uid, shares)

    monkeypatch.setattr(Inventory, "put", noted)
    world.dataset("x7", "edge7", samples=9)
    world.dataset("unused", "edge7")
    world.model("unused")
    assert touched == []
    world.dataset("x7", "elsewhere", generation=2)
    assert sorted(set(touched)) == ["FederatedTask-t7", MODEL]
    assert world.placement.on("elsewhere") == [TaskRef("FederatedTask", ResourceKey("ns", "t7"))]
    assert world.placement.on("edge7") == []


def test_a_kind_that_raises_leaves_the_others_in_their_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.task("t", "d0")
    world.task("t2", "d0")
    plan = FederatedTasks.plan

    def fail(self: FederatedTasks, task: FederatedTask) -> Any:
        if task.metadata.name == "t":
            raise ZeroDivisionError
        return plan(self, task)

    monkeypatch.setattr(FederatedTasks, "plan", fail)
    world.dataset("d0", "edge3", generation=2)
    assert (world.has("edge0"), world.has("edge3")) == ({TASK, MODEL}, {"FederatedTask-t2", MODEL})
