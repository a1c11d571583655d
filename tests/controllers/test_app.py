"""The cloud controller against a real API server, and nodes at the other end of a broker in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from neptune.api import Dataset, DatasetSpec, DatasetStatus, ObjectMeta, ResourceKey, get_condition
from neptune.controllers.app import CloudController
from neptune.controllers.dataset import downstream
from neptune.errors import SettingsError
from neptune.protocol.messages import DesiredObject
from neptune.protocol.topics import DEFAULT_PREFIX
from neptune.runtime import Client
from neptune.runtime.errors import NotFound
from neptune.transport.broker import BrokerCore
from tests.controllers.nodes import Node, Time, Voice, eventually, report, transport


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
        dataset = await self.get(name)
        for field, value in changes.items():
            setattr(dataset.spec, field, value)
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


def ready(dataset: Dataset) -> tuple[str, str]:
    return condition(dataset, "Ready")


def condition(dataset: Dataset, type_: str) -> tuple[str, str]:
    found = get_condition(dataset.status.conditions, type_)
    return (found.status, found.reason) if found else ("", "")


def counted(number: int | None) -> Callable[[Dataset], bool]:
    return lambda dataset: dataset.status.number_of_samples == number and ready(dataset) == ("True", "Counted")


@pytest.fixture
async def cluster(client: Client, namespace: str) -> Cluster:
    return Cluster(client, namespace)


@pytest.fixture
def broker() -> BrokerCore:
    return BrokerCore()


@asynccontextmanager
async def controller(
    cluster: Cluster, broker: BrokerCore, clock: Time | None = None, *, connected: bool = True
) -> AsyncIterator[CloudController]:
    """Run a cloud controller for the namespace of the test."""
    made = CloudController(
        cluster.client,
        transport(broker, "cloud"),
        clock or Time(),
        topic_prefix=DEFAULT_PREFIX,
        namespace=cluster.namespace,
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(made.serve(stop))
    try:
        await eventually(
            lambda: serving.done() or (made.manager._started.is_set() and made.link.is_connected is connected)
        )
        yield made
    finally:
        stop.set()
        await serving


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
            )
        ]
        assert (dataset.status.revision, dataset.status.observed_generation) == (1, 1)
        assert condition(dataset, "Synced") == ("True", "Stored")
        assert condition(dataset, "NodeOnline") == ("True", "NodeOnline")
        await eventually(lambda: len(node.link.outbox) == 0)
        await node.count_again(5)
        assert (await cluster.until(counted(5))).status.revision == 2
        await node.count_again(0)
        assert (await cluster.until(counted(0))).status.revision == 3


async def test_a_node_that_answers_at_once_costs_one_write(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker) as cloud, Node(broker, "edge0"):
        await eventually(lambda: cloud.link.state("edge0") is not None)
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


async def test_the_verdict_comes_only_after_the_write(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        await node.birth()
        made = await cluster.create()
        await eventually(lambda: node.pushed)
        await node.report(report(made.metadata.uid, 3))
        verdict = await node.verdict(1)
        assert (verdict.uid, verdict.code) == (made.metadata.uid, 200)
        assert (await cluster.get()).status.number_of_samples == 3


async def test_an_edit_goes_to_the_node_and_waits_in_sight_until_it_answers(
    cluster: Cluster, broker: BrokerCore
) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        await node.birth()
        made = await cluster.create()
        await node.report(report(made.metadata.uid, 3))
        await node.verdict(1)
        await cluster.edit(url="/data/b.txt")
        await eventually(lambda: node.pushed[-1].generation == 2)
        waiting = await cluster.until(lambda dataset: ready(dataset) == ("Unknown", "WaitingForNode"), seconds=1.5)
        assert waiting.status.number_of_samples == 3
        assert condition(waiting, "NodeOnline") == ("True", "NodeOnline")
        await node.report(report(made.metadata.uid, 4, seq=2, generation=1))
        assert (await node.verdict(2)).code == 409
        await node.report(report(made.metadata.uid, 4, seq=3, generation=2))
        assert (await node.verdict(3)).code == 200
        assert counted(4)(await cluster.get())


async def test_a_silent_node_is_pushed_again(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream, "REPUSH_BASE_SECONDS", 0.3)
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        await node.birth()
        await cluster.create()
        await eventually(lambda: len(node.pushed) >= 3)
        assert len({item.uid for item in node.pushed}) == 1


async def test_a_move_tells_both_nodes_and_shuts_the_first_one_up(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as old, Node(broker, "edge1", number=9) as new:
        await old.birth()
        made = await cluster.create()
        await old.report(report(made.metadata.uid, 3))
        await old.verdict(1)
        await cluster.edit(node_name="edge1")
        moved = await cluster.until(counted(9))
        assert await eventually(lambda: old.deleted) == [made.metadata.uid]
        assert [item.generation for item in new.pushed] == [2]
        await old.report(report(made.metadata.uid, 77, seq=2, generation=2))
        assert (await old.verdict(2)).code == 403
        await cluster.stays(moved, seconds=0.3)


async def test_a_deleted_dataset_is_taken_back_and_its_late_report_finds_nothing(
    cluster: Cluster, broker: BrokerCore
) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        await node.birth()
        made = await cluster.create()
        await eventually(lambda: node.pushed)
        await cluster.client.delete(made)
        assert await eventually(lambda: node.deleted) == [made.metadata.uid]
        await node.report(report(made.metadata.uid, 3))
        assert (await node.verdict(1)).code == 404


async def test_a_dataset_made_anew_under_its_name_is_another_one(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Node(broker, "edge0") as node:
        first = await cluster.create()
        await cluster.until(counted(3))
        node.number = 8
        await cluster.client.delete(first)
        second = await cluster.create()
        assert (await cluster.until(counted(8))).metadata.uid == second.metadata.uid
        await eventually(lambda: list(node.link.desired.records) == [second.metadata.uid])


@pytest.mark.parametrize(
    "wrong",
    [
        {"update_time": "yesterday"},
        {"update_time": "2026-01-31T12:00:00"},
        {"update_time": "9999-12-31T23:59:59-12:00"},
        {"update_time": "0001-01-01T00:00:00Z"},
        {"reason": ""},
        {"reason": "two words"},
    ],
)
async def test_what_cannot_be_stored_is_refused_for_good_and_not_written(
    cluster: Cluster, broker: BrokerCore, wrong: dict[str, Any]
) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        await node.birth()
        made = await cluster.create()
        await eventually(lambda: node.pushed)
        before = await cluster.until(lambda dataset: dataset.status.conditions)
        with structlog.testing.capture_logs() as logs:
            await node.report(report(made.metadata.uid, 3, **wrong))
            verdict = await node.verdict(1)
        assert verdict.code == 400
        assert verdict.reason
        assert [entry["event"] for entry in logs] == ["report refused"]
        await cluster.stays(before, seconds=0.3)
        await node.report(report(made.metadata.uid, 3, seq=2))
        assert (await node.verdict(2)).code == 200


async def test_an_unknown_uid_is_not_found(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        await node.report(report("no-such-uid"))
        assert (await node.verdict(1)).code == 404


@pytest.mark.parametrize("together", [True, False])
async def test_the_newest_report_wins_in_whatever_order_they_arrive(
    cluster: Cluster, broker: BrokerCore, together: bool
) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        await node.birth()
        uid = (await cluster.create()).metadata.uid
        await eventually(lambda: node.pushed)
        newer, older = report(uid, 5, seq=2), report(uid, 4, seq=1)
        if together:
            await node.report(newer, older)
        else:
            await node.report(newer)
            await node.verdict(2)
            await node.report(older)
        await node.report(report("the-end", seq=9))
        await node.verdict(9)
        await node.verdict(2)
        written = await cluster.get()
        assert written.status.number_of_samples == 5
        await cluster.stays(written, seconds=0.3)


async def test_a_report_that_comes_twice_gets_its_verdict_twice(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        await node.birth()
        uid = (await cluster.create()).metadata.uid
        await eventually(lambda: node.pushed)
        await node.report(report(uid, 3))
        await eventually(lambda: len(node.verdicts) == 1)
        await node.report(report(uid, 3))
        await eventually(lambda: len(node.verdicts) == 2)
        assert [verdict.code for verdict in node.verdicts] == [200, 200]
        assert (await cluster.get()).status.revision == 1


async def test_a_process_of_the_node_that_started_later_counts_its_reports_from_one_again(
    cluster: Cluster, broker: BrokerCore
) -> None:
    async with controller(cluster, broker):
        async with Voice(broker, "edge0") as node:
            await node.birth()
            uid = (await cluster.create()).metadata.uid
            await node.report(report(uid, 3, seq=7))
            await node.verdict(7)
        async with Voice(broker, "edge0") as node:
            await node.report(report(uid, 4, seq=1))
            await node.verdict(1)
        assert counted(4)(await cluster.get())


async def test_a_write_that_meets_another_is_made_again(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = cluster.client.status.patch
    met = 0

    async def disturbed(dataset: Dataset) -> Dataset:
        nonlocal met
        if dataset.status.number_of_samples == 3 and not met:
            met = 1
            other = await cluster.get()
            other.metadata.labels["touched"] = "yes"
            await cluster.client.patch(other)
        return await patch(dataset)

    monkeypatch.setattr(cluster.client.status, "patch", disturbed)
    async with controller(cluster, broker), Node(broker, "edge0"):
        await cluster.create()
        dataset = await cluster.until(counted(3))
        assert (met, dataset.metadata.labels, dataset.status.revision) == (1, {"touched": "yes"}, 1)


async def test_a_node_that_was_never_seen_is_named_within_a_second_with_what_to_run(
    cluster: Cluster, broker: BrokerCore
) -> None:
    async with controller(cluster, broker):
        await cluster.create()
        dataset = await cluster.until(lambda dataset: dataset.status.conditions, seconds=1.0)
        assert ready(dataset) == ("Unknown", "WaitingForNode")
        found = get_condition(dataset.status.conditions, "Ready")
        assert found
        assert "run edge-agent --node edge0" in found.message
        async with Node(broker, "edge0"):
            await cluster.until(counted(3))


async def test_a_dataset_without_a_node_says_which_field_is_empty(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Node(broker, "edge0"):
        await cluster.create(node="")
        dataset = await cluster.until(lambda dataset: ready(dataset) == ("Unknown", "NoNode"), seconds=1.0)
        await cluster.stays(dataset, seconds=0.4)
        await cluster.edit(node_name="edge0")
        await cluster.until(counted(3))
        await cluster.edit(node_name="")
        dataset = await cluster.until(lambda dataset: ready(dataset) == ("Unknown", "NoNode"))
        assert condition(dataset, "NodeOnline") == ("Unknown", "NoNode")


async def leave(node: Voice) -> None:
    await node.close(node.will(1))


async def poke(broker: BrokerCore, cluster: Cluster, name: str) -> None:
    """Make the link and the queues look at their clock, as they would when the time had really passed."""
    async with Voice(broker, name) as other:
        await other.birth()
        await cluster.create(name, node=name)
        await eventually(lambda: other.pushed)


async def test_a_node_that_left_is_shown_after_thirty_seconds_and_healed_by_its_next_report(
    cluster: Cluster, broker: BrokerCore
) -> None:
    clock = Time()
    async with controller(cluster, broker, clock):
        async with Voice(broker, "edge0") as node:
            await node.birth()
            uid = (await cluster.create()).metadata.uid
            await node.report(report(uid, 3))
            await node.verdict(1)
            await leave(node)
        before = await cluster.get()
        clock.ahead += 29
        await poke(broker, cluster, "p0")
        await cluster.stays(before, seconds=0.3)
        clock.ahead += 2
        await poke(broker, cluster, "p1")
        away = await cluster.until(lambda dataset: ready(dataset) == ("Unknown", "NodeOffline"))
        assert condition(away, "NodeOnline") == ("False", "NodeOffline")
        assert condition(away, "Synced") == ("True", "Stored")
        assert (away.status.number_of_samples, away.status.revision) == (3, 1)
        async with Node(broker, "edge0", number=3):
            back = await cluster.until(counted(3))
            assert condition(back, "NodeOnline") == ("True", "NodeOnline")
            assert back.status.revision == 1


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
        async with controller(cluster, broker):
            await eventually(lambda: len(node.verdicts) > settled)
            for dataset in before:
                await cluster.stays(dataset, seconds=0.5)


async def test_a_cloud_that_starts_anew_notices_a_node_that_never_comes(cluster: Cluster, broker: BrokerCore) -> None:
    async with Node(broker, "edge0"), controller(cluster, broker):
        await cluster.create()
        before = await cluster.until(counted(3))
    broker.stop()
    clock = Time()
    async with controller(cluster, broker, clock, connected=False) as cloud:
        # The API server answered before the broker: not even the cloud knows who is there.
        await cluster.stays(before)
        broker.start()
        await eventually(lambda: cloud.link.is_connected)
        clock.ahead += downstream.BLIND_SECONDS
        await poke(broker, cluster, "p0")
        await cluster.stays(before, seconds=0.3)
        clock.ahead += 30
        await poke(broker, cluster, "p1")
        away = await cluster.until(lambda dataset: ready(dataset) == ("Unknown", "NodeOffline"))
        assert away.status.number_of_samples == 3


async def test_without_a_broker_the_dataset_says_that_the_cloud_is_cut_off(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream, "BLIND_SECONDS", 0.2)
    broker.stop()
    async with controller(cluster, broker, connected=False):
        await cluster.create()
        dataset = await cluster.until(lambda dataset: dataset.status.conditions, seconds=1.0)
        found = get_condition(dataset.status.conditions, "Ready")
        assert found
        assert (found.reason, "not connected to its MQTT broker" in found.message) == ("WaitingForNode", True)
        broker.start()
        await cluster.until(lambda dataset: condition(dataset, "NodeOnline") == ("False", "NodeOffline"))
        async with Node(broker, "edge0"):
            await cluster.until(counted(3))


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


async def test_a_status_that_somebody_wiped_is_written_again(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Node(broker, "edge0") as node:
        await cluster.create()
        dataset = await cluster.until(counted(3))
        await eventually(lambda: len(node.link.outbox) == 0)
        dataset.status = DatasetStatus()
        await cluster.client.status.patch(dataset)
        waiting = await cluster.until(lambda dataset: dataset.status.conditions)
        assert ready(waiting) == ("Unknown", "WaitingForNode")


async def test_stopping_tells_the_nodes_and_leaves_nothing_running(cluster: Cluster, broker: BrokerCore) -> None:
    async with Node(broker, "edge0") as node:
        async with controller(cluster, broker):
            await cluster.create()
            await cluster.until(counted(3))
        await eventually(lambda: broker.statistics().clients == 1)
        await eventually(lambda: len(node.link.outbox) == 0)


@pytest.fixture
def make(client: Client, broker: BrokerCore) -> Callable[[Client], CloudController]:
    return lambda by: CloudController(by, transport(broker, "cloud"), Time(), topic_prefix=DEFAULT_PREFIX)


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


async def test_the_memory_of_reports_ends_with_their_dataset(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker) as cloud, Node(broker, "edge0"):
        made = await cluster.create()
        await cluster.until(counted(3))
        upstream = cloud.upstream
        assert len(upstream._newest) == 1
        await cluster.client.delete(made)
        await eventually(lambda: not upstream._newest)
        with pytest.raises(NotFound):
            await cluster.get()
