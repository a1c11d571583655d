"""What the API server has of each node, as digests: what the cloud's end of the link compares nodes with.

Invariant: an object is in the digests exactly when it can be sent, so that a node can reach every root that it is
told. Whoever watches the API server calls `put` for each change; a change costs one object's hash a node.
Neighbours: `cloud.CloudLink` reads it, `controllers.app` fills it from the cache; objects stay where they are kept.
"""

from __future__ import annotations

from collections.abc import Callable, KeysView, Mapping

from neptune.protocol import codec
from neptune.protocol.digest import DigestTree, object_entry, status_entry
from neptune.protocol.messages import DesiredObject, StatusReport

#: What each node should have of one object, and the status that the API server has from it: None before the first.
Shares = Mapping[str, tuple[DesiredObject, StatusReport | None]]


class Inventory:
    """The digests of all nodes.

    `object_of` returns what a node should have of the object with that uid, or None when it is gone. A Dataset is one
    node's; a task and its model are several nodes', and what a task is may differ from node to node.
    """

    def __init__(self, object_of: Callable[[str, str], DesiredObject | None]) -> None:
        self._object_of = object_of
        self._owners: dict[str, tuple[str, ...]] = {}
        self._desired: dict[str, DigestTree] = {}
        self._statuses: dict[str, DigestTree] = {}

    def put(self, uid: str, shares: Shares) -> None:
        """Take which nodes should have an object now, and what each should have; none when it is gone."""
        shares = {node: share for node, share in shares.items() if fits(share[0])}
        for node in self._owners.pop(uid, ()):
            if node not in shares:
                self._take_out(node, uid)
        if shares:
            self._owners[uid] = tuple(shares)
        for node, (item, status) in shares.items():
            self._desired.setdefault(node, DigestTree()).put(uid, object_entry(item))
            statuses = self._statuses.setdefault(node, DigestTree())
            if status is None:
                statuses.remove(uid)
            else:
                statuses.put(uid, status_entry(status))

    def _take_out(self, node: str, uid: str) -> None:
        self._desired[node].remove(uid)
        self._statuses[node].remove(uid)
        if not len(self._desired[node]):
            del self._desired[node], self._statuses[node]

    def owners(self, uid: str) -> tuple[str, ...]:
        """Return the nodes that should have that object."""
        return self._owners.get(uid, ())

    def object(self, node: str, uid: str) -> DesiredObject | None:
        """Return the object with that uid as that node should have it, or None if it should not."""
        return self._object_of(node, uid) if node in self._owners.get(uid, ()) else None

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
    return codec.size(item) <= codec.BATCH_BYTES
