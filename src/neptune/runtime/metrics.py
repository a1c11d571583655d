"""What controllers tell Prometheus, under the names of controller-runtime, so that its dashboards work here.

Invariant: every series exists from the start, at 0, so that `rate()` is right from the first scrape on. One registry a
manager: nothing is global. Neighbours: `queue` and `controller` count, `server` shows.
Source of names, labels and buckets: controller-runtime, pkg/internal/controller/metrics and pkg/metrics/workqueue.go;
for `rest_client_*`: k8s.io/component-base, metrics/prometheus/restclient.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric

from neptune.clock import Clock
from neptune.runtime.session import Cause
from neptune.runtime.tallies import Counters, Spreads

#: `requeue` never happens here; dashboards of controller-runtime ask for it.
Result = Literal["success", "error", "requeue", "requeue_after"]
#: ReconcileTime in pkg/internal/controller/metrics/metrics.go.
RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9),
    *(1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0),
    *(40.0, 50.0, 60.0),
)
#: prometheus.ExponentialBuckets(10e-9, 10, 12) in pkg/metrics/workqueue.go.
QUEUE_BUCKETS = tuple(1e-8 * 10**power for power in range(12))
#: requestLatency in k8s.io/component-base/metrics/prometheus/restclient/metrics.go.
REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)


class Queue(Protocol):
    """What is read from a queue at each scrape."""

    def depth(self) -> Tally[int]: ...

    def busy_seconds(self, now: float) -> Mapping[Any, float]: ...


class Metrics:
    """All series of one manager."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        one, two = ("controller",), ("name", "controller")
        prefix = "controller_runtime_"
        self.reconciles = Counters(registry, f"{prefix}reconcile", "Reconciles by result", ("controller", "result"))
        self.errors = Counters(registry, f"{prefix}reconcile_errors", "Reconciles that failed", one)
        self.terminal_errors = Counters(
            registry, f"{prefix}terminal_reconcile_errors", "Reconciles that failed until the object changes", one
        )
        self.panics = Counters(
            registry, f"{prefix}reconcile_panics", "Reconciles that failed by a fault of the program", one
        )
        self.timeouts = Counters(registry, f"{prefix}reconcile_timeouts", "Reconciles past their deadline", one)
        self.seconds = Spreads(
            registry, f"{prefix}reconcile_time_seconds", "Length of reconciles", one, RECONCILE_BUCKETS
        )
        self.workers = Gauge(
            f"{prefix}max_concurrent_reconciles", "Workers of a controller", one, registry=self.registry
        )
        self.adds = Counters(registry, "workqueue_adds", "Keys added", two)
        self.retries = Counters(registry, "workqueue_retries", "Keys added for later", two)
        self.waits = Spreads(registry, "workqueue_queue_duration_seconds", "How long keys waited", two, QUEUE_BUCKETS)
        self.work = Spreads(
            registry, "workqueue_work_duration_seconds", "How long workers had keys", two, QUEUE_BUCKETS
        )
        self._leads = Gauge(
            "leader_election_master_status", "1 while this replica leads", ("name",), registry=self.registry
        )
        self._slow_path = Counter(
            "leader_election_slowpath", "Renewals that had to read the lease first", ("name",), registry=self.registry
        )
        self.events_dropped = Counter(
            "neptune_events_dropped", "Events for want of room, or refused by the server", registry=self.registry
        )
        self.undecodable = Counter(
            "neptune_undecodable_objects", "Versions of objects that do not fit their type", ("resource",),
            registry=self.registry,
        )  # fmt: skip
        self.requests = RequestMetrics(self.registry)
        self._queues: dict[str, tuple[Queue, Clock]] = {}
        self.registry.register(self)  # for the series that are computed at each scrape

    def of(self, controller: str, workers: int) -> ControllerMetrics:
        """Return the series of one controller, all at 0."""
        return ControllerMetrics(self, controller, workers)

    def election(self, name: str) -> tuple[Gauge, Counter]:
        """Return the series of an election, at 0: whether this replica leads, and how often a renewal took a read."""
        return self._leads.labels(name), self._slow_path.labels(name)

    def observe(self, controller: str, queue: Queue, clock: Clock) -> None:
        """Read that queue at each scrape."""
        self._queues[controller] = (queue, clock)

    def collect(self) -> Iterator[Metric]:
        """Yield what is computed at a scrape; called by the registry."""
        labels = ["name", "controller"]
        depth = GaugeMetricFamily("workqueue_depth", "Keys waiting", labels=[*labels, "priority"])
        unfinished = GaugeMetricFamily("workqueue_unfinished_work_seconds", "Age of all work under way", labels=labels)
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds", "Age of the oldest work under way", labels=labels
        )
        active = GaugeMetricFamily(
            "controller_runtime_active_workers", "Workers that have a key now", labels=["controller"]
        )
        for name, (queue, clock) in self._queues.items():
            tally = queue.depth()
            for priority in tally.keys() | {0}:
                depth.add_metric([name, name, str(priority)], tally[priority])
            busy = queue.busy_seconds(clock.monotonic()).values()
            unfinished.add_metric([name, name], sum(busy))
            longest.add_metric([name, name], max(busy, default=0.0))
            active.add_metric([name], len(busy))
        return iter((depth, unfinished, longest, active))


