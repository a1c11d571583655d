"""Carries `local`'s messages between programs on the node and the node's brokers.

Invariant: the link to the cloud never waits for a program: what waits for a broker is bounded, and the oldest goes
first. A program that missed something asks.
Neighbours: `agent` tells a `LocalSide` what the node has; `neptune.cli` decides on which brokers there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from neptune.clock import Clock, SystemClock
from neptune.edge.local import LocalView
from neptune.log import get_logger
from neptune.protocol.messages import DesiredObject, StatusReport
from neptune.transport import (
    Connected,
    Disconnected,
    Event,
    Message,
    Published,
    Received,
    Session,
    Transport,
    TransportClosed,
)
from neptune.transport.topics import matches

#: Messages that wait for one broker.
MAX_WAITING = 256

_log = get_logger()


class LocalSide:
    """Tells programs on the node what the agent tells it, on each broker that was added."""

    def __init__(self, prefix: str, clock: Clock | None = None) -> None:
        """Serve nobody yet. `prefix` is that of the link's topics."""
        self.view = LocalView(prefix)
        self._clock = clock or SystemClock()
        self._outlets: list[_Outlet] = []

    # What the agent tells.

    def load(self, items: Iterable[DesiredObject], reports: Iterable[StatusReport]) -> None:
        """See `LocalView.load`."""
        self.view.load(items, reports)

    def stored(self, item: DesiredObject) -> None:
        """See `LocalView.stored`."""
        self._tell(self.view.stored(item, self._timestamp()))

    def forgotten(self, uid: str) -> None:
        """See `LocalView.forgotten`."""
        self._tell(self.view.forgotten(uid, self._timestamp()))

    def reported(self, report: StatusReport) -> None:
        """See `LocalView.reported`."""
        self._tell(self.view.reported(report, self._timestamp()))

    # On which brokers.

    @asynccontextmanager
    async def on_own_broker(self, transport: Transport) -> AsyncIterator[None]:
        """Serve programs on a broker that only this node uses, by a connection of our own."""
        async with self._serving(_Outlet(transport, alone=True)) as outlet, asyncio.TaskGroup() as group:
            group.create_task(self._read(transport, outlet), name="local questions")
            try:
                yield
            finally:
                await transport.close()  # which ends the reader

    @asynccontextmanager
    async def on_shared_broker(self, transport: Transport) -> AsyncIterator[Transport]:
        """Serve programs on the link's broker, over its connection: the value is what the agent should use for it.

        A second connection would throw the first out where the broker takes the client id from the certificate.
        """
        async with self._serving(_Outlet(transport, alone=False)) as outlet:
            yield _Tapped(transport, self, outlet)

    def on_message(self, message: Received, outlet: _Outlet) -> bool:
        """Answer a question that came by an outlet; return whether it was one."""
        if not any(matches(topic_filter, message.topic) for topic_filter in self.view.filters):
            return False
        answer = self.view.answer(message, self._timestamp(), alone=outlet.alone)
        if answer is not None:
            outlet.put(answer)
        return True

    def _tell(self, message: Message | None) -> None:
        for outlet in self._outlets:
            if message is not None:
                outlet.put(message)

    @asynccontextmanager
    async def _serving(self, outlet: _Outlet) -> AsyncIterator[_Outlet]:
        self._outlets.append(outlet)
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(outlet.run(), name="local answers")
            try:
                yield outlet
            finally:
                self._outlets.remove(outlet)
                sender.cancel()

    async def _read(self, transport: Transport, outlet: _Outlet) -> None:
        await transport.open(Session(self.view.filters))
        while True:
            try:
                event = await transport.next_event()
            except TransportClosed:
                return
            match event:
                case Received():
                    self.on_message(event, outlet)
                case Disconnected(reason):
                    _log.warning("local broker unreachable", reason=reason)
                case Connected():
                    pass

    def _timestamp(self) -> int:
        """Return the time of day in milliseconds."""
        return int(self._clock.now().timestamp() * 1000)


class _Outlet:
    """Messages on their way to one broker. `alone`: whether no other node uses it."""

    def __init__(self, transport: Transport, *, alone: bool) -> None:
        self.alone = alone
        self._transport = transport
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(MAX_WAITING)
        self._is_denied = False

    def put(self, message: Message) -> None:
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait(message)

    async def run(self) -> None:
        while True:
            message = await self._waiting.get()
            outcome = await self._transport.publish(message)
            if outcome is Published.DENIED and not self._is_denied:
                remedy = "let this node's user write to it in the access list of the broker, or set --local-topics off"
                _log.error("local publish denied", topic=message.topic, remedy=remedy)
            self._is_denied = outcome is Published.DENIED


class _Tapped:
    """The link's transport, on whose connection programs ask too. The link does not see their questions."""

    def __init__(self, transport: Transport, side: LocalSide, outlet: _Outlet) -> None:
        self._transport = transport
        self._side = side
        self._outlet = outlet

    @property
    def dropped(self) -> int:
        """See `Transport.dropped`."""
        return self._transport.dropped

    @property
    def is_encrypted(self) -> bool:
        """See `Transport.is_encrypted`."""
        return self._transport.is_encrypted

    async def open(self, session: Session) -> None:
        """See `Transport.open`."""
        await self._transport.open(Session((*session.filters, *self._side.view.filters), session.will))

    async def next_event(self) -> Event:
        """See `Transport.next_event`."""
        while True:
            event = await self._transport.next_event()
            if not isinstance(event, Received) or not self._side.on_message(event, self._outlet):
                return event

    async def publish(self, message: Message) -> Published:
        """See `Transport.publish`."""
        return await self._transport.publish(message)

    async def close(self, farewell: Message | None = None) -> None:
        """See `Transport.close`."""
        await self._transport.close(farewell)
