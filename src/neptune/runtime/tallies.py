"""Counters, levels and histograms that are counted often; `exposition` shows them to Prometheus when it asks.

Invariant: what is counted on the event loop costs it an addition. prometheus_client's own take a lock for each, and a
histogram walks through its buckets: 3.3 µs a reconcile, where these take 0.5.
Neighbours: `metrics` names the series. Used from one event loop; a scrape reads them there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import inf
from typing import Generic, TypeVar


class Tally:
    """A number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Count one, or so many."""
        self.value += amount


class Level:
    """A number that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        """Say what it is now."""
        self.value = value


class Spread:
    """How many amounts were at most each of the bounds, which are sorted; and their sum."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, amount: float) -> None:
        """Take in one amount."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self.sum += amount

    def cumulated(self) -> list[tuple[float, int]]:
        """Return how many were at most each bound; the last one is infinity."""
        return [*zip((*self._bounds, inf), accumulate(self._counts), strict=True)]


S = TypeVar("S", Tally, Level, Spread)


class Family(Generic[S]):
    """All series of one name, by the values of their labels."""

    def __init__(self, new: Callable[[], S], name: str, meaning: str, labels: Sequence[str]) -> None:
        self.name = name
        self.meaning = meaning
        self.label_names = labels
        self.series: defaultdict[tuple[str, ...], S] = defaultdict(new)

    def labels(self, *values: str) -> S:
        """Return the series with these labels, which exists from now on."""
        return self.series[values]


class Counters(Family[Tally]):
    """Tallies. The name is that without `_total`."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        super().__init__(Tally, name, meaning, labels)


class Levels(Family[Level]):
    """Levels: what Prometheus calls a gauge."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        super().__init__(Level, name, meaning, labels)


class Spreads(Family[Spread]):
    """Spreads: what Prometheus calls a histogram."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(lambda: Spread(bounds), name, meaning, labels)
