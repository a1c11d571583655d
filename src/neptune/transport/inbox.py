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
        self._end: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.dropped = 0
        """Messages dropped since the start."""

    def __len__(self) -> int:
        return len(self._events)

    def watch(self, task: asyncio.Task[None]) -> None:
        """Fail with what `task`, which fills this inbox, may fail with: nobody else looks at it."""
        task.add_done_callback(self._stopped)

    def put(self, event: Event) -> None:
        """Append `event` and wake the reader. After `close` or `fail` nothing happens."""
        if self._end is not None:
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
            BaseException: what `fail` was given.
        """
        while not self._events and self._end is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._end is not None:
            raise self._end
        return self._remove(0)

    def close(self) -> None:
        """Forget what is left and wake the reader."""
        self.fail(TransportClosed("the transport is closed"))

    def fail(self, error: BaseException) -> None:
        """Let the reader have `error` in place of any event: what fills this inbox has stopped for good."""
        self._end = error
        self._events.clear()
        self._bytes = 0
        self._wake()

    def _stopped(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

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
