"""`deploy/broker/mosquitto`, started for real: a node may read its own topics and write its own three, nothing else."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from neptune.edge.localside import LocalSide
from neptune.protocol.topics import DEFAULT_PREFIX, TO_CLOUD, TO_NODE, Topics
from neptune.transport import Disconnected, Message, Published, Received, Session
from neptune.transport.mqtt import MqttTransport
from tests.edge.bench import dataset, eventually, running_agent, running_cloud, settings
from tests.support import hardened
from tests.support.hardened import Hardened
from tests.support.mosquitto import Mosquitto
from tests.support.transports import closing, connect, disconnected, until

TOPICS = Topics()
NOTHING = Session(filters=())
EVERYTHING = ("#", "+/#", "$hw/#", "$hw/events/node/+/neptune/#", "$hw/events/node/edge1/neptune/updated")
#: Everything that the link uses, of two nodes, and things that it does not.
ALL_TOPICS = (
    *(TOPICS.node(node, verb) for node in ("edge0", "edge1") for verb in (*TO_CLOUD, *TO_NODE)),
    TOPICS.cloud(),
    "$hw/events/node/edge0/neptune/presence/more",
    "$hw/events/node/edge0/membership/get",
    "$hw/events/dataset/default/a/get",
    "anything",
    "$SYS/broker/uptime",
)
_marks = itertools.count()


@pytest.fixture
def broker(start_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Hardened:
    return hardened.start(start_mosquitto, tmp_path)


async def writable(transport: MqttTransport) -> set[str]:
    outcomes = {topic: await transport.publish(Message(topic, b"!")) for topic in ALL_TOPICS}
    return {topic for topic, outcome in outcomes.items() if outcome is not Published.DENIED}


async def test_a_node_may_write_its_own_three_topics_only(broker: Hardened) -> None:
    node = broker.transport("edge0")
    async with closing(node):
        await connect(node, NOTHING)
        assert await writable(node) == {TOPICS.node("edge0", verb) for verb in TO_CLOUD}


async def test_a_node_that_is_denied_by_name_is_shut_out(broker: Hardened) -> None:
    with (broker.folder / "acl").open("a") as acl:
        acl.write("\nuser edge0\ntopic deny $hw/#\n")  # as the README says
    node, other = broker.transport("edge0"), broker.transport("edge1")
    async with closing(node, other):
        await connect(node, NOTHING)
        await connect(other, NOTHING)
        await asyncio.to_thread(broker.broker.reload)
        assert await writable(node) == set()
        assert await writable(other) == {TOPICS.node("edge1", verb) for verb in TO_CLOUD}


async def test_the_cloud_may_write_what_nodes_hear_only(broker: Hardened) -> None:
    cloud = broker.transport("neptune-cloud")
    async with closing(cloud):
        await connect(cloud, NOTHING)
        expected = {TOPICS.node(node, verb) for node in ("edge0", "edge1") for verb in TO_NODE}
        # A pattern gives each user the topics of a node of its name; no node is called as the cloud is.
        assert await writable(cloud) == expected | {TOPICS.cloud()}


@pytest.mark.parametrize("protocol", [5, 4])
async def test_a_node_hears_what_is_said_to_it_only(broker: Hardened, protocol: int) -> None:
    cloud, other, node = (broker.transport(name, protocol=protocol) for name in ("neptune-cloud", "edge1", "edge0"))
    async with closing(cloud, other, node):
        await connect(node, Session(EVERYTHING))
        await connect(cloud, NOTHING)
        await connect(other, NOTHING)
        for verb in TO_CLOUD:
            await other.publish(Message(TOPICS.node("edge1", verb), b"of another node"))
        for name, verb in itertools.product(("edge1", "edge0"), TO_NODE):
            await cloud.publish(Message(TOPICS.node(name, verb), name.encode()))
        await cloud.publish(Message(TOPICS.cloud(), b"end"))
        heard: set[tuple[str, bytes]] = set()
        while (TOPICS.cloud(), b"end") not in heard:
            message = await until(node, Received)
            heard.add((message.topic, message.payload))
    assert heard == {(TOPICS.node("edge0", verb), b"edge0") for verb in TO_NODE} | {(TOPICS.cloud(), b"end")}


async def test_nothing_goes_through_where_mqtt_3_cannot_say_so(broker: Hardened) -> None:
    node, cloud = broker.transport("edge0", protocol=4), broker.transport("neptune-cloud")
    async with closing(node, cloud):
        await connect(cloud, Session(TOPICS.filters_of_cloud()))
        await connect(node, NOTHING)
        for topic in ALL_TOPICS:
            await node.publish(Message(topic, b"!"))
        heard = [(await until(cloud, Received)).topic for _ in TO_CLOUD]
        assert set(heard) == {TOPICS.node("edge0", verb) for verb in TO_CLOUD}
        await node.publish(Message(TOPICS.node("edge0", TO_CLOUD[0]), b"end"))
        assert (await until(cloud, Received)).payload == b"end"


async def test_a_will_to_another_nodes_topic_is_never_sent(broker: Hardened) -> None:
    node, cloud = broker.transport("edge1"), broker.transport("neptune-cloud")
    forged = Session((), lambda _: Message(TOPICS.node("edge0", TO_CLOUD[0]), b"forged", retain=True))
    async with closing(node, cloud):
        await connect(cloud, Session(TOPICS.filters_of_cloud()))
        await connect(node, forged)
        second = broker.transport("edge1")  # throws the first out, which publishes its will
        async with closing(second):
            await connect(second, NOTHING)
            await second.publish(Message(TOPICS.node("edge1", TO_CLOUD[0]), b"end"))
            assert (await until(cloud, Received)).payload == b"end"


async def test_a_node_cannot_throw_another_out_by_its_client_id(broker: Hardened) -> None:
    victim, attacker = broker.transport("edge0", client_id="edge0"), broker.transport("edge1", client_id="edge0")
    topic = TOPICS.node("edge0", TO_CLOUD[0])
    async with closing(victim, attacker):
        await connect(victim, NOTHING)
        await connect(attacker, NOTHING)
        assert await attacker.publish(Message(topic, b"!")) is Published.DENIED
        assert await victim.publish(Message(topic, b"!")) is not Published.DISCONNECTED


async def test_nobody_gets_in_without_a_certificate(broker: Hardened) -> None:
    transport = broker.transport("edge0", cert_file=None, key_file=None, username="neptune-cloud")
    async with closing(transport):
        await transport.open(NOTHING)
        assert "a client without a certificate" in (await disconnected(transport)).reason


async def test_a_user_name_counts_for_nothing_beside_a_certificate(broker: Hardened) -> None:
    transport = broker.transport("edge0", username="neptune-cloud")
    async with closing(transport):
        await connect(transport, NOTHING)
        assert await transport.publish(Message(TOPICS.cloud(), b"!")) is Published.DENIED


async def test_an_agent_and_a_cloud_need_nothing_more(broker: Hardened, tmp_path: Path) -> None:
    agent_settings = settings(tmp_path)
    (tmp_path / "data" / "a.txt").write_text("1\n2\n3\n")
    async with (
        running_cloud(broker.transport("neptune-cloud"), TOPICS) as cloud,
        running_agent(broker.transport("edge0"), agent_settings),
    ):
        cloud.objects["u1"] = dataset(str(tmp_path / "data" / "a.txt"))
        await eventually(lambda: cloud.samples() == 3)


async def test_what_the_readme_adds_lets_a_program_ask_an_agent(broker: Hardened, tmp_path: Path) -> None:
    readme = (hardened.SHIPPED.parent / "README.md").read_text()
    added = next(block for block in readme.split("```") if "pattern read $hw/events/dataset" in block)
    with (broker.folder / "acl").open("a") as acl:
        acl.write(added)
    broker.broker.restart()
    topic = "$hw/events/dataset/default/name-of-u1"
    side, program, link = LocalSide(DEFAULT_PREFIX), broker.transport("program"), broker.transport("edge0")
    side.load([dataset("/data/a.txt")], [])
    async with side.on_shared_broker(link) as tapped, closing(tapped, program):
        await connect(program, Session((f"{topic}/get/result",)))
        await connect(tapped, NOTHING)
        reading = asyncio.create_task(until(tapped, Disconnected))
        assert await program.publish(Message(f"{topic}/get", b"")) is Published.ACCEPTED
        assert b'"uid":"u1"' in (await until(program, Received)).payload
        reading.cancel()


def test_nothing_is_written_to_disk(broker: Hardened) -> None:
    before = {path.name for path in broker.broker.log.parent.iterdir()}
    broker.broker.stop()
    assert {path.name for path in broker.broker.log.parent.iterdir()} == before == {"mosquitto.conf", "mosquitto.log"}


def test_emqx_gives_the_same_rights_as_mosquitto() -> None:
    """EMQX cannot be run here; its list is at least compared with the one that was."""
    emqx = (hardened.SHIPPED.parent / "emqx" / "acl.conf").read_text()
    acl = (hardened.SHIPPED / "acl").read_text()
    granted = set(re.findall(r"^(?:pattern|topic) (\w+) (\S+)", acl, re.MULTILINE))
    rules = re.findall(r"\{allow, .*?, (publish|subscribe), \[(.*?)\]\}", emqx, re.DOTALL)
    verbs = {"publish": "write", "subscribe": "read"}
    same = {
        (verbs[verb], topic.replace("${username}", "%u"))
        for verb, topics in rules
        for topic in re.findall(r'"(.*?)"', topics)
    }
    assert same == granted
