"""What controllers tell Prometheus, under the names of controller-runtime, so that its dashboards work here.

Invariant: every series exists from the start, at 0, so that `rate()` is right from the first scrape on. One registry a
manager: nothing is global. Neighbours: `queue` and `controller` count, `exposition` and `server` show.
Source of names, labels and buckets: controller-runtime, pkg/internal/controller/metrics and pkg/metrics/workqueue.go;
for `rest_client_*`: k8s.io/component-base, metrics/prometheus/restclient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, get_args

from neptune.clock import Clock
from neptune.runtime.session import Cause
from neptune.runtime.tallies import Counters, Family, Level, Levels, Spreads, Tally

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

F = TypeVar("F", bound=Family[Any])

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

    def depth(self) -> Counter[int]: ...

    def busy_seconds(self, now: float) -> Mapping[Any, float]: ...


class Metrics:
    """All series of one manager."""

    def __init__(self) -> None:
        self._families: list[Family[Any]] = []
        #: What else is told at each scrape; called on the event loop.
        self.sources: list[Callable[[], Iterable[Family[Any]]]] = []
        one, two = ("controller",), ("name", "controller")
        prefix = "controller_runtime_"
        self.reconciles = self._with(Counters(f"{prefix}reconcile", "Reconciles by result", ("controller", "result")))
        self.errors = self._with(Counters(f"{prefix}reconcile_errors", "Reconciles that failed", one))
        self.terminal_errors = self._with(
            Counters(f"{prefix}terminal_reconcile_errors", "Reconciles that failed until the object changes", one)
        )
        self.panics = self._with(
            Counters(f"{prefix}reconcile_panics", "Reconciles that failed by a fault of the program", one)
        )
        self.timeouts = self._with(Counters(f"{prefix}reconcile_timeouts", "Reconciles past their deadline", one))
        self.seconds = self._with(
            Spreads(f"{prefix}reconcile_time_seconds", "Length of reconciles", one, RECONCILE_BUCKETS)
        )
        self.workers = self._with(Levels(f"{prefix}max_concurrent_reconciles", "Workers of a controller", one))
        self.adds = self._with(Counters("workqueue_adds", "Keys added", two))
        self.retries = self._with(Counters("workqueue_retries", "Keys added for later", two))
        self.waits = self._with(Spreads("workqueue_queue_duration_seconds", "How long keys waited", two, QUEUE_BUCKETS))
        self.work = self._with(
            Spreads("workqueue_work_duration_seconds", "How long workers had keys", two, QUEUE_BUCKETS)
        )
        self._leads = self._with(Levels("leader_election_master_status", "1 while this replica leads", ("name",)))
        self._slow_path = self._with(
            Counters("leader_election_slowpath", "Renewals that had to read the lease first", ("name",))
        )
        self.events_dropped = self._with(
            Counters("neptune_events_dropped", "Events for want of room, or refused by the server")
        ).labels()
        self.undecodable = self._with(
            Counters("neptune_undecodable_objects", "Versions of objects that do not fit their type", ("resource",))
        )
        self.requests = RequestMetrics()
        self._queues: dict[str, tuple[Queue, Clock]] = {}

    def _with(self, family: F) -> F:
        self._families.append(family)
        return family

    @cached_property
    def registry(self) -> CollectorRegistry:
        """The series as prometheus_client has them; register more with it if you like."""
        from neptune.runtime.exposition import registry_of  # noqa: PLC0415  # it says why

        return registry_of(self.families)

    def of(self, controller: str, workers: int) -> ControllerMetrics:
        """Return the series of one controller, all at 0."""
        return ControllerMetrics(self, controller, workers)

    def election(self, name: str) -> tuple[Level, Tally]:
        """Return the series of an election, at 0: whether this replica leads, and how often a renewal took a read."""
        return self._leads.labels(name), self._slow_path.labels(name)

    def observe(self, controller: str, queue: Queue, clock: Clock) -> None:
        """Read that queue at each scrape."""
        self._queues[controller] = (queue, clock)

    def families(self) -> Iterator[Family[Any]]:
        """Yield all that there is, as it is now."""
        yield from self._families
        yield from self.requests.families
        for source in self.sources:
            yield from source()
        labels = ("name", "controller")
        depth = Levels("workqueue_depth", "Keys waiting", (*labels, "priority"))
        unfinished = Levels("workqueue_unfinished_work_seconds", "Age of all work under way", labels)
        longest = Levels("workqueue_longest_running_processor_seconds", "Age of the oldest work under way", labels)
        active = Levels("controller_runtime_active_workers", "Workers that have a key now", ("controller",))
        for name, (queue, clock) in self._queues.items():
            waiting = queue.depth()
            for priority in waiting.keys() | {0}:
                depth.labels(name, name, str(priority)).set(waiting[priority])
            busy = queue.busy_seconds(clock.monotonic()).values()
            unfinished.labels(name, name).set(sum(busy))
            longest.labels(name, name).set(max(busy, default=0.0))
            active.labels(name).set(len(busy))
        yield from (depth, unfinished, longest, active)


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

    def __init__(self) -> None:
        self._requests = Counters("rest_client_requests", "Requests, each attempt counted", ("code", "method", "host"))
        self._repeats = Counters("rest_client_request_retries", "Attempts after the first", ("code", "verb", "host"))
        self._seconds = Spreads(
            "rest_client_request_duration_seconds",
            "Length of requests, with all attempts; streams left out",
            ("verb", "host"),
            REQUEST_BUCKETS,
        )
        self._breaks = Counters("neptune_watches_broken", "Watches that fell silent or broke", ("cause",))
        self.families: tuple[Family[Any], ...] = (self._requests, self._repeats, self._seconds, self._breaks)
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