class ControllerMetrics:
    """The series of one controller."""

    def __init__(self, metrics: Metrics, name: str, workers: int) -> None:
        self._metrics = metrics
        self._name = name
        self.adds = metrics.adds.labels(name, name)
        self.retries = metrics.retries.labels(name, name)
        self.waits = metrics.waits.labels(name, name)
        self.work = metrics.work.labels(name, name)
        self.results = {result: metrics.reconciles.labels(name, result) for result in get_args(Result)}
        self.errors = metrics.errors.labels(name)
        self.terminal_errors = metrics.terminal_errors.labels(name)
        self.panics = metrics.panics.labels(name)
        self.timeouts = metrics.timeouts.labels(name)
        self.seconds = metrics.seconds.labels(name)
        metrics.workers.labels(name).set(workers)

    def observe(self, queue: Queue, clock: Clock) -> None:
        """Read the controller's queue at each scrape."""
        self._metrics.observe(self._name, queue, clock)


class RequestMetrics:
    """The series of a client's requests, as client-go has them. An `Observer` of the client.

    Its series come with the first request of their kind: which codes there are is the server's choice.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counters(
            registry, "rest_client_requests", "Requests, each attempt counted", ("code", "method", "host")
        )
        self._repeats = Counters(
            registry, "rest_client_request_retries", "Attempts after the first", ("code", "verb", "host")
        )
        self._seconds = Spreads(
            registry,
            "rest_client_request_duration_seconds",
            "Length of requests, with all attempts; streams left out",
            ("verb", "host"),
            REQUEST_BUCKETS,
        )
        self._breaks = Counters(registry, "neptune_watches_broken", "Watches that fell silent or broke", ("cause",))
        for cause in get_args(Cause):
            self._breaks.labels(cause)

    def answered(self, method: str, status: int, host: str) -> None:
        """Count an attempt."""
        self._requests.labels(_code(status), method, host).inc()

    def repeated(self, method: str, status: int, host: str) -> None:
        """Count a further attempt."""
        self._repeats.labels(_code(status), method, host).inc()

    def finished(self, method: str, host: str, seconds: float) -> None:
        """Take in the length of a request."""
        self._seconds.labels(method, host).observe(seconds)

    def broke(self, cause: Cause) -> None:
        """Count a watch that broke."""
        self._breaks.labels(cause).inc()


def _code(status: int) -> str:
    # client-go, rest/request.go, for a request without an answer.
    return str(status) if status else "<error>"
