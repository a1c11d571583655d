"""One task on its way to a worker and back. The shell around `orders`, `ledger` and `folder`.

Flow, again and again: bring `task.json` in step, take reports, store and tell what is due, sleep until something
happens. One task does one thing at a time; tasks do not wait for each other.
Invariants: a report's file goes only when the store has what it said, or something newer; a folder has one task.
Neighbours: `keeper` starts, wakes and ends it; `command` runs a worker where the node's settings say so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neptune.clock import Clock
from neptune.edge.ending import to_its_end
from neptune.edge.problems import shown
from neptune.edge.tasks.folder import Folder
from neptune.edge.tasks.ledger import Ledger
from neptune.edge.tasks.orders import Find, Standing, Waiting, check_names, document, says_the_same
from neptune.edge.tasks.results import WorkResult, failed, pending
from neptune.edge.threads import in_thread
from neptune.log import get_logger
from neptune.protocol.messages import DesiredObject, Json, StatusReport
from neptune.protocol.work import PENDING

#: How long events in `reports/` are gathered (seconds).
DEBOUNCE_SECONDS = 0.05
#: Names that are looked at in one go, and reports that are read in one: some milliseconds in a thread.
_NAMES, _READ = 10_000, 64
#: Every so many polls a folder is looked at whose changes inotify tells.
_COVERED_ROUNDS = 5

_log = get_logger()


#: Runs the command for a task in its folder until the work is over. `settled` takes the reports that are there and
#: tells whether one ends the work; `say` tells the cloud how the command does, `fail` that it failed for good.
Supervise = Callable[
    [Path, Callable[[], Awaitable[bool]], Callable[[str], None], Callable[[str], None]], Coroutine[Any, Any, None]
]


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """`root` is the folder of the tasks' folders, without symbolic links.

    `poll_seconds` is how often a folder is looked at without a hint, `interval_seconds` the time between two reports
    to the cloud of a worker that reports all the time.
    """

    node: str
    root: Path
    poll_seconds: float
    interval_seconds: float


@dataclass(frozen=True, slots=True)
class Ports:
    """What the agent does for its tasks; all of it is called in the event loop.

    `samples_of` gives the last counted number of a dataset by uid, `standing` what was found where it is, `save` stores
    results and returns whether they are on the disk, `tell` takes what the cloud should know.
    """

    samples_of: Callable[[str], int | None]
    standing: Standing
    save: Callable[[list[tuple[str, WorkResult]]], Awaitable[bool]]
    tell: Callable[[StatusReport], None]


@dataclass(slots=True)
class Desk:
    """What all tasks of a node share. `watch` asks to be woken for a path; `supervise` is there for a command."""

    settings: TaskSettings
    clock: Clock
    ports: Ports
    find: Find
    watch: Callable[[str, str | None], bool]
    supervise: Supervise | None
    #: Who has a folder, by namespace and name.
    holders: dict[tuple[str, str], Handover] = field(default_factory=dict)
    #: One thread at a time is enough for all folders.
    disk: asyncio.Lock = field(default_factory=asyncio.Lock)


class Handover:
    """One task, by its uid. `result` is what the disk has of it."""

    def __init__(self, desk: Desk, item: DesiredObject, result: WorkResult | None) -> None:
        self.item = item
        self._desk = desk
        self._folder = Folder(desk.settings.root / item.namespace / item.name)
        self._ledger = Ledger(desk.settings.interval_seconds, result)
        self._poke = asyncio.Event()
        self._is_gone = False
        # What `task.json` says, once `_is_open`; and what the worker that runs was given.
        self._is_open = False
        self._said: Json | None = None
        self._given: Json | None = None
        self._worker: asyncio.Task[None] | None = None
        #: Whether the agent's word is that something is missing.
        self._is_waiting = result is None or result.work.state == PENDING
        # Reports are taken by `run` and, when a command ends, by who supervises it.
        self._taking = asyncio.Lock()
        self._is_covered = False
        self._problem = ""
        self._pause = DEBOUNCE_SECONDS

    def put(self, item: DesiredObject) -> None:
        """Take a changed order."""
        self.item = item
        self._poke.set()

    @property
    def is_waiting(self) -> bool:
        """Whether it is not handed out, for something is missing."""
        return self._is_waiting

    def wake(self) -> None:
        """Look again soon: something happened."""
        self._poke.set()

    def forget(self) -> None:
        """The node has this task no more: `run` cleans up and ends."""
        self._is_gone = True
        self._poke.set()

    async def run(self) -> None:
        """Serve until forgotten or cancelled; whatever is on the disk then serves the next agent."""
        place = self.item.namespace, self.item.name
        try:
            if await self._claimed(place):
                await self._serve()
        finally:
            await self._stop_worker()
            self._desk.watch(self.item.uid, None)
            if self._desk.holders.get(place) is self:
                del self._desk.holders[place]

    async def _claimed(self, place: tuple[str, str]) -> bool:
        """Wait for the folder; return False when the task is gone before that."""
        while True:
            try:
                check_names(self.item)
            except Waiting as waiting:
                self._wait(str(waiting))
            else:
                holder = self._desk.holders.setdefault(place, self)
                if holder is self:
                    return True
                self._wait(f"{self._folder.path} is in use by the {holder.item.kind} of that name: waiting for its end")
            if self._is_gone:
                return False
            await self._keep()
            await self._sleep()

    async def _serve(self) -> None:
        while not self._is_gone:
            try:
                if not self._is_open:
                    self._said = await self._on_disk(self._folder.open, self.item.uid)
                    self._is_open = True
                await self._bring_in_step()
                async with self._taking:
                    await self._take()
                self._problem = ""
            except OSError as error:
                self._say_problem(error)
            async with self._taking:
                await self._keep()
            await self._sleep()
        try:
            await self._on_disk(self._folder.withdraw)
            await self._stop_worker()
            await self._on_disk(self._folder.remove)
        except OSError as error:
            self._say_problem(error)

    async def _bring_in_step(self) -> None:
        """Let `task.json` say what the order is now, and have a worker that knows it."""
        item = self.item
        await self._follow_generation()
        try:
            ports = self._desk.ports
            wanted = document(item, self._desk.settings.node, self._desk.find, ports.samples_of, ports.standing)
        except Waiting as waiting:
            await self._on_disk(self._folder.withdraw)
            self._said = None
            await self._stop_worker()
            self._wait(str(waiting))
            return
        if self._said is None or not says_the_same(self._said, wanted):
            await self._on_disk(self._folder.write, wanted)
            self._said = wanted
        self._is_covered = self._desk.watch(item.uid, f"{self._folder.reports}/")
        last = self._ledger.result
        if self._is_waiting or last is None or last.generation != item.generation:
            self._is_waiting = False
            self._say(f"waiting for a worker to take {self._folder.path}")
        await self._employ(wanted)

    async def _follow_generation(self) -> None:
        """Let the last words of another generation not count for this one."""
        said, last = self._said, self._ledger.result
        before = int(said["generation"]) if said is not None else last.generation if last else self.item.generation
        if before < self.item.generation:
            await self._stop_worker()
            await self._on_disk(self._folder.reset)
        elif before > self.item.generation:
            # A backup was restored. Whoever had finished this one has heard since that it is no more, and what he said
            # is gone: with the folder goes what he remembers in it, and he starts anew.
            await self._stop_worker()
            await self._on_disk(self._folder.remove)
            self._said = None

    async def _employ(self, wanted: Json) -> None:
        """Have the command run on this work, if the node has one and the work is not over."""
        if self._desk.supervise is None or (self._given is not None and says_the_same(self._given, wanted)):
            return
        await self._stop_worker()
        if not self._ledger.is_over(self.item.generation):
            self._given = wanted
            supervised = self._desk.supervise(self._folder.path, self._settled, self._say, self._fail)
            self._worker = asyncio.create_task(supervised, name="task command")

    async def _stop_worker(self) -> None:
        worker, self._worker, self._given = self._worker, None, None
        if worker is not None:
            worker.cancel()
            await to_its_end(asyncio.wait({worker}))
            if not worker.cancelled():
                worker.result()

    async def _settled(self) -> bool:
        """Take the reports that are there, and tell whether the work is over."""
        async with self._taking:
            await self._take()
            await self._keep()
        return self._ledger.is_over(self._generation())

    async def _take(self) -> None:
        """Take reports, a few at a time."""
        began = self._desk.clock.monotonic()
        if self._said is not None and not await self._on_disk(self._folder.is_whole):
            self._said = None  # somebody removed a part of it: write it again
            self._poke.set()
        names = await self._on_disk(self._folder.names, _NAMES)
        if len(names) == _NAMES:
            self._poke.set()
        names = [name for name in names if name != self._ledger.file]
        refused: list[tuple[str, str]] = []
        for start in range(0, len(names), _READ):
            generation = self._generation()
            some = names[start : start + _READ]
            batch = await self._on_disk(self._folder.read, some, self.item.uid, generation, self._ledger.result)
            await self._on_disk(self._folder.discard, self._ledger.take(batch, generation))
            if batch.best is not None:
                self._is_waiting = False
            await self._on_disk(self._folder.refuse, batch.refused)
            refused += batch.refused
            if self._ledger.is_over(generation):
                await self._keep()
        if refused:
            self._say_refused(refused)
        # A worker that reports all the time leaves the agent time for others, and its end is not held up for long.
        spent = self._desk.clock.monotonic() - began
        self._pause = max(DEBOUNCE_SECONDS, min(spent, self._desk.settings.interval_seconds))

    async def _keep(self) -> None:
        """Store and tell what is due; what the disk could not take is tried again."""
        ledger, result = self._ledger, self._ledger.result
        now, due = self._desk.clock.monotonic(), ledger.due_at()
        is_due = due is not None and due <= now
        if result is None or not (is_due or (ledger.is_told and not ledger.is_stored)):
            return
        is_stored = await self._desk.ports.save([(self.item.uid, result)])
        if is_stored and (file := ledger.stored(result)) is not None:
            await self._on_disk(self._folder.discard, [file])
        if is_due and ledger.result is result:
            ledger.told(now)
            self._desk.ports.tell(result.report(self.item.uid))

    async def _sleep(self) -> None:
        seconds = self._desk.settings.poll_seconds * (_COVERED_ROUNDS if self._is_covered and not self._problem else 1)
        if (due := self._ledger.due_at()) is not None:
            seconds = min(seconds, max(0.0, due - self._desk.clock.monotonic()))
        try:
            async with asyncio.timeout(seconds):
                await self._poke.wait()
        except TimeoutError:
            return
        await asyncio.sleep(self._pause)
        self._poke.clear()

    async def _on_disk(self, function: Callable[..., Any], *args: Any) -> Any:  # any method of the folder
        async with self._desk.disk:
            return await in_thread(function, *args)

    def _generation(self) -> int:
        """Return the generation that the worker knows of."""
        return int(self._said["generation"]) if self._said is not None else self.item.generation

    def _wait(self, message: str) -> None:
        self._is_waiting = True
        self._say(message)

    def _say(self, message: str) -> None:
        self._ledger.say(pending(self.item.generation, self._wall(), message))
        self._poke.set()

    def _fail(self, message: str) -> None:
        self._ledger.say(failed(self._generation(), self._wall(), message))
        self._poke.set()

    def _wall(self) -> str:
        return f"{self._desk.clock.now():%Y-%m-%dT%H:%M:%SZ}"

    def _say_problem(self, error: OSError) -> None:
        problem = f"{error.filename or self._folder.path}: {error.strerror}"
        if problem != self._problem:
            self._problem = problem
            _log.error("task folder cannot be used", reason=problem, next="trying again")
        if self._said is None:
            self._wait(f"the folder cannot be used: {problem}; trying again")

    def _say_refused(self, refused: list[tuple[str, str]]) -> None:
        for reason, count in Counter(reason for _, reason in refused).most_common(3):
            _log.warning(
                "reports rejected",
                namespace=self.item.namespace,
                name=self.item.name,
                count=count,
                reason=shown(reason),
                kept=str(self._folder.path / "rejected"),
            )
