"""A bounded number of requests at a time, the most urgent first.

Invariant: there are never more holders than slots, and a slot that comes back goes to whoever waits and may have it.
Why: an API server that gets more than it can work on queues them, whatever they are for; here what waits is ordered,
so that an edit does not stand behind the initial list, and while edits come that list does not fill the server.
Neighbours: `http` takes a slot a request; `controller` says how urgent the requests of a call are.
"""

from __future__ import annotations

import asyncio
import heapq
from contextvars import ContextVar
from itertools import count

#: Changes seldom come alone: the first one of many meets a full server, those within this time of another do not.
#: Short, since the renewal of a lease each 2 s is urgent as well.
YIELD_SECONDS = 0.5

#: How urgent the requests of this task, and of those that it starts, are: higher goes first.
priority: ContextVar[int] = ContextVar("priority of requests", default=0)


class Slots:
    """`limit` holders at a time. Used as `async with slots:`; who waits is served by priority, then by arrival.

    For `YIELD_SECONDS` after anybody of priority 0 or more got one, those below get no more than `low` slots.
    """

    def __init__(self, limit: int, low: int) -> None:
        self._free = limit
        self._free_for_low = low  # below 0 where nobody else asked for long
        self._yield_until = float("-inf")
        self._numbers = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def __aenter__(self) -> None:
        urgency = priority.get()
        if self._admits(urgency):
            self._take(urgency)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-urgency, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot came at the same moment
                self._give_back(urgency)
            raise

    async def __aexit__(self, *_: object) -> None:
        self._give_back(priority.get())

    def _admits(self, urgency: int) -> bool:
        if urgency >= 0 or self._free_for_low > 0:
            return self._free > 0
        return self._free > 0 and _now() >= self._yield_until

    def _take(self, urgency: int) -> None:
        self._free -= 1
        if urgency < 0:
            self._free_for_low -= 1
        else:
            self._yield_until = _now() + YIELD_SECONDS

    def _give_back(self, urgency: int) -> None:
        self._free += 1
        if urgency < 0:
            self._free_for_low += 1
        while self._waiting and self._admits(-self._waiting[0][0]):
            urgency, _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # else whoever waited was cancelled
                self._take(-urgency)
                turn.set_result(None)


def _now() -> float:
    return asyncio.get_running_loop().time()
