"""What each transport does on each broker: in memory, the embedded broker, and mosquitto, with MQTT 5 and 3.1.1, and
through a WebSocket.

Where the embedded broker or the memory transport differs from mosquitto, it is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from neptune.transport import (
    Connected,
    Message,
    Published,
    Received,
    Session,
    TransportClosed,
    TransportError,
)
from tests.contract.benches import KINDS, Bench, make_bench
from tests.support.mosquitto import Broker, Mosquitto
from tests.support.transports import closing, connect, disconnected, received, until

NOTHING = Session(filters=())


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(scope="session")
def session_broker(kind: str, request: pytest.FixtureRequest) -> Broker | Mosquitto | None:
    return request.getfixturevalue("mosquitto") if kind.startswith("mosquitto") else None


@pytest.fixture
async def bench(kind: str, session_broker: Broker | Mosquitto | None) -> AsyncIterator[Bench]:
    async with make_bench(kind, session_broker) as bench:
        yield bench


@pytest.fixture
async def own_bench(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A broker that the test may stop."""
    # Asked for by name: only these kinds need the executable.
    broker = request.getfixturevalue("start_mosquitto")() if kind.startswith("mosquitto") else None
    async with make_bench(kind, broker) as bench:
        yield bench


def presence(topic: str) -> Callable[[int], Message]:
    return lambda number: Message(topic, b"off-%d" % number, retain=True)


async def test_the_first_connection_is_number_one(bench: Bench) -> None:
    transport = bench.transport()
    async with closing(transport):
        assert await connect(transport, NOTHING) == Connected(1)


async def test_each_connection_has_the_next_number(bench: Bench) -> None:
    transport = await bench.cuttable_transport()
    async with closing(transport):
        await connect(transport, NOTHING)
        for number in (2, 3):
            await bench.cut(transport)
            assert (await disconnected(transport)).retry_seconds >= 0
            assert (await until(transport, Connected)).connection == number


async def test_filters_are_subscribed_before_connected_is_told(bench: Bench, topic_prefix: str) -> None:
    transport = bench.transport()
    topics = [f"{topic_prefix}/{n}" for n in range(20)]
    async with closing(transport):
        await connect(transport, Session(tuple(topics)))
        for topic in topics:
            assert await transport.publish(Message(topic, b"!")) is Published.ACCEPTED
            assert await received(transport) == Received(topic, b"!", retained=False, connection=1)


async def test_messages_of_one_topic_arrive_in_order(bench: Bench, topic_prefix: str) -> None:
    reader, writer = bench.transport(), bench.transport()
    async with closing(reader, writer):
        await connect(reader, Session((topic_prefix,)))
        await connect(writer, NOTHING)
        payloads = [b"%d" % number for number in range(300)]
        for payload in payloads:
            await writer.publish(Message(topic_prefix, payload))
        assert [(await received(reader)).payload for _ in payloads] == payloads


async def test_topics_of_the_event_bus_are_seen_by_exact_filters_only(bench: Bench, topic_prefix: str) -> None:
    topic = f"$hw/events/node/{topic_prefix}/neptune/get"
    exact, one_level, all_levels = (bench.transport() for _ in range(3))
    async with closing(exact, one_level, all_levels):
        await connect(exact, Session((f"$hw/events/node/{topic_prefix}/#",)))
        await connect(one_level, Session((f"+/events/node/{topic_prefix}/#", topic_prefix)))
        await connect(all_levels, Session(("#",)))
        await exact.publish(Message(topic, b"hidden"))
        await exact.publish(Message(topic_prefix, b"end"))
        assert (await received(exact)).payload == b"hidden"
        assert (await received(one_level)).payload == b"end"
        seen = await until(all_levels, Received, lambda event: topic_prefix in event.topic)
        assert seen.payload == b"end"


async def test_an_event_says_of_which_connection_it_is(bench: Bench, topic_prefix: str) -> None:
    transport = await bench.cuttable_transport()
    async with closing(transport):
        await connect(transport, Session((topic_prefix,)))
        await bench.cut(transport)
        await until(transport, Connected)
        await transport.publish(Message(topic_prefix, b"!"))
        assert (await received(transport)).connection == 2


