"""Who may change whose status: a real controller and API server, a node that lies, with and without an access list.

Each attack is a topic, a payload and a uid. None may reach the API; honest nodes go on as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from neptune.api import Dataset
from neptune.clock import SystemClock
from neptune.controllers.app import CloudController
from neptune.protocol import codec, messages
from neptune.protocol.messages import Header, Presence, StatusUpdate
from neptune.protocol.topics import DEFAULT_PREFIX, TO_CLOUD, Topics, Verb
from neptune.runtime import Client
from neptune.transport import Message, Published, Session, Transport
from neptune.transport.acl import Rule, authorize_by
from neptune.transport.broker import BrokerCore
from neptune.transport.memory import MemoryTransport
from neptune.transport.mqtt import MqttSettings, MqttTransport
from tests.controllers.cluster import Cluster
from tests.controllers.nodes import eventually, report
from tests.support.hardened import SHIPPED
from tests.support.mosquitto import Mosquitto
from tests.support.transports import closing, connect

TOPICS = Topics()
VICTIM, ATTACKER, CLOUD = "edge0", "mallory", "neptune-cloud"
USERS = (VICTIM, ATTACKER, CLOUD)
FORGED = 666
HIGHEST_EPOCH = 2**50

Connection = Callable[[str], Transport]
StartMosquitto = Callable[..., Mosquitto]


def shipped_rules() -> Iterator[Rule]:
    """Read mosquitto's access list as rules for the broker in this process."""
    user = None
    for line in (SHIPPED / "acl").read_text().splitlines():
        match line.split():
            case ["user", name]:
                user = name
            case ["pattern", ("read" | "write") as access, topic]:
                yield Rule(access, topic)
            case ["topic", ("read" | "write") as access, topic]:
                yield Rule(access, topic, user)


@pytest.fixture(params=[True, False], ids=["with ACL", "without ACL"])
def has_acl(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["memory", "mosquitto-5", "mosquitto-4"])
def connection(request: pytest.FixtureRequest, has_acl: bool, tmp_path: Path) -> Connection:
    """Give a function that makes a client of one broker, by its user's name."""
    if request.param == "memory":
        core = BrokerCore(authorize=authorize_by(shipped_rules()) if has_acl else None)
        return lambda name: MemoryTransport(core, name, username=name)
    config = "allow_anonymous true\n"
    if has_acl:
        passwords = tmp_path / "passwords"
        passwords.write_text("".join(f"{name}:{name}\n" for name in USERS))
        passwords.chmod(0o600)
        subprocess.run(["mosquitto_passwd", "-U", passwords], check=True, timeout=10)
        config = f"allow_anonymous false\npassword_file {passwords}\nacl_file {SHIPPED / 'acl'}\n"
    broker = request.getfixturevalue("start_mosquitto")(config=config)
    protocol: Literal[4, 5] = 5 if request.param.endswith("5") else 4
    url = f"mqtt://127.0.0.1:{broker.port}"
    return lambda name: MqttTransport(
        MqttSettings(url=url, client_id=name, username=name, password=name, protocol=protocol)
    )


@dataclass
class Stage:
    """A controller, and two nodes with a dataset each, both counted."""

    cluster: Cluster
    nodes: dict[str, Transport]
    datasets: dict[str, Dataset]

    async def say(self, node: str, verb: Verb, body: messages.Body, epoch: int = 1) -> None:
        payload = codec.encode(Header("e", 0, node_epoch=epoch), body)
        await self.nodes[node].publish(Message(TOPICS.node(node, verb), payload, retain=verb is Verb.PRESENCE))

    async def counts(self, node: str, number: int, *, seq: int, epoch: int = 1) -> Dataset:
        """Let a node report its own dataset until that shows, as an agent does, and return it."""
        uid = self.datasets[node].metadata.uid
        body = StatusUpdate((report(uid, number, seq=seq),))
        async with asyncio.timeout(20):
            while True:
                await self.say(node, Verb.STATUS_UPDATE, body, epoch)
                with contextlib.suppress(AssertionError):
                    return await self.cluster.until(
                        lambda found: found.status.number_of_samples == number, node, seconds=1
                    )


@pytest.fixture
async def stage(client: Client, namespace: str, connection: Connection) -> AsyncIterator[Stage]:
    nodes = {name: connection(name) for name in (VICTIM, ATTACKER)}
    cluster = Cluster(client, namespace)
    async with controller(cluster, connection(CLOUD)), closing(*nodes.values()):
        datasets = {name: await cluster.create(name, node=name) for name in nodes}
        stage = Stage(cluster, nodes, datasets)
        for name, transport in nodes.items():
            await connect(transport, Session(()))
            await stage.say(name, Verb.PRESENCE, Presence(online=True, connection=1))
            await stage.counts(name, 5, seq=1)
        yield stage


