"""Waiting between attempts: exponential with jitter, so that a thousand nodes do not come back together.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("equal jitter").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

#: The pause between two raises of an epoch (seconds): two clouds that both believe to be the one, or two agents of one
#: name, only make some noise.
RAISE_BASE_SECONDS, RAISE_MAX_SECONDS = 5.0, 60.0


@dataclass(slots=True)
class Backoff:
    """Doubles a ceiling from `base_seconds` to `max_seconds`, and waits a random part of it, half at least.

    Half at least, because a wait near zero would only repeat what has just failed.
    """

    base_seconds: float
    max_seconds: float
    rng: Random
    attempts: int = 0

    def next(self) -> float:
        """Return the seconds to wait, and count the attempt."""
        ceiling = min(self.max_seconds, self.base_seconds * 2.0 ** min(self.attempts, 32))
        self.attempts += 1
        return ceiling * self.rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start over after a success."""
        self.attempts = 0


@dataclass(slots=True)
class Pace:
    """How soon the same may be done again: at once, then after `base_seconds`, which doubles to `max_seconds`.

    For what another process may undo, and do again, for ever. Starts over after `max_seconds` in which it was not done
    though it might have been.
    """

    base_seconds: float
    max_seconds: float
    #: How often it was done in a row.
    times: int = field(default=0, init=False)
    #: When it may be done again.
    at: float = field(default=float("-inf"), init=False)

    def left(self, now: float) -> float:
        """Return the seconds until it may be done, 0 when it may."""
        return max(0.0, self.at - now)

    def done(self, now: float) -> None:
        """It was done."""
        self.times = self.times + 1 if now < self.at + self.max_seconds else 1
        self.at = now + min(self.max_seconds, self.base_seconds * 2.0 ** min(self.times - 1, 32))


def raises() -> Pace:
    """Return the pace of an epoch that goes above another's."""
    return Pace(RAISE_BASE_SECONDS, RAISE_MAX_SECONDS)
