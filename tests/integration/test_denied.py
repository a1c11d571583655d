"""A broker that denies in silence: the link has no error to show, and says so all the same."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from neptune.protocol.actions import Publish
from neptune.protocol.node import SILENCE_SECONDS, Action, NodeLink, Warn
from neptune.protocol.topics import Topics
from neptune.transport import Published, Session, Transport
from neptune.transport.mqtt import MqttSettings, MqttTransport
from tests.edge.bench import running_cloud
from tests.support.hardened import SHIPPED
from tests.support.mosquitto import Mosquitto
from tests.support.transports import closing, connect

TOPICS = Topics()


@pytest.fixture(params=["pattern write", "pattern read"])
def missing(request: pytest.FixtureRequest) -> str:
    """Give the lines that the access list lacks."""
    lines: str = request.param
    return lines


@pytest.fixture
def port(start_mosquitto: Callable[..., Mosquitto], tmp_path: Path, missing: str) -> int:
    acl, passwords = tmp_path / "acl", tmp_path / "passwords"
    acl.write_text((SHIPPED / "acl").read_text().replace(missing, f"# {missing}"))
    passwords.write_text("edge0:edge0\nneptune-cloud:neptune-cloud\n")
    subprocess.run(["mosquitto_passwd", "-U", passwords], check=True, timeout=10)
    return start_mosquitto(config=f"password_file {passwords}\nacl_file {acl}\n").port


@pytest.mark.parametrize("protocol", [5, 4])
async def test_a_node_without_rights_hears_nothing_and_says_what_may_be_wrong(
    port: int, missing: str, protocol: Literal[4, 5]
) -> None:
    def client(name: str) -> MqttTransport:
        url = f"mqtt://127.0.0.1:{port}"
        return MqttTransport(MqttSettings(url=url, client_id=name, username=name, password=name, protocol=protocol))

    node = client("edge0")
    link = NodeLink("edge0", 1, TOPICS, Random(0))  # noqa: S311 - jitter, no secret
    async with running_cloud(client("neptune-cloud"), TOPICS), closing(node):
        connected = await connect(node, Session(TOPICS.filters_of_node("edge0")))
        outcomes: list[Published] = []
        now = 0.0
        warnings = await carry_out(node, link.connected(connected.connection, now, 0), outcomes)
        while not warnings:
            assert now < 3 * SILENCE_SECONDS
            deadline = link.next_deadline()
            assert deadline is not None
            now = max(now, deadline)
            warnings = await carry_out(node, link.tick(now, 0), outcomes)
    assert warnings[0].event == "cloud does not answer"
    assert "the broker does not let this node use its topics" in warnings[0].reason
    silent = protocol == 4 or missing == "pattern read"
    assert (Published.DENIED in outcomes) is not silent


async def carry_out(node: Transport, actions: list[Action], outcomes: list[Published]) -> list[Warn]:
    """Publish what the link says, and return its warnings."""
    outcomes += [await node.publish(action.message) for action in actions if isinstance(action, Publish)]
    return [action for action in actions if isinstance(action, Warn)]