async def test_a_retained_message_is_replayed_with_its_flag(bench: Bench, topic_prefix: str) -> None:
    writer, reader = bench.transport(), bench.transport()
    async with closing(writer, reader):
        await connect(writer, Session((f"{topic_prefix}/+",)))
        await writer.publish(Message(f"{topic_prefix}/state", b"old", retain=True))
        await writer.publish(Message(f"{topic_prefix}/state", b"new", retain=True))
        assert not (await received(writer)).retained  # it was subscribed when the message came
        await connect(reader, Session((f"{topic_prefix}/+",)))
        assert await received(reader) == Received(f"{topic_prefix}/state", b"new", retained=True, connection=1)


async def test_an_empty_payload_deletes_what_is_retained(bench: Bench, topic_prefix: str) -> None:
    writer, reader = bench.transport(), bench.transport()
    async with closing(writer, reader):
        await connect(writer, NOTHING)
        await writer.publish(Message(topic_prefix, b"kept", retain=True))
        await writer.publish(Message(topic_prefix, b"", retain=True))
        await connect(reader, Session((topic_prefix,)))
        await writer.publish(Message(topic_prefix, b"live"))
        assert (await received(reader)).payload == b"live"


async def test_a_retained_message_expires(bench: Bench, topic_prefix: str) -> None:
    if not bench.knows_reasons:
        return  # MQTT 3.1.1 has no expiry
    writer, reader = bench.transport(), bench.transport()
    async with closing(writer, reader):
        await connect(writer, NOTHING)
        await writer.publish(Message(f"{topic_prefix}/short", b"", retain=True))
        await writer.publish(Message(f"{topic_prefix}/short", b"short", retain=True, expiry_seconds=1))
        await writer.publish(Message(f"{topic_prefix}/long", b"long", retain=True, expiry_seconds=60))
        await bench.pass_time(2.1)
        await connect(reader, Session((f"{topic_prefix}/+",)))
        assert (await received(reader)).payload == b"long"
        await writer.publish(Message(f"{topic_prefix}/end", b"end"))
        assert (await received(reader)).payload == b"end"


async def test_each_broken_connection_publishes_its_own_will(bench: Bench, topic_prefix: str) -> None:
    watcher, agent = bench.transport(), await bench.cuttable_transport()
    async with closing(watcher, agent):
        await connect(watcher, Session((topic_prefix,)))
        await connect(agent, Session((), presence(topic_prefix)))
        for number in (1, 2):
            await agent.publish(Message(topic_prefix, b"on-%d" % number, retain=True))
            assert (await received(watcher)).payload == b"on-%d" % number
            await bench.cut(agent)
            assert (await received(watcher)).payload == b"off-%d" % number
            await until(agent, Connected)


async def test_closing_publishes_the_farewell_and_no_will(bench: Bench, topic_prefix: str) -> None:
    watcher, agent = bench.transport(), bench.transport()
    async with closing(watcher, agent):
        await connect(watcher, Session((topic_prefix,)))
        await connect(agent, Session((), presence(topic_prefix)))
        await agent.close(Message(topic_prefix, b"farewell", retain=True))
        assert (await received(watcher)).payload == b"farewell"
        for _ in range(3):
            await watcher.publish(Message(topic_prefix, b"marker"))
            assert (await received(watcher)).payload == b"marker"


async def test_a_second_client_of_the_same_id_takes_over_and_the_will_is_published(
    bench: Bench, topic_prefix: str
) -> None:
    watcher = bench.transport()
    first, second = (bench.transport(client_id=topic_prefix, retry_seconds=60.0) for _ in range(2))
    async with closing(watcher, first, second):
        await connect(watcher, Session((topic_prefix,)))
        await connect(first, Session((), presence(topic_prefix)))
        await connect(second, NOTHING)
        await disconnected(first)
        assert (await received(watcher)).payload == b"off-1"
        assert await first.publish(Message(topic_prefix, b"late")) is Published.DISCONNECTED
        assert await second.publish(Message(topic_prefix, b"second")) is Published.ACCEPTED
        assert (await received(watcher)).payload == b"second"


