"""Tasks as a user sees them, and nodes that say what they are told, for tests of the cloud's side."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from neptune.api import Dataset, DatasetSpec, FederatedTask, Model, ModelSpec, ObjectMeta, ResourceKey, get_condition
from neptune.api.core import Event
from neptune.controllers.app import CloudController
from neptune.controllers.tasks import FederatedTasks
from neptune.protocol.messages import DesiredObject, StatusReport, Verdict
from neptune.runtime import Client
from neptune.transport.broker import BrokerCore
from tests.controllers.cluster import Cluster, controller
from tests.controllers.nodes import Time, Voice, eventually, worked


class Bench:
    """The API server as a user of tasks sees it, and the nodes of the test."""

    def __init__(self, client: Client, namespace: str, broker: BrokerCore, clock: Time) -> None:
        self.client = client
        self.namespace = namespace
        self.broker = broker
        self.clock = clock
        self.nodes: dict[str, Voice] = {}

    async def dataset(self, name: str, node: str = "") -> Dataset:
        spec = DatasetSpec(url=f"/data/{name}", format="txt", node_name=node)
        return await self.client.create(Dataset(metadata=self._meta(name), spec=spec))

    async def model(self, name: str = "m", url: str = "/models/m") -> Model:
        return await self.client.create(Model(metadata=self._meta(name), spec=ModelSpec(url=url, format="npz")))

    async def task(self, name: str = "digits", *, datasets: tuple[str, ...] = ("d0", "d1"), **spec: Any) -> str:
        """Create a task, and return its uid."""
        parts = [{"dataset": each} for each in datasets]
        spec = {"model": {"name": "m"}, "participants": parts, **spec}
        task = FederatedTask.from_dict({"metadata": self._meta(name).to_dict(), "spec": spec})
        return (await self.client.create(task)).metadata.uid

    async def given(self, *, hub: str = "", **spec: Any) -> str:
        """Create two datasets on two nodes, a model, and a task; return its uid when it has gone out."""
        names = ["edge0", "edge1", *([hub] if hub else [])]
        for number in range(2):
            await self.dataset(f"d{number}", f"edge{number}")
        await self.model()
        if hub:
            spec["aggregator"] = {"nodeName": hub}
        uid = await self.task(**spec)
        for name in names:
            await self.order(name, uid)
        return uid

    def _meta(self, name: str) -> ObjectMeta:
        return ObjectMeta(namespace=self.namespace, name=name)

    async def get(self, name: str = "digits") -> FederatedTask:
        return await self.client.get(FederatedTask, ResourceKey(self.namespace, name))

    async def get_model(self, name: str = "m") -> Model:
        return await self.client.get(Model, ResourceKey(self.namespace, name))

    async def until(
        self, accept: Callable[[FederatedTask], Any], name: str = "digits", *, seconds: float = 10.0
    ) -> FederatedTask:
        """Wait until the task is as `accept` wants it."""
        deadline = time.monotonic() + seconds
        while not accept(task := await self.get(name)):
            assert time.monotonic() < deadline, task.to_dict().get("status")
            await asyncio.sleep(0.02)
        return task

    async def reason(self, reason: str, name: str = "digits") -> FederatedTask:
        return await self.until(lambda task: task.status.reason == reason, name)

    async def stays(self, name: str = "digits", *, seconds: float = 0.5) -> None:
        """Check that nobody writes the task."""
        before = await self.get(name)
        await asyncio.sleep(seconds)
        assert (await self.get(name)).to_dict() == before.to_dict()

    async def events(self, *wanted: str) -> list[str]:
        """Return the reasons of the events of this namespace, oldest first, once the wanted ones are there."""
        deadline = time.monotonic() + 10
        while True:
            items = (await self.client.list(Event, self.namespace)).items
            reasons = [item.reason for item in sorted(items, key=lambda item: str(item.event_time))]
            if Counter(wanted) <= Counter(reasons):
                return reasons
            assert time.monotonic() < deadline, reasons
            await asyncio.sleep(0.05)

    async def order(self, node: str, uid: str) -> DesiredObject:
        """Wait for what a node was pushed last of a task."""
        voice = self.nodes[node]
        found: list[DesiredObject] = await eventually(lambda: [item for item in voice.pushed if item.uid == uid])
        return found[-1]

    async def say(self, node: str, uid: str, state: str = "Running", *, seq: int = 1, **work: Any) -> int:
        """Let a node report, and return the code of the verdict."""
        return (await self.report(node, worked(uid, state, seq=seq, **work))).code

    async def report(self, node: str, report: StatusReport) -> Verdict:
        await self.nodes[node].report(report)
        return await self.nodes[node].verdict(report.seq)


def condition(task: FederatedTask, type_: str) -> tuple[str, str]:
    found = get_condition(task.status.conditions, type_)
    return (found.status, found.reason) if found else ("", "")


def states(task: FederatedTask) -> dict[str, str]:
    return {row.node: row.state for row in task.status.participants}


@asynccontextmanager
async def running(bench: Bench, *nodes: str, **options: Any) -> AsyncIterator[CloudController]:
    """Run a cloud controller, and nodes that are online; edge0, edge1 and hub unless others are named."""
    options.setdefault("task_kinds", [FederatedTasks()])
    async with AsyncExitStack() as stack:
        cluster = Cluster(bench.client, bench.namespace)
        cloud = await stack.enter_async_context(controller(cluster, bench.broker, bench.clock, **options))
        for name in nodes or ("edge0", "edge1", "hub"):
            bench.nodes[name] = await stack.enter_async_context(Voice(bench.broker, name))
            await bench.nodes[name].birth()
        yield cloud
