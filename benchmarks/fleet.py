"""Many nodes in one process: the node's real end of the link over real connections, and numbers instead of files.

Each node is a `NodeLink` on an MQTT connection of its own; all connections share one event loop, as paho allows.
A node counts at once and keeps nothing on a disk: what is measured is the cloud. `link_fleet` starts this and talks to
it by lines: `change ROUND` gives one dataset of each node a new number, `state` is answered by a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from neptune.protocol.actions import Publish
from neptune.protocol.desired import Change
from neptune.protocol.messages import ConditionReport, DesiredObject, StatusReport
from neptune.protocol.node import Action, NodeLink, Warn
from neptune.protocol.topics import Topics
from neptune.transport import Message, Received

TOPICS = Topics()
KEEPALIVE_SECONDS = 60
#: How long a connection that broke waits at most before the next attempt.
RETRY_SECONDS = 2.0
#: What a change adds to a number.
STEP = 1_000_000


def node_name(number: int) -> str:
    return f"edge{number}"


def dataset_name(node: int, number: int) -> str:
    return f"set-{node}-{number}"


def first_number(name: str) -> int:
    """Return the number of a dataset before any change."""
    _, node, number = name.split("-")
    return int(node) * 100 + int(number)


def is_changed(name: str, round_: int) -> bool:
    """Tell whether that round changes the dataset."""
    return name.endswith(f"-{round_}")


class Node:
    """One node and its connection."""

    def __init__(self, number: int, port: int) -> None:
        self.link = NodeLink(node_name(number), time.time_ns() // 10**6, TOPICS, Random(number), "bench")  # noqa: S311
        self.connections = 0
        self._port = port
        self._changed: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def connect(self) -> None:
        """Open a connection; one that breaks is opened anew."""
        self.connections += 1
        client = Client(
            CallbackAPIVersion.VERSION2, self.link.node, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
        )
        will = self.link.will(self.connections, _timestamp())
        client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = lambda client, _u, sock: self._loop.add_writer(sock, client.loop_write)
        client.on_socket_unregister_write = self._on_socket_unregister_write
        client.on_connect = self._on_connect
        client.on_subscribe = lambda *_: self._do(self.link.connected(self.connections, *_now()))
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        self._client = client
        try:
            client.connect("127.0.0.1", self._port, KEEPALIVE_SECONDS, clean_start=True)
        except OSError:
            self._again()

    def keep_alive(self) -> None:
        self._client.loop_misc()

    def change(self, round_: int) -> None:
        """Give the datasets of that round a new number."""
        self._changed.add(round_)
        self._report([item for item in self.link.desired.records.values() if is_changed(item.name, round_)])

    def _on_socket_open(self, client: Client, _userdata: Any, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(sock, client.loop_read)

    def _on_socket_close(self, _client: Client, _userdata: Any, sock: Any) -> None:
        self._loop.remove_reader(sock)

    def _on_socket_unregister_write(self, _client: Client, _userdata: Any, sock: Any) -> None:
        self._loop.remove_writer(sock)

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe([(each, 1) for each in TOPICS.filters_of_node(self.link.node)])

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        received = Received(message.topic, bytes(message.payload), bool(message.retain), self.connections)
        self._do(self.link.received(received, *_now()))

    def _on_disconnect(self, *_: Any) -> None:
        self.link.disconnected()
        self._again()

    def _again(self) -> None:
        self._loop.call_later(self.link.rng.uniform(0, RETRY_SECONDS), self.connect)

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Publish(message):
                    self._publish(message)
                case Change(stored):
                    self._report(stored)
                case Warn():
                    pass  # that no cloud answers yet
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.link.next_deadline()
        if deadline is not None:
            delay = max(0.0, deadline - time.monotonic())
            self._timer = self._loop.call_later(delay, lambda: self._do(self.link.tick(*_now())))

    def _publish(self, message: Message) -> None:
        properties = None
        if message.expiry_seconds is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = message.expiry_seconds
        self._client.publish(message.topic, message.payload, qos=1, retain=message.retain, properties=properties)

    def _report(self, items: Sequence[DesiredObject]) -> None:
        for item in items:
            self.link.outbox.put(self._counted(item))
        self._do(self.link.tick(*_now()))

    def _counted(self, item: DesiredObject) -> StatusReport:
        number = first_number(item.name) + STEP * sum(is_changed(item.name, each) for each in self._changed)
        wall = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ready = ConditionReport("Ready", "True", "Counted", f"{number} samples")
        return StatusReport(item.uid, 0, item.generation, number, wall, (ready,))


@dataclass(frozen=True, slots=True)
class State:
    """What the nodes say of themselves, in sum.

    Attributes:
        synced: those that are live with the cloud of the highest epoch that any of them has heard of.
        records, unconfirmed: objects, and statuses without a verdict.
        connections: opened since the start.
    """

    nodes: int
    connected: int
    synced: int
    epoch: int
    records: int
    unconfirmed: int
    connections: int


def state(nodes: list[Node]) -> State:
    epoch = max(node.link.cloud_epoch for node in nodes)
    return State(
        len(nodes),
        sum(node.link.connection is not None for node in nodes),
        sum(node.link.live and node.link.desired.epoch == epoch for node in nodes),
        epoch,
        sum(len(node.link.desired.records) for node in nodes),
        sum(len(node.link.outbox) for node in nodes),
        sum(node.connections for node in nodes),
    )


async def main(number: int, port: int) -> None:
    nodes = [Node(each, port) for each in range(number)]
    for node in nodes:
        node.connect()
        await asyncio.sleep(0)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(_keep_alive(nodes))
        while line := await commands.readline():
            match line.decode().split():
                case ["change", round_]:
                    for node in nodes:
                        node.change(int(round_))
                        await asyncio.sleep(0)
                case ["state"]:
                    print(json.dumps(asdict(state(nodes))), flush=True)
        keeping.cancel()


async def _keep_alive(nodes: list[Node]) -> None:
    while True:
        for node in nodes:
            node.keep_alive()
        await asyncio.sleep(KEEPALIVE_SECONDS / 10)


def _now() -> tuple[float, int]:
    return time.monotonic(), _timestamp()


def _timestamp() -> int:
    return time.time_ns() // 10**6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(main(options.nodes, options.port))
