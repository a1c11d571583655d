"""The tasks of a node: starts, wakes and ends a `handover` for each.

Without a task it does nothing: no thread, no watch, no folder.
Neighbours: `agent` tells it what changed and gets reports; `watches` wakes it when a worker wrote one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from neptune.clock import Clock
from neptune.edge.tasks import orders
from neptune.edge.tasks.folder import Folder, others
from neptune.edge.tasks.handover import Desk, Handover, Ports, Supervise, TaskSettings
from neptune.edge.tasks.results import WorkResult
from neptune.edge.threads import in_thread
from neptune.edge.watches import Watches
from neptune.log import get_logger
from neptune.protocol.messages import DesiredObject

_log = get_logger()


class TaskKeeper:
    """Hands the tasks of a node to workers.

    `records` are the node's objects by uid, as they are at any time. `supervise` runs the node's command for a task;
    without one workers come by themselves.
    """

    def __init__(
        self, settings: TaskSettings, clock: Clock, records: Mapping[str, DesiredObject], ports: Ports,
        supervise: Supervise | None = None,
    ) -> None:  # fmt: skip
        self._records = records
        self._names: dict[tuple[str, str, str], DesiredObject] | None = None
        self._handovers: dict[str, Handover] = {}
        self._fresh: asyncio.Queue[Handover] = asyncio.Queue()
        self._watches: Watches | None = None
        self._is_swept = False
        self._must_sweep = asyncio.Event()
        self._desk = Desk(settings, clock, ports, self._find, self._watch, supervise)

    def put(self, item: DesiredObject, result: WorkResult | None = None) -> None:
        """Take a new or changed task; `result` is what the disk has of it."""
        handover = self._handovers.get(item.uid)
        if handover is None:
            handover = self._handovers[item.uid] = Handover(self._desk, item, result)
            self._fresh.put_nowait(handover)
        else:
            handover.put(item)

    def changed(self, forgotten: Iterable[str]) -> None:
        """The node's records have changed, of any kind: look again at what tasks name, and drop those that are gone."""
        self._names = None
        for uid in forgotten:
            if (handover := self._handovers.pop(uid, None)) is not None:
                handover.forget()
        self._wake_all()

    def looked(self, uid: str) -> None:
        """There is news of a dataset: who waits for it may go on, and no worker keeps what it must not have."""
        is_refused = orders.is_refused(self._desk.ports.standing(uid))
        for handover in self._handovers.values():
            if is_refused or handover.is_waiting:
                handover.wake()

    def synchronised(self) -> None:
        """The cloud has told everything: what no task is now has no folder any more. Cheap after the first time."""
        if not self._is_swept:
            self._is_swept = True
            self._must_sweep.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sweep(), name="sweep of task folders")
                while True:
                    handover = await self._fresh.get()
                    if self._watches is None:
                        self._watches = Watches(self._wake, self._wake_all)
                        group.create_task(self._watches.run(), name="watches of tasks")
                    group.create_task(handover.run(), name="task")
        finally:
            if self._watches is not None:
                self._watches.close()

    async def _sweep(self) -> None:
        """Remove folders of tasks that ended while no agent ran; not before it is sure that they did."""
        await self._must_sweep.wait()
        items = [handover.item for handover in self._handovers.values()]
        known = {*self._desk.holders, *((item.namespace, item.name) for item in items)}
        for path in await in_thread(others, self._desk.settings.root, known):
            try:
                async with self._desk.disk:
                    if (path.parent.name, path.name) not in self._desk.holders:
                        await in_thread(Folder(path).remove)
            except OSError as error:
                _log.error("task folder cannot be removed", path=str(path), reason=error.strerror)

    def _find(self, kind: str, namespace: str, name: str) -> DesiredObject | None:
        if self._names is None:
            self._names = {(item.kind, item.namespace, item.name): item for item in self._records.values()}
        return self._names.get((kind, namespace, name))

    def _watch(self, uid: str, path: str | None) -> bool:
        return self._watches is not None and self._watches.watch(uid, path)

    def _wake(self, uid: str) -> None:
        if (handover := self._handovers.get(uid)) is not None:
            handover.wake()

    def _wake_all(self) -> None:
        for handover in self._handovers.values():
            handover.wake()
