"""`edge-agent --broker-mode`: real processes, a real mosquitto for the link, and programs on the node."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from neptune.protocol.topics import TO_CLOUD, Topics
from neptune.testing.processes import Process, free_port
from neptune.transport import Message, Published, Received, Session
from neptune.transport.mqtt import MqttSettings, MqttTransport
from tests.edge.bench import NODE, Cloud, dataset, eventually, running_cloud
from tests.support.mosquitto import Mosquitto
from tests.support.transports import closing, connect, disconnected, until

TOPIC = "$hw/events/dataset/default/name-of-u1"
AGENT = Path(sys.executable).with_name("edge-agent")


class Node:
    """An agent with one dataset of three samples, and where its brokers are."""

    def __init__(self, folder: Path, broker: Mosquitto, mode: str) -> None:
        self.folder, self.mode = folder, mode
        self.external, self.internal = broker.port, free_port()
        (folder / "a.txt").write_text("1\n2\n3\n")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @asynccontextmanager
    async def running(self, *flags: str) -> AsyncIterator[Cloud]:
        """Run the agent until its number has arrived, and give the cloud that it arrived at."""
        argv: list[str | Path] = [AGENT, "--node", NODE, "--root", self.folder, "--state-dir", self.folder / "state"]
        argv += ["--broker", f"mqtt://127.0.0.1:{self.external}", "--broker-mode", self.mode]
        argv += ["--internal-port", str(self.internal), "--log-format", "json", *flags]
        link = MqttTransport(MqttSettings(url=f"mqtt://127.0.0.1:{self.external}", client_id="cloud"))
        async with running_cloud(link, Topics()) as cloud:
            cloud.objects["u1"] = dataset(str(self.folder / "a.txt"))
            process = Process.start(argv, log=self.folder / "log")
            try:
                await eventually(lambda: cloud.samples() == 3, seconds=20)
                yield cloud
            finally:
                process.stop(seconds=10)
            assert process.returncode == 0, self.log


def program(port: int, protocol: Literal[4, 5] = 5, client_id: str = "program") -> MqttTransport:
    return MqttTransport(MqttSettings(url=f"mqtt://127.0.0.1:{port}", client_id=client_id, protocol=protocol))


async def ask(transport: MqttTransport) -> dict[str, Any]:
    await transport.publish(Message(f"{TOPIC}/get", b'{"event_id":"mine"}'))
    answer = await until(transport, Received, lambda event: event.topic.endswith("/get/result"))
    body: dict[str, Any] = json.loads(answer.payload)
    return body


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def node(start_mosquitto: Callable[..., Mosquitto], tmp_path: Path, request: pytest.FixtureRequest) -> Node:
    return Node(tmp_path, start_mosquitto(), request.param)


@pytest.mark.parametrize("node", ["internal", "both"], indirect=True)
@pytest.mark.parametrize("protocol", [5, 4])
async def test_a_program_asks_the_broker_in_the_agent(node: Node, protocol: Literal[4, 5]) -> None:
    asking = program(node.internal, protocol)
    async with node.running(), closing(asking):
        await connect(asking, Session((f"{TOPIC}/#",)))
        answer = await ask(asking)
        assert (answer["event_id"], answer["dataset"]["status"]["numberOfSamples"]) == ("mine", 3)
        with (node.folder / "a.txt").open("a") as file:
            file.write("4\n")
        told = json.loads((await until(asking, Received)).payload)["dataset"]
        assert told["last"]["status"]["numberOfSamples"] == 3


@pytest.mark.parametrize(
    ("node", "flags", "answered"),
    [
        ("both", [], True),
        ("external", ["--local-topics", "on"], True),
        ("external", [], False),
        ("internal", [], False),
    ],
    indirect=["node"],
)
async def test_a_program_asks_the_configured_broker_where_the_mode_says_so(
    node: Node, flags: list[str], answered: bool
) -> None:
    asking = program(node.external)
    async with node.running(*flags), closing(asking):
        await connect(asking, Session((f"{TOPIC}/get/result",)))
        if answered:
            assert (await ask(asking))["dataset"]["status"]["numberOfSamples"] == 3
        else:
            # The broker itself says that nobody listens there.
            assert await asking.publish(Message(f"{TOPIC}/get", b"")) is Published.NO_RECEIVER
        assert listens(node.internal) is (node.mode != "external")


@pytest.mark.parametrize("node", ["internal"], indirect=True)
async def test_a_program_may_ask_and_listen_and_nothing_else(node: Node) -> None:
    asking = program(node.internal)
    async with node.running() as cloud, closing(asking):
        await connect(asking, Session((f"{TOPIC}/#",)))
        for topic in (f"{TOPIC}/updated", f"{TOPIC}/get/result", "anything", *(_link(verb) for verb in TO_CLOUD)):
            assert await asking.publish(Message(topic, b"{}")) is Published.DENIED
        assert (await ask(asking))["dataset"]["uid"] == "u1"
        assert cloud.link.dropped == 0
        everything = program(node.internal, client_id="curious")
        async with closing(everything):
            await everything.open(Session(("#",)))
            assert "refused to subscribe #" in (await disconnected(everything)).reason


def _link(verb: str) -> str:
    return f"$hw/events/node/{NODE}/neptune/{verb}"


@pytest.mark.parametrize("node", ["internal"], indirect=True)
def test_a_port_that_is_taken_ends_the_agent_with_the_remedy(node: Node) -> None:
    with socket.create_server(("127.0.0.1", node.internal)):
        argv: list[str | Path] = [
            AGENT,
            "--node",
            NODE,
            "--broker-mode",
            "internal",
            "--internal-port",
            str(node.internal),
        ]
        done = subprocess.run(
            [*argv, "--state-dir", node.folder], capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{node.internal}" in done.stderr
    assert "give another --internal-port" in done.stderr


def test_an_agent_without_a_local_side_has_no_broker_in_memory() -> None:
    code = (
        "import sys, neptune.cli.edge_agent as a\n"
        "values, _ = a.PROGRAM.load(['--node', 'edge0'], {})\n"
        "assert not a._has_local_side(values)\n"
        "print(*(name for name in sys.modules if 'embedded' in name or 'local' in name.split('.')[-1]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert not [name for name in done.stdout.split() if name.startswith("neptune")]


def test_the_broker_in_the_agent_brings_nothing_heavy() -> None:
    code = "import sys, neptune.cli.edge_agent, neptune.cli.local; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert not {"aiohttp", "cryptography", "kubernetes", "pydantic", "yaml"} & set(done.stdout.split())
