"""The embedded broker byte by byte. What it shares with mosquitto is in tests/contract/test_transport.py."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from neptune.embedded.broker import EmbeddedBroker, passwords
from neptune.transport import Message, Published, Session
from neptune.transport.acl import Rule, authorize_by
from neptune.transport.broker_types import Limits
from neptune.transport.mqtt import MqttSettings, MqttTransport
from tests.embedded.raw import connect, packet, publish, raw_client, string, subscribe
from tests.support import transports
from tests.support.certificates import write_certificates
from tests.support.transports import closing, disconnected, eventually

PINGREQ, PINGRESP = b"\xc0\0", (0xD0, b"")
DISCONNECT = 0xE0


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(limits=Limits(queue_messages=50), max_packet_bytes=70_000)
    await broker.start()
    yield broker
    await broker.close()


async def test_connack_of_mqtt_5_says_what_the_broker_does_not_do(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.port) as client:
        first, body = await client.ask(connect(block=b"\x11\0\0\0\x0a"))
    assert (first, body[:2]) == (0x20, b"\0\0")
    assert b"\x24\x01" in body  # Maximum QoS 1
    assert b"\x2a\x00" in body  # no shared subscriptions
    assert b"\x27" + (70_000).to_bytes(4, "big") in body  # Maximum Packet Size
    assert b"\x11\0\0\0\0" in body  # the session ends with the connection, whatever was asked


async def test_connack_of_mqtt_3_has_two_bytes(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.port) as client:
        assert await client.ask(connect(version=4)) == (0x20, b"\0\0")


async def test_a_client_without_an_id_is_given_one(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.port) as client, raw_client(broker.port, connect("", version=4)):
        _, body = await client.ask(connect(""))
        assert b"\x12\x00\x25auto-" in body
        assert broker.statistics().clients == 2


async def test_an_unknown_version_is_refused_in_words_that_old_clients_know(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.port) as client:
        assert await client.ask(connect(version=3)) == (0x20, b"\0\1")
        assert await client.rest() == b""


@pytest.mark.parametrize(
    ("version", "user", "code"),
    [(5, ("edge0", "right"), 0), (5, ("edge0", "wrong"), 134), (5, ("edge1", "right"), 134), (5, None, 135),
     (4, ("edge0", "right"), 0), (4, ("edge0", "wrong"), 4), (4, None, 5)],
)  # fmt: skip
async def test_passwords_are_checked(version: int, user: tuple[str, str] | None, code: int) -> None:
    broker = EmbeddedBroker(authenticate=passwords({"edge0": "right"}))
    await broker.start()
    async with raw_client(broker.port) as client:
        first, body = await client.ask(connect(version=version, user=user))
        assert (first, body[1]) == (0x20, code)
    await broker.close()


async def test_the_will_is_published_when_the_client_says_so(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.port, connect("watcher")) as watcher:
        await watcher.ask(subscribe("will", options=0))
        for farewell in (packet(DISCONNECT), packet(DISCONNECT, b"\0"), packet(DISCONNECT, b"\x04")):
            async with raw_client(broker.port, connect(will=("will", farewell))) as client:
                client.send(farewell)
                await client.rest()
        assert await watcher.packet() == (0x30, string("will") + b"\0" + packet(DISCONNECT, b"\x04"))


async def test_a_silent_client_is_left_after_one_and_a_half_keepalives(broker: EmbeddedBroker) -> None:
    loop = asyncio.get_running_loop()
    async with raw_client(broker.port, connect("watcher")) as watcher:
        await watcher.ask(subscribe("will", options=0))
        started = loop.time()
        async with raw_client(broker.port, connect(keepalive=1, will=("will", b"gone"))) as client:
            assert await client.packet() == (DISCONNECT, bytes((141,)))
        assert 1.4 < loop.time() - started < 3
        assert (await watcher.packet())[1].endswith(b"gone")


async def test_the_one_who_is_taken_over_is_told(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.port, connect("same")) as first, raw_client(broker.port, connect("same")) as second:
        assert await first.packet() == (DISCONNECT, bytes((142,)))
        assert await first.rest() == b""
        assert await second.ask(PINGREQ) == PINGRESP


async def test_closing_the_broker_tells_why(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.port, connect()) as client, raw_client(broker.port) as unknown:
        await broker.close()
        assert await client.packet() == (DISCONNECT, bytes((139,)))
        assert await client.rest() == await unknown.rest() == b""
    await broker.close()


async def test_subscriptions_get_quality_one_at_most_and_each_its_answer(broker: EmbeddedBroker) -> None:
    filters = ("good", "a/#/b", "$share/group/topic")
    async with raw_client(broker.port, connect()) as client:
        assert await client.ask(subscribe(*filters, options=2)) == (0x90, b"\0\1\0" + bytes((1, 143, 158)))
        assert await client.ask(packet(0xA2, b"\0\2\0" + string("good") + string("bad"))) == (0xB0, b"\0\2\0\0\x11")
    async with raw_client(broker.port, connect(version=4)) as client:
        answer = await client.ask(subscribe(*filters, options=2, version=4))
        assert answer == (0x90, b"\0\1" + bytes((1, 0x80, 0x80)))
        assert await client.ask(packet(0xA2, b"\0\2" + string("good"))) == (0xB0, b"\0\2")


async def test_puback_says_what_became_of_a_message_in_mqtt_5_only() -> None:
    broker = EmbeddedBroker(authorize=authorize_by([Rule("write", "mine")]))
    await broker.start()
    async with raw_client(broker.port, connect()) as client:
        assert await client.ask(publish("mine")) == (0x40, b"\0\x09\x10")
        assert await client.ask(publish("theirs")) == (0x40, b"\0\x09\x87")
        assert await client.ask(subscribe("mine")) == (0x90, b"\0\1\0\x87")
    async with raw_client(broker.port, connect(version=4)) as client:
        assert await client.ask(publish("theirs", version=4)) == (0x40, b"\0\x09")
    await broker.close()


async def test_no_more_is_in_flight_than_the_client_takes(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.port, connect(block=b"\x21\x00\x01")) as client:  # Receive Maximum 1
        await client.ask(subscribe("t"))
        client.send(publish("t", b"first") + publish("t", b"second"))
        packets = [await client.packet() for _ in range(3)]
        assert sorted(first for first, _ in packets) == [0x32, 0x40, 0x40]
        delivered = next(body for first, body in packets if first == 0x32)
        assert delivered.endswith(b"first")
        assert await client.ask(PINGREQ) == PINGRESP
        first, body = await client.ask(packet(0x40, delivered[3:5]))
        assert (first, body[-6:]) == (0x32, b"second")


async def test_what_is_too_large_for_a_client_is_left_out(broker: EmbeddedBroker) -> None:
    block = b"\x27\0\0\0\x40\x21\x00\x01"  # Maximum Packet Size 64, Receive Maximum 1
    async with raw_client(broker.port, connect(block=block)) as reader, raw_client(broker.port, connect("w")) as writer:
        await reader.ask(subscribe("t"))
        await writer.ask(publish("t", b"x" * 100))
        await writer.ask(publish("t", b"small"))
        assert (await reader.packet())[1].endswith(b"small")


async def test_what_belongs_to_a_message_travels_with_it(broker: EmbeddedBroker) -> None:
    user = b"\x26" + string("key") + string("value")
    content = b"\x03" + string("application/json")
    async with raw_client(broker.port, connect()) as reader, raw_client(broker.port, connect("w")) as writer:
        await reader.ask(subscribe("t", options=0, block=b"\x0b\x2a"))  # Subscription Identifier 42
        await writer.ask(publish("t", b"!", block=user + b"\x02\0\0\0\x3c" + content))
        _, body = await reader.packet()
    left = body.index(b"\x02\0\0\0") + 4
    assert body[left] in {59, 60}
    assert body == string("t") + bytes((len(body) - 5,)) + user + content + body[left - 4 : left + 1] + b"\x0b\x2a!"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (connect(), 130),
        (publish("t", qos=2), 155),
        (publish("t", qos=3), 129),
        (publish("a/+"), 144),
        (publish(""), 144),
        (publish("t", block=b"\x23\0\1"), 148),
        (publish("t", block=b"\x0b\x01"), 130),
        (publish("t", block=b"\x02\0\0\0\1\x02\0\0\0\1"), 130),
        (publish("t", block=b"\x7f\0"), 129),
        (packet(0x32, string("t") + b"\0\0\0"), 130),
        (packet(0x30, b"\0\x01\xff\0"), 129),
        (packet(0x30, b"\0\x02a\0\0"), 129),
        (packet(0x30, b"\0\x09t"), 129),
        (packet(0x80, b"\0\1\0" + string("t") + b"\1"), 129),
        (packet(0x82, b"\0\1\0"), 130),
        (packet(0x82, b"\0\1\0" + string("t") + b"\x03"), 129),
        (packet(0xA2, b"\0\1\0"), 130),
        (packet(0xC0, b"!"), 129),
        (packet(0x00), 130),
        (packet(0x20, b"\0\0\0"), 130),
        (packet(0xF0, b"\0"), 130),
        (packet(0x40, b"\0"), 129),
        (packet(0xE1), 129),
        (b"\x30\xff\xff\xff\xff\x01", 129),
        (packet(0x30, bytes(70_000)), 149),
        (b"\x30\xff\xff\xff\x7f", 149),
    ],
)
async def test_what_no_client_may_send_ends_its_connection_only(broker: EmbeddedBroker, data: bytes, code: int) -> None:
    async with raw_client(broker.port, connect("other")) as other:
        async with raw_client(broker.port, connect()) as client:
            assert await client.ask(data) == (DISCONNECT, bytes((code,)))
            assert await client.rest() == b""
        assert await other.ask(PINGREQ) == PINGRESP


@pytest.mark.parametrize(
    "data",
    [
        PINGREQ,
        publish("t"),
        packet(0x11, connect()[2:]),
        packet(0x10, string("MQTT") + b"\5\1\0\0\0\0\0"),  # reserved flag
        packet(0x10, string("MQTT") + b"\4\x42\0\0" + string("a") + string("password")),
        packet(0x10, string("MQTT") + b"\5\x1e\0\0\0" + string("a")),  # will of quality 3
        packet(0x10, string("MQTT") + b"\5\x06\0\0\0" + string("a") + b"\0" + string("a/#") + b"\0\0"),
        packet(0x10, string("HTTP") + b"\5\2\0\0\0\0\0"),
        connect(block=b"\x21\0\0"),  # Receive Maximum 0
        packet(0x10, connect()[2:] + b"!!"),
        b"GET / HTTP/1.1\r\n\r\n" + b"\0" * 100,
    ],
)  # fmt: skip
async def test_a_client_that_begins_wrong_is_not_let_in(broker: EmbeddedBroker, data: bytes) -> None:
    async with raw_client(broker.port) as client:
        client.send(data)
        assert await client.rest() in {b"", b"\x20\x02\0\1"}
    assert broker.statistics().clients == 0


async def test_packets_may_come_in_pieces_of_any_size(broker: EmbeddedBroker) -> None:
    stream = connect() + subscribe("t") + publish("t", b"x" * 300, qos=0) + PINGREQ
    async with raw_client(broker.port) as client:
        for start in range(0, len(stream), 7):
            client.send(stream[start : start + 7])
            await asyncio.sleep(0)
        assert [(await client.packet())[0] for _ in range(4)] == [0x20, 0x90, 0x30, 0xD0]


async def test_garbage_harms_nobody_but_its_sender(broker: EmbeddedBroker) -> None:
    rng = Random(1)  # noqa: S311 - repeatable garbage, no secret
    valid = [connect(), subscribe("t"), publish("t", b"!"), PINGREQ, packet(DISCONNECT)]
    async with raw_client(broker.port, connect("good")) as good:
        for _ in range(300):
            data = bytearray(connect() + b"".join(rng.choices(valid, k=5)))
            for _ in range(rng.randint(1, 5)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            async with raw_client(broker.port) as client:
                client.send(bytes(data))
                await asyncio.sleep(0)
        assert await good.ask(PINGREQ) == PINGRESP
        await eventually(lambda: broker.statistics().clients == 1)


async def test_a_reader_who_stops_reading_costs_a_bounded_queue(broker: EmbeddedBroker) -> None:
    async with raw_client(broker.port, connect("sleeper")) as sleeper, raw_client(broker.port, connect("w")) as writer:
        await sleeper.ask(subscribe("t", options=0))
        await sleeper.ask(subscribe("u", options=1))
        for _ in range(300):
            await writer.ask(publish("t", bytes(60_000)))
            await writer.ask(publish("u", bytes(60_000)))
        statistics = broker.statistics()
        assert statistics.dropped > 300
        assert statistics.received == 600
        assert await writer.ask(PINGREQ) == PINGRESP


async def test_a_client_that_asks_and_never_reads_is_cut(broker: EmbeddedBroker) -> None:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()

    async def ask_for_ever() -> None:
        await loop.sock_connect(connection, ("127.0.0.1", broker.port))
        await loop.sock_sendall(connection, connect())
        async with asyncio.timeout(20):
            while True:
                await loop.sock_sendall(connection, PINGREQ * 1000)

    with connection, pytest.raises(ConnectionError):
        await ask_for_ever()
    await eventually(lambda: broker.statistics().clients == 0)


async def test_one_connection_too_many_is_cut_and_room_is_made_by_who_leaves() -> None:
    broker = EmbeddedBroker(limits=Limits(connections=1))
    await broker.start()
    try:
        async with raw_client(broker.port, connect("first")) as first:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                async with raw_client(broker.port, connect("second")):
                    pass
            assert await first.ask(PINGREQ) == PINGRESP
        await eventually(lambda: broker.statistics().clients == 0)
        async with raw_client(broker.port, connect("third")) as third:
            assert await third.ask(PINGREQ) == PINGRESP
    finally:
        await broker.close()


async def test_tls_clients_need_a_certificate_where_the_context_says_so(tmp_path: Path) -> None:
    files = write_certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca)
    context.load_cert_chain(files.server_certificate, files.server_key)
    context.verify_mode = ssl.CERT_REQUIRED
    broker = EmbeddedBroker(ssl=context)
    await broker.start()
    assert broker.url == f"mqtts://127.0.0.1:{broker.port}"
    known = MqttTransport(
        MqttSettings(
            url=broker.url,
            client_id="a",
            ca_file=files.ca,
            cert_file=files.client_certificate,
            key_file=files.client_key,
        )
    )
    unknown = MqttTransport(MqttSettings(url=broker.url, client_id="b", ca_file=files.ca))
    async with closing(known, unknown):
        await transports.connect(known, Session(("t",)))
        assert await known.publish(Message("t", b"x" * 200_000)) is Published.ACCEPTED
        assert len((await transports.received(known)).payload) == 200_000
        await unknown.open(Session(()))
        assert broker.url.removeprefix("mqtts://") in (await disconnected(unknown)).reason
    await broker.close()


async def test_it_cannot_listen_where_somebody_else_does(broker: EmbeddedBroker) -> None:
    with pytest.raises(OSError, match="in use"):
        await EmbeddedBroker(port=broker.port).start()
