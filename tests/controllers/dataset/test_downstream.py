"""What users want, on its way to nodes, and what the status says meanwhile; against a real API server."""

from __future__ import annotations

import asyncio

import pytest

from neptune.api import Dataset, DatasetStatus, ResourceKey, get_condition
from neptune.controllers import patience
from neptune.controllers.app import CloudController
from neptune.controllers.dataset import downstream, status
from neptune.controllers.dataset.downstream import Downstream
from neptune.protocol import codec
from neptune.protocol.presence import NodeState
from neptune.runtime import Context, RequeueAfter
from neptune.transport.broker import BrokerCore
from tests.controllers.cluster import Cluster, accepted, condition, controller, counted, given, ready
from tests.controllers.nodes import Node, Time, Voice, eventually, report


async def test_an_edit_goes_to_the_node_and_waits_in_sight_until_it_answers(
    cluster: Cluster, broker: BrokerCore
) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        uid = await given(cluster, node)
        await accepted(node, uid, 3)
        await cluster.edit(url="/data/b.txt")
        await eventually(lambda: node.pushed[-1].generation == 2)
        waiting = await cluster.until(lambda dataset: ready(dataset) == ("Unknown", "WaitingForNode"), seconds=1.5)
        assert waiting.status.number_of_samples == 3
        assert condition(waiting, "NodeOnline") == ("True", "NodeOnline")
        await node.report(report(uid, 4, seq=2, generation=1))
        assert (await node.verdict(2)).code == 409
        await node.report(report(uid, 4, seq=3, generation=2))
        assert (await node.verdict(3)).code == 200
        assert counted(4)(await cluster.get())


