"""What a node should have: its objects by uid, and the rule for which message wins.

Invariants: a message of one cloud epoch never undoes a later one of the same epoch, in whatever order they arrive;
and nothing is removed by absence unless the answer to the node's own request is complete.
Neighbours: `node.NodeLink` feeds it, `edge.store` keeps `records` on disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from neptune.protocol.messages import DesiredObject, GetResult, Header, Updated


@dataclass(frozen=True, slots=True)
class Change:
    """What the node has to do: keep `stored` (new or changed), forget `forgotten`."""

    stored: tuple[DesiredObject, ...] = ()
    forgotten: tuple[str, ...] = ()


@dataclass(slots=True)
class DesiredState:
    """The objects of one node, and how recent each is.

    `records` may be filled from disk before the first contact; their age is unknown then, and any message of the
    cloud wins over them. `newest` is the highest number that a message of `epoch` had.
    """

    records: dict[str, DesiredObject] = field(default_factory=dict)
    epoch: int | None = None
    newest: int = 0
    _floor: int = 0
    _seen: dict[str, int] = field(default_factory=dict)

    def replace(self, header: Header, objects: Iterable[DesiredObject], *, asked_after: int = -1) -> Change:
        """Take a complete answer: store what it holds, forget what it lacks, keep what is newer than the answer.

        `asked_after` is what `newest` was when the node asked. A cloud counts on, so an answer that is no higher is
        of a process that started anew under the same epoch, as after a clock went back: its numbers start over.
        """
        if header.cloud_epoch != self.epoch or header.seq <= asked_after:
            self.epoch, self.newest, self._seen = header.cloud_epoch, 0, {}
        # The answer speaks for all that was said before it, so memory of older messages can go.
        self._seen = {uid: seq for uid, seq in self._seen.items() if seq > header.seq}
        self._floor = header.seq
        self.newest = max(self.newest, header.seq)
        answer = {item.uid: item for item in objects if item.uid not in self._seen}
        stored = tuple(item for uid, item in answer.items() if self.records.get(uid) != item)
        forgotten = tuple(uid for uid in self.records if uid not in answer and uid not in self._seen)
        return self._applied(Change(stored, forgotten))

    def update(self, header: Header, message: Updated) -> Change | None:
        """Take a push. None means that it is of another epoch: the node has to ask for the whole."""
        if header.cloud_epoch != self.epoch:
            return None
        self.newest = max(self.newest, header.seq)
        stored = [
            item
            for item in message.objects
            if self._is_news(item.uid, header.seq) and self.records.get(item.uid) != item
        ]
        forgotten = [uid for uid in message.deleted if self._is_news(uid, header.seq) and uid in self.records]
        return self._applied(Change(tuple(stored), tuple(forgotten)))

    def _is_news(self, uid: str, seq: int) -> bool:
        if seq <= max(self._floor, self._seen.get(uid, 0)):
            return False
        self._seen[uid] = seq
        return True

    def _applied(self, change: Change) -> Change:
        for uid in change.forgotten:
            del self.records[uid]
        self.records.update((item.uid, item) for item in change.stored)
        return change


@dataclass(slots=True)
class Assembly:
    """Collects the parts of one answer, in any order and with duplicates.

    A question may be answered twice, by one cloud at two moments or by two clouds. Parts of different answers never
    mix: together they could lack an object that each of the answers has. `asked_after` is for `DesiredState.replace`.
    """

    event_id: str
    asked_after: int = -1
    _answer: tuple[int, int, int] = (0, -1, 0)
    _parts: dict[int, tuple[DesiredObject, ...]] = field(default_factory=dict)

    def add(self, header: Header, part: GetResult) -> list[DesiredObject] | None:
        """Take a part; return all objects once every part of one answer is there."""
        epoch, seq, _ = self._answer
        if not 1 <= part.part <= part.of or (header.cloud_epoch == epoch and header.seq < seq):
            return None
        answer = (header.cloud_epoch, header.seq, part.of)
        if answer != self._answer:
            self._answer, self._parts = answer, {}
        self._parts[part.part] = part.objects
        if len(self._parts) < part.of:
            return None
        return [item for number in range(1, part.of + 1) for item in self._parts[number]]
