"""What the API server has of each node, as digests: what the cloud's end of the link compares nodes with.

Invariant: an object is in the digests exactly when it can be sent, so that a node can reach every root that it is
told. Whoever watches the API server calls `put` and `remove` for each change; a change costs one object's hash.
Neighbours: `cloud.CloudLink` reads it, `controllers.app` fills it from the cache; objects stay where they are kept.
"""

from __future__ import annotations

from collections.abc import Callable, KeysView

from neptune.protocol import messages
from neptune.protocol.digest import DigestTree, object_entry, status_entry
from neptune.protocol.messages import DesiredObject, StatusReport


class Inventory:
    """The digests of all nodes.

    `object_of` returns the object with that uid, or None when it is gone.
    """

    def __init__(self, object_of: Callable[[str], DesiredObject | None]) -> None:
        self._object_of = object_of
        self._owners: dict[str, str] = {}
        self._desired: dict[str, DigestTree] = {}
        self._statuses: dict[str, DigestTree] = {}

    def put(self, node: str, item: DesiredObject, status: StatusReport | None) -> None:
        """Take what an object, its node and its status are now. `status` is None before the first report."""
        if self._owners.get(item.uid, node) != node or not fits(item):
            self.remove(item.uid)
        if not fits(item):
            return
        self._owners[item.uid] = node
        self._desired.setdefault(node, DigestTree()).put(item.uid, object_entry(item))
        statuses = self._statuses.setdefault(node, DigestTree())
        if status is None:
            statuses.remove(item.uid)
        else:
            statuses.put(item.uid, status_entry(status))

    def remove(self, uid: str) -> None:
        """Take an object out, if it is in."""
        node = self._owners.pop(uid, None)
        if node is None:
            return
        self._desired[node].remove(uid)
        self._statuses[node].remove(uid)
        if not len(self._desired[node]):
            del self._desired[node], self._statuses[node]

    def object(self, node: str, uid: str) -> DesiredObject | None:
        """Return the object with that uid if that node should have it, else None."""
        return self._object_of(uid) if self._owners.get(uid) == node else None

    def desired(self, node: str) -> DigestTree:
        """Return the digests of what a node should have. Read only."""
        return self._desired.get(node) or DigestTree()

    def statuses(self, node: str) -> DigestTree:
        """Return the digests of the statuses that a node's objects have. Read only."""
        return self._statuses.get(node) or DigestTree()

    @property
    def nodes(self) -> KeysView[str]:
        """The nodes that should have something."""
        return self._desired.keys()


def fits(item: DesiredObject) -> bool:
    """Tell whether a message can carry an object."""
    return messages.size(item) <= messages.BATCH_BYTES
