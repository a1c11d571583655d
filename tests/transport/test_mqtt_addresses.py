"""Where the MQTT adapter connects to: several addresses, WebSockets, and what a listener that is none says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from neptune.errors import SettingsError
from neptune.testing.processes import free_port
from neptune.transport import Connected, Message, Published, Session
from neptune.transport.mqtt import MqttSettings, MqttTransport
from neptune.transport.retry import RetryPolicy
from tests.support.mosquitto import Mosquitto
from tests.support.transports import closing, connect, disconnected, received, until
from tests.support.websocket import WebSocketGateway
from tests.transport.scripted import ScriptedBroker

NOTHING = Session(filters=())
StartMosquitto = Callable[..., Mosquitto]


def transport(*urls: str, **settings: Any) -> MqttTransport:
    retry = RetryPolicy(first_seconds=0.02, max_seconds=0.1)
    return MqttTransport(MqttSettings(url=urls[0], more_urls=urls[1:], client_id="edge0", retry=retry, **settings))


def address(port: int) -> str:
    return f"mqtt://127.0.0.1:{port}"


@pytest.fixture
async def silent() -> AsyncIterator[int]:
    """A port that takes connections and says nothing."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in held:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("urls", "encrypted"),
    [
        (["mqtts://a", "wss://b"], True),
        (["mqtt://a", "ws://b"], False),
        (["mqtt://a"], False),
    ],
)
def test_it_is_encrypted_where_each_of_its_addresses_is(urls: list[str], encrypted: bool) -> None:
    assert transport(*urls).is_encrypted is encrypted


@pytest.mark.parametrize("urls", [["mqtts://a", "mqtt://b"], ["ws://a", "wss://b"]])
def test_a_password_is_not_failed_over_to_an_address_in_the_clear(urls: list[str]) -> None:
    with pytest.raises(SettingsError, match="some are encrypted and some are not"):
        transport(*urls, username="edge0", password="secret")


async def test_the_next_address_is_tried_when_one_fails(start_mosquitto: StartMosquitto) -> None:
    made = transport(address(free_port()), address(start_mosquitto().port))
    async with closing(made):
        await made.open(NOTHING)
        assert "connection refused" in (await disconnected(made)).reason
        await until(made, Connected)


async def test_a_broker_that_dies_is_replaced_by_the_next_and_the_first_has_its_turn_again(
    start_mosquitto: StartMosquitto,
) -> None:
    first, second = start_mosquitto(), start_mosquitto()
    made = transport(address(first.port), address(second.port))
    async with closing(made):
        await connect(made, Session(("t",)))
        for dies in (first, second):
            dies.kill()
            await disconnected(made)
            await until(made, Connected)
            assert await made.publish(Message("t", b"!")) is Published.ACCEPTED
            assert (await received(made)).payload == b"!"
            dies.start()


async def test_the_reason_names_each_address_and_stays_the_same_while_nothing_changes() -> None:
    ports = free_port(), free_port()
    made = transport(*map(address, ports))
    async with closing(made):
        await made.open(NOTHING)
        reasons = [(await disconnected(made)).reason for _ in range(4)]
    assert all(str(port) in reasons[1] for port in ports)
    assert reasons[1:] == [reasons[1]] * 3


async def test_a_silent_address_costs_its_time_and_the_next_one_serves(
    silent: int, start_mosquitto: StartMosquitto
) -> None:
    made = transport(address(silent), address(start_mosquitto().port), answer_seconds=0.1)
    async with closing(made):
        await made.open(NOTHING)
        assert "gave no answer to CONNECT" in (await disconnected(made)).reason
        await until(made, Connected)


def test_an_address_without_tls_is_no_way_out_for_one_that_has_it() -> None:
    with pytest.raises(SettingsError, match="not encrypted"):
        transport("mqtts://127.0.0.1", "mqtt://127.0.0.1", ca_file="/dev/null")


async def test_a_websocket_at_another_path_is_named(start_mosquitto: StartMosquitto) -> None:
    async with WebSocketGateway(start_mosquitto().port) as gateway:
        made = transport(f"ws://127.0.0.1:{gateway.port}/elsewhere")
        async with closing(made):
            await made.open(NOTHING)
            told = (await disconnected(made)).reason
    assert "does not take MQTT in a WebSocket there: check the port and the path /elsewhere" in told


async def test_a_websocket_port_that_says_nothing_is_left(silent: int) -> None:
    made = transport(f"ws://127.0.0.1:{silent}", answer_seconds=0.1)
    async with closing(made):
        await made.open(NOTHING)
        assert "gave no answer to CONNECT" in (await disconnected(made)).reason


async def test_large_messages_pass_a_websocket(start_mosquitto: StartMosquitto) -> None:
    async with WebSocketGateway(start_mosquitto().port) as gateway:
        made = transport(f"ws://127.0.0.1:{gateway.port}")
        async with closing(made):
            await connect(made, Session(("t",)))
            for size in (100, 70_000, 500_000):
                assert await made.publish(Message("t", b"x" * size)) is Published.ACCEPTED
                assert len((await received(made)).payload) == size


async def test_a_broker_that_leaves_at_a_dollar_topic_is_suspected_of_refusing_them() -> None:
    # AWS IoT Core does so; what is sent here is DISCONNECT with reason 143, Topic Filter invalid.
    async with ScriptedBroker(subscribe=b"\xe0\x02\x8f\x00") as broker:
        made = transport(address(broker.port))
        async with closing(made):
            await made.open(Session(("$hw/events/x",)))
            told = (await disconnected(made)).reason
    assert "closed the connection: Topic filter invalid" in told
    assert "refuse topics that begin with $: if this one does, set another topic-prefix" in told


@pytest.mark.parametrize("protocol", [5, 4])
async def test_a_refused_dollar_filter_names_the_prefix_too(protocol: int) -> None:
    suback = b"\x90\x04\x00\x01\x00\x8f" if protocol == 5 else b"\x90\x03\x00\x01\x80"
    connack = ScriptedBroker.CONNACK if protocol == 5 else b"\x20\x02\x00\x00"
    async with ScriptedBroker(connect=connack, subscribe=suback) as broker:
        made = transport(address(broker.port), protocol=protocol)
        async with closing(made):
            await made.open(Session(("$hw/events/x",)))
            told = (await disconnected(made)).reason
    assert "refused to subscribe $hw/events/x (" in told
    assert "check its ACL" in told
    assert "topic-prefix" in told
