"""Right or wrong: what must never happen while there are faults, and what must hold some time after them.

Never: an object forgotten that its node should have, or taken back to an earlier generation; a status of another
generation, or of a node that does not own the object; a report confirmed that was not written; a storm of messages. In
the end: each node's disk has what the API server wants it to have, and its statuses say what is in the files.
Neighbours: `world` calls the first, `simulation` asks for the second.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import deque
from pathlib import Path
from typing import Any

from neptune.edge.problems import Problem
from neptune.protocol import codec, messages
from neptune.protocol.codec import MessageError
from neptune.protocol.desired import Change
from neptune.protocol.messages import StatusResult, StatusUpdate
from neptune.protocol.topics import Topics
from neptune.testing.simulation.judge_tasks import TaskJudge
from neptune.testing.simulation.loop import Process
from neptune.testing.simulation.workers import Workers
from neptune.testing.simulation.world import Node, World
from neptune.transport.broker_types import Publication

DATASETS = "/apis/neptune.io/v1alpha1/datasets"
#: The number that a node makes up for what is not its own.
FORGED = 666_666
#: What somebody may still say who heard of the world before the last change (seconds): a late message, a watch that
#: fell silent, a program that was stopped.
_GRACE_SECONDS = 150.0

#: A client that sends more than this within `_BURST_SECONDS` goes round in circles with somebody.
_BURST, _BURST_SECONDS = 300, 10.0

#: Of a dataset: uid, generation and number; of a task: uid, generation, node and id of the report.
Fact = tuple[object, ...]


class Judge:
    """Watches a world from its beginning."""

    def __init__(self, world: World, workers: Workers) -> None:
        self._world = world
        self.tasks = TaskJudge(world, workers, self._fail, _GRACE_SECONDS)
        self._topics = Topics()
        #: By uid: the node that should have the object, and since when; since ever for what nobody touched.
        self._owners: dict[str, tuple[str, float]] = {}
        self._reported: dict[tuple[str, int, int, str], Fact] = {}
        self._written: set[Fact] = set()
        self._observed: dict[str, Fact] = {}
        #: By process and uid; None once a node may rightly go back to an earlier generation.
        self._stored: dict[tuple[Process, str], int] | None = {}
        self._sent: dict[str, deque[float]] = {}
        world.on_change = self._on_change
        world.host.on_status = self._on_status
        world.network.on_publish = self._on_publish

    def objects(self) -> list[Any]:
        """Return what the API server has, by name."""
        items: list[Any] = self._world.host.ask("GET", DATASETS)["items"]
        return items

    def look(self, *, since_ever: bool = False) -> None:
        """Take note of who owns what, after it changed."""
        now = float("-inf") if since_ever else self._world.loop.time()
        self.tasks.look(_homes(self.objects()), now)
        before = self._owners
        self._owners = {}
        for item in self.objects():
            uid, owner = item["metadata"]["uid"], item["spec"].get("nodeName", "")
            known = before.get(uid)
            self._owners[uid] = known if known is not None and known[0] == owner else (owner, now)

    def restored(self) -> None:
        """An earlier state is back: what changed since then counts as new, and statuses may go back."""
        self.look()
        self.tasks.restored()
        self.may_go_back()
        self._observed = {item["metadata"]["uid"]: _fact(item) for item in self.objects()}

    def may_go_back(self) -> None:
        """From now on some cloud may honestly say what is no longer so."""
        self._stored = None

    def differences(self) -> list[str]:
        """Return what does not agree, in a sentence each."""
        objects = self.objects()
        homes = _homes(objects)
        found = []
        for node in self._world.nodes:
            found += _disk_differences(node, {**_wanted(node, objects), **self.tasks.wanted(node, homes)})
        found += [text for item in objects for text in self._status_differences(item)]
        return [*found, *self.tasks.differences(homes)]

    def _status_differences(self, item: Any) -> list[str]:
        meta, spec, status = item["metadata"], item["spec"], item.get("status", {})
        conditions = {each["type"]: each for each in status.get("conditions", [])}
        is_, owner = conditions.get("Ready", {}), spec.get("nodeName", "")
        node = next((each for each in self._world.nodes if each.name == owner), None)
        if node is None:
            wanted = {"Ready": "Unknown", "Synced": "False", "NodeOnline": "False" if owner else "Unknown"}
            reason = {"WaitingForNode"} if owner else {"NoNode"}
            numbers: tuple[int | None, int | None] = (None, None)
        else:
            truth = node.files.truth(spec["url"], spec["format"])
            wanted = {
                "Ready": "False" if isinstance(truth, Problem) else "True",
                "Synced": "True",
                "NodeOnline": "True",
            }
            reason = {str(truth.reason)} if isinstance(truth, Problem) else {"Counted"}
            number = status.get("numberOfSamples") if isinstance(truth, Problem) else truth
            numbers = (meta["generation"], number)
        found = {type_: conditions.get(type_, {}).get("status") for type_ in wanted}
        texts = [] if found == wanted else [f"has conditions {found}, not {wanted}"]
        if is_.get("reason") not in reason:
            texts.append(f"is {is_.get('reason')}, not {reason}")
        if node is not None and (status.get("observedGeneration"), status.get("numberOfSamples")) != numbers:
            shown = (status.get("observedGeneration"), status.get("numberOfSamples"))
            texts.append(f"has generation and number {shown}, not {numbers}")
        return [f"dataset {meta['name']} ({meta['uid']}, of {owner or 'nobody'}) {text}" for text in texts]

    def _fail(self, text: str) -> None:
        self._world.trace.say("judge", f"WRONG: {text}")
        self._world.failures.append(text)

    def _on_change(self, node: Node, process: Process, change: Change) -> None:
        for uid in change.forgotten:
            self._on_forget(node, uid)
            if self._stored is not None:
                self._stored.pop((process, uid), None)
        for item in change.stored:
            self._world.trace.say(process.name, "stores", name=item.name, uid=item.uid, generation=item.generation)
            if self._stored is not None:
                before = self._stored.get((process, item.uid), 0)
                self._stored[process, item.uid] = item.generation
                if item.generation < before:
                    self._fail(f"{node.name} goes back from generation {before} of {item.uid} to {item.generation}")

    def _on_forget(self, node: Node, uid: str) -> None:
        self._world.trace.say(node.name, "forgets", uid=uid)
        owner, since = self._owners.get(uid, ("", 0.0))
        if owner == node.name and self._world.loop.time() - since > _GRACE_SECONDS:
            self._fail(f"{node.name} forgets {uid}, which it should have")

    def _on_status(self, item: Any) -> None:
        match item["kind"]:
            case "Dataset":
                self._on_dataset(item)
            case "FederatedTask":
                self._written |= self.tasks.on_task(item)
            case "Model":
                self.tasks.on_model(item)

    def _on_dataset(self, item: Any) -> None:
        meta, status = item["metadata"], item.get("status", {})
        uid, observed, number = meta["uid"], status.get("observedGeneration"), status.get("numberOfSamples")
        self._world.trace.say(
            "api", "status", name=meta["name"], uid=uid, number=number, observed=observed,
            generation=meta["generation"], conditions=[(c["type"], c["status"]) for c in status.get("conditions", [])],
        )  # fmt: skip
        if number == FORGED:
            self._fail(f"the status of {uid} was written for a node that does not own it")
        fact = _fact(item)
        before = self._observed.get(uid, (uid, None, None))
        self._observed[uid] = fact
        if fact not in (before, (uid, meta["generation"], number)):
            self._fail(f"{uid} is at generation {meta['generation']}, a report for {observed} was written")
        self._written.add(fact)

    def _on_publish(self, client_id: str, publication: Publication) -> None:
        self._count(client_id)
        parsed = self._topics.parse(publication.topic)
        try:
            header, body = codec.decode(publication.payload)
        except MessageError:
            return
        self._world.trace.say(client_id.removeprefix("neptune-"), f"sends {_told(body)}", seq=header.seq or None)
        if parsed is None:
            return
        match body:
            case StatusUpdate():
                for each in body.reports:
                    fact: Fact = (each.uid, each.observed_generation, each.number_of_samples)
                    if each.work is not None:
                        fact = (each.uid, each.observed_generation, parsed[0], each.work.id)
                    self._reported[parsed[0], header.node_epoch, each.seq, each.uid] = fact
            case StatusResult():
                for verdict in body.verdicts:
                    said = self._reported.get((parsed[0], verdict.epoch, verdict.seq, verdict.uid))
                    if verdict.code == messages.OK and said is not None and said not in self._written:
                        self._fail(f"a report of {parsed[0]} was confirmed and not written: {said}")

    def _count(self, client_id: str) -> None:
        now, sent = self._world.loop.time(), self._sent.setdefault(client_id, deque(maxlen=_BURST))
        if len(sent) == _BURST and now - sent[0] < _BURST_SECONDS:
            self._fail(f"{client_id} sends {_BURST} messages within {now - sent[0]:.1f} s")
            sent.clear()
        sent.append(now)


def _homes(objects: list[Any]) -> dict[str, str]:
    """Return the node of each dataset by name."""
    return {item["metadata"]["name"]: item["spec"].get("nodeName", "") for item in objects}


def _told(body: messages.Body) -> str:
    match body:
        case messages.ObjectsResult():
            named = [(item.name, item.generation) for item in body.objects]
            return f"{body.TYPE} {body.part}/{body.of} of {named} without {list(body.deleted)}"
        case messages.Updated():
            return f"{body.TYPE} {[(item.name, item.generation) for item in body.objects]} without {list(body.deleted)}"
        case messages.StatusUpdate():
            found = [
                (r.uid, r.seq, r.observed_generation, r.work.state if r.work else r.number_of_samples)
                for r in body.reports
            ]
            return f"{body.TYPE} {found}"
        case messages.StatusResult():
            return f"{body.TYPE} {[(verdict.uid, verdict.seq, verdict.code) for verdict in body.verdicts]}"
        case messages.Presence() | messages.CloudPresence():
            return str(body)
    return body.TYPE


def _fact(item: Any) -> Fact:
    status = item.get("status", {})
    return item["metadata"]["uid"], status.get("observedGeneration"), status.get("numberOfSamples")


def _wanted(node: Node, objects: list[Any]) -> dict[str, tuple[str, int, Any]]:
    return {
        item["metadata"]["uid"]: (item["metadata"]["name"], item["metadata"]["generation"], item["spec"])
        for item in objects
        if item["spec"].get("nodeName") == node.name
    }


def _disk_differences(node: Node, wanted: dict[str, tuple[str, int, Any]]) -> list[str]:
    found = _stored(node.disk)
    return [
        f"the disk of {node.name} has {found.get(uid)} as {uid}, not {wanted.get(uid)}"
        for uid in sorted(wanted.keys() | found.keys())
        if wanted.get(uid) != found.get(uid)
    ]


def _stored(folder: Path) -> dict[str, tuple[str, int, Any]]:
    path = folder / "node.db"
    if not path.exists():
        return {}  # the agent has just been started
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT uid, name, generation, spec FROM objects").fetchall()
    return {uid: (name, generation, json.loads(spec)) for uid, name, generation, spec in rows}