async def test_an_answer_that_waits_for_its_write_is_not_announced_as_awaited(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow API server would otherwise get twice the work, just when it has too much."""
    monkeypatch.setattr(downstream, "ANSWER_SECONDS", 0.2)
    writes, free = [], asyncio.Event()
    patch = cluster.client.status.patch

    async def slow(dataset: Dataset) -> Dataset:
        writes.append((dataset.metadata.name, ready(dataset)))
        await free.wait()
        return await patch(dataset)

    monkeypatch.setattr(cluster.client.status, "patch", slow)
    async with controller(cluster, broker), Node(broker, "edge0"), Voice(broker, "silent") as silent:
        await silent.birth()
        await cluster.create("answered")
        await cluster.create("later", node="silent")
        await eventually(lambda: ("later", ("Unknown", "WaitingForNode")) in writes)
        assert [how for name, how in writes if name == "answered"] == [("True", "Counted")]
        free.set()
        await cluster.until(counted(3), "answered")


async def test_a_silent_node_is_pushed_again(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "REPUSH_BASE_SECONDS", 0.3)
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        await node.birth()
        await cluster.create()
        await eventually(lambda: len(node.pushed) >= 3)
        assert len({item.uid for item in node.pushed}) == 1


async def test_what_another_cloud_had_counted_while_the_cache_lagged_goes_to_the_node_again(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_look, look = asyncio.Event(), Downstream.reconcile

    async def late(self: Downstream, ctx: Context, key: ResourceKey) -> RequeueAfter | None:
        await may_look.wait()
        return await look(self, ctx, key)

    monkeypatch.setattr(Downstream, "reconcile", late)
    async with Voice(broker, "edge0") as node:
        async with controller(cluster, broker) as cloud:
            await node.birth()
            made = await cluster.create()
            made.status = DatasetStatus(observed_generation=1, number_of_samples=3)
            await cluster.client.status.patch(made)
            await eventually(lambda: generation_answered(cloud, made) == 1)
            may_look.set()
            await eventually(lambda: node.pushed)
            assert [(item.uid, item.generation) for item in node.pushed] == [(made.metadata.uid, 1)]
        async with controller(cluster, broker) as cloud:
            await cluster.create("b")
            await eventually(lambda: len(node.pushed) > 1)
            assert node.pushed[1].name == "b", "who starts is asked by all nodes, and has nothing to make good"


def generation_answered(cloud: CloudController, made: Dataset) -> int | None:
    known = cloud.manager.cache.get(Dataset, made.key)
    return known.status.observed_generation if known else None


async def test_a_move_tells_both_nodes_and_shuts_the_first_one_up(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as old, Node(broker, "edge1", number=9) as new:
        uid = await given(cluster, old)
        await accepted(old, uid, 3)
        await cluster.edit(node_name="edge1")
        moved = await cluster.until(counted(9))
        assert await eventually(lambda: old.deleted) == [uid]
        assert [item.generation for item in new.pushed] == [2]
        await old.report(report(uid, 77, seq=2, generation=2))
        assert (await old.verdict(2)).code == 403
        await cluster.stays(moved, seconds=0.3)


async def test_a_dataset_made_anew_under_its_name_is_another_one(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Node(broker, "edge0") as node:
        first = await cluster.create()
        await cluster.until(counted(3))
        node.number = 8
        await cluster.client.delete(first)
        second = await cluster.create()
        assert (await cluster.until(counted(8))).metadata.uid == second.metadata.uid
        await eventually(lambda: list(node.link.desired.records) == [second.metadata.uid])


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


async def test_a_node_that_answers_no_push_may_not_read_the_topic_which_users_are_told(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "REPUSH_BASE_SECONDS", 0.1)
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        await node.birth()
        await cluster.create()
        dataset = await cluster.until(lambda dataset: "lets it read" in message(dataset))
        assert message(dataset).endswith("lets it read $hw/events/node/edge0/neptune/updated")


async def test_what_another_controller_makes_of_a_waiting_dataset_is_left_for_a_while(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "SAY_BASE_SECONDS", 30.0)
    clock = Time()

    async def differ() -> Dataset:
        """Write what a controller would to which the node is there."""
        dataset = await cluster.get()
        status.show_waiting(dataset, NodeState.ONLINE, clock.now())
        return await cluster.client.status.patch(dataset)

    async with controller(cluster, broker, clock):
        await cluster.create()
        await cluster.until(lambda dataset: "has not connected" in message(dataset))
        await cluster.stays(await differ(), seconds=0.3)
        clock.ahead += 31
        await poke(broker, cluster, "p0")
        await cluster.until(lambda dataset: "has not connected" in message(dataset))
        await cluster.stays(await differ(), seconds=0.3)
        await cluster.edit(url="/data/b.txt")
        await cluster.until(lambda dataset: "has not connected" in message(dataset))


def message(dataset: Dataset) -> str:
    found = get_condition(dataset.status.conditions, "Ready")
    return found.message if found else ""


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
            await accepted(node, await given(cluster, node), 3)
            await node.close(node.will(1))
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
        clock.ahead += patience.BLIND_SECONDS
        await poke(broker, cluster, "p0")
        await cluster.stays(before, seconds=0.3)
        clock.ahead += 30
        await poke(broker, cluster, "p1")
        away = await cluster.until(lambda dataset: ready(dataset) == ("Unknown", "NodeOffline"))
        assert away.status.number_of_samples == 3


async def test_without_a_broker_the_dataset_says_that_the_cloud_is_cut_off(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "BLIND_SECONDS", 0.2)
    broker.stop()
    async with controller(cluster, broker, connected=False):
        await cluster.create()
        dataset = await cluster.until(lambda dataset: dataset.status.conditions, seconds=1.0)
        found = get_condition(dataset.status.conditions, "Ready")
        assert found
        assert (found.reason, "not connected to its MQTT broker" in found.message) == ("WaitingForNode", True)
        broker.start()
        await cluster.until(lambda dataset: condition(dataset, "NodeOnline") == ("False", "NodeNeverSeen"))
        async with Node(broker, "edge0"):
            await cluster.until(counted(3))


async def test_a_status_that_somebody_wiped_is_written_again(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Node(broker, "edge0") as node:
        await cluster.create()
        dataset = await cluster.until(counted(3))
        await eventually(lambda: len(node.link.outbox) == 0)
        dataset.status = DatasetStatus()
        await cluster.client.status.patch(dataset)
        waiting = await cluster.until(lambda dataset: dataset.status.conditions)
        assert ready(waiting) == ("Unknown", "WaitingForNode")


async def test_a_dataset_that_no_message_can_carry_says_so_and_holds_no_other_up(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "BATCH_BYTES", 500)
    async with controller(cluster, broker), Node(broker, "edge0") as node:
        await cluster.create("large", url="/data/" + "x" * 500)
        await cluster.create()
        await cluster.until(counted(3))
        large = await cluster.until(lambda dataset: ready(dataset) == ("False", "TooLarge"), "large")
        await cluster.stays(large, seconds=0.4)
        assert next(iter(node.link.desired.records.values())).name == "a"
        await cluster.edit("large", url="/data/small")
        await cluster.until(counted(3), "large")
        await cluster.edit("large", url="/data/" + "x" * 500)
        await cluster.until(lambda dataset: ready(dataset) == ("False", "TooLarge"), "large")


async def test_a_node_that_was_never_seen_is_told_from_one_that_left(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker):
        await cluster.create()
        never = await cluster.until(lambda dataset: condition(dataset, "NodeOnline") == ("False", "NodeNeverSeen"))
        found = get_condition(never.status.conditions, "NodeOnline")
        assert found
        assert "run edge-agent --node edge0" in found.message
