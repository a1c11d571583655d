"""What a node should have: its objects by uid, and the rule for which message wins.

Invariants: a message of one cloud epoch never undoes a later one of the same epoch, in whatever order they arrive;
nothing is removed by absence unless an answer to the node's own question listed everything that could be there, and
much of it only once a second such answer of the same cloud agrees.
Neighbours: `sync.Sync` and `node.NodeLink` feed it, `edge.store` keeps `records` on disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from neptune.protocol.digest import BUCKETS, DigestTree, bucket_of, object_entry
from neptune.protocol.messages import DesiredObject, EntriesResult, Header, ObjectsResult, Updated

#: So many objects may go by absence at once; more than this and more than half of all is held until it is confirmed.
MASS_DELETE = 10
P = TypeVar("P", EntriesResult, ObjectsResult)


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
    digests: DigestTree = field(init=False, default_factory=DigestTree)
    #: By bucket: the number of the last message that spoke for all that is in it.
    _floors: list[int] = field(init=False, default_factory=lambda: [0] * BUCKETS)
    _seen: dict[str, int] = field(init=False, default_factory=dict)
    #: What a complete answer of `epoch` lacked, when that was too much to believe at once.
    _held: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        for item in self.records.values():
            self.digests.put(item.uid, object_entry(item))

    def follow(self, header: Header, *, asked_after: int = -1) -> bool:
        """Take the sender of an answer for the cloud from now on; return whether it is another than before.

        `asked_after` is what `newest` was when the node asked. A cloud counts on, so an answer that is no higher is
        of a process that started anew under the same epoch: its numbers start over.
        """
        is_other = header.cloud_epoch != self.epoch or header.seq <= asked_after
        if is_other:
            self.epoch, self.newest, self._seen, self._held = header.cloud_epoch, 0, {}, frozenset()
            self._floors = [0] * BUCKETS
        return is_other

    def update(self, header: Header, message: Updated) -> Change | None:
        """Take a push. None means that it is of another epoch: the node has to ask."""
        if header.cloud_epoch != self.epoch:
            return None
        return self.take(header.seq, message.objects, message.deleted)

    def take(self, seq: int, objects: Iterable[DesiredObject], deleted: Iterable[str]) -> Change:
        """Store and forget what a message of the present cloud names, where it is news."""
        self.newest = max(self.newest, seq)
        stored = [item for item in objects if self._is_news(item.uid, seq) and self.records.get(item.uid) != item]
        forgotten = [uid for uid in deleted if self._is_news(uid, seq) and uid in self.records]
        return self._applied(Change(tuple(stored), tuple(forgotten)))

    def agree(self, seq: int, buckets: Iterable[int] = range(BUCKETS)) -> None:
        """Note that message `seq` spoke for all that is in these buckets: what was said before it is stale."""
        self.newest = max(self.newest, seq)
        for bucket in buckets:
            self._floors[bucket] = max(self._floors[bucket], seq)
        self._seen = {uid: at for uid, at in self._seen.items() if at > self._floors[bucket_of(uid)]}

    def drop_absent(self, seq: int, listed: Collection[str], buckets: Iterable[int] = range(BUCKETS)) -> Change:
        """Forget what is in these buckets and not listed in the complete answer `seq`; a mass of it only next time."""
        absent = [uid for uid in self.digests.entries(buckets) if uid not in listed and self._seen.get(uid, 0) <= seq]
        confirmed = [uid for uid in absent if uid in self._held]
        unheard = [uid for uid in absent if uid not in self._held]
        if len(unheard) > max(MASS_DELETE, len(self.records) // 2):
            self._held = frozenset(unheard)
        else:
            confirmed, self._held = absent, frozenset()
        return self._applied(Change((), tuple(confirmed)))

    @property
    def held(self) -> int:
        """How many objects are kept until their absence is confirmed."""
        return len(self._held)

    def _is_news(self, uid: str, seq: int) -> bool:
        if seq <= max(self._floors[bucket_of(uid)], self._seen.get(uid, 0)):
            return False
        self._seen[uid] = seq
        return True

    def _applied(self, change: Change) -> Change:
        for uid in change.forgotten:
            del self.records[uid]
            self.digests.remove(uid)
        for item in change.stored:
            self.records[item.uid] = item
            self.digests.put(item.uid, object_entry(item))
        return change


@dataclass(slots=True)
class Assembly(Generic[P]):
    """Collects the parts of one answer, in any order and with duplicates.

    A question may be answered twice, by one cloud at two moments or by two clouds. Parts of different answers never
    mix: together they could lack an object that each of the answers has.
    """

    _answer: tuple[int, int, int] = (0, -1, 0)
    _parts: dict[int, P] = field(default_factory=dict)

    def add(self, header: Header, part: P) -> list[P] | None:
        """Take a part; return all once every part of one answer is there."""
        epoch, seq, _ = self._answer
        if not 1 <= part.part <= part.of or (header.cloud_epoch == epoch and header.seq < seq):
            return None
        answer = (header.cloud_epoch, header.seq, part.of)
        if answer != self._answer:
            self._answer, self._parts = answer, {}
        self._parts[part.part] = part
        if len(self._parts) < part.of:
            return None
        return [self._parts[number] for number in range(1, part.of + 1)]
