"""One synchronisation of a node with its cloud: which question comes next, and what the answers mean.

    Get ──> GetResult: all is equal ────────────────────────────────────────────> end
     ▲        │ objects differ
     │        ├─> GetEntries ──> EntriesResult: what is absent is dropped
     │        │                    │ some objects are lacking
     │        │                    ├─> GetObjects ──> ObjectsResult (for each group)
     └────────│────────────────────┘ once more, to see that it worked
              │ statuses differ
              └─> GetEntries ──> EntriesResult: what the API server lacks is sent ──> end
    Get ──> ObjectsResult: complete, where the cloud has only a few ──────────────> end

Statuses are compared once the objects are equal: an object that goes takes its status along.
Guarantee: when an end was reached and nothing changed meanwhile, the node has what the cloud has; `is_in_step` tells.
A question or an answer that is lost costs this synchronisation: the next one starts with `Get` and finds less to do.
Neighbours: `node.NodeLink` asks, and knows the time; `desired` holds the rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from neptune.protocol.desired import Assembly, Change, DesiredState
from neptune.protocol.digest import BUCKETS
from neptune.protocol.messages import (
    MAX_ASKED,
    Answer,
    EntriesResult,
    Get,
    GetEntries,
    GetObjects,
    GetResult,
    Header,
    ObjectsResult,
    Question,
)
from neptune.protocol.status import Outbox


@dataclass(slots=True)
class Sync:
    """From a `Get` to the end. `question` is what is asked, or None once there is nothing left to ask."""

    desired: DesiredState
    outbox: Outbox
    question: Question | None = field(init=False, default=None)
    #: The API server lacked statuses, by what the cloud said, and they are sent again.
    has_sent: bool = field(init=False, default=False)
    #: The objects were brought in step already: what differs now has changed meanwhile, or is held.
    _is_second: bool = field(init=False, default=False)
    #: What the cloud said that its root is.
    _root: str = field(init=False, default="")
    _lacking: list[str] = field(init=False, default_factory=list)
    _entries: Assembly[EntriesResult] = field(init=False, default_factory=Assembly)
    _objects: Assembly[ObjectsResult] = field(init=False, default_factory=Assembly)

    def begin(self) -> Question:
        """Return the first question."""
        self.question = Get(self.desired.digests.root, self.outbox.digests.root)
        return self.question

    @property
    def is_in_step(self) -> bool:
        """Whether the node has what the cloud said that it has."""
        return self.desired.digests.root == self._root

    def take(self, header: Header, answer: Answer) -> Change | None:
        """Take (a part of) the answer to `question`. None means that it is no answer to it."""
        match self.question, answer:
            case Get(), GetResult():
                self._take_roots(header.seq, answer)
                return Change()
            case Get(), ObjectsResult(complete=True):
                return self._take_all(header, answer)
            case GetEntries(), EntriesResult():
                return self._take_entries(self.question, header, answer)
            case GetObjects(), ObjectsResult(complete=False):
                change = self.desired.take(header.seq, answer.objects, answer.deleted)
                self._forget(change)
                if self._objects.add(header, answer) is not None:
                    self._ask_for_objects()
                return change
        return None

    def _take_roots(self, seq: int, answer: GetResult) -> None:
        self._root = answer.root
        mine, statuses = self.desired.digests, self.outbox.digests
        differing = mine.differing(answer.buckets) if answer.buckets else ()
        self.desired.agree(seq, set(range(BUCKETS)).difference(differing))
        status_buckets = statuses.differing(answer.status_buckets) if answer.status_buckets else ()
        if differing and not self._is_second:
            self.question = GetEntries(differing, ())
        elif status_buckets and not differing:
            self.question = GetEntries((), status_buckets)
        else:
            self.question = None

    def _take_all(self, header: Header, answer: ObjectsResult) -> Change:
        self._root = answer.root
        stored = self.desired.take(header.seq, answer.objects, ())
        parts = self._objects.add(header, answer)
        if parts is None:
            return stored
        listed = {item.uid for part in parts for item in part.objects}
        dropped = self._spoken_for(header.seq, listed, range(BUCKETS))
        entries = {uid: entry for part in parts for uid, entry in part.status_entries.items()}
        self._send_statuses(self.outbox.digests.entries(), entries)
        self.question = None
        return Change(stored.stored, dropped.forgotten)

    def _take_entries(self, asked: GetEntries, header: Header, answer: EntriesResult) -> Change:
        parts = self._entries.add(header, answer)
        if parts is None:
            return Change()
        theirs = {uid: entry for part in parts for uid, entry in part.entries.items()}
        # What was pushed after this answer was made is newer than it.
        mine = self.desired.digests
        self._lacking = [uid for uid, entry in theirs.items() if mine.get(uid) != entry]
        dropped = self._spoken_for(header.seq, theirs.keys(), asked.buckets)
        statuses = {uid: entry for part in parts for uid, entry in part.status_entries.items()}
        self._send_statuses(self.outbox.digests.entries(asked.status_buckets), statuses)
        if asked.buckets:
            self._ask_for_objects()
        else:
            self.question = None
        return dropped

    def _spoken_for(self, seq: int, listed: Collection[str], buckets: Iterable[int]) -> Change:
        dropped = self.desired.drop_absent(seq, listed, buckets)
        self._forget(dropped)
        self.desired.agree(seq, buckets)
        return dropped

    def _forget(self, change: Change) -> None:
        for uid in change.forgotten:
            self.outbox.forget(uid)

    def _send_statuses(self, mine: Mapping[str, str], theirs: Mapping[str, str]) -> None:
        for uid, entry in mine.items():
            report, item = self.outbox.latest(uid), self.desired.records.get(uid)
            # A report for an earlier generation would be refused; the one for this generation is on its way.
            is_current = report and item and report.observed_generation == item.generation
            if is_current and theirs.get(uid) != entry and uid not in self.outbox:
                self.outbox.send(uid)
                self.has_sent = True

    def _ask_for_objects(self) -> None:
        group, self._lacking = self._lacking[:MAX_ASKED], self._lacking[MAX_ASKED:]
        self._objects = Assembly()
        if group:
            self.question = GetObjects(tuple(group))
        else:
            self._is_second = True
            self.begin()
