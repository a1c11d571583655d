"""Looks at the files of datasets, has them counted, and hands on what is new. The shell around `schedule`.

The server of an object at a url is asked once a minute, by a counting process.
A stat of every file every few seconds is the truth; where inotify covers a file, every fifth time is enough, for what
makes no event: a mapped file that is written, a mount that comes or goes, a server's file system. A full look follows
only where a stat differs. Looks and small counts run in threads, large ones and packed files in processes.
Neighbours: `looking` looks, `watches` wakes it early, `counting` and `children` count, `stalls` keeps what hangs apart,
`agent` stores and reports the news.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from neptune.clock import Clock
from neptune.edge.children import PROCESSES, Children
from neptune.edge.compression import is_compressed
from neptune.edge.counting import Checkpoint, FileCount, Target
from neptune.edge.formats import BUILT_IN
from neptune.edge.looking import Content, Look, Stamps, Work, has_changed, look
from neptune.edge.problems import Problem, unexpected
from neptune.edge.remote import is_remote
from neptune.edge.results import Result
from neptune.edge.schedule import TELL_AFTER_SECONDS, News, Schedule, Ticket
from neptune.edge.stalls import PATIENCE_SECONDS, Stalls, hanging
from neptune.edge.threads import StalledError, Threads
from neptune.edge.watches import Watches
from neptune.protocol.messages import DesiredObject

#: Datasets with small files that are counted at a time: two keep a disk busy.
_READERS = 2
#: How long a thread counts before it asks whether to go on (seconds).
_STEP_SECONDS = 0.05
#: More than this is counted by a process of its own (bytes): pure Python takes 40 ms for it, a new process 100.
HEAVY_BYTES = 32 * 2**20
#: What a server may take to say that an object did not change, its retries included, before that looks like work.
_ASKING_SECONDS = 30.0
#: Every so many polls a file is looked at whose changes inotify tells.
_COVERED_ROUNDS = 5

_Job = tuple[Ticket, Work]


class _Seen(NamedTuple):
    """What a poll compares. `stamps` is None where only a look can tell."""

    path: str
    stamps: Stamps | None


class Monitor:
    """Watches over the datasets of a node.

    `poll_seconds` is how often the files of each are looked at without any cause, `url_seconds` how often the server of
    an object is asked. `tell` is called in the event loop
    with everything that is new; it must not block.
    """

    def __init__(
        self, *, roots: Sequence[str], poll_seconds: float, interval_seconds: float, clock: Clock,
        tell: Callable[[News], None], url_seconds: float = 60.0,
    ) -> None:  # fmt: skip
        self._roots = tuple(roots)
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._tell = tell
        self._schedule = Schedule(interval_seconds)
        self._poke = asyncio.Event()
        self._threads = Threads(PATIENCE_SECONDS)
        self._stalls = Stalls(self._threads, self._wake_all)
        self._children = Children()
        self._watches = Watches(self._wake, self._wake_all)
        self._covered: dict[str, _Seen] = {}
        self._uncovered: dict[str, _Seen] = {}
        self._remote: dict[str, _Seen] = {}
        self._remote_rounds = max(1, round(url_seconds / poll_seconds))
        self._small: asyncio.Queue[_Job] = asyncio.Queue()
        self._heavy: asyncio.Queue[_Job] = asyncio.Queue()
        self._counts: dict[str, tuple[Ticket, asyncio.Task[None]]] = {}

    def put(self, item: DesiredObject, result: Result | None = None) -> None:
        """Take a new or changed dataset; `result` is what the disk has of it."""
        self._schedule.put(item, self._clock.monotonic(), result)
        self._drop_count(item.uid)
        self._poke.set()

    def forget(self, uid: str) -> None:
        """Drop a dataset."""
        self._schedule.forget(uid)
        self._drop_count(uid)
        self._watches.watch(uid, None)
        for seen in (self._covered, self._uncovered, self._remote):
            seen.pop(uid, None)

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watches.run(), name="watches")
                group.create_task(self._poll(), name="poll")
                for queue, workers in ((self._small, _READERS), (self._heavy, PROCESSES)):
                    for _ in range(workers):
                        group.create_task(self._work(queue), name="count")
                while True:
                    await self._look(self._schedule.due(self._clock.monotonic()))
                    for news in self._schedule.tell(self._clock.monotonic()):
                        self._tell(news)
                    await self._sleep()
        finally:
            self._watches.close()
            self._threads.close()
            await self._children.close()

    async def _poll(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(self._poll_seconds)
            number += 1
            seen = list(self._uncovered.items())
            if number % _COVERED_ROUNDS == 0:
                seen += self._covered.items()
            if number % self._remote_rounds == 0:
                seen += self._remote.items()
            items = [(known.path, (uid, known.stamps)) for uid, known in seen]
            for (uid, _), differs in await self._stalls.over(items, _differs):
                if differs is not False:
                    self._wake(uid)

    async def _look(self, tickets: list[Ticket]) -> None:
        if not tickets:
            return
        items = [(_path_of(ticket), ticket) for ticket in tickets]
        for ticket, found in await self._stalls.over(items, partial(_look_at, roots=self._roots)):
            if not self._schedule.is_current(ticket):
                continue
            looked, seconds = found or (Look(hanging(str(ticket.url))), 0.0)
            self._remember(ticket, looked)
            if isinstance(looked.outcome, Work):
                quiet_seconds = _ASKING_SECONDS if looked.is_remote and ticket.known else TELL_AFTER_SECONDS
                self._schedule.begun(ticket, self._clock.monotonic(), quiet_seconds=quiet_seconds)
                queue = self._heavy if _is_heavy(looked.outcome) else self._small
                queue.put_nowait((ticket, looked.outcome))
            else:
                self._finish(ticket, looked.outcome, seconds)

    def _remember(self, ticket: Ticket, looked: Look) -> None:
        is_covered = self._watches.watch(ticket.uid, looked.watch) and looked.is_plain and looked.stamps is not None
        for seen in (self._covered, self._uncovered, self._remote):
            seen.pop(ticket.uid, None)
        here = self._remote if looked.is_remote else self._covered if is_covered else self._uncovered
        here[ticket.uid] = _Seen(_path_of(ticket), looked.stamps)

    async def _work(self, queue: asyncio.Queue[_Job]) -> None:
        """Count one dataset after the other."""
        while True:
            ticket, work = await queue.get()
            if not self._schedule.is_current(ticket):
                continue
            count = asyncio.create_task(self._count(ticket, work, in_process=queue is self._heavy))
            self._counts[ticket.uid] = ticket, count
            try:
                await asyncio.wait({count})
            finally:
                count.cancel()
                await asyncio.wait({count})
            if not count.cancelled():
                count.result()

    async def _count(self, ticket: Ticket, work: Work, *, in_process: bool) -> None:
        started, counted = self._clock.monotonic(), 0
        files, problem = dict(work.held), None
        for target in work.targets:
            progress = partial(self._progressed, ticket, counted, work.size)
            counter = self._children.count if in_process else self._count_in_thread
            outcome = await counter(target, progress)
            if outcome is None:
                self._heavy.put_nowait((ticket, work))
                return
            if isinstance(outcome, Problem):
                problem = outcome
                break
            files[target.path] = outcome
            counted += outcome.proof.size - (target.known.proof.size if target.known else 0)
        self._counts.pop(ticket.uid, None)
        self._finish(ticket, problem or Content(files), self._clock.monotonic() - started)

    async def _count_in_thread(
        self, target: Target, progress: Callable[[int, int], None]
    ) -> Checkpoint | Problem | None:  # fmt: skip
        """Return None when there is too much to do: the file was not continued after all."""
        count = FileCount(target)
        try:
            while (outcome := await self._threads.call(count.step, _STEP_SECONDS)) is None:
                done, total = count.progress
                progress(done, total)
                if total - done > HEAVY_BYTES:
                    return None
        except StalledError as stall:
            self._stalls.add(target.path, stall.ended)
            return hanging(target.path)
        except Exception as error:  # noqa: BLE001  # as with a look
            return unexpected(error)
        finally:
            count.close()
        return outcome

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


def _path_of(ticket: Ticket) -> str:
    """Return the path that may hang, near enough: a url that names none is no trouble."""
    return str(ticket.url).removeprefix("file://")


def _is_heavy(work: Work) -> bool:
    packed = any(is_compressed(target.path) or target.format not in BUILT_IN for target in work.targets)
    remote = any(is_remote(target.path) for target in work.targets)
    return packed or remote or work.size > HEAVY_BYTES


def _differs(seen: tuple[str, Stamps | None]) -> bool:
    return seen[1] is None or has_changed(seen[1])


def _look_at(ticket: Ticket, roots: Sequence[str]) -> tuple[Look, float]:
    """Look at a dataset, and tell how long that took (seconds)."""
    started = time.monotonic()
    try:
        looked = look(ticket.url, ticket.format, roots, ticket.known)
    except Exception as error:  # noqa: BLE001  # whatever a spec or a disk comes up with, the other datasets must not suffer
        looked = Look(unexpected(error))
    return looked, time.monotonic() - started
