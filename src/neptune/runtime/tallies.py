"""Counters and histograms that are counted often, and shown to Prometheus when it asks.

Invariant: what is counted on the event loop costs it an addition. prometheus_client's own take a lock for each, and a
histogram walks through its buckets: 3.3 µs a reconcile, where these take 0.5.
Neighbours: `metrics` names the series. Used from one event loop; a scrape reads them there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import inf

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString


class Tally:
    """A number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        """Count one."""
        self.value += 1


class Spread:
    """How many amounts were at most each of the bounds, which are sorted; and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        """Take in one amount."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """Return, as Prometheus wants it, how many were at most each bound, the last one infinity, and the sum."""
        bounds = map(floatToGoString, (*self._bounds, inf))
        return [*zip(bounds, accumulate(self._counts), strict=True)], self._sum


class Counters:
    """All tallies of one name, by the values of their labels. A collector of prometheus_client."""

    def __init__(self, registry: CollectorRegistry, name: str, meaning: str, labels: Sequence[str]) -> None:
        self._family = name, meaning
        self._labels = labels
        self._children: defaultdict[tuple[str, ...], Tally] = defaultdict(Tally)
        registry.register(self)

    def labels(self, *values: str) -> Tally:
        """Return the tally with these labels, which exists from now on."""
        return self._children[values]

    def collect(self) -> Iterator[Metric]:
        """Yield all that there are, as they are now."""
        family = CounterMetricFamily(*self._family, labels=self._labels)
        for values, tally in self._children.items():
            family.add_metric(values, tally.value)
        yield family


class Spreads:
    """All spreads of one name, by the values of their labels. A collector of prometheus_client."""

    def __init__(
        self, registry: CollectorRegistry, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._family = name, meaning
        self._labels = labels
        self._children: defaultdict[tuple[str, ...], Spread] = defaultdict(lambda: Spread(bounds))
        registry.register(self)

    def labels(self, *values: str) -> Spread:
        """Return the spread with these labels, which exists from now on."""
        return self._children[values]

    def collect(self) -> Iterator[Metric]:
        """Yield all that there are, as they are now."""
        family = HistogramMetricFamily(*self._family, labels=self._labels)
        for values, spread in self._children.items():
            family.add_metric(values, *spread.cumulated())
        yield family
