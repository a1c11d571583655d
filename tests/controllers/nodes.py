"""Nodes at the other end of the link, on a broker in this process: a working one, and one that says what it is told."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Self, TypeVar

from neptune.protocol import codec, messages, node
from neptune.protocol.actions import Publish
from neptune.protocol.desired import Change
from neptune.protocol.messages import (
    ConditionReport,
    DesiredObject,
    Get,
    Header,
    Presence,
    StatusReport,
    StatusResult,
    StatusUpdate,
    Updated,
    Verdict,
    WorkReport,
)
from neptune.protocol.topics import Topics, Verb
from neptune.transport import Connected, Disconnected, Message, Received, Session, TransportClosed
from neptune.transport.broker import BrokerCore
from neptune.transport.memory import MemoryTransport
from neptune.transport.retry import RetryPolicy

TOPICS = Topics()
SOON = RetryPolicy(first_seconds=0.02, max_seconds=0.05)
B = TypeVar("B", bound=messages.Body)
_epochs = itertools.count(1)


class Time:
    """The machine's clocks, which a test can put forward. What sleeps already does not notice."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)


class Still(Time):
    """A clock that stands, so that no patience runs out, however slow the machine is."""

    def monotonic(self) -> float:
        return self.ahead


def transport(broker: BrokerCore, name: str) -> MemoryTransport:
    return MemoryTransport(broker, name, username=name, retry=SOON)


async def eventually(condition: Callable[[], Any], *, seconds: float = 10.0) -> Any:
    """Wait until the condition holds, and return its value."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):  # noqa: ASYNC110  # what is awaited has no event
            await asyncio.sleep(0.005)
    return value


def report(
    uid: str,
    number: int | None = 3,
    *,
    seq: int = 1,
    generation: int = 1,
    update_time: str | None = "2026-01-31T12:00:00Z",
    reason: str = "Counted",
) -> StatusReport:
    condition = ConditionReport("Ready", "True", reason, f"{number} samples")
    return StatusReport(uid, seq, generation, number, update_time, (condition,))


def worked(
    uid: str, state: str = "Running", *, seq: int = 1, generation: int = 1, id_: str = "", **work: Any
) -> StatusReport:
    """Return a report of a task."""
    made = WorkReport(id_ or f"{seq}-{state}", state, "2026-01-31T12:00:00Z", **work)
    return StatusReport(uid, seq, generation, None, None, (), None, made)


class _Peer:
    """A client of the broker that reads until it is closed. Used as a context: entered when it is connected."""

    def __init__(self, broker: BrokerCore, name: str, epoch: int | None = None) -> None:
        self.name = name
        self.epoch = epoch or next(_epochs)
        self.transport = transport(broker, name)
        self.messages: list[tuple[Header, messages.Body]] = []
        self._connected = asyncio.Event()

    async def __aenter__(self) -> Self:
        session = Session((*TOPICS.filters_of_node(self.name),), self.will)
        await self.transport.open(session)
        self._reader = asyncio.create_task(self._read(), name=f"node {self.name}")
        await self._connected.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, farewell: Message | None = None) -> None:
        await self.transport.close(farewell)
        await self._reader

    def will(self, connection: int) -> Message:
        return self._message(Verb.PRESENCE, Presence(online=False, connection=connection), retain=True)

    def heard(self, kind: type[B]) -> list[B]:
        """Return the messages of a type that have come, oldest first."""
        return [body for _, body in self.messages if isinstance(body, kind)]

    @property
    def verdicts(self) -> list[Verdict]:
        return [verdict for result in self.heard(StatusResult) for verdict in result.verdicts]

    @property
    def pushed(self) -> list[DesiredObject]:
        return [item for update in self.heard(Updated) for item in update.objects]

    @property
    def deleted(self) -> list[str]:
        return [uid for update in self.heard(Updated) for uid in update.deleted]

    async def on_event(self, event: Connected | Disconnected | Received) -> None: ...

    async def wake(self) -> None: ...

    def wake_at(self) -> float | None:
        return None

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout_at(self.wake_at()):
                    event = await self.transport.next_event()
            except TimeoutError:
                await self.wake()
                continue
            except TransportClosed:
                return
            if isinstance(event, Received):
                self.messages.append(codec.decode(event.payload))
            await self.on_event(event)
            if isinstance(event, Connected):
                self._connected.set()

    def _message(self, verb: Verb, body: messages.Body, *, event_id: str = "e", retain: bool = False) -> Message:
        header = Header(event_id, 0, node_epoch=self.epoch)
        return Message(TOPICS.node(self.name, verb), codec.encode(header, body), retain=retain)


class Voice(_Peer):
    """Says what a test tells it to, and nothing by itself."""

    async def say(self, verb: Verb, body: messages.Body, *, event_id: str = "e") -> None:
        await self.transport.publish(self._message(verb, body, event_id=event_id, retain=verb is Verb.PRESENCE))

    async def birth(self, connection: int = 1) -> None:
        await self.say(Verb.PRESENCE, Presence(online=True, connection=connection))

    async def get(self, event_id: str) -> None:
        await self.say(Verb.GET, Get("", ""), event_id=event_id)

    async def report(self, *reports: StatusReport) -> None:
        await self.say(Verb.STATUS_UPDATE, StatusUpdate(reports))

    async def verdict(self, seq: int) -> Verdict:
        """Wait for the verdict on a report."""
        found: Verdict = await eventually(lambda: next((item for item in self.verdicts if item.seq == seq), None))
        return found


class Node(_Peer):
    """An edge node's real end of the link. It counts as many samples as `number` says, at once."""

    def __init__(self, broker: BrokerCore, name: str, *, number: int = 3) -> None:
        super().__init__(broker, name)
        self.number = number
        self.link = node.NodeLink(name, self.epoch, TOPICS, Random(0))  # noqa: S311 - jitter, no secret

    def will(self, connection: int) -> Message:
        return self.link.will(connection, 0)

    async def count_again(self, number: int) -> None:
        self.number = number
        for item in list(self.link.desired.records.values()):
            await self._do(self.link.report(self._counted(item), time.monotonic(), 0))

    async def on_event(self, event: Connected | Disconnected | Received) -> None:
        match event:
            case Connected(connection):
                await self._do(self.link.connected(connection, time.monotonic(), 0))
            case Disconnected():
                self.link.disconnected()
            case Received():
                await self._do(self.link.received(event, time.monotonic(), 0))

    async def wake(self) -> None:
        await self._do(self.link.tick(time.monotonic(), 0))

    def wake_at(self) -> float | None:
        deadline = self.link.next_deadline()
        return None if deadline is None else asyncio.get_running_loop().time() + deadline - time.monotonic()

    async def _do(self, actions: list[node.Action]) -> None:
        for action in actions:
            match action:
                case Publish(message):
                    await self.transport.publish(message)
                case Change(stored):
                    for item in stored:
                        await self._do(self.link.report(self._counted(item), time.monotonic(), 0))
                case node.Warn(event, reason):
                    raise AssertionError(f"{event}: {reason}")

    def _counted(self, item: DesiredObject) -> StatusReport:
        return report(item.uid, self.number, generation=item.generation)
