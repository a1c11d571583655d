"""Waiting between attempts: exponential with jitter, so that a thousand nodes do not come back together.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("equal jitter").
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


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
