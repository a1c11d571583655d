"""Looks at the files of datasets, has them counted, and hands on what is new. The shell around `schedule`.

Looks and counts run in threads, in short steps, so that the loop stays free; at most two files are read at a time.
Neighbours: `watches` wakes it early, `counting` does the work, `agent` stores and reports the news.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from neptune.clock import Clock
from neptune.edge.counting import Checkpoint, Look, Target
from neptune.edge.problems import Problem, unexpected
from neptune.edge.reader import Reader
from neptune.edge.results import Result
from neptune.edge.schedule import News, Schedule, Ticket
from neptune.edge.threads import in_thread
from neptune.edge.watches import Watches
from neptune.protocol.messages import DesiredObject

#: Files that are read at a time: two keep a disk busy while a large one cannot hold up all the others.
_READERS = 2
#: How long a thread counts before it asks whether to go on (seconds).
_STEP_SECONDS = 0.05


class Monitor:
    """Watches over the datasets of a node.

    `tell` is called in the event loop with everything that is new; it must not block.
    """

    def __init__(
        self, *, reader: Reader, poll_seconds: float, interval_seconds: float, clock: Clock,
        tell: Callable[[News], None],
    ) -> None:  # fmt: skip
        self._reader = reader
        self._clock = clock
        self._tell = tell
        self._schedule = Schedule(poll_seconds, interval_seconds)
        self._poke = asyncio.Event()
        self._readers = asyncio.Semaphore(_READERS)
        self._watches = Watches(self._wake, self._wake_all)

    def put(self, item: DesiredObject, result: Result | None = None) -> None:
        """Take a new or changed dataset; `result` is what the disk has of it."""
        self._schedule.put(item, self._clock.monotonic(), result)
        self._poke.set()

    def forget(self, uid: str) -> None:
        """Drop a dataset."""
        self._schedule.forget(uid)
        self._watches.watch(uid, None)

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watches.run(), name="watches")
                while True:
                    await self._look(self._schedule.due(self._clock.monotonic()), group)
                    for news in self._schedule.tell(self._clock.monotonic()):
                        self._tell(news)
                    await self._sleep()
        finally:
            self._watches.close()

    async def _look(self, tickets: list[Ticket], group: asyncio.TaskGroup) -> None:
        if not tickets:
            return
        looks = await in_thread(self._look_at, tickets)
        for ticket, found in zip(tickets, looks, strict=True):
            if not self._schedule.is_current(ticket):
                continue
            self._watches.watch(ticket.uid, found.path)
            if isinstance(found.outcome, Target):
                self._schedule.begun(ticket, self._clock.monotonic())
                group.create_task(self._count(ticket, found.outcome), name=f"count {ticket.uid}")
            else:
                self._finish(ticket, found.outcome)

    def _look_at(self, tickets: Sequence[Ticket]) -> list[Look]:
        return [self._look_at_one(ticket) for ticket in tickets]

    def _look_at_one(self, ticket: Ticket) -> Look:
        try:
            return self._reader.look(ticket.url, ticket.format, ticket.known)
        except Exception as error:  # noqa: BLE001  # whatever a spec or a disk comes up with, the other datasets must not suffer
            return Look(None, unexpected(error))

    async def _count(self, ticket: Ticket, target: Target) -> None:
        count = self._reader.count(target, ticket.known)
        outcome = None
        async with self._readers:
            try:
                while outcome is None and self._schedule.is_current(ticket):
                    outcome = await in_thread(count.step, _STEP_SECONDS)
                    self._schedule.progressed(ticket, *count.progress)
            except Exception as error:  # noqa: BLE001  # as with a look
                outcome = unexpected(error)
            finally:
                count.close()
        if outcome is not None:
            self._finish(ticket, outcome, count.seconds)

    def _finish(self, ticket: Ticket, outcome: Checkpoint | Problem, cost_seconds: float = 0.0) -> None:
        wall = f"{self._clock.now():%Y-%m-%dT%H:%M:%SZ}"
        now = self._clock.monotonic()
        news = self._schedule.finished(ticket, outcome, now, wall, cost_seconds=cost_seconds)
        self._poke.set()
        if news is not None:
            self._tell(news)

    def _wake(self, uid: str) -> None:
        self._schedule.wake(uid, self._clock.monotonic())
        self._poke.set()

    def _wake_all(self) -> None:
        self._schedule.wake_all(self._clock.monotonic())
        self._poke.set()

    async def _sleep(self) -> None:
        """Wait for the next deadline, or for something that may have moved it."""
        delay = self._schedule.next_deadline() - self._clock.monotonic()
        try:
            async with asyncio.timeout(max(0.0, delay) if delay != float("inf") else None):
                await self._poke.wait()
        except TimeoutError:
            return
        self._poke.clear()
