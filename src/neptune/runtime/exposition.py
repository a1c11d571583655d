"""The families of `tallies` in the terms of prometheus_client, for whoever scrapes.

Loaded when somebody asks for the registry: prometheus_client takes 12 ms and 1 MB, and many programs serve no metrics.
Neighbours: `metrics` has the families, `server` shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from neptune.runtime.tallies import Counters, Family, Spreads


def registry_of(families: Callable[[], Iterable[Family[Any]]]) -> CollectorRegistry:
    """Return a registry that tells what the families are at each scrape; more may be registered with it."""
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return registry


class _Families(Collector):
    def __init__(self, families: Callable[[], Iterable[Family[Any]]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._families())


def _metric(family: Family[Any]) -> Metric:
    if isinstance(family, Spreads):
        histogram = HistogramMetricFamily(family.name, family.meaning, labels=family.label_names)
        for values, spread in family.series.items():
            bounds, counts = zip(*spread.cumulated(), strict=True)
            histogram.add_metric(values, [*zip(map(floatToGoString, bounds), counts, strict=True)], spread.sum)
        return histogram
    kind = CounterMetricFamily if isinstance(family, Counters) else GaugeMetricFamily
    metric = kind(family.name, family.meaning, labels=family.label_names)
    for values, series in family.series.items():
        metric.add_metric(values, series.value)
    return metric
