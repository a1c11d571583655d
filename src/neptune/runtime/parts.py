"""The tasks of a running manager, in the groups in which they stop.

Invariant: a task that fails is heard of at once by whoever waits, and one that does not end in time is named and left.
Neighbours: `manager` decides what starts and stops when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal

from neptune.log import get_logger

Group = Literal["caches", "events", "leader", "runnables", "workers"]

log = get_logger()


class Parts:
    """Tasks by group."""

    def __init__(self) -> None:
        self._tasks: dict[Group, list[asyncio.Task[None]]] = {}

    def start(self, group: Group, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run that as a task of the group."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.setdefault(group, []).append(task)

    def of(self, group: Group) -> list[asyncio.Task[None]]:
        """Return the tasks of a group, ended ones too."""
        return self._tasks.get(group, [])

    def cancel(self, group: Group) -> None:
        """Cancel the tasks of a group, and do not wait for their ends."""
        for task in self.of(group):
            task.cancel()

    async def first_of(self, awaited: Coroutine[Any, Any, None] | None, stopping: asyncio.Event) -> bool:
        """Wait for `awaited`, for the stop or for a part to fail; tell whether it was `awaited`.

        Raises:
            Exception: whatever `awaited` or a part raised.
        """
        stop = asyncio.create_task(stopping.wait())
        wanted = asyncio.create_task(awaited) if awaited else None
        try:
            pending: set[asyncio.Task[Any]] = {task for tasks in self._tasks.values() for task in tasks} | {stop}
            if wanted:
                pending.add(wanted)
            while stop in pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if not task.cancelled():  # as runnables are when the leadership is lost
                        task.result()
                if wanted in done:
                    return True
            return False
        finally:
            stop.cancel()
            if wanted:
                wanted.cancel()

    async def finish(self, group: Group, deadline: float, *, cancel: bool) -> None:
        """Wait until the tasks of a group have ended, until `deadline` on the loop's clock at most."""
        running = [task for task in self.of(group) if not task.done()]
        if not running:
            return
        if cancel:
            self.cancel(group)
        remaining = deadline - asyncio.get_running_loop().time()
        # A moment even past the deadline: a cancelled task needs one to end.
        ended, late = await asyncio.wait(running, timeout=max(remaining, 0.1))
        for task in ended:
            if not task.cancelled() and (error := task.exception()):
                log.error("failed while stopping", part=task.get_name(), problem=str(error))
        for task in late:
            log.warning("does not stop in time", part=task.get_name(), cancelled=cancel)
