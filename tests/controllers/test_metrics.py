"""What a scrape says of the link to the nodes, with a broker in this process."""

from __future__ import annotations

import pytest

from neptune.controllers.app import CloudController
from neptune.protocol.messages import Presence
from neptune.protocol.topics import Verb
from neptune.transport import Message
from neptune.transport.broker import BrokerCore
from neptune.transport.memory import MemoryTransport
from tests.controllers.cluster import Cluster, accepted, controller, given
from tests.controllers.nodes import TOPICS, Voice, eventually, report


def seen(cloud: CloudController) -> dict[str, float]:
    """Return the series of the link, each as a text."""
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in cloud.manager.metrics.registry.collect()
        for sample in family.samples
        if family.name.startswith(("neptune_link", "neptune_nodes"))
    }


async def test_every_series_is_there_before_anything_happened(cluster: Cluster, broker: BrokerCore) -> None:
    broker.stop()
    async with controller(cluster, broker, connected=False) as cloud:
        assert set(seen(cloud).values()) == {0.0}
        assert set(seen(cloud)) == {
            "neptune_link_connected{}",
            *(f"neptune_nodes{{{state}}}" for state in ("online", "offline", "never_seen")),
            *(f"neptune_link_dropped_messages_total{{{cause}}}" for cause in ("unusable", "unread")),
            *(f"neptune_link_reports_total{{{code}}}" for code in (200, 400, 403, 404, 409)),
            *(
                f"neptune_link_publishes_total{{{outcome}}}"
                for outcome in ("accepted", "no_receiver", "denied", "queue_full", "disconnected")
            ),
        }


async def test_nodes_count_by_what_is_known_of_them(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker) as cloud, Voice(broker, "edge0") as here, Voice(broker, "edge1") as left:
        await here.birth()
        await left.say(Verb.PRESENCE, Presence(online=False, connection=1))
        await cluster.create(node="edge9")
        expected = {"online": 1.0, "offline": 1.0, "never_seen": 1.0}
        await eventually(lambda: {state: seen(cloud)[f"neptune_nodes{{{state}}}"] for state in expected} == expected)
        assert seen(cloud)["neptune_link_connected{}"] == 1


async def test_reports_count_by_their_verdict(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker) as cloud, Voice(broker, "edge0") as node, Voice(broker, "edge1") as other:
        uid = await given(cluster, node)
        await accepted(node, uid, 3)
        await node.report(report("no-such-uid", seq=2))
        await other.report(report(uid, 77))
        assert ((await node.verdict(2)).code, (await other.verdict(1)).code) == (404, 403)
        counts = seen(cloud)
        assert [counts[f"neptune_link_reports_total{{{code}}}"] for code in (200, 403, 404)] == [1, 1, 1]
        assert counts["neptune_link_publishes_total{accepted}"] > 0


async def test_messages_that_nobody_heeded_count_by_cause(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryTransport, "dropped", 5)
    async with controller(cluster, broker) as cloud, Voice(broker, "edge0") as node:
        await node.transport.publish(Message(TOPICS.node("edge0", Verb.GET), b"{"))
        dropped = "neptune_link_dropped_messages_total"
        await eventually(lambda: seen(cloud)[f"{dropped}{{unusable}}"] == 1)
        assert seen(cloud)[f"{dropped}{{unread}}"] == 5
