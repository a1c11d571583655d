"""Reports of tasks until they are written: the newest of each node, of each task.

Invariant: what `put` took is held until it is discarded or a newer one of its node takes its place; one that was
overtaken on its way never takes the place of what came after it, written or not. Memory is bounded by the nodes that
take part, for nobody else's reports get here. The other mailbox, `runtime.Mailbox`, holds one value a key.
Neighbours: `setup` puts, `reconciler` writes and discards; a source of the kind's controller.
"""

from __future__ import annotations

from neptune.api import ResourceKey
from neptune.controllers.reports import Report
from neptune.runtime.sources import Enqueue


class Inbox:
    """The reports of one kind's tasks. Not for several threads."""

    def __init__(self) -> None:
        self._held: dict[ResourceKey, dict[str, Report]] = {}
        self._newest: dict[ResourceKey, dict[str, Report]] = {}
        self._enqueue: Enqueue | None = None

    def __len__(self) -> int:
        return sum(len(reports) for reports in self._held.values())

    def start(self, enqueue: Enqueue) -> None:
        """Enqueue the tasks that have reports, and from now on those that get one."""
        self._enqueue = enqueue
        for key in self._held:
            enqueue(key)

    def of(self, key: ResourceKey, node: str) -> Report | None:
        """Return the report of a node that nobody has discarded."""
        return self._held.get(key, {}).get(node)

    def put(self, key: ResourceKey, report: Report) -> None:
        """Hold a report, unless its node has said something newer: the verdict on that settles both."""
        newest = self._newest.setdefault(key, {})
        if (last := newest.get(report.node)) and report.is_older(last):
            return
        newest[report.node] = report
        self._held.setdefault(key, {})[report.node] = report
        if self._enqueue:
            self._enqueue(key)

    def held(self, key: ResourceKey) -> list[Report]:
        """Return the reports of a task that nobody has discarded."""
        return [*self._held.get(key, {}).values()]

    def discard(self, key: ResourceKey, report: Report) -> None:
        """Forget a report, if it is still the one of its node."""
        held = self._held.get(key, {})
        if held.get(report.node) is report:
            del held[report.node]
            if not held:
                del self._held[key]

    def forget(self, key: ResourceKey) -> None:
        """Forget who said what last: the task is over or gone."""
        self._newest.pop(key, None)
