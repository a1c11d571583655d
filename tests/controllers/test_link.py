"""The cloud's end of the link, over a broker in this process and with nodes that say what the test tells them to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pytest
import structlog

from neptune.controllers.link import MESSAGES_A_TURN, TURNS, Link
from neptune.protocol import codec, messages
from neptune.protocol.cloud import CloudLink, Reported
from neptune.protocol.messages import (
    Answer,
    CloudPresence,
    DesiredObject,
    GetResult,
    Header,
    ObjectsResult,
    StatusResult,
    StatusUpdate,
    Verdict,
)
from neptune.protocol.presence import NodeState
from neptune.protocol.topics import Verb
from neptune.transport import Event, Message, Published, Received, Session, Transport
from neptune.transport.broker import BrokerCore
from neptune.transport.broker_types import Action, Peer
from tests.controllers.nodes import TOPICS, Time, Voice, eventually, report, transport
from tests.support.inventory import LiveInventory

A = DesiredObject("Dataset", "ns", "a", "uid-a", 1, {"url": "/data/a"})
B = DesiredObject("Dataset", "ns", "b", "uid-b", 1, {"url": "/data/b"})


@dataclass
class Cloud:
    """A link, and the objects that it tells of."""

    link: Link
    clock: Time
    objects: dict[str, dict[str, DesiredObject]]
    reports: list[Reported] = field(default_factory=list)
    presence: list[str] = field(default_factory=list)


@asynccontextmanager
async def cloud(
    over: Transport, *objects: DesiredObject, node: str = "edge0", is_ready: bool = True
) -> AsyncIterator[Cloud]:
    """Run a link whose node `node` has these objects."""
    clock = Time()
    had = {node: {item.uid: item for item in objects}}
    core = CloudLink(7, TOPICS, LiveInventory(lambda name: had.get(name, {}).values()))
    link = Link(core, over, clock)
    if is_ready:
        link.ready()
    made = Cloud(link, clock, had)
    link.on_report = made.reports.append
    link.on_presence = made.presence.append
    running = asyncio.create_task(link.run())
    try:
        await eventually(lambda: link.is_connected or running.done())
        yield made
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


class Gate:
    """A transport that holds publishes to the topics of some nodes back, and counts all."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.held: set[str] = set()
        self.open_again = asyncio.Event()
        self.published: list[Message] = []

    @property
    def dropped(self) -> int:
        return self._inner.dropped

    @property
    def is_encrypted(self) -> bool:
        return self._inner.is_encrypted

    async def open(self, session: Session) -> None:
        await self._inner.open(session)

    async def next_event(self) -> Event:
        return await self._inner.next_event()

    async def publish(self, message: Message) -> Published:
        self.published.append(message)
        if any(f"/{node}/" in message.topic for node in self.held):
            await self.open_again.wait()
        return await self._inner.publish(message)

    async def close(self, farewell: Message | None = None) -> None:
        await self._inner.close(farewell)


def named(logs: list[MutableMapping[str, Any]], event: str) -> list[MutableMapping[str, Any]]:
    return [entry for entry in logs if entry["event"] == event]


async def test_a_node_is_told_to_ask_again_until_the_cache_is_complete() -> None:
    broker = BrokerCore()
    async with cloud(transport(broker, "cloud"), A, is_ready=False) as it, Voice(broker, "edge0") as node:
        await node.get("early")
        await node.report(report("uid-a"))
        await eventually(lambda: node.heard(GetResult))
        assert node.heard(CloudPresence) == []
        it.link.ready()
        await eventually(lambda: node.heard(CloudPresence) == [CloudPresence(online=True)])
        await node.get("late")
        await eventually(lambda: node.heard(ObjectsResult))
        answers = [
            (header.event_id, header.code) for header, body in node.messages if isinstance(body, get_args(Answer))
        ]
        assert answers == [("early", 503), ("late", 200)]
        assert node.heard(ObjectsResult)[0].objects == (A,)
        assert it.reports == []


