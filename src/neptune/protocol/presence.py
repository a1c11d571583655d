"""Which nodes are there, as far as their births, wills and messages tell.

A hint, never the truth: a will may come early, late, twice or never. So an old will is told from a new birth by epoch
and connection number, a node counts as away only after `DEBOUNCE_SECONDS` without a newer sign of life, and one that
is silent for `SILENCE_SECONDS` counts as away without a will. Memory is bounded, whatever names are made up.
Neighbours: `cloud.CloudLink` feeds it; `controllers` shows the result as a condition and deletes nothing because of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from math import inf

#: A node that flaps or restarts within this time was never away (seconds).
DEBOUNCE_SECONDS = 30.0
#: A node asks for everything at least every eleven minutes (`turns.RESYNC_SECONDS`); this is more than two questions
#: lost (seconds).
SILENCE_SECONDS = 1800.0
#: Past this many the node that was not heard of for longest is forgotten; it is back with its next message.
MAX_NODES = 100_000


class NodeState(Enum):
    """What is known of a node."""

    ONLINE = "online"
    OFFLINE = "offline"
    NEVER_SEEN = "never seen"


@dataclass(slots=True)
class _Node:
    epoch: int
    connection: int
    #: When the node counts as away unless it is heard of, or None when it is away.
    away_at: float | None
    #: The will of this very connection was here, so that its birth, late or twice, tells nothing more.
    has_parted: bool = False
    #: The epoch that the will of this connection carries: a process that raised its epoch has an older will out.
    will_epoch: int = 0
    #: The highest epoch that any process of this node has had.
    highest: int = 0


@dataclass(slots=True)
class PresenceTable:
    """The nodes that this cloud process has heard of."""

    #: In the order in which they were last heard of.
    _nodes: dict[str, _Node] = field(default_factory=dict)
    #: No node becomes away before this.
    _wake_at: float = inf

    def state(self, node: str) -> NodeState:
        """Return what is known of a node."""
        entry = self._nodes.get(node)
        if entry is None:
            return NodeState.NEVER_SEEN
        return NodeState.OFFLINE if entry.away_at is None else NodeState.ONLINE

    def tally(self, expected: Iterable[str]) -> Counter[NodeState]:
        """Count the nodes by state: those that were heard of, and of those that are expected who was not."""
        tally = Counter(self.state(node) for node in self._nodes)
        tally[NodeState.NEVER_SEEN] = sum(node not in self._nodes for node in expected)
        return tally

    def highest_epoch(self, node: str) -> int:
        """Return the highest epoch that was heard of, or 0. A process below it has to go above it to be heard."""
        entry = self._nodes.get(node)
        return 0 if entry is None else entry.highest

    def alive(self, node: str, epoch: int, connection: int, now: float, *, will_epoch: int = 0) -> bool:
        """Take a birth; return whether the node's state changed. A birth older than what is known is ignored."""
        entry = self._nodes.get(node)
        if entry is not None:
            if epoch == entry.epoch and connection < entry.connection + entry.has_parted:
                return False
            if _is_superseded(entry, epoch):
                return False
        return self._sign_of_life(node, epoch, connection, now, will_epoch or epoch)

    def heard(self, node: str, epoch: int, now: float) -> bool:
        """Take any other message as a sign of life; return whether the node's state changed."""
        entry = self._nodes.get(node)
        if entry is not None and _is_superseded(entry, epoch):
            return False
        # It may be of a connection whose birth was lost; if it is older than the will, silence will tell.
        if entry is not None and epoch == entry.epoch:
            return self._sign_of_life(node, epoch, entry.connection, now, entry.will_epoch)
        return self._sign_of_life(node, epoch, 0, now, epoch)

    def gone(self, node: str, epoch: int, connection: int, now: float) -> bool:
        """Take a will or a goodbye; return whether the node's state changed at once.

        A node that was online counts as away later: `expire` tells.
        """
        entry = self._nodes.get(node)
        if entry is None:
            self._keep(node, _Node(epoch, connection, away_at=None, has_parted=True, highest=epoch))
            return True
        is_its_will = (epoch, connection) == (entry.will_epoch, entry.connection)
        if is_its_will or (epoch, connection) >= (entry.epoch, entry.connection):
            entry.epoch, entry.connection, entry.has_parted = max(epoch, entry.epoch), connection, True
            entry.highest = max(epoch, entry.highest)
            if entry.away_at is not None:
                entry.away_at = min(entry.away_at, now + DEBOUNCE_SECONDS)
                self._wake_at = min(self._wake_at, entry.away_at)
        return False

    def expire(self, now: float) -> list[str]:
        """Return the nodes that have become away by `now`."""
        if now < self._wake_at:
            return []
        away = [name for name, node in self._nodes.items() if node.away_at is not None and node.away_at <= now]
        for name in away:
            self._nodes[name].away_at = None
        self._wake_at = min((node.away_at for node in self._nodes.values() if node.away_at is not None), default=inf)
        return away

    def next_deadline(self) -> float | None:
        """Return when `expire` may have something to tell, or None."""
        return None if self._wake_at == inf else self._wake_at

    def _sign_of_life(self, node: str, epoch: int, connection: int, now: float, will_epoch: int) -> bool:
        was_online = self.state(node) is NodeState.ONLINE
        highest = max(epoch, self.highest_epoch(node))
        away_at = now + SILENCE_SECONDS
        self._wake_at = min(self._wake_at, away_at)
        self._keep(node, _Node(epoch, connection, away_at, will_epoch=will_epoch, highest=highest))
        return not was_online

    def _keep(self, node: str, entry: _Node) -> None:
        self._nodes.pop(node, None)
        self._nodes[node] = entry
        if len(self._nodes) > MAX_NODES:
            del self._nodes[next(iter(self._nodes))]


def _is_superseded(entry: _Node, epoch: int) -> bool:
    """Tell whether a process is known to have ended because a later one is there.

    Once the later one has gone, the earlier may be alive: two agents had one name, or a clock went back.
    """
    return epoch < entry.epoch and not entry.has_parted
