"""The cloud controller as a whole, against a real API server, with nodes that work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from neptune.api import Dataset
from neptune.controllers import patience
from neptune.controllers.app import EPOCHS_PER_TERM, CloudController, epoch_of
from neptune.errors import SettingsError
from neptune.protocol.messages import DesiredObject
from neptune.protocol.presence import NodeState
from neptune.protocol.topics import DEFAULT_PREFIX
from neptune.runtime import Client, LeaderElection
from neptune.transport.broker import BrokerCore
from tests.controllers.cluster import Cluster, condition, controller, counted
from tests.controllers.nodes import Node, Still, Time, Voice, eventually, transport


async def test_a_dataset_is_pushed_counted_and_shown(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Node(broker, "edge0", number=3) as node:
        made = await cluster.create()
        dataset = await cluster.until(counted(3))
        assert node.pushed == [
            DesiredObject(
                "Dataset",
                cluster.namespace,
                "a",
                made.metadata.uid,
                1,
                {"url": "/data/a.txt", "format": "txt", "nodeName": "edge0"},
                node.pushed[0].hash,
            )
        ]
        assert node.pushed[0].hash
        assert (dataset.status.revision, dataset.status.observed_generation) == (1, 1)
        assert condition(dataset, "Synced") == ("True", "Stored")
        assert condition(dataset, "NodeOnline") == ("True", "NodeOnline")
        await eventually(lambda: len(node.link.outbox) == 0)
        await node.count_again(5)
        assert (await cluster.until(counted(5))).status.revision == 2
        await node.count_again(0)
        assert (await cluster.until(counted(0))).status.revision == 3


async def test_a_node_that_answers_at_once_costs_one_write(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker, Still()) as cloud, Node(broker, "edge0"):
        await eventually(lambda: cloud.link.state("edge0") is NodeState.ONLINE)
        made = await cluster.create()
        first = await cluster.until(lambda dataset: dataset.status.conditions)
        assert counted(3)(first), first.status
        assert first.metadata.resource_version != made.metadata.resource_version
        await cluster.stays(first)


async def test_a_hundred_datasets_cost_a_write_each(cluster: Cluster, broker: BrokerCore) -> None:
    names = [f"d{number}" for number in range(100)]
    async with controller(cluster, broker), Node(broker, "edge0") as node:
        await asyncio.gather(*(cluster.create(name) for name in names))
        await eventually(lambda: len(node.link.desired.records) == 100 and len(node.link.outbox) == 0, seconds=20)
        items = (await cluster.client.list(Dataset, cluster.namespace)).items
        assert all(counted(3)(dataset) for dataset in items)
        assert {dataset.status.revision for dataset in items} == {1}


async def test_a_cloud_that_starts_anew_writes_nothing_where_nothing_changed(
    cluster: Cluster, broker: BrokerCore
) -> None:
    async with Node(broker, "edge0") as node:
        async with controller(cluster, broker):
            await cluster.create("counted")
            await cluster.create("waiting", node="edge9")
            await cluster.create("nowhere", node="")
            before = [
                await cluster.until(counted(3), "counted"),
                await cluster.until(lambda dataset: dataset.status.conditions, "waiting"),
                await cluster.until(lambda dataset: dataset.status.conditions, "nowhere"),
            ]
            await eventually(lambda: len(node.link.outbox) == 0)
        settled = len(node.verdicts)
        async with controller(cluster, broker) as cloud:
            await eventually(lambda: node.link.desired.epoch == cloud.link.core.epoch and node.link.live)
            for dataset in before:
                await cluster.stays(dataset, seconds=0.5)
        assert len(node.verdicts) == settled, "the digests were equal, so nothing was said again"


async def test_a_cloud_that_starts_before_its_broker_answers_does_not_cry_wolf(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with controller(cluster, broker):
        await cluster.create(node="edge9")
        before = await cluster.until(lambda dataset: dataset.status.conditions)
    broker.stop()
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 1.0)
    async with controller(cluster, broker, connected=False) as cloud:
        broker.start()
        await eventually(lambda: cloud.link.is_connected)
        await cluster.stays(before, seconds=1.5)


async def test_what_the_broker_lost_is_made_good_when_it_is_back(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Node(broker, "edge0") as node:
        await cluster.create()
        await cluster.until(counted(3))
        broker.stop()
        await node.count_again(4)
        await cluster.create("b")
        broker.start()
        await cluster.until(counted(4))
        await cluster.until(counted(4), "b")


async def test_stopping_tells_the_nodes_and_leaves_nothing_running(cluster: Cluster, broker: BrokerCore) -> None:
    async with Node(broker, "edge0") as node:
        async with controller(cluster, broker):
            await cluster.create()
            await cluster.until(counted(3))
        await eventually(lambda: broker.statistics().clients == 1)
        await eventually(lambda: len(node.link.outbox) == 0)


@pytest.fixture
def make(client: Client, broker: BrokerCore) -> Callable[[Client], CloudController]:
    return lambda by: CloudController(by, transport(broker, "cloud"), Time(), topic_prefix=DEFAULT_PREFIX, workers=8)


async def test_a_cancelled_controller_leaves_nothing_running(
    client: Client, broker: BrokerCore, make: Callable[[Client], CloudController]
) -> None:
    cloud = make(client)
    serving = asyncio.create_task(cloud.serve(asyncio.Event()))
    await eventually(lambda: cloud.link.is_connected)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert broker.statistics().clients == 0


async def test_settings_that_cannot_be_used_end_it_with_their_error(
    tmp_path: Path, make: Callable[[Client], CloudController]
) -> None:
    with pytest.raises(SettingsError):
        await make(Client(tmp_path / "none")).serve(asyncio.Event())


async def test_a_link_that_fails_ends_the_controller_with_its_error(
    client: Client, broker: BrokerCore, make: Callable[[Client], CloudController]
) -> None:
    cloud = make(client)

    def fail(_node: str) -> None:
        raise ZeroDivisionError

    cloud.link.on_presence = fail
    serving: Awaitable[None] = asyncio.create_task(cloud.serve(asyncio.Event()))
    async with Voice(broker, "edge0") as node:
        await node.birth()
        with pytest.raises(ZeroDivisionError):
            await serving


async def test_each_leadership_has_a_higher_epoch_than_those_before(cluster: Cluster, broker: BrokerCore) -> None:
    epochs = []
    election = LeaderElection("cloud", cluster.namespace)
    async with Node(broker, "edge0") as node:
        for number in range(3):
            async with controller(cluster, broker, election=election) as cloud:
                if not number:
                    await cluster.create()
                await cluster.until(counted(3))
                epochs.append(cloud.link.core.epoch)
                await eventually(lambda: node.link.cloud_epoch == epochs[-1])
    assert [epoch // EPOCHS_PER_TERM for epoch in epochs] == [1, 2, 3]
    assert epochs == sorted(set(epochs))


def test_epoch_of_a_term_is_above_all_that_the_one_before_can_have_raised_itself_to() -> None:
    for now_ms in (0, 1_767_225_600_000):
        assert epoch_of(1, 0) > epoch_of(0, now_ms)
    assert epoch_of(0, 5) != epoch_of(0, 6)
