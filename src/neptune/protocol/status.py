"""The node's outbox: the latest status of each object, until the cloud says that the API server has it.

Invariants: one entry a uid, always the newest; an entry leaves only on a verdict for that very report or a newer one;
memory is bounded by the number of objects. Neighbours: `node.NodeLink` sends what `due` gives.
"""

from __future__ import annotations

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
    #: When to send; 0 means now.
    due: float = 0.0
    #: In the window: sent, and neither answered nor due again.
    unanswered: bool = False


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
        for entry in self._entries.values():
            entry.unanswered = entry.unanswered and entry.due > now
        free = WINDOW - sum(entry.unanswered for entry in self._entries.values())
        uids = [uid for uid, entry in self._entries.items() if not entry.unanswered and entry.due <= now][:free]
        return [self._send(uid, now) for uid in uids]

    def settle(self, verdict: Verdict) -> bool:
        """Take a verdict; return whether it settled the latest report of that object."""
        entry = self._entries.get(verdict.uid)
        if entry is None or verdict.seq < entry.report.seq:
            return False
        del self._entries[verdict.uid]
        return True

    def next_due(self) -> float | None:
        """Return when something has to be sent next, or None when everything is confirmed.

        While the window is full only those in it count: the others wait for a verdict, not for the time.
        """
        sent = [entry.due for entry in self._entries.values() if entry.unanswered]
        if len(sent) >= WINDOW:
            return min(sent)
        return min((entry.due for entry in self._entries.values()), default=None)

    def __len__(self) -> int:
        """Return how many statuses the cloud has not confirmed."""
        return len(self._entries)

    def _send(self, uid: str, now: float) -> StatusReport:
        # To the end of the line: where the cloud gives no verdict on some, the others still get their turn.
        entry = self._entries[uid] = self._entries.pop(uid)
        entry.unanswered = True
        entry.due = now + entry.backoff.next()
        return entry.report

    def _enqueue(self, uid: str) -> None:
        backoff = Backoff(RESEND_BASE_SECONDS, RESEND_MAX_SECONDS, self.rng)
        self._entries[uid] = _Entry(self._latest[uid], backoff)
