"""How long to wait before the next attempt to connect: exponential with full jitter. No I/O, no clock.

Full jitter spreads the agents of a whole fleet after their broker came back; see "Exponential Backoff And Jitter",
AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple


class RetryPolicy(NamedTuple):
    """The ceiling of the wait doubles from `first_seconds` to `max_seconds`."""

    first_seconds: float = 1.0
    max_seconds: float = 120.0


class Retry:
    """Counts attempts that led nowhere.

    A connection that held for `max_seconds` is a success and the count starts anew. A shorter one is not: two
    agents of one name that throw each other out would otherwise do so every second for ever.
    """

    def __init__(self, policy: RetryPolicy, rng: Random, *, addresses: int = 1) -> None:
        """Begin with the shortest wait. It grows once each of `addresses` has had its turn."""
        self._policy = policy
        self._rng = rng
        self._addresses = addresses
        self._failures = 0

    def after(self, *, connected_seconds: float) -> float:
        """Return the seconds to wait after an attempt that was connected for `connected_seconds` (0: never)."""
        if connected_seconds >= self._policy.max_seconds:
            self._failures = 0
        rounds = self._failures // self._addresses
        # The exponent is capped: 2.0 ** 1024 overflows after some hours without a broker.
        ceiling = min(self._policy.first_seconds * 2.0 ** min(rounds, 32), self._policy.max_seconds)
        self._failures += 1
        return self._rng.uniform(0, ceiling)
