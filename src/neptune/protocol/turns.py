"""When a node asks: whose turn it is, which question is out, and how long it waits for what. No I/O, no clock.

Invariant: one question is out at a time; a cause to ask that comes meanwhile leads to another, for the answer may be
older than the cause. Neighbours: `node.NodeLink` asks when it is time; `sync` knows which question comes next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from neptune.protocol.backoff import Backoff
from neptune.protocol.sync import Sync

#: How long to wait for an answer to `get` before asking again (seconds), and how far that backs off.
GET_BASE_SECONDS, GET_MAX_SECONDS = 5.0, 60.0
#: A full synchronisation even when nothing seems amiss: heals what a broker dropped (seconds, jittered by a tenth).
RESYNC_SECONDS = 600.0
#: How often one node asks at most, whatever it hears (seconds). Nodes answer the cloud's birth spread over at least
#: this time, and as much more as the birth says, so that a restart is not a stampede.
ROLL_CALL_SECONDS = 1.0
MAX_ROLL_CALL_SECONDS = 120.0
#: How far the wait before a question backs off while the cloud goes on to refuse what its answers ask for (seconds).
REFUSED_MAX_SECONDS = 60.0


@dataclass(slots=True)
class Turn:
    """What comes next: to ask at `at`; or, when `sync` is there, its question is out and to be answered by then."""

    at: float
    sync: Sync | None = None
    event_id: str = ""
    asked_after: int = -1


@dataclass(slots=True)
class Turns:
    """The turns of one node, `next` the one that is planned; None while the node is not connected."""

    rng: Random
    next: Turn | None = None
    #: When the first question of those without an answer went out.
    silent_since: float | None = None
    _answers: Backoff = field(init=False)
    _pause: Backoff = field(init=False)
    #: Waits that follow refusals: a cloud whose cache is behind refuses the very reports that its digests lack.
    _refusals: Backoff = field(init=False)
    _is_refused: bool = False
    #: When to ask again after the question that is out.
    _again_at: float | None = None

    def __post_init__(self) -> None:
        self._answers = Backoff(GET_BASE_SECONDS, GET_MAX_SECONDS, self.rng)
        self._pause = Backoff(GET_BASE_SECONDS, GET_MAX_SECONDS, self.rng)
        self._refusals = Backoff(ROLL_CALL_SECONDS, REFUSED_MAX_SECONDS, self.rng)

    def connected(self, now: float) -> None:
        """A connection is up: ask at once."""
        self.silent_since = self._again_at = None
        self._answers.reset()
        self.next = Turn(now)

    def disconnected(self) -> None:
        """Nobody can be asked."""
        self.next = None

    def begin(self, now: float) -> float:
        """A synchronisation starts; return for how long there has been no answer (seconds)."""
        if self.silent_since is None:
            self.silent_since = now
        self._is_refused = False
        return now - self.silent_since

    def asked(self, sync: Sync, event_id: str, now: float, *, asked_after: int) -> None:
        """A question of this synchronisation goes out."""
        self.next = Turn(now + self._answers.next(), sync, event_id, asked_after)

    def answered(self) -> None:
        """A question has its whole answer."""
        self._answers.reset()

    def end(self, sync: Sync, now: float) -> None:
        """The synchronisation is through; plan the next one."""
        if sync.is_in_step:
            self._pause.reset()
            if not sync.has_sent:
                self._refusals.reset()
            pause = RESYNC_SECONDS * self.rng.uniform(0.9, 1.1)
        else:
            # Something changed meanwhile, or much is to be forgotten and wants a second answer.
            pause = self._pause.next()
        self.next = Turn(now + pause)
        if self._again_at is not None:
            self._ask_at(max(now, self._again_at))
            self._again_at = None

    def ask_soon(self, now: float, spread_seconds: float = ROLL_CALL_SECONDS) -> None:
        """Ask some time soon."""
        if self.next is None or self.next.sync is not None or self.next.at > now + spread_seconds:
            self._ask_at(now + self.rng.uniform(0, spread_seconds))

    def roll_call(self, now: float, spread_seconds: float) -> None:
        """A cloud was away: pushes, and a question that is out, may be lost."""
        if self.next is not None and self.next.sync is not None:
            self.next = None
        self.ask_soon(now, min(max(spread_seconds, ROLL_CALL_SECONDS), MAX_ROLL_CALL_SECONDS))

    def refused(self, now: float) -> None:
        """A report was for an object that is not ours, or not what we think it is: a push was lost, so ask."""
        if not self._is_refused:
            self._is_refused = True
            self._ask_at(now + self._refusals.next())

    def _ask_at(self, at: float) -> None:
        """Ask then, or sooner if that is planned. A question that is out gets a successor."""
        if self.next is not None and self.next.sync is not None:
            self._again_at = at if self._again_at is None else min(at, self._again_at)
        elif self.next is None or self.next.at > at:
            self.next = Turn(at)
