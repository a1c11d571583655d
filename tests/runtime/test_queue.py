from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from neptune.clock import SystemClock
from neptune.runtime.metrics import Metrics
from neptune.runtime.queue import LOW_PRIORITY, MAX_BACKOFF_SECONDS, QueueClosed, Waiting, WorkQueue


def drain(queue: WorkQueue[str], now: float) -> list[str]:
    keys = []
    while (key := queue.pop(now)) is not None:
        keys.append(key)
        queue.done(key, now)
    return keys


def test_a_key_added_many_times_comes_out_once_in_order_of_arrival() -> None:
    queue = WorkQueue[str]()
    for key in ("b", "a", "b", "a"):
        queue.add(key, now=0)
    assert drain(queue, now=0) == ["b", "a"]


def test_a_key_added_while_a_worker_has_it_comes_out_once_more_after_done() -> None:
    queue = WorkQueue[str]()
    queue.add("a", now=0)
    assert queue.pop(now=0) == "a"
    queue.add("a", now=0)
    queue.add("a", now=0)
    assert queue.pop(now=0) is None
    queue.done("a", now=0)
    assert drain(queue, now=0) == ["a"]


def test_a_higher_priority_goes_first_and_a_key_keeps_the_highest_it_was_added_with() -> None:
    queue = WorkQueue[str]()
    for key in ("a", "b", "c"):
        queue.add(key, now=0, priority=LOW_PRIORITY)
    queue.add("d", now=0)
    queue.add("c", now=0)
    assert drain(queue, now=0) == ["c", "d", "a", "b"]


def test_a_delayed_key_comes_out_at_its_time_and_an_earlier_one_wins() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 10, now=0)
    queue.add_after("a", 5, now=0)
    queue.add_after("a", 20, now=0)
    assert queue.next_due(now=1) == 4
    assert drain(queue, now=4.9) == []
    assert drain(queue, now=5) == ["a"]
    assert drain(queue, now=100) == []


def test_a_delayed_key_that_is_added_comes_out_at_once_and_only_once() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 10, now=0)
    queue.add("a", now=1)
    assert drain(queue, now=1) == ["a"]
    assert queue.next_due(now=1) is None


def test_the_backoff_doubles_from_5_ms_to_1000_s_and_forget_starts_it_again() -> None:
    queue = WorkQueue[str](random.Random(1))  # noqa: S311  # repeatable
    delays = [queue.add_failed("a", now=0) for _ in range(40)]
    assert 0.005 <= delays[0] <= 0.00625
    assert all(0.005 * 2**n <= delay <= 0.00625 * 2**n for n, delay in enumerate(delays[:17]))
    assert delays[-1] == MAX_BACKOFF_SECONDS
    queue.forget("a")
    assert queue.add_failed("a", now=0) < 0.01


def test_it_tells_how_long_keys_waited_and_how_long_workers_have_them() -> None:
    queue = WorkQueue[str]()
    assert queue.add("a", now=0)
    assert not queue.add("a", now=1)
    queue.add_after("b", 5, now=0, priority=LOW_PRIORITY)
    assert queue.depth() == {0: 1, LOW_PRIORITY: 1}
    assert queue.pop(now=3) == "a"
    assert queue.waited_seconds == 3
    assert queue.busy_seconds(now=7) == {"a": 4}
    assert queue.done("a", now=8) == 5
    assert queue.pop(now=9) == "b"
    assert queue.waited_seconds == 4


def test_a_key_that_failed_keeps_the_priority_at_which_it_came() -> None:
    queue = WorkQueue[str]()
    queue.add("a", now=0, priority=LOW_PRIORITY)
    assert queue.pop(now=0) == "a"
    queue.add_failed("a", now=0)
    assert queue.depth() == {LOW_PRIORITY: 1}
    queue.add("a", now=0)
    assert queue.depth() == {0: 1}


async def test_a_waiting_worker_gets_a_key_as_soon_as_it_is_added_or_due() -> None:
    queue = Waiting[str](WorkQueue(), SystemClock(), Metrics().of("q", 1))
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add_after("late", 0.02)
    queue.add("a")
    queue.add("b")
    assert await asyncio.wait_for(asyncio.gather(*workers), 5) == ["a", "b", "late"]


async def test_close_ends_every_waiting_worker() -> None:
    queue = Waiting[str](WorkQueue(), SystemClock(), Metrics().of("q", 1))
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.close()
    for worker in workers:
        with pytest.raises(QueueClosed):
            await worker


KEYS = st.sampled_from("abcd")
DELAYS = st.sampled_from([0.0, 1.0, 2.5])


class QueueMachine(RuleBasedStateMachine):
    """Compares the queue with a model: for each key, when it is due (if it waits) and whether a worker has it."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = WorkQueue[str](random.Random(0))  # noqa: S311  # repeatable
        self.now = 0.0
        self.due: dict[str, float] = {}
        self.priority: dict[str, int] = {}
        self.busy: set[str] = set()

    @rule(key=KEYS, delay=DELAYS, priority=st.sampled_from([LOW_PRIORITY, 0]))
    def add(self, key: str, delay: float, priority: int) -> None:
        self.queue.add_after(key, delay, self.now, priority=priority)
        self.due[key] = min(self.due.get(key, float("inf")), self.now + delay)
        self.priority[key] = max(self.priority.get(key, LOW_PRIORITY), priority)

    @rule(seconds=DELAYS)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def pop(self) -> None:
        free = {key for key, due in self.due.items() if due <= self.now and key not in self.busy}
        key = self.queue.pop(self.now)
        if key is None:
            assert not free
            return
        assert key in free
        assert self.priority[key] == max(self.priority[other] for other in free)
        self.busy.add(key)
        del self.due[key], self.priority[key]

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.busy)))
        self.queue.done(key, self.now)
        self.busy.discard(key)

    @invariant()
    def tells_when_to_look_again(self) -> None:
        waits = [max(due - self.now, 0.0) for key, due in self.due.items() if key not in self.busy]
        assert self.queue.next_due(self.now) == (min(waits) if waits else None)
        assert len(self.queue) == len(self.due)


TestQueueMachine = QueueMachine.TestCase
