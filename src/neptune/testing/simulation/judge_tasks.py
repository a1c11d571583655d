"""Right or wrong of tasks, models and what workers said.

Never: a row of a status that is no report of that node, task and generation, with that state; a way back from the end
of a generation; a Model with metrics of anything but one task whose shares were all completed; a task shown as complete
before its Model has its metrics. In the end: nodes have what unfinished tasks ask for and nothing else, in the database
and in folders, and each row is the last word of the node's worker.
What a task asks for is reckoned here once more, by the documents and not by the code.
Neighbours: `judge` calls this, `workers` knows who said what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from neptune.edge.tasks.folder import REPORTS, TASK
from neptune.protocol.work import COMPLETED, FAILED, PENDING, RUNNING, TERMINAL
from neptune.testing.simulation.workers import Workers, folders, memory_of, read
from neptune.testing.simulation.world import Node, World

_GROUP = "/apis/neptune.io/v1alpha1"
#: The report that a node makes up for a task that it takes no part in.
FORGED_REPORT = "forged"

Stored = tuple[str, int, Any]


class TaskJudge:
    """Watches the tasks of a world. `fail` takes what must never happen; `grace_seconds` is how old news may be."""

    def __init__(self, world: World, workers: Workers, fail: Callable[[str], None], grace_seconds: float) -> None:
        self._world = world
        self._workers = workers
        self._fail = fail
        self._grace_seconds = grace_seconds
        #: By uid: the generation that is over, and how it ended.
        self._ends: dict[str, tuple[int, str]] = {}
        #: By uid and node: the generation and last report of a share that is over.
        self._last: dict[tuple[str, str], tuple[int, str]] = {}
        #: The numbers of the reports that a Model, by uid, has had metrics of.
        self._measured: dict[str, set[frozenset[int]]] = {}
        #: Tasks by uid, and the nodes that have ever taken part.
        self._seats: set[tuple[str, str]] = set()
        #: By name: the uid of a model, and since when it is there.
        self._models: dict[str, tuple[str, float]] = {}

    def strange_to(self, node: Node) -> list[Any]:
        """Return the tasks that a node has never taken part in."""
        return [
            item for item in self._list("federatedtasks") if (item["metadata"]["uid"], node.name) not in self._seats
        ]

    def look(self, homes: dict[str, str], now: float) -> None:
        """Take note of which models there are, and who takes part, after that changed."""
        for item in self._list("federatedtasks"):
            self._seats |= {(item["metadata"]["uid"], node) for node in _seats(item, homes)}
        before, self._models = self._models, {}
        for item in self._list("models"):
            name, uid = item["metadata"]["name"], item["metadata"]["uid"]
            known = before.get(name)
            self._models[name] = known if known is not None and known[0] == uid else (uid, now)

    def restored(self) -> None:
        """An earlier state is back, and what was over may not be."""
        self._ends.clear()
        self._last.clear()

    # Never

    def on_task(self, item: Any) -> set[tuple[object, ...]]:
        """Judge a status that was just written; return the reports in it as facts."""
        meta, status = item["metadata"], item.get("status", {})
        uid, generation, phase = meta["uid"], status.get("observedGeneration"), status.get("phase")
        rows = _rows(status)
        self._world.trace.say(
            "api", "task", name=meta["name"], uid=uid, phase=phase, observed=generation, generation=meta["generation"],
            rows=[(node, row["state"], _shown(row)) for node, row in rows.items()],
        )  # fmt: skip
        for node in [node for of, node in self._last if of == uid and node not in rows]:
            del self._last[uid, node]  # it took no part for some time, and begins anew
        for node, row in rows.items():
            self._check_row(uid, generation, node, row)
        ended = self._ends.get(uid)
        if ended is not None and ended[0] == generation and ended[1] != phase:
            self._fail(f"task {uid} goes from {ended[1]} to {phase} in generation {generation}")
        if phase in TERMINAL:
            if phase == COMPLETED and ended != (generation, phase):
                self._check_outcome(item, rows)
            self._ends[uid] = generation, phase
        return {(uid, generation, node, row.get("reportID")) for node, row in rows.items()}

    def _check_row(self, uid: str, generation: int, node: str, row: Any) -> None:
        report, state = row.get("reportID"), row["state"]
        before = self._last.get((uid, node))
        if before is not None and before[0] == generation and before[1] != report:
            self._fail(f"the share of {node} in {uid} was over with report {before[1]}, and now has {report}")
        if state in TERMINAL and report is not None:
            self._last[uid, node] = generation, report
        if report is None or (report.startswith(f"pending-{generation}-") and state == PENDING):
            return
        said = self._workers.find(report)
        if said is None or (said.node, said.uid, said.generation, said.state) != (node, uid, generation, state):
            self._fail(f"{uid} in generation {generation} shows {state} of {node} by report {report}, which is {said}")

    def _check_outcome(self, item: Any, rows: dict[str, Any]) -> None:
        aggregator = item["status"].get("aggregator")
        known = self._models.get(item["spec"]["model"]["name"])
        if known is None or self._world.loop.time() - known[1] < self._grace_seconds:
            return
        numbers = _numbers(aggregator["metrics"] if aggregator else _merged(rows))
        if numbers not in self._measured.get(known[0], set()):
            self._fail(f"{item['metadata']['uid']} is complete, and its model lacks the metrics {sorted(numbers)}")

    def on_model(self, item: Any) -> None:
        """Judge metrics that were just written."""
        meta = item["metadata"]
        metrics = {each["key"]: each["value"] for each in item.get("status", {}).get("metrics", [])}
        numbers = _numbers(metrics)
        said = [self._workers.said[number] for number in sorted(numbers)]
        self._world.trace.say("api", "model", name=meta["name"], uid=meta["uid"], metrics=metrics)
        if {each.state for each in said} != {COMPLETED} or len({(each.uid, each.generation) for each in said}) != 1:
            self._fail(f"model {meta['name']} has metrics of {said}")
        self._measured.setdefault(meta["uid"], set()).add(numbers)

    # In the end

    def wanted(self, node: Node, homes: dict[str, str]) -> dict[str, Stored]:
        """Return what a node should have of tasks and models. `homes` are the nodes of datasets by name."""
        models = {item["metadata"]["name"]: item for item in self._list("models")}
        found: dict[str, Stored] = {}
        for item in self._list("federatedtasks"):
            order = _orders(item, homes, models).get(node.name)
            if order is not None:
                found |= dict([_stored(item, order)])
                found |= dict(_stored(models[name], models[name]["spec"]) for name in order["models"] if name in models)
        return found

    def differences(self, homes: dict[str, str]) -> Iterator[str]:
        """Yield what does not agree of statuses, folders and workers, in a sentence each."""
        models = {item["metadata"]["name"]: item for item in self._list("models")}
        tasks = self._list("federatedtasks")
        for item in tasks:
            for text in self._status_differences(item, homes, models):
                yield f"task {item['metadata']['name']} ({item['metadata']['uid']}) {text}"
        for node in self._world.nodes:
            ready = {
                (item["metadata"]["uid"], item["metadata"]["generation"])
                for item in tasks
                if (order := _orders(item, homes, models).get(node.name)) and models.keys() >= {*order["models"]}
            }
            there = [(folder, read(folder / TASK)) for folder in folders(node)]
            shown = {(task["uid"], task["generation"]) for _, task in there if task is not None}
            if shown != ready:
                yield f"{node.name} hands out {sorted(shown)}, not {sorted(ready)}"
            for folder, _ in there:
                if left := sorted(path.name for path in (folder / REPORTS).glob("*.json")):
                    yield f"{node.name} has not taken the reports {left} of {folder.name}"

    def _status_differences(self, item: Any, homes: dict[str, str], models: Any) -> Iterator[str]:
        spec, status, generation = item["spec"], item.get("status", {}), item["metadata"]["generation"]
        phase, rows = status.get("phase"), _rows(status)
        states = [row["state"] for row in rows.values()]
        if status.get("observedGeneration") != generation:
            yield f"has the status of generation {status.get('observedGeneration')}, not {generation}"
            return
        if phase in TERMINAL:
            if (phase == COMPLETED and {*states} != {COMPLETED}) or (phase == FAILED and FAILED not in states):
                yield f"is {phase} with {states}"
            return
        if rows.keys() != _seats(item, homes):
            yield f"has rows of {sorted(rows)}, not {sorted(_seats(item, homes))}"
        whole = all(homes.get(each["dataset"]) for each in spec["participants"])
        if FAILED in states or (whole and {*states} == {COMPLETED}):
            yield f"is {phase} with {states}"
        if phase != (RUNNING if {*states} - {PENDING} else PENDING):
            yield f"is {phase} with {states}"
        is_scheduled = whole and spec["model"]["name"] in models
        is_online = all(row["state"] in TERMINAL for name, row in rows.items() if name == "ghost")
        wanted = {"Scheduled": str(is_scheduled), "NodesOnline": str(is_online)}
        found = {each["type"]: each["status"] for each in status.get("conditions", []) if each["type"] in wanted}
        if found != wanted:
            yield f"has conditions {found}, not {wanted}"
        orders = _orders(item, homes, models)
        for node in self._world.nodes:
            if node.name in orders and not self._is_last_word(node, item, rows.get(node.name, {})):
                yield f"shows {_shown(rows.get(node.name, {}))} of {node.name}, not the last word of its worker"

    @staticmethod
    def _is_last_word(node: Node, item: Any, row: Any) -> bool:
        if row.get("state") in TERMINAL:
            return True  # and by whom and when was judged when it was written
        meta = item["metadata"]
        folder = next((each for each in folders(node) if each.name == meta["name"]), None)
        memory = memory_of(folder, meta) if folder else None
        report = row.get("reportID") or ""
        if folder is None or memory is None or memory["id"] is None:
            return bool(report.startswith("pending-"))
        is_handed_out = (folder / TASK).exists()
        return bool(
            report == memory["id"] if memory["state"] in TERMINAL or is_handed_out else report[:8] == "pending-"
        )

    def _list(self, plural: str) -> list[Any]:
        items: list[Any] = self._world.host.ask("GET", f"{_GROUP}/{plural}")["items"]
        return items


def _orders(item: Any, homes: dict[str, str], models: Any) -> dict[str, Any]:
    """Return what a task asks of each node (docs/protocol.md, section 7); nothing before all that it names is there."""
    spec, status = item["spec"], item.get("status", {})
    is_current = status.get("observedGeneration") == item["metadata"]["generation"]
    names = [each["dataset"] for each in spec["participants"]]
    is_whole = spec["model"]["name"] in models and all(homes.get(name) for name in names)
    if (is_current and status.get("phase") in TERMINAL) or not (is_whole or (is_current and "startTime" in status)):
        return {}
    # One whose node is not known counts as one of a node of its own.
    places = list(dict.fromkeys(homes.get(name) or f"?{name}" for name in names))
    aggregator = spec.get("aggregator", {}).get("nodeName")
    common = {"models": [spec["model"]["name"]], "work": {"parameters": spec.get("parameters", {})}}
    orders: dict[str, Any] = {}
    for index, place in enumerate(places):
        roles = ["participant", "aggregator"] if place == aggregator else ["participant"]
        datasets = [name for name in names if homes.get(name) == place]
        orders[place] = {"roles": roles, "datasets": datasets, "part": {"index": index, "of": len(places)}, **common}
    if aggregator and aggregator not in places:
        orders[aggregator] = {"roles": ["aggregator"], "datasets": [], "part": None, **common}
    return orders


def _seats(item: Any, homes: dict[str, str]) -> set[str]:
    """Return the nodes that take part."""
    aggregator = item["spec"].get("aggregator")
    own = {home for each in item["spec"]["participants"] if (home := homes.get(each["dataset"]))}
    return own | ({aggregator["nodeName"]} if aggregator else set())


def _stored(item: Any, spec: Any) -> tuple[str, Stored]:
    meta = item["metadata"]
    return meta["uid"], (meta["name"], meta["generation"], spec)


def _rows(status: Any) -> dict[str, Any]:
    aggregator = status.get("aggregator")
    return {row["node"]: row for row in [*([aggregator] if aggregator else []), *status.get("participants", [])]}


def _merged(rows: dict[str, Any]) -> dict[str, str]:
    return {key: value for row in rows.values() for key, value in row.get("metrics", {}).items()}


def _numbers(metrics: dict[str, str]) -> frozenset[int]:
    return frozenset(int(float(value)) for value in metrics.values())


def _shown(row: Any) -> str:
    """Return the id of a report; those of the agent's own words name a folder, which differs from run to run."""
    report: str = row.get("reportID") or "nothing"
    return "pending" if report.startswith("pending-") else report