async def test_a_report_is_handed_on_with_the_name_in_the_topic_and_its_verdict_goes_back() -> None:
    broker = BrokerCore()
    async with cloud(transport(broker, "cloud"), A) as it, Voice(broker, "edge0") as node:
        await node.report(report("uid-a"))
        got = (await eventually(lambda: it.reports))[0]
        assert (got.node, got.epoch, got.reports) == ("edge0", node.epoch, (report("uid-a"),))
        assert node.verdicts == []
        it.link.settle("edge0", Verdict("uid-a", 1, 1, 200))
        assert (await node.verdict(1)).code == 200


async def test_a_thousand_messages_that_are_here_leave_others_their_turn() -> None:
    """Else the acknowledgements of what is sent wait as well, and the broker is taken for dead."""
    broker = BrokerCore()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with cloud(transport(broker, "cloud"), A) as it, Voice(broker, "edge0") as node:
        working = asyncio.create_task(others())
        for number in range(1000):
            await node.report(report("uid-a", seq=number))
        turns = 0
        await eventually(lambda: len(it.reports) == 1000)
        working.cancel()
        assert turns >= 1000 // MESSAGES_A_TURN


async def test_of_a_nodes_questions_that_wait_for_a_turn_only_the_newest_is_answered() -> None:
    """Else a cloud that is behind answers old questions, whose nodes have asked anew, and never catches up."""
    broker = BrokerCore()
    gate = Gate(transport(broker, "cloud"))
    gate.held = {f"slow{number}" for number in range(TURNS)}
    async with cloud(gate, A) as it, AsyncExitStack() as stack:
        for name in sorted(gate.held):
            await (await stack.enter_async_context(Voice(broker, name))).get("first")
        await eventually(lambda: sum("slow" in message.topic for message in gate.published) == TURNS)
        node = await stack.enter_async_context(Voice(broker, "edge0"))
        await node.get("old")
        await node.get("new")
        await node.birth()
        await eventually(lambda: it.link.state("edge0") is NodeState.ONLINE)
        gate.held = set()
        gate.open_again.set()
        await eventually(lambda: node.heard(ObjectsResult))
        assert [header.event_id for header, body in node.messages if isinstance(body, ObjectsResult)] == ["new"]


async def test_presence_is_told_once_a_change_and_a_node_that_left_counts_as_away_after_thirty_seconds() -> None:
    broker = BrokerCore()
    async with cloud(transport(broker, "cloud")) as it, Voice(broker, "edge1") as other:
        async with Voice(broker, "edge0") as node:
            await node.birth()
            await node.birth()
            await eventually(lambda: it.link.state("edge0") is NodeState.ONLINE)
            await node.close(node.will(1))
        await other.birth()
        await eventually(lambda: it.presence == ["edge0", "edge1"])
        it.clock.ahead += 29.0
        await other.get("x")
        await eventually(lambda: other.heard(ObjectsResult))
        assert it.link.state("edge0") is NodeState.ONLINE
        it.clock.ahead += 2.0
        await other.get("y")
        await eventually(lambda: it.link.state("edge0") is NodeState.OFFLINE)
        assert it.presence == ["edge0", "edge1", "edge0"]


async def test_while_a_publish_is_under_way_pushes_gather_and_the_newest_state_goes_out_once() -> None:
    broker = BrokerCore()
    gate = Gate(transport(broker, "cloud"))
    async with cloud(gate, A, B) as it, Voice(broker, "edge0") as node:
        gate.held = {"edge0"}
        it.link.push("edge0", "uid-a")
        await eventually(lambda: len(gate.published) == 2)  # the cloud's birth, and the one that is held
        newest = replace(A, generation=9)
        it.objects["edge0"]["uid-a"] = newest
        for _ in range(1000):
            it.link.push("edge0", "uid-a")
            it.link.push("edge0", "uid-b")
        del it.objects["edge0"]["uid-b"]
        gate.open_again.set()
        await eventually(lambda: node.deleted)
        assert node.pushed == [A, newest]
        assert node.deleted == ["uid-b"]
        assert len(gate.published) == 4