async def test_after_a_restart_of_the_broker_the_next_connection_has_all_filters(
    own_bench: Bench, topic_prefix: str
) -> None:
    transport = own_bench.transport()
    async with closing(transport):
        await connect(transport, Session((topic_prefix,)))
        await own_bench.stop_broker()
        assert (await disconnected(transport)).reason
        assert await transport.publish(Message(topic_prefix, b"into the void")) is Published.DISCONNECTED
        await own_bench.start_broker()
        assert (await until(transport, Connected)).connection == 2
        assert await transport.publish(Message(topic_prefix, b"again")) is Published.ACCEPTED
        assert await received(transport) == Received(topic_prefix, b"again", retained=False, connection=2)


async def test_a_broker_that_comes_late_is_found(own_bench: Bench) -> None:
    await own_bench.stop_broker()
    transport = own_bench.transport()
    async with closing(transport):
        await transport.open(NOTHING)
        await disconnected(transport)
        await own_bench.start_broker()
        assert (await until(transport, Connected)).connection == 1


async def test_a_topic_without_a_reader_is_hinted_at_where_the_protocol_can(bench: Bench, topic_prefix: str) -> None:
    transport = bench.transport()
    expected = Published.NO_RECEIVER if bench.knows_reasons else Published.ACCEPTED
    async with closing(transport):
        await connect(transport, NOTHING)
        assert await transport.publish(Message(topic_prefix, b"!")) is expected
        assert await transport.publish(Message(topic_prefix, b"!", retain=True)) is expected


async def test_overlapping_filters_deliver_twice_but_with_mqtt_3(bench: Bench, topic_prefix: str) -> None:
    transport = bench.transport()
    expected = [b"1", b"1", b"2"] if bench.knows_reasons else [b"1", b"2", b"3"]
    async with closing(transport):
        await connect(transport, Session((f"{topic_prefix}/a", f"{topic_prefix}/+")))
        await transport.publish(Message(f"{topic_prefix}/a", b"1"))
        await transport.publish(Message(f"{topic_prefix}/b", b"2"))
        await transport.publish(Message(f"{topic_prefix}/c", b"3"))
        assert [(await received(transport)).payload for _ in expected] == expected


async def test_a_payload_of_128_kib_arrives_whole(bench: Bench, topic_prefix: str) -> None:
    transport = bench.transport()
    payload = bytes(range(256)) * 512
    async with closing(transport):
        await connect(transport, Session((topic_prefix,)))
        assert await transport.publish(Message(topic_prefix, payload)) is Published.ACCEPTED
        assert (await received(transport)).payload == payload


async def test_publishing_without_a_connection_says_so(bench: Bench, topic_prefix: str) -> None:
    transport = bench.transport()
    assert await transport.publish(Message(topic_prefix, b"!")) is Published.DISCONNECTED
    await transport.close()
    assert await transport.publish(Message(topic_prefix, b"!")) is Published.DISCONNECTED


async def test_topics_that_are_none_are_the_callers_error(bench: Bench) -> None:
    transport = bench.transport()
    async with closing(transport):
        with pytest.raises(ValueError, match="wildcard"):
            await transport.publish(Message("a/+", b""))
        with pytest.raises(ValueError, match="'#' must be the last level"):
            await transport.open(Session(("a/#/b",)))


async def test_closing_is_idempotent_and_ends_the_events(bench: Bench) -> None:
    transport = bench.transport()
    await connect(transport, NOTHING)
    waiting = asyncio.ensure_future(transport.next_event())
    await asyncio.sleep(0)
    await asyncio.gather(transport.close(), transport.close())
    await transport.close()
    with pytest.raises(TransportClosed):
        await waiting
    with pytest.raises(TransportClosed):
        await transport.next_event()
    with pytest.raises(TransportClosed):
        await transport.open(NOTHING)


async def test_opening_twice_is_refused(bench: Bench) -> None:
    transport = bench.transport()
    async with closing(transport):
        await transport.open(NOTHING)
        with pytest.raises(TransportError, match="open already"):
            await transport.open(NOTHING)
