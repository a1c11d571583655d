"""Which nodes are there, as far as their births, wills and messages tell.

A hint, never the truth: a will may come late, twice or never. So an old will is told from a new birth by epoch and
connection number, and a node counts as away only after `DEBOUNCE_SECONDS` without a newer sign of life.
Neighbours: `cloud.CloudLink` feeds it; `controllers` shows the result as a condition and deletes nothing because of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

#: A node that flaps or restarts within this time was never away (seconds).
DEBOUNCE_SECONDS = 30.0


class NodeState(Enum):
    """What is known of a node."""

    ONLINE = "online"
    OFFLINE = "offline"
    NEVER_SEEN = "never seen"


@dataclass(slots=True)
class _Node:
    epoch: int
    connection: int
    is_online: bool = True
    #: When a node that said goodbye counts as away, or None.
    away_at: float | None = None


@dataclass(slots=True)
class PresenceTable:
    """The nodes that this cloud process has heard of."""

    _nodes: dict[str, _Node] = field(default_factory=dict)

    def state(self, node: str) -> NodeState:
        """Return what is known of a node."""
        entry = self._nodes.get(node)
        if entry is None:
            return NodeState.NEVER_SEEN
        return NodeState.ONLINE if entry.is_online else NodeState.OFFLINE

    def alive(self, node: str, epoch: int, connection: int) -> bool:
        """Take a birth; return whether the node's state changed. A birth older than what is known is ignored."""
        entry = self._nodes.get(node)
        if entry is None:
            self._nodes[node] = _Node(epoch, connection)
            return True
        if (epoch, connection) < (entry.epoch, entry.connection):
            return False
        changed = not entry.is_online
        self._nodes[node] = _Node(epoch, connection)
        return changed

    def heard(self, node: str, epoch: int) -> bool:
        """Take any other message as a sign of life; return whether the node's state changed."""
        entry = self._nodes.get(node)
        connection = entry.connection if entry is not None and entry.epoch == epoch else 0
        return self.alive(node, epoch, connection)

    def gone(self, node: str, epoch: int, connection: int, now: float) -> None:
        """Take a will or a goodbye; `expire` tells later whether it came true."""
        entry = self._nodes.get(node)
        if entry is None:
            entry = self._nodes[node] = _Node(epoch, connection, is_online=False)
        elif (epoch, connection) >= (entry.epoch, entry.connection) and entry.is_online and entry.away_at is None:
            entry.away_at = now + DEBOUNCE_SECONDS

    def expire(self, now: float) -> list[str]:
        """Return the nodes that have become away by `now`."""
        away = [name for name, node in self._nodes.items() if node.away_at is not None and node.away_at <= now]
        for name in away:
            self._nodes[name].is_online = False
            self._nodes[name].away_at = None
        return away

    def next_deadline(self) -> float | None:
        """Return when `expire` may have something to tell, or None."""
        return min((node.away_at for node in self._nodes.values() if node.away_at is not None), default=None)
