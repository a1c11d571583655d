"""Looks at the files of datasets, has them counted, and hands on what is new. The shell around `schedule`.

The server of an object at a url is asked once a minute, by a counting process; where the dataset names credentials,
once the `keyring` has them, for which nothing else waits.
A stat of every file every few seconds is the truth; where inotify covers a file, every fifth time is enough, for what
makes no event: a mapped file that is written, a mount that comes or goes, a server's file system. A full look follows
only where a stat differs.
Neighbours: `reader` looks and counts, `watches` wakes it early, `agent` stores and reports the news.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from neptune.clock import Clock
from neptune.edge.children import PROCESSES
from neptune.edge.keyring import PATIENCE_SECONDS, Keyring, Keys
from neptune.edge.looking import Content, Look, Work
from neptune.edge.problems import Problem, Reason
from neptune.edge.reader import Reader, Seen, is_heavy, path_of
from neptune.edge.results import Result
from neptune.edge.schedule import TELL_AFTER_SECONDS, News, Schedule, Ticket
from neptune.edge.watches import Watches
from neptune.protocol.credentials import MAX_OUT
from neptune.protocol.messages import ConditionReport, DesiredObject

#: Datasets with small files that are counted at a time: two keep a disk busy.
_READERS = 2
#: Datasets that are looked at before what was found is handed on: of thousands not all is held at once.
_LOOKS = 100
#: What a server may take to say that an object did not change, its retries included, before that looks like work.
_ASKING_SECONDS = 30.0
#: Every so many polls a file is looked at whose changes inotify tells.
_COVERED_ROUNDS = 5


class _Job(NamedTuple):
    """Files to count, with what opens them; `refusal` is what a server said to `keys`."""

    ticket: Ticket
    work: Work
    keys: Keys | None = None
    refusal: Problem | None = None


class Monitor:
    """Watches over the datasets of a node.

    `poll_seconds` is how often the files of each are looked at without any cause, `url_seconds` how often the server of
    an object is asked. `tell` is called in the event loop with everything that is new, `ask` with the uid of a dataset
    whose credentials the cloud should send to the `keyring`; neither may block.
    """

    def __init__(
        self, *, reader: Reader, poll_seconds: float, interval_seconds: float, clock: Clock,
        tell: Callable[[News], None], url_seconds: float = 60.0, ask: Callable[[str], None] = lambda uid: None,
    ) -> None:  # fmt: skip
        self._reader = reader
        reader.when_answering(self._wake_all)
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._tell = tell
        self._schedule = Schedule(interval_seconds)
        self.keyring = Keyring(clock, ask, self._wake)
        self._poke = asyncio.Event()
        self._watches = Watches(self._wake, self._wake_all)
        self._covered: dict[str, Seen] = {}
        self._uncovered: dict[str, Seen] = {}
        self._remote: dict[str, Seen] = {}
        self._remote_rounds = max(1, round(url_seconds / poll_seconds))
        self._small: asyncio.Queue[_Job] = asyncio.Queue()
        self._heavy: asyncio.Queue[_Job] = asyncio.Queue()
        self._locked: asyncio.Queue[_Job] = asyncio.Queue()
        self._counts: dict[str, tuple[Ticket, asyncio.Task[None]]] = {}

    def put(self, item: DesiredObject, result: Result | None = None) -> None:
        """Take a new or changed dataset; `result` is what the disk has of it."""
        self._schedule.put(item, self._clock.monotonic(), result)
        self.keyring.forget(item.uid)
        self._drop_count(item.uid)
        self._poke.set()

    def forget(self, uid: str) -> None:
        """Drop a dataset."""
        self._schedule.forget(uid)
        self.keyring.forget(uid)
        self._drop_count(uid)
        self._watches.watch(uid, None)
        for seen in (self._covered, self._uncovered, self._remote):
            seen.pop(uid, None)

    def standing(self, uid: str) -> ConditionReport | None:
        """See `Schedule.standing`."""
        return self._schedule.standing(uid)

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watches.run(), name="watches")
                group.create_task(self._poll(), name="poll")
                for queue, workers in ((self._small, _READERS), (self._heavy, PROCESSES)):
                    for _ in range(workers):
                        group.create_task(self._work(queue), name="count")
                for _ in range(MAX_OUT):
                    group.create_task(self._unlock(), name="unlock")
                while True:
                    await self._look(self._schedule.due(self._clock.monotonic()))
                    for news in self._schedule.tell(self._clock.monotonic()):
                        self._tell(news)
                    await self._sleep()
        finally:
            self._watches.close()
            await self._reader.close()

    async def _poll(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(self._poll_seconds)
            number += 1
            seen = list(self._uncovered.values())
            if number % _COVERED_ROUNDS == 0:
                seen += self._covered.values()
            if number % self._remote_rounds == 0:
                seen += self._remote.values()
            for uid in await self._reader.changed(seen):
                self._wake(uid)

    async def _look(self, tickets: list[Ticket]) -> None:
        for start in range(0, len(tickets), _LOOKS):
            await self._look_at(tickets[start : start + _LOOKS])

    async def _look_at(self, tickets: list[Ticket]) -> None:
        for ticket, looked, seconds, counted in await self._reader.look(tickets):
            if not self._schedule.is_current(ticket):
                continue
            self._remember(ticket, looked)
            if not isinstance(looked.outcome, Work):
                self._finish(ticket, looked.outcome, seconds)
            elif counted is None:
                self._begin(_Job(ticket, looked.outcome), is_remote=looked.is_remote)
            else:
                self._schedule.begun(ticket, self._clock.monotonic())
                self._finish(ticket, counted, seconds)

    def _begin(self, job: _Job, *, is_remote: bool) -> None:
        """Line a job up; it is quiet for as long as it does not look like work."""
        ticket = job.ticket
        quiet_seconds = _ASKING_SECONDS if is_remote and ticket.known else TELL_AFTER_SECONDS
        queue = self._heavy if is_heavy(job.work) else self._small
        if is_remote and ticket.has_credentials and job.keys is None:
            job = job._replace(keys=self.keyring.held(ticket.uid))
            if job.keys is None:
                quiet_seconds, queue = 2 * PATIENCE_SECONDS, self._locked
        self._schedule.begun(ticket, self._clock.monotonic(), quiet_seconds=quiet_seconds)
        queue.put_nowait(job)

    async def _unlock(self) -> None:
        """Get the credentials of one dataset after the other."""
        while True:
            job = await self._locked.get()
            if not self._schedule.is_current(job.ticket):
                continue
            keys = await self.keyring.fetch(job.ticket.uid)
            if isinstance(keys, Problem):
                self._finish(job.ticket, keys, 0.0)
            elif job.refusal and job.keys and job.keys.values == keys.values:
                self._finish(job.ticket, job.refusal, 0.0)
            else:
                self._begin(_Job(job.ticket, job.work, keys), is_remote=True)

    def _remember(self, ticket: Ticket, looked: Look) -> None:
        is_covered = self._watches.watch(ticket.uid, looked.watch) and looked.is_plain and looked.stamps is not None
        for seen in (self._covered, self._uncovered, self._remote):
            seen.pop(ticket.uid, None)
        here = self._remote if looked.is_remote else self._covered if is_covered else self._uncovered
        here[ticket.uid] = Seen(ticket.uid, path_of(ticket), looked.stamps)

    async def _work(self, queue: asyncio.Queue[_Job]) -> None:
        """Count one dataset after the other."""
        while True:
            job = await queue.get()
            ticket = job.ticket
            if not self._schedule.is_current(ticket):
                continue
            count = asyncio.create_task(self._count(job, heavy=queue is self._heavy))
            self._counts[ticket.uid] = ticket, count
            try:
                await asyncio.wait({count})
            finally:
                count.cancel()
                await asyncio.wait({count})
            if not count.cancelled():
                count.result()

    async def _count(self, job: _Job, *, heavy: bool) -> None:
        ticket, work, keys, _ = job
        values = keys.values if keys else None
        started, counted = self._clock.monotonic(), 0
        files, problem = dict(work.held), None
        for target in work.targets:
            progress = partial(self._progressed, ticket, counted, work.size)
            outcome = await self._reader.count(target, progress, heavy=heavy, credentials=values)
            if outcome is None:
                self._heavy.put_nowait(job)
                return
            if isinstance(outcome, Problem):
                if outcome.reason is Reason.PERMISSION_DENIED and keys and not keys.is_fresh:
                    # They may have been changed since the cloud sent them.
                    self._locked.put_nowait(job._replace(refusal=outcome))
                    return
                problem = outcome
                break
            files[target.path] = outcome
            counted += outcome.proof.size - (target.known.proof.size if target.known else 0)
        self._counts.pop(ticket.uid, None)
        self._finish(ticket, problem or Content(files), self._clock.monotonic() - started)

    def _progressed(self, ticket: Ticket, before: int, size: int, done: int, total: int) -> None:
        self._schedule.progressed(ticket, before + done, max(size, before + total))

    def _finish(self, ticket: Ticket, outcome: Content | Problem, seconds: float) -> None:
        wall = f"{self._clock.now():%Y-%m-%dT%H:%M:%SZ}"
        now = self._clock.monotonic()
        news = self._schedule.finished(ticket, outcome, now, wall, cost_seconds=seconds)
        self._poke.set()
        if news is not None:
            self._tell(news)

    def _drop_count(self, uid: str) -> None:
        """End a count that nobody wants any more."""
        ticket, task = self._counts.get(uid, (None, None))
        if ticket is not None and task is not None and not self._schedule.is_current(ticket):
            del self._counts[uid]
            task.cancel()

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
