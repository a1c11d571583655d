"""Keyed work queue with client-go's semantics.

Invariant: a key is never with two workers; a key added while a worker has it comes out once more afterwards; a key
added many times comes out once.
`WorkQueue` is pure: no I/O, `now` is an argument (seconds of any clock that never goes back). `Waiting` lets
tasks of one event loop wait for it. Neighbours: sources add, `controller` drains.

Rules: k8s.io/client-go/util/workqueue (queue.go, delaying_queue.go, default_rate_limiters.go) and
controller-runtime's pkg/controller/priorityqueue: the highest priority first, in order of arrival within one; a key
that is added again keeps the higher priority and the earlier time.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from neptune.clock import Clock
from neptune.runtime.metrics import ControllerMetrics

K = TypeVar("K", bound=Hashable)

#: DefaultControllerRateLimiter in client-go: 5 ms after the first failure, twice as long after each further one.
BASE_BACKOFF_SECONDS = 0.005
MAX_BACKOFF_SECONDS = 1000.0
#: 5 ms x 2^18 is past the maximum; a higher power only makes a large number.
_MAX_EXPONENT = 18
#: Keys of the initial list wait behind what changes now (controller-runtime's handler.LowPriority).
LOW_PRIORITY = -100


@dataclass(slots=True)
class _Item:
    ready_at: float
    priority: int
    added: int  # its turn within one priority
    entry: int = 0  # the one heap entry that counts; older ones are passed over


class WorkQueue(Generic[K]):
    """Keys that wait for a worker, or for their time. `len()` counts both, not those that workers have.

    `now` is in seconds of any clock that never goes back, the same one in all calls. Of two keys that are due the one
    with the higher `priority` comes out first: 0 is that of a change, -100 that of the initial list.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311  # spreads retries, hides nothing
        self._items: dict[K, _Item] = {}
        self._busy: dict[K, tuple[float, int]] = {}  # since when a worker has the key, and at which priority it came
        #: For how long the key that `pop` handed out last had been due.
        self.waited_seconds = 0.0
        self._failures: dict[K, int] = {}
        self._ready: list[tuple[int, int, int, K]] = []
        self._delayed: list[tuple[float, int, K]] = []
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, key: K, now: float, *, priority: int = 0) -> bool:
        """Let the key come out as soon as a worker is free and does not have it; tell whether it was not waiting."""
        return self.add_after(key, 0.0, now, priority=priority)

    def add_after(self, key: K, delay_seconds: float, now: float, *, priority: int = 0) -> bool:
        """Let the key come out in `delay_seconds` (below 0 is 0), sooner if it was to come out sooner anyway.

        Tell whether it was not waiting.
        """
        ready_at = now + max(delay_seconds, 0.0)
        item = self._items.get(key)
        is_new = item is None
        if item is None:
            item = self._items[key] = _Item(ready_at, priority, next(self._numbers))
        elif ready_at < item.ready_at or priority > item.priority:
            if ready_at < item.ready_at:
                item.ready_at = ready_at
                item.added = next(self._numbers)
            item.priority = max(priority, item.priority)
        else:
            return False
        if key not in self._busy:
            self._push(key, item, now)
        return is_new

    def priority_of(self, key: K) -> int:
        """Return the priority at which a worker got the key; 0 when none has it."""
        return self._busy[key][1] if key in self._busy else 0

    def add_failed(self, key: K, now: float) -> float:
        """Let the key come out after its back-off, at the priority that it had, and return the back-off in seconds.

        It doubles with each call from 5 ms to 1000 s, and `forget` starts it again.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        doubled = BASE_BACKOFF_SECONDS * 2.0 ** min(failures, _MAX_EXPONENT)
        delay = min(doubled * self._rng.uniform(1.0, 1.25), MAX_BACKOFF_SECONDS)
        self.add_after(key, delay, now, priority=self.priority_of(key))
        return delay

    def failures(self, key: K) -> int:
        """Return how often the key failed since `forget`."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """Start the key's back-off from the beginning at its next failure. Does not take it out of the queue."""
        self._failures.pop(key, None)

    def pop(self, now: float) -> K | None:
        """Hand out the next key that is due, or None. The caller has it until `done`."""
        self._ripen(now)
        while self._ready:
            _, _, entry, key = heapq.heappop(self._ready)
            item = self._items.get(key)
            if item is not None and item.entry == entry:
                del self._items[key]
                self._busy[key] = (now, item.priority)
                self.waited_seconds = max(now - item.ready_at, 0.0)
                return key
        return None

    def done(self, key: K, now: float) -> float:
        """Take the key back from its worker, and return for how long that had it.

        If the key was added meanwhile it comes out again.
        """
        since, _ = self._busy.pop(key, (now, 0))
        if item := self._items.get(key):
            self._push(key, item, now)
        return now - since

    def depth(self) -> Counter[int]:
        """Return how many keys are waiting, by priority."""
        return Counter(item.priority for item in self._items.values())

    def busy_seconds(self, now: float) -> dict[K, float]:
        """Return the keys that workers have, and for how long each has had its own."""
        return {key: now - since for key, (since, _) in self._busy.items()}

    def next_due(self, now: float) -> float | None:
        """Return in how many seconds a key will be due, 0 if one is, None if there is none to wait for."""
        self._ripen(now)
        while self._ready and not self._counts(self._ready[0][3], self._ready[0][2]):
            heapq.heappop(self._ready)
        if self._ready:
            return 0.0
        while self._delayed and not self._counts(self._delayed[0][2], self._delayed[0][1]):
            heapq.heappop(self._delayed)
        return self._delayed[0][0] - now if self._delayed else None

    def _push(self, key: K, item: _Item, now: float) -> None:
        item.entry = next(self._numbers)
        if item.ready_at <= now:
            heapq.heappush(self._ready, (-item.priority, item.added, item.entry, key))
        else:
            heapq.heappush(self._delayed, (item.ready_at, item.entry, key))

    def _ripen(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            _, entry, key = heapq.heappop(self._delayed)
            if self._counts(key, entry):
                item = self._items[key]
                item.added = next(self._numbers)  # its turn begins now, not when its wait began
                self._push(key, item, now)

    def _counts(self, key: K, entry: int) -> bool:
        item = self._items.get(key)
        return item is not None and item.entry == entry


class QueueClosed(Exception):
    """`Waiting.get` has nothing more to give: the queue was closed."""


class Waiting(Generic[K]):
    """A WorkQueue that tasks of one event loop can wait for, and that says what passes through it."""

    def __init__(self, queue: WorkQueue[K], clock: Clock, metrics: ControllerMetrics) -> None:
        self._queue = queue
        self._clock = clock
        self._metrics = metrics
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()
        self._closed = False
        metrics.observe(queue, clock)

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, key: K, *, priority: int = 0) -> None:
        """As `WorkQueue.add`, now."""
        if self._queue.add(key, self._clock.monotonic(), priority=priority):
            self._metrics.adds.inc()
        self._changed.set()

    def add_after(self, key: K, delay_seconds: float, *, priority: int | None = None) -> None:
        """As `WorkQueue.add_after`, from now on; None keeps the priority at which a worker got the key."""
        priority = self._queue.priority_of(key) if priority is None else priority
        if self._queue.add_after(key, delay_seconds, self._clock.monotonic(), priority=priority):
            self._metrics.adds.inc()
        self._metrics.retries.inc()
        self._changed.set()

    def add_failed(self, key: K) -> float:
        """As `WorkQueue.add_failed`, from now on."""
        delay = self._queue.add_failed(key, self._clock.monotonic())
        self._metrics.retries.inc()
        self._changed.set()
        return delay

    def forget(self, key: K) -> None:
        """As `WorkQueue.forget`."""
        self._queue.forget(key)

    def done(self, key: K) -> None:
        """As `WorkQueue.done`, now."""
        now = self._clock.monotonic()
        self._metrics.work.observe(self._queue.done(key, now))
        self._changed.set()

    async def get(self) -> K:
        """Wait for a key that is due.

        Raises:
            QueueClosed: after `close`, at once.
        """
        # One task waits for the queue, the others for their turn: a change wakes one worker, not all.
        async with self._turn:
            while not self._closed:
                now = self._clock.monotonic()
                if (key := self._queue.pop(now)) is not None:
                    self._metrics.waits.observe(self._queue.waited_seconds)
                    return key
                self._changed.clear()
                try:
                    async with asyncio.timeout(self._queue.next_due(now)):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        raise QueueClosed

    def priority_of(self, key: K) -> int:
        """As `WorkQueue.priority_of`."""
        return self._queue.priority_of(key)

    def busy_seconds(self) -> dict[K, float]:
        """As `WorkQueue.busy_seconds`, now."""
        return self._queue.busy_seconds(self._clock.monotonic())

    def depth(self) -> Counter[int]:
        """As `WorkQueue.depth`."""
        return self._queue.depth()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Give out no more keys. Those that workers have may still be `done`."""
        self._closed = True
        self._changed.set()