@asynccontextmanager
async def controller(cluster: Cluster, transport: Transport) -> AsyncIterator[None]:
    made = CloudController(
        cluster.client,
        transport,
        SystemClock(),
        topic_prefix=DEFAULT_PREFIX,
        namespace=cluster.namespace,
        workers=8,
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(made.serve(stop))
    try:
        await eventually(lambda: made.link.is_connected or serving.done(), seconds=20)
        yield
    finally:
        stop.set()
        await serving


def attacked_topics() -> list[str]:
    own, theirs = (TOPICS.node(name, Verb.STATUS_UPDATE) for name in (ATTACKER, VICTIM))
    return [
        own,
        theirs,
        TOPICS.node(VICTIM, Verb.PRESENCE),
        TOPICS.node(VICTIM, Verb.GET),
        TOPICS.node(VICTIM, Verb.STATUS_RESULT),
        f"{own}/",
        f"{own}/{VICTIM}",
        theirs.replace("$", ""),
        theirs.replace(VICTIM, f"{ATTACKER}/{VICTIM}"),
        theirs.replace(VICTIM, VICTIM.upper()),
        theirs.replace(VICTIM, ""),
        TOPICS.cloud(),
    ]


def payloads(uid: str, own_uid: str) -> Iterator[bytes]:
    """Give messages that report `FORGED` samples for a dataset, each in another disguise."""
    claims: dict[str, Any] = {
        "node": VICTIM,
        "nodeName": VICTIM,
        "username": VICTIM,
        "topic": TOPICS.node(VICTIM, Verb.STATUS_UPDATE),
    }
    yield forged(uid)
    yield forged(uid, **claims)
    yield forged(uid, node_epoch=HIGHEST_EPOCH - 1)
    yield forged(own_uid, uid, own_uid)
    yield forged(uid, generation=2)


def forged(*uids: str, generation: int = 1, **head: Any) -> bytes:
    reports = tuple(report(uid, FORGED, seq=50, generation=generation) for uid in uids)
    message = json.loads(codec.encode(Header("x", 0, node_epoch=1), StatusUpdate(reports)))
    message["body"] |= {"node": VICTIM}
    return json.dumps(message | head).encode()


async def test_no_node_changes_what_is_said_of_another(stage: Stage, has_acl: bool) -> None:
    victim, own = stage.datasets[VICTIM].metadata, stage.datasets[ATTACKER].metadata
    before = await stage.cluster.get(VICTIM)
    uids = (victim.uid, victim.uid.upper(), f"{victim.namespace}/{victim.name}", str(uuid.uuid4()), "")
    attacks = 0
    for topic, uid in itertools.product(attacked_topics(), uids):
        if not has_acl and says_it_is_the_victim(topic):
            continue  # see the test below
        # A name for its own dataset that it may not use: its own uid, but not from its own topic.
        for payload in payloads(uid, "" if topic == attacked_topics()[0] else own.uid):
            await stage.nodes[ATTACKER].publish(Message(topic, payload))
            attacks += 1
    assert attacks >= 200
    # The controller has read all of that when it has taken this; and the victim is heard as before.
    await stage.counts(ATTACKER, 7, seq=1000, epoch=HIGHEST_EPOCH)
    after = await stage.cluster.get(VICTIM)
    assert after.metadata.resource_version == before.metadata.resource_version
    assert after.status.number_of_samples == 5
    await stage.counts(VICTIM, 6, seq=2)


def says_it_is_the_victim(topic: str) -> bool:
    parsed = TOPICS.parse(topic)
    return parsed is not None and parsed[0] == VICTIM and parsed[1] in TO_CLOUD


async def test_on_the_topic_of_another_node_the_access_list_alone_decides(stage: Stage, has_acl: bool) -> None:
    """The topic is the identity: without an access list, whoever writes on a node's topic is that node."""
    uid = stage.datasets[VICTIM].metadata.uid
    payload = codec.encode(Header("e", 0, node_epoch=2), StatusUpdate((report(uid, FORGED, seq=2),)))
    outcome = await stage.nodes[ATTACKER].publish(Message(TOPICS.node(VICTIM, Verb.STATUS_UPDATE), payload))
    if has_acl:
        await stage.counts(ATTACKER, 7, seq=2)
        assert (await stage.cluster.get(VICTIM)).status.number_of_samples == 5
        # MQTT 3.1.1 cannot say no.
        assert outcome in {Published.DENIED, Published.ACCEPTED}
    else:
        await stage.cluster.until(lambda found: found.status.number_of_samples == FORGED, VICTIM)