async def test_a_node_that_asks_twice_while_it_cannot_be_reached_is_answered_once() -> None:
    broker = BrokerCore()
    gate = Gate(transport(broker, "cloud"))
    async with cloud(gate, A) as it, Voice(broker, "edge0") as node:
        gate.held = {"edge0"}
        it.link.push("edge0", "uid-a")
        await eventually(lambda: len(gate.published) == 2)
        for event_id in ("first", "second"):
            await node.get(event_id)
        await node.report(report("uid-a"))
        await eventually(lambda: it.reports)
        gate.open_again.set()
        await eventually(lambda: node.heard(ObjectsResult))
        assert [header.event_id for header, body in node.messages if isinstance(body, ObjectsResult)] == ["second"]


async def test_a_node_that_cannot_be_reached_delays_no_other() -> None:
    broker = BrokerCore()
    gate = Gate(transport(broker, "cloud"))
    async with cloud(gate, B, node="edge1") as it, Voice(broker, "edge1") as node:
        gate.held = {"edge0"}
        it.link.push("edge0", "uid-a")
        await eventually(lambda: len(gate.published) == 2)
        it.link.push("edge1", "uid-b")
        await node.get("x")
        await eventually(lambda: node.pushed == [B] and node.heard(ObjectsResult))


async def test_verdicts_that_come_close_together_are_one_message_and_none_is_lost_at_the_end() -> None:
    broker = BrokerCore()
    async with Voice(broker, "edge0") as node:
        async with cloud(transport(broker, "cloud"), A) as it:
            for seq in range(1, 4):
                await asyncio.sleep(0)
                it.link.settle("edge0", Verdict("uid-a", 1, seq, 200))
        await eventually(lambda: node.verdicts)
    assert [verdict.seq for verdict in node.verdicts] == [1, 2, 3]
    assert len(node.heard(StatusResult)) == 1


class Paused(Gate):
    """A transport whose process stands still while it waits for an event, and finds one when it goes on."""

    def __init__(self, inner: Transport, found: Event) -> None:
        super().__init__(inner)
        self._found = found
        self._is_connected = False
        self.goes_on: asyncio.Future[None] | None = None

    async def next_event(self) -> Event:
        if not self._is_connected:
            self._is_connected = True
            return await super().next_event()
        self.goes_on = asyncio.get_running_loop().create_future()
        await self.goes_on
        return self._found


async def test_after_a_pause_the_end_of_a_leadership_comes_before_what_nodes_say_of_a_successor() -> None:
    claim = codec.encode(Header("e", 0, cloud_epoch=99, node_epoch=1), StatusUpdate(()))
    paused = Paused(
        transport(BrokerCore(), "cloud"), Received(TOPICS.node("edge0", Verb.STATUS_UPDATE), claim, False, 1)
    )
    clock = Time()
    link = Link(CloudLink(7, TOPICS, LiveInventory(lambda name: ())), paused, clock)
    link.ready()
    running = asyncio.create_task(link.run())
    await eventually(lambda: paused.goes_on)
    clock.ahead += 30
    asyncio.get_running_loop().call_later(0, running.cancel)
    assert paused.goes_on is not None
    paused.goes_on.set_result(None)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert link.core.epoch == 7


async def test_a_refused_publish_is_logged_once_a_topic_until_it_works_again() -> None:
    refusing = True

    def authorize(peer: Peer, action: Action, topic: str) -> bool:
        return not (refusing and peer.username == "cloud" and action is Action.WRITE and "/node/" in topic)

    broker = BrokerCore(authorize=authorize)
    with structlog.testing.capture_logs() as logs:
        async with cloud(transport(broker, "cloud"), A) as it, Voice(broker, "edge0") as node:

            async def push_and_settle(times: int) -> None:
                for _ in range(times):
                    it.link.push("edge0", "uid-a")
                    it.link.settle("edge0", Verdict("uid-a", 1, 1, 200))
                    await eventually(lambda: not (it.link._settled or it.link._senders))

            await push_and_settle(3)
            refused = named(logs, "broker refused a publish")
            assert [entry["topic"] for entry in refused] == [
                TOPICS.node("edge0", Verb.UPDATED),
                TOPICS.node("edge0", Verb.STATUS_RESULT),
            ]
            assert "deploy/broker" in refused[0]["remedy"]
            refusing = False
            await push_and_settle(1)
            await eventually(lambda: node.verdicts)
            refusing = True
            await push_and_settle(2)
            assert len(named(logs, "broker refused a publish")) == 4


