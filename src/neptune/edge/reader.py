"""The port to the data of a node: how the monitor looks at files and has them counted.

`DiskReader` looks and counts in threads, and large or packed files in processes; what hangs is left behind. A look that
finds a very small file counts it.
Neighbours: `monitor` asks; `looking`, `counting` and `children` do the work; `stalls` keeps what hangs apart. A
simulation has files of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from neptune.edge.children import Children
from neptune.edge.compression import is_compressed
from neptune.edge.counting import Checkpoint, FileCount, Target
from neptune.edge.formats import BUILT_IN
from neptune.edge.looking import Content, Look, Stamps, Work, has_changed, look, outside
from neptune.edge.problems import Problem, unexpected
from neptune.edge.remote import is_remote
from neptune.edge.schedule import Ticket
from neptune.edge.stalls import PATIENCE_SECONDS, Stalls, hanging
from neptune.edge.threads import StalledError, Threads

#: More than this is counted by a process of its own (bytes): pure Python takes 40 ms for it, a new process 100.
HEAVY_BYTES = 32 * 2**20
#: No more than this is counted where it is looked at (bytes): it takes less than a word from thread to thread.
AT_ONCE_BYTES = 64 * 2**10
#: How long a thread counts before it asks whether to go on (seconds).
_STEP_SECONDS = 0.05

#: What opens an object at a url, by the keys of a Secret.
Values = Mapping[str, str]
#: Told of the bytes counted so far, and of all.
Progress = Callable[[int, int], None]


class Seen(NamedTuple):
    """What a poll compares. `stamps` is None where only a look can tell."""

    uid: str
    path: str
    stamps: Stamps | None


class Found(NamedTuple):
    """What a look found, and the seconds that it took; `counted` is what came of work that was done at once."""

    ticket: Ticket
    look: Look
    seconds: float
    counted: Content | Problem | None = None


class Reader(Protocol):
    """Looks at the data of datasets and counts it."""

    def when_answering(self, call: Callable[[], None]) -> None:
        """Call that, in the event loop, whenever something that hung answers again."""
        ...

    async def look(self, tickets: Sequence[Ticket]) -> list[Found]:
        """Look at datasets; of their files only what is very small is read."""
        ...

    async def changed(self, seen: Sequence[Seen]) -> list[str]:
        """Return the uids of what looks otherwise now, or may."""
        ...

    async def count(
        self, target: Target, progress: Progress, *, heavy: bool, credentials: Values | None = None
    ) -> Checkpoint | Problem | None:
        """Count a file. None means that there is more to do than was thought: ask again with `heavy`."""
        ...

    async def close(self) -> None:
        """Let go of everything; what hangs is not waited for."""
        ...


class DiskReader:
    """Files below `roots` on this machine, and objects at urls below those of `roots` that are urls."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = tuple(roots)
        self._threads = Threads(PATIENCE_SECONDS)
        self._on_answer: Callable[[], None] | None = None
        self._stalls = Stalls(self._threads, self._answered)
        self._children = Children()

    def when_answering(self, call: Callable[[], None]) -> None:
        """See `Reader.when_answering`."""
        self._on_answer = call

    async def look(self, tickets: Sequence[Ticket]) -> list[Found]:
        """See `Reader.look`. What hangs is a problem, and holds up nothing else."""
        items = [(path_of(ticket), ticket) for ticket in tickets]
        looks = await self._stalls.over(items, partial(_look_at, roots=self._roots))
        return [found or Found(ticket, Look(hanging(str(ticket.url))), 0.0) for ticket, found in looks]

    async def changed(self, seen: Sequence[Seen]) -> list[str]:
        """See `Reader.changed`. What hangs says nothing."""
        items = [(known.path, known) for known in seen]
        return [known.uid for known, differs in await self._stalls.over(items, _differs) if differs is not False]

    async def count(
        self, target: Target, progress: Progress, *, heavy: bool, credentials: Values | None = None
    ) -> Checkpoint | Problem | None:
        """See `Reader.count`."""
        if not heavy:
            return await self._count_in_thread(target, progress)
        elsewhere = outside(target.path, credentials, self._roots) if credentials else None
        return elsewhere or await self._children.count(target, progress, credentials)

    async def close(self) -> None:
        """See `Reader.close`."""
        self._threads.close()
        await self._children.close()

    def _answered(self) -> None:
        if self._on_answer:
            self._on_answer()

    async def _count_in_thread(self, target: Target, progress: Progress) -> Checkpoint | Problem | None:
        count = FileCount(target)
        try:
            while (outcome := await self._threads.call(count.step, _STEP_SECONDS)) is None:
                done, total = count.progress
                progress(done, total)
                if total - done > HEAVY_BYTES:
                    return None  # the file was not continued after all
        except StalledError as stall:
            self._stalls.add(target.path, stall.ended)
            return hanging(target.path)
        except Exception as error:  # noqa: BLE001  # as with a look
            return unexpected(error)
        finally:
            count.close()
        return outcome


def is_heavy(work: Work) -> bool:
    """Tell whether files want a process of their own: for their size, or for what has to be done to read them."""
    packed = any(is_compressed(target.path) or target.format not in BUILT_IN for target in work.targets)
    remote = any(is_remote(target.path) for target in work.targets)
    return packed or remote or work.size > HEAVY_BYTES


def path_of(ticket: Ticket) -> str:
    """Return the path that may hang, near enough: a url that names none is no trouble."""
    return str(ticket.url).removeprefix("file://")


def _differs(seen: Seen) -> bool:
    return seen.stamps is None or has_changed(seen.stamps)


def _look_at(ticket: Ticket, roots: Sequence[str]) -> Found:
    started, counted = time.monotonic(), None
    try:
        looked = look(ticket.url, ticket.format, roots, ticket.known)
        if isinstance(looked.outcome, Work) and looked.stamps is not None:  # one file, and nothing to wait for
            counted = _counted(looked.outcome)
    except Exception as error:  # noqa: BLE001  # whatever a spec or a disk comes up with, the other datasets must not suffer
        looked = Look(unexpected(error))
    return Found(ticket, looked, time.monotonic() - started, counted)


def _counted(work: Work) -> Content | Problem | None:
    """Count a very small file. None where there is more to do, or turns out to be."""
    if work.size > AT_ONCE_BYTES or is_heavy(work):
        return None
    (target,) = work.targets
    count = FileCount(target)
    try:
        outcome = count.step(_STEP_SECONDS)
    finally:
        count.close()
    return Content({target.path: outcome}) if isinstance(outcome, Checkpoint) else outcome
