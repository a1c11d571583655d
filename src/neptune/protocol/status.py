"""The node's outbox: the latest status of each object, until the cloud says that the API server has it.

Invariants: one entry a uid, always the newest; an entry leaves only on a verdict for that very report or a newer one;
memory is bounded by the number of objects. Neighbours: `node.NodeLink` sends what `due` gives.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from random import Random

from neptune.protocol.backoff import Backoff
from neptune.protocol.messages import StatusReport, Verdict

#: Reports that may be unanswered at a time: enough to fill a batch, few enough for a cloud with a slow API server.
WINDOW = 256
#: How long to wait for a verdict before sending again (seconds). The API write behind it may have to be retried.
RESEND_BASE_SECONDS, RESEND_MAX_SECONDS = 5.0, 60.0


@dataclass(slots=True)
class _Entry:
    report: StatusReport
    backoff: Backoff
    #: When to send, 0 for at once; later than now means that a verdict is waited for until then.
    due: float = 0.0


@dataclass(slots=True)
class Outbox:
    """Latest statuses that the cloud has not confirmed."""

    rng: Random
    _seq: int = 0
    _latest: dict[str, StatusReport] = field(default_factory=dict)
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def put(self, report: StatusReport) -> None:
        """Take a new status. `report.seq` is set here: it orders the reports of one node epoch."""
        self._seq += 1
        self._latest[report.uid] = replace(report, seq=self._seq)
        self._enqueue(report.uid)

    def latest(self, uid: str) -> StatusReport | None:
        """Return the newest status of an object, confirmed or not."""
        return self._latest.get(uid)

    def forget(self, uid: str) -> None:
        """Drop an object that is no longer this node's."""
        self._latest.pop(uid, None)
        self._entries.pop(uid, None)

    def requeue_all(self) -> None:
        """Send every latest status again: what a fresh connection owes a cloud that may have lost some."""
        for uid in self._latest:
            self._enqueue(uid)

    def due(self, now: float) -> list[StatusReport]:
        """Return what should be sent at `now`, within the window, and start waiting for its verdicts."""
        waiting = [entry for entry in self._entries.values() if entry.due <= now]
        free = WINDOW - (len(self._entries) - len(waiting))
        # What was never sent goes first, so that reports without a verdict do not keep the others out.
        chosen = heapq.nsmallest(free, waiting, key=lambda entry: entry.due)
        for entry in chosen:
            entry.due = now + entry.backoff.next()
        return [entry.report for entry in chosen]

    def settle(self, verdict: Verdict) -> bool:
        """Take a verdict; return whether it settled the latest report of that object."""
        entry = self._entries.get(verdict.uid)
        if entry is None or verdict.seq < entry.report.seq:
            return False
        del self._entries[verdict.uid]
        return True

    def next_due(self) -> float | None:
        """Return when `due` gives something next, or None when everything is confirmed.

        What is due goes only once fewer than `WINDOW` reports have their time still to come.
        """
        latest = heapq.nlargest(WINDOW, (entry.due for entry in self._entries.values()))
        return latest[-1] if latest else None

    def __len__(self) -> int:
        """Return how many statuses the cloud has not confirmed."""
        return len(self._entries)

    def _enqueue(self, uid: str) -> None:
        backoff = Backoff(RESEND_BASE_SECONDS, RESEND_MAX_SECONDS, self.rng)
        self._entries[uid] = _Entry(self._latest[uid], backoff)
