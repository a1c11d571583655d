"""A cloud controller for one test, on a real API server, and the API server as a user sees it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from neptune.api import Dataset, DatasetSpec, ObjectMeta, ResourceKey, get_condition
from neptune.controllers.app import CloudController
from neptune.controllers.tasks import TaskKind
from neptune.protocol.topics import DEFAULT_PREFIX
from neptune.runtime import Client, Conflict, LeaderElection
from neptune.transport import Transport
from neptune.transport.broker import BrokerCore
from tests.controllers.nodes import Time, Voice, eventually, report, transport


class Cluster:
    """The API server as a user sees it, in a namespace of the test's own."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    async def create(self, name: str = "a", *, node: str = "edge0", url: str = "/data/a.txt") -> Dataset:
        spec = DatasetSpec(url=url, format="txt", node_name=node)
        return await self.client.create(Dataset(metadata=ObjectMeta(namespace=self.namespace, name=name), spec=spec))

    async def get(self, name: str = "a") -> Dataset:
        return await self.client.get(Dataset, ResourceKey(self.namespace, name))

    async def edit(self, name: str = "a", **changes: str) -> Dataset:
        while True:
            dataset = await self.get(name)
            for field, value in changes.items():
                setattr(dataset.spec, field, value)
            with contextlib.suppress(Conflict):  # a status came in between
                return await self.client.patch(dataset)

    async def until(self, accept: Callable[[Dataset], Any], name: str = "a", *, seconds: float = 10.0) -> Dataset:
        """Wait until the dataset is as `accept` wants it."""
        deadline = time.monotonic() + seconds
        while not accept(dataset := await self.get(name)):
            assert time.monotonic() < deadline, dataset.to_dict().get("status")
            await asyncio.sleep(0.02)
        return dataset

    async def stays(self, before: Dataset, *, seconds: float = 0.8) -> None:
        """Check that nobody writes the dataset."""
        await asyncio.sleep(seconds)
        assert (await self.get(before.metadata.name)).metadata.resource_version == before.metadata.resource_version


async def given(cluster: Cluster, node: Voice) -> str:
    """Create a dataset of a node that is online, and return its uid when the node has heard of it."""
    await node.birth()
    made = await cluster.create(node=node.name)
    await eventually(lambda: node.pushed)
    return made.metadata.uid


async def accepted(node: Voice, uid: str, number: int, *, seq: int = 1) -> None:
    """Let a node report, and check that it was written."""
    await node.report(report(uid, number, seq=seq))
    assert (await node.verdict(seq)).code == 200


def ready(dataset: Dataset) -> tuple[str, str]:
    return condition(dataset, "Ready")


def condition(dataset: Dataset, type_: str) -> tuple[str, str]:
    found = get_condition(dataset.status.conditions, type_)
    return (found.status, found.reason) if found else ("", "")


def counted(number: int | None) -> Callable[[Dataset], bool]:
    return lambda dataset: dataset.status.number_of_samples == number and ready(dataset) == ("True", "Counted")


@asynccontextmanager
async def controller(
    cluster: Cluster,
    broker: BrokerCore,
    clock: Time | None = None,
    *,
    connected: bool = True,
    election: LeaderElection | None = None,
    over: Transport | None = None,
    task_kinds: Sequence[TaskKind[Any]] = (),
) -> AsyncIterator[CloudController]:
    """Run a cloud controller for the namespace of the test."""
    made = CloudController(
        cluster.client,
        over or transport(broker, "cloud"),
        clock or Time(),
        topic_prefix=DEFAULT_PREFIX,
        namespace=cluster.namespace,
        workers=8,
        task_kinds=task_kinds,
        leader_election=election,
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(made.serve(stop))
    try:
        await eventually(lambda: serving.done() or (made.link.core.is_ready and made.link.is_connected is connected))
        yield made
    finally:
        stop.set()
        await serving