async def test_a_broker_that_is_away_is_logged_once_a_cause_and_its_return_once() -> None:
    broker = BrokerCore()
    with structlog.testing.capture_logs() as logs:
        async with cloud(transport(broker, "cloud")) as it:
            broker.stop()
            await eventually(lambda: not it.link.is_connected)
            assert it.link.state("edge0") is None
            await asyncio.sleep(0.3)  # some ten attempts
            broker.start()
            await eventually(lambda: it.link.is_connected)
    told = [entry["reason"] for entry in named(logs, "broker unreachable")]
    assert len(told) == len(set(told)) == 2, told
    assert [entry["connection"] for entry in named(logs, "broker connected")] == [1, 2]


async def test_the_cloud_announces_itself_on_each_connection_and_says_goodbye_at_the_end() -> None:
    broker = BrokerCore()
    async with Voice(broker, "edge0") as node:
        async with cloud(transport(broker, "cloud")):
            await eventually(lambda: node.heard(CloudPresence))
        await eventually(lambda: len(node.heard(CloudPresence)) == 2)
        assert [body.online for body in node.heard(CloudPresence)] == [True, False]


async def test_verdicts_that_wait_at_the_end_still_go_out_before_the_goodbye() -> None:
    broker = BrokerCore()
    async with Voice(broker, "edge0") as node:
        async with cloud(transport(broker, "cloud"), A) as it:
            it.link.settle("edge0", Verdict("uid-a", 1, 1, 200))
        await eventually(lambda: [body for body in node.heard(CloudPresence) if not body.online])
        assert [verdict.code for verdict in node.verdicts] == [200]


async def test_the_end_does_not_wait_for_a_node_that_cannot_be_reached() -> None:
    broker = BrokerCore()
    gate = Gate(transport(broker, "cloud"))
    async with asyncio.timeout(3), cloud(gate, A) as it:
        gate.held = {"edge0"}
        it.link.push("edge0", "uid-a")
        await eventually(lambda: len(gate.published) == 2)


@pytest.mark.parametrize("spoil", [lambda payload: b"\xff" * 9, lambda payload: payload.replace(b'"v":1', b'"v":2')])
async def test_what_cannot_be_read_is_logged_once_a_node_and_ends_nothing(spoil: Callable[[bytes], bytes]) -> None:
    broker = BrokerCore()
    with structlog.testing.capture_logs() as logs:
        async with cloud(transport(broker, "cloud"), A), Voice(broker, "edge0") as node:
            bad = spoil(codec.encode(messages.Header("e", 0), messages.Get("", "")))
            for _ in range(3):
                await node.transport.publish(Message(TOPICS.node("edge0", Verb.GET), bad))
            await node.get("good")
            await eventually(lambda: any(header.event_id == "good" for header, _ in node.messages))
    assert [entry["node"] for entry in named(logs, "message dropped")] == ["edge0"]


async def test_a_handler_that_fails_ends_the_link_with_its_error_and_leaves_no_connection() -> None:
    broker = BrokerCore()
    clock = Time()
    link = Link(CloudLink(7, TOPICS, LiveInventory(lambda _node: ())), transport(broker, "cloud"), clock)

    def fail(_node: str) -> None:
        raise ZeroDivisionError

    link.on_presence = fail
    running = asyncio.create_task(link.run())
    async with Voice(broker, "edge0") as node:
        await node.birth()
        with pytest.raises(ZeroDivisionError):
            await running
    assert broker.statistics().clients == 0
