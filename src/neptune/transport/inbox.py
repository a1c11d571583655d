"""Events on their way to the one reader of a transport. Bounded: what does not fit pushes out the oldest, counted.

Neighbours: each adapter puts what happened here in order; `Transport.next_event` takes it out.
"""

from __future__ import annotations

import asyncio
from collections import deque

from neptune.transport.base import Disconnected, Event, Received, TransportClosed


class Inbox:
    """A queue of events for one waiting reader. Used from one event loop.

    Only received messages are dropped, as long as there are any: that a connection began or ended is worth more.
    """

    def __init__(self, *, limit: int = 10_000, limit_bytes: int = 64 * 2**20) -> None:
        """Create an empty inbox that holds `limit` events and `limit_bytes` of payload at most."""
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self.dropped = 0
        """Messages dropped since the start."""

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> None:
        """Append `event` and wake the reader. After `close` nothing happens."""
        if self._closed:
            return
        if isinstance(event, Disconnected) and self._events and isinstance(self._events[-1], Disconnected):
            self._events.pop()  # the newest failed attempt says all that its predecessor did
        self._events.append(event)
        if isinstance(event, Received):
            self._bytes += len(event.payload)
        while len(self._events) > self._limit or self._bytes > self._limit_bytes:
            self._drop_oldest()
        self._wake()

    async def get(self) -> Event:
        """Wait for the oldest event.

        Raises:
            TransportClosed: when the inbox is closed, at once, whatever is left in it.
        """
        while not self._events and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._closed:
            raise TransportClosed("the transport is closed")
        return self._remove(0)

    def close(self) -> None:
        """Forget what is left and wake the reader."""
        self._closed = True
        self._events.clear()
        self._bytes = 0
        self._wake()

    def _drop_oldest(self) -> None:
        messages = (index for index, event in enumerate(self._events) if isinstance(event, Received))
        self._remove(next(messages, 0))
        self.dropped += 1

    def _remove(self, index: int) -> Event:
        event = self._events[index]
        del self._events[index]
        if isinstance(event, Received):
            self._bytes -= len(event.payload)
        return event

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
