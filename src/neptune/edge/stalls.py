"""Goes over many paths in a thread, and past those that hang.

A call that does not come back is left behind with its thread, and whatever lies on the same mount is not asked again
until it does. So a server that is gone costs one thread, and the other datasets one wait.
Neighbours: `threads` runs the calls; `monitor` says what is asked, and tells users what hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from neptune.edge.problems import Problem, Reason, shown
from neptune.edge.threads import StalledError, Threads

_T = TypeVar("_T")
_R = TypeVar("_R")

#: A call that takes longer hangs (seconds). Others wait so long once; a disk that wakes later is counted then.
PATIENCE_SECONDS = 5.0
#: How long a thread goes over paths before it shows that it still moves (seconds).
_SLICE_SECONDS = 0.1
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Stalls:
    """What hangs. `on_answer` is called in the event loop when something answers again."""

    def __init__(self, threads: Threads, on_answer: Callable[[], None]) -> None:
        self._threads = threads
        self._on_answer = on_answer
        self._prefixes: set[str] = set()

    async def over(self, items: Sequence[tuple[str, _T]], work: Callable[[_T], _R]) -> list[tuple[_T, _R | None]]:
        """Call `work` for each item, given with its path. None stands for what hangs."""
        found: list[tuple[_T, _R | None]] = []
        while items:
            found += [(item, None) for path, item in items if self.hangs(path)]
            items = [pair for pair in items if not self.hangs(pair[0])] if self._prefixes else items
            results: list[_R] = []
            try:
                await self._threads.call(_some, items, work, results)
            except StalledError as stall:
                done = len(results)
                self.add(items[done][0], stall.ended)
            else:
                done = len(results)
            found += [(item, result) for (_, item), result in zip(items, results[:done], strict=False)]
            items = items[done:]
        return found

    def hangs(self, path: str) -> bool:
        """Tell whether something on the same mount hangs."""
        return any(path == prefix or path.startswith(f"{prefix}/") for prefix in self._prefixes)

    def add(self, path: str, ended: Future[Any]) -> None:
        """Remember that a call for this path has not come back; `ended` is done when it does."""
        prefix = _place_of(path, _mounts())
        self._prefixes.add(prefix)
        loop = asyncio.get_running_loop()

        def answered(_: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._answered, prefix)

        ended.add_done_callback(answered)

    def _answered(self, prefix: str) -> None:
        self._prefixes.discard(prefix)
        self._on_answer()


def hanging(path: str) -> Problem:
    """Return the problem of a path that hangs."""
    return Problem(Reason.READ_FAILED, f"{shown(path)} does not answer: look at its mount; it is counted when it does")


def _some(items: Sequence[tuple[str, _T]], work: Callable[[_T], _R], results: list[_R]) -> None:
    until = time.monotonic() + _SLICE_SECONDS
    for _, item in items:
        results.append(work(item))
        if time.monotonic() > until:
            return


def _place_of(path: str, mounts: Sequence[str]) -> str:
    """Return the mount point that a path lies below; its folder when that is the whole system's."""
    above = [mount for mount in mounts if path.startswith(f"{mount}/") and mount != "/"]
    return max(above, key=len, default=str(Path(path).parent))


def _mounts() -> list[str]:
    """Return every mount point (proc(5): the fifth field, with spaces and such in octal)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    return [_ESCAPE.sub(lambda found: chr(int(found[1], 8)), line.split()[4]) for line in lines]
