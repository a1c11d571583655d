"""Counters and histograms, as Prometheus reads them: the same text as prometheus_client's own."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from neptune.runtime.exposition import registry_of
from neptune.runtime.tallies import Counters, Levels, Spreads

LABELS = ("controller", "result")
BOUNDS = (1e-08, 0.005, 0.5, 1.0, 60.0)
AMOUNTS = (0.0, 1e-08, 0.005, 0.0051, 1.0, 59.9, 60.0, 61.0, 0.25)


def text(registry: CollectorRegistry) -> list[str]:
    """Return what a scrape says, without when each series began, which Go's client does not tell either."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_counters_read_as_those_of_prometheus_client() -> None:
    ours, theirs = Counters("calls", "Calls", LABELS), CollectorRegistry()
    for series in (ours, Counter("calls", "Calls", LABELS, registry=theirs)):
        series.labels("a", "success")
        for _ in range(3):
            series.labels("b", "error").inc()
    told = text(registry_of(lambda: [ours]))
    assert told == text(theirs)
    assert 'calls_total{controller="a",result="success"} 0.0' in told


def test_spreads_read_as_histograms_of_prometheus_client() -> None:
    ours, theirs = Spreads("length", "Length", LABELS, BOUNDS), CollectorRegistry()
    for series in (
        ours,
        Histogram("length", "Length", LABELS, buckets=BOUNDS, registry=theirs),
    ):
        series.labels("a", "success")
        for amount in AMOUNTS:
            series.labels("b", "error").observe(amount)
    told = text(registry_of(lambda: [ours]))
    assert told == text(theirs)
    assert f'length_sum{{controller="b",result="error"}} {math.fsum(AMOUNTS)}' in told


def test_levels_read_as_gauges_of_prometheus_client() -> None:
    ours, theirs = Levels("workers", "Workers", LABELS), CollectorRegistry()
    for series in (ours, Gauge("workers", "Workers", LABELS, registry=theirs)):
        series.labels("a", "success").set(3)
        series.labels("b", "error")
    told = text(registry_of(lambda: [ours]))
    assert told == text(theirs)
    assert 'workers{controller="a",result="success"} 3.0' in told
