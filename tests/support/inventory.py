"""An inventory for tests that keep objects in a dict: it looks at them anew each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from neptune.protocol.digest import DigestTree, object_entry, status_entry
from neptune.protocol.inventory import Inventory
from neptune.protocol.messages import DesiredObject, StatusReport


class LiveInventory(Inventory):
    """What the callables say at the moment of asking."""

    def __init__(
        self,
        objects_of: Callable[[str], Iterable[DesiredObject]],
        statuses_of: Callable[[str], Iterable[StatusReport]] = lambda _node: (),
    ) -> None:
        super().__init__(lambda _node, _uid: None)
        self._objects_of = objects_of
        self._statuses_of = statuses_of

    def object(self, node: str, uid: str) -> DesiredObject | None:
        return next((item for item in self._objects_of(node) if item.uid == uid), None)

    def desired(self, node: str) -> DigestTree:
        tree = DigestTree()
        for item in self._objects_of(node):
            tree.put(item.uid, object_entry(item))
        return tree

    def statuses(self, node: str) -> DigestTree:
        tree = DigestTree()
        for report in self._statuses_of(node):
            tree.put(report.uid, status_entry(report))
        return tree
