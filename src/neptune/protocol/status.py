"""The node's outbox: the latest status of each object, until the cloud says that the API server has it.

Invariants: one entry a uid, always the newest; an entry leaves only on a verdict for that very report or a newer one;
memory is bounded by the number of objects. Neighbours: `node.NodeLink` sends what `due` gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from neptune.protocol.backoff import Backoff
from neptune.protocol.digest import DigestTree, status_entry
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
    #: Since when a report of this object has been out and none of them has a verdict; None while none is out.
    sent_at: float | None = None


@dataclass(slots=True)
class Outbox:
    """Latest statuses that the cloud has not confirmed."""

    rng: Random
    #: Of the latest status of each object, confirmed or not.
    digests: DigestTree = field(default_factory=DigestTree)
    _seq: int = 0
    _latest: dict[str, StatusReport] = field(default_factory=dict)
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def put(self, report: StatusReport) -> None:
        """Take a new status, to be sent. `report.seq` is set here: it orders the reports of one node epoch."""
        self.remember(report)
        self.send(report.uid)

    def remember(self, report: StatusReport) -> None:
        """Take a status that the cloud may have already: the next synchronisation tells."""
        self._seq += 1
        self._latest[report.uid] = replace(report, seq=self._seq)
        self.digests.put(report.uid, status_entry(report))

    def latest(self, uid: str) -> StatusReport | None:
        """Return the latest status of an object, or None."""
        return self._latest.get(uid)

    def send(self, uid: str) -> None:
        """Send the latest status of an object at once, and until there is a verdict on it."""
        before = self._entries.get(uid)
        backoff = Backoff(RESEND_BASE_SECONDS, RESEND_MAX_SECONDS, self.rng)
        self._entries[uid] = _Entry(self._latest[uid], backoff, sent_at=before.sent_at if before else None)

    def forget(self, uid: str) -> None:
        """Drop an object that is no longer this node's."""
        self._latest.pop(uid, None)
        self._entries.pop(uid, None)
        self.digests.remove(uid)

    def hurry(self) -> None:
        """Send at once whatever has no verdict: it was sent to a cloud or on a connection that is gone."""
        for uid in list(self._entries):
            self.send(uid)
            self._entries[uid].sent_at = None

    def due(self, now: float) -> list[StatusReport]:
        """Return what should be sent at `now`, within the window, and start waiting for its verdicts."""
        waiting = [entry for entry in self._entries.values() if entry.due <= now]
        free = WINDOW - (len(self._entries) - len(waiting))
        # What was never sent goes first, so that reports without a verdict do not keep the others out.
        chosen = sorted(waiting, key=lambda entry: entry.due)[:free]
        for entry in chosen:
            entry.due = now + entry.backoff.next()
            entry.sent_at = now if entry.sent_at is None else entry.sent_at
        return [entry.report for entry in chosen]

    def unanswered_since(self) -> float | None:
        """Return since when the report that waits longest has been out without a verdict, or None."""
        return min((entry.sent_at for entry in self._entries.values() if entry.sent_at is not None), default=None)

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
        times = sorted(entry.due for entry in self._entries.values())
        return times[-WINDOW:][0] if times else None

    def __contains__(self, uid: str) -> bool:
        """Tell whether the status of an object waits for its verdict."""
        return uid in self._entries

    def __len__(self) -> int:
        """Return how many statuses the cloud has not confirmed."""
        return len(self._entries)
