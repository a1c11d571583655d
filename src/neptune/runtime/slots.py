"""A bounded number of requests at a time, the most urgent first.

Invariant: there are never more holders than slots, and a slot that is free never waits while somebody waits for it.
Why: an API server that gets more than it can work on queues them, whatever they are for; here what waits is ordered,
so that an edit does not stand behind the initial list.
Neighbours: `http` takes a slot a request; `controller` says how urgent the requests of a call are.
"""

from __future__ import annotations

import asyncio
import heapq
from contextvars import ContextVar
from itertools import count

#: How urgent the requests of this task, and of those that it starts, are: higher goes first.
priority: ContextVar[int] = ContextVar("priority of requests", default=0)


class Slots:
    """`limit` holders at a time. Used as `async with slots:`; who waits is served by priority, then by arrival."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._numbers = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-priority.get(), next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot came at the same moment
                self._pass_on()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # else whoever waited was cancelled
                turn.set_result(None)
                return
        self._free += 1
