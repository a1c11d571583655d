"""Controllers over a cache that the test fills; no server is asked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import structlog

from neptune.api.core import ConfigMap
from neptune.api.meta import ResourceKey
from neptune.clock import SystemClock
from neptune.log import get_logger
from neptune.runtime import (
    Cache,
    Client,
    Conflict,
    Context,
    Controller,
    GenerationChanged,
    Informer,
    Mailbox,
    Query,
    RequeueAfter,
    TerminalError,
)
from neptune.runtime.controller import as_queries, watch
from neptune.runtime.events import EventRecorder, Events
from neptune.runtime.metrics import Metrics
from neptune.runtime.watch import Listed, Stored
from tests.runtime.widgets import Widget, eventually, key, widget


@asynccontextmanager
async def controlling(reconcile: Any, **options: Any) -> AsyncIterator[Informer[Widget]]:
    async with running(reconcile, **options) as (_, informer):
        yield informer


@asynccontextmanager
async def running(
    reconcile: Any, *, queries: Sequence[Query[Widget]] = (Query(Widget),), **options: Any
) -> AsyncIterator[tuple[Controller[Widget], Informer[Widget]]]:
    client = Client()
    clock, metrics, loop = SystemClock(), Metrics(), asyncio.get_running_loop()
    events = Events(EventRecorder(client, clock, metrics, loop), "widgets")
    context = Context(client, Cache(client), clock, get_logger(), loop, events)
    controller = Controller(context, queries, reconcile, "widgets", metrics, **options)
    controller.start_sources()
    task = asyncio.create_task(controller.run())
    try:
        yield controller, watch(context.cache, queries[0])
    finally:
        controller.drain()
        await asyncio.wait_for(task, 5)


async def test_reconcile_is_called_with_the_key_and_finds_the_object() -> None:
    sizes: list[int | None] = []

    async def reconcile(ctx: Context, key: ResourceKey) -> None:
        found = ctx.cache.get(Widget, key)
        sizes.append(found.spec.size if found else None)

    async with controlling(reconcile) as informer:
        informer.apply(Listed([widget("a", size=3)]))
        await eventually(lambda: sizes == [3])
        informer.apply(Listed([]))
        await eventually(lambda: sizes == [3, None])


async def test_a_controller_of_several_queries_is_called_for_the_objects_of_each_and_never_twice_at_a_time() -> None:
    calls: list[str] = []

    async def reconcile(ctx: Context, key: ResourceKey) -> None:
        calls.append(f"{key.name} {'is there' if ctx.cache.get(Widget, key) else 'is gone'}")

    queries = [Query(Widget, label_selector="tier=gold"), Query(Widget, label_selector="in=stock")]
    async with running(reconcile, queries=queries, resync_seconds=0) as (controller, gold):
        stock = watch(controller.context.cache, queries[1])
        gold.apply(Listed([widget("a"), widget("b")]))
        stock.apply(Listed([widget("b"), widget("c")]))
        await eventually(lambda: sorted(calls) == ["a is there", "b is there", "c is there"])
        gold.apply(Listed([widget("a")]))
        await eventually(lambda: calls[3:] == ["b is there"])
        stock.apply(Listed([widget("c")]))
        await eventually(lambda: calls[4:] == ["b is gone"])


def test_queries_of_several_kinds_or_none_are_refused() -> None:
    with pytest.raises(ValueError, match="not of ConfigMap, Widget: give each kind a controller"):
        as_queries([Query(Widget), Query(ConfigMap)])  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(ValueError, match="of one kind, not of none"):
        as_queries([])


async def test_a_key_is_never_in_two_calls_and_runs_again_when_it_changed_meanwhile() -> None:
    running, most, calls = 0, 0, 0

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        nonlocal running, most, calls
        running, calls = running + 1, calls + 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    async with controlling(reconcile, workers=4) as informer:
        informer.apply(Listed([widget("a", 1)]))
        await eventually(lambda: running)
        for version in range(2, 6):
            informer.apply(Stored(widget("a", version)))
        await eventually(lambda: calls == 2)
    assert (most, calls) == (1, 2)


async def test_workers_run_side_by_side() -> None:
    together = asyncio.Barrier(3)

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        await asyncio.wait_for(together.wait(), 5)

    async with controlling(reconcile, workers=3) as informer:
        informer.apply(Listed([widget(name) for name in "abc"]))
        await eventually(lambda: together.n_waiting == 0)


async def test_an_exception_is_logged_and_the_call_made_again_after_a_growing_delay() -> None:
    times: list[float] = []

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        times.append(time.monotonic())
        if len(times) < 4:
            raise OSError("disk")

    with structlog.testing.capture_logs() as logs:
        async with controlling(reconcile) as informer:
            informer.apply(Listed([widget("a")]))
            await eventually(lambda: len(times) == 4)
    assert times[1] - times[0] >= 0.005
    assert times[3] - times[2] >= 0.02
    assert len(logs) == 3
    assert logs[0].items() >= {"controller": "widgets", "namespace": "ns", "name": "a", "log_level": "error"}.items()
    assert logs[0]["reconcile_id"] != logs[1]["reconcile_id"]


async def test_a_fault_has_its_traceback_in_the_log_once_until_the_call_succeeds_or_fails_in_another_way() -> None:
    outcomes = [LookupError("a"), LookupError("b"), Conflict(409, "", "changed"), LookupError(), ValueError("c"), None]
    outcomes += [ValueError("d"), None]
    calls = 0

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        nonlocal calls
        calls += 1
        if outcome := outcomes[calls - 1]:
            raise outcome

    with structlog.testing.capture_logs() as logs:
        async with controlling(reconcile) as informer:
            informer.apply(Listed([widget("a", 1)]))
            await eventually(lambda: calls == 6)
            informer.apply(Stored(widget("a", 2)))
            await eventually(lambda: calls == 8)
    problems = ["a", "b", "changed", "LookupError()", "c", "d"]
    assert [(entry["problem"], "exc_info" in entry) for entry in logs] == [
        *zip(problems, [True, False, False, False, True, True], strict=True)
    ]


class Unspeakable(BaseException):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class UnspeakableError(Unspeakable, Exception):
    pass


@pytest.mark.parametrize("error", [UnspeakableError(), Unspeakable()], ids=["Exception", "BaseException"])
@pytest.mark.parametrize("in_thread", [False, True])
async def test_an_error_that_fails_to_say_what_it_is_costs_no_worker(error: BaseException, *, in_thread: bool) -> None:
    calls = 0

    def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise error

    async def awaited(ctx: Context, key: ResourceKey) -> None:
        reconcile(ctx, key)

    with structlog.testing.capture_logs() as logs:
        async with controlling(reconcile if in_thread else awaited, workers=1) as informer:
            informer.apply(Listed([widget("a")]))
            await eventually(lambda: calls == 2)
    assert "fails to say more" in logs[0]["problem"]


async def test_a_terminal_error_is_not_tried_again_until_the_object_changes() -> None:
    calls = 0

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        nonlocal calls
        calls += 1
        raise TerminalError("no such format")

    async with controlling(reconcile) as informer:
        informer.apply(Listed([widget("a", 1)]))
        await eventually(lambda: calls == 1)
        await asyncio.sleep(0.05)
        assert calls == 1
        informer.apply(Stored(widget("a", 2)))
        await eventually(lambda: calls == 2)


async def test_a_conflict_is_routine_and_tried_again() -> None:
    calls = 0

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Conflict(409, "Conflict", "changed")

    with structlog.testing.capture_logs() as logs:
        async with controlling(reconcile) as informer:
            informer.apply(Listed([widget("a")]))
            await eventually(lambda: calls == 2)
    assert [entry["log_level"] for entry in logs] == ["info"]


async def test_requeue_after_calls_again_in_that_time() -> None:
    times: list[float] = []

    async def reconcile(_ctx: Context, _key: ResourceKey) -> RequeueAfter | None:
        times.append(time.monotonic())
        return RequeueAfter(0.03) if len(times) == 1 else None

    async with controlling(reconcile) as informer:
        informer.apply(Listed([widget("a")]))
        await eventually(lambda: len(times) == 2)
    assert times[1] - times[0] >= 0.03


async def test_a_call_past_its_deadline_is_cancelled_and_made_again() -> None:
    calls = 0

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.Event().wait()

    with structlog.testing.capture_logs() as logs:
        async with controlling(reconcile, timeout_seconds=0.02) as informer:
            informer.apply(Listed([widget("a")]))
            await eventually(lambda: calls == 2)
    assert "took longer than its 0.02 s" in str(logs[0])


async def test_a_plain_function_runs_in_a_thread_and_reaches_the_client_through_the_loop() -> None:
    threads: list[str] = []

    async def on_the_loop() -> str:
        return threading.current_thread().name

    def reconcile(ctx: Context, _key: ResourceKey) -> None:
        threads.extend([threading.current_thread().name, ctx.wait(on_the_loop())])

    async with controlling(reconcile) as informer:
        informer.apply(Listed([widget("a")]))
        await eventually(lambda: len(threads) == 2)
    assert threads[0].startswith("widgets")
    assert threads[1] == "MainThread"


async def test_a_thread_past_its_deadline_keeps_its_key_until_it_returns() -> None:
    running, most, calls = 0, 0, 0
    release = threading.Event()

    def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        nonlocal running, most, calls
        running, calls = running + 1, calls + 1
        most = max(most, running)
        release.wait(5)
        running -= 1

    with structlog.testing.capture_logs() as logs:
        async with controlling(reconcile, timeout_seconds=0.02) as informer:
            informer.apply(Listed([widget("a")]))
            await eventually(lambda: logs)
            assert "a thread cannot be stopped" in logs[0]["event"]
            await asyncio.sleep(0.05)  # ten times the first back-off
            assert calls == 1
            release.set()
            await eventually(lambda: calls == 2)
    assert most == 1


async def test_a_thread_past_its_deadline_acts_no_more_through_the_client() -> None:
    acted: list[str] = []
    failures: list[str] = []

    async def act(name: str, *, late: bool = False) -> None:
        if late:
            await asyncio.Event().wait()
        acted.append(name)

    def reconcile(ctx: Context, _key: ResourceKey) -> None:
        if failures:
            return
        ctx.wait(act("in time"))
        for late in (True, False):  # the first is under way at the deadline, the second comes after it
            try:
                ctx.wait(act("late", late=late))
            except TimeoutError as error:
                failures.append(str(error))

    async with controlling(reconcile, timeout_seconds=0.05) as informer:
        informer.apply(Listed([widget("a")]))
        await eventually(lambda: len(failures) == 2)
    assert acted == ["in time"]
    assert "past its deadline" in failures[0]


async def test_a_call_that_will_not_end_is_named_in_the_log_once() -> None:
    release = asyncio.Event()

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        while not release.is_set():
            with suppress(asyncio.CancelledError):  # will not be cancelled
                await release.wait()

    with structlog.testing.capture_logs() as logs:
        async with controlling(reconcile, timeout_seconds=0.01) as informer:
            informer.apply(Listed([widget("a")]))
            await eventually(lambda: logs)
            await asyncio.sleep(0.05)
            release.set()
    assert len(logs) == 1
    assert logs[0].items() >= {"event": "reconcile is stuck", "controller": "widgets", "name": "a"}.items()


async def test_abort_cancels_calls_before_they_take_a_further_step() -> None:
    answered = asyncio.Event()
    steps: list[str] = []

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        steps.append("first")
        await answered.wait()
        steps.append("second")

    async with running(reconcile) as (controller, informer):
        informer.apply(Listed([widget("a")]))
        await eventually(lambda: steps)
        answered.set()  # the call will go on at its next turn
        controller.abort()
    assert steps == ["first"]


async def test_requeue_after_says_a_time_and_may_say_a_priority() -> None:
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="0 or more"):
            RequeueAfter(seconds)
    outcomes = [RequeueAfter(60, priority=5)]

    async def reconcile(_ctx: Context, _key: ResourceKey) -> RequeueAfter | None:
        return outcomes.pop()

    async with running(reconcile) as (controller, informer):
        informer.apply(Listed([widget("a")]))
        await eventually(lambda: controller.queue.depth() == {5: 1})


async def test_a_plain_function_that_returns_a_coroutine_is_told_what_it_should_be() -> None:
    async def work() -> None: ...

    def reconcile(_ctx: Context, _key: ResourceKey) -> Any:
        return work()

    with structlog.testing.capture_logs() as logs:
        async with controlling(reconcile) as informer:
            informer.apply(Listed([widget("a")]))
            await eventually(lambda: logs)
    assert "make it an async def" in str(logs[0])


async def test_ctx_wait_on_the_loop_itself_is_refused_since_it_would_never_end() -> None:
    errors: list[str] = []

    async def reconcile(ctx: Context, _key: ResourceKey) -> None:
        with pytest.raises(RuntimeError, match="write: await") as raised:
            ctx.wait(asyncio.sleep(0))
        errors.append(str(raised.value))

    async with controlling(reconcile) as informer:
        informer.apply(Listed([widget("a")]))
        await eventually(lambda: errors)


async def test_a_cancellation_from_inside_the_function_does_not_cost_a_worker() -> None:
    calls = 0

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError

    async with controlling(reconcile, workers=1) as informer:
        informer.apply(Listed([widget("a")]))
        await eventually(lambda: calls == 2)


@pytest.mark.parametrize("awaits", [True, False])
async def test_a_function_that_cancels_its_own_task_costs_no_worker(*, awaits: bool) -> None:
    calls: list[str] = []

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        calls.append(key.name)
        if len(calls) <= 2:
            task = asyncio.current_task()
            assert task
            task.cancel()
            if awaits:
                await asyncio.sleep(0)

    async with controlling(reconcile, workers=1) as informer:
        informer.apply(Listed([widget(name) for name in "abc"]))
        await eventually(lambda: len(calls) == (5 if awaits else 3))
    assert {*calls} == {"a", "b", "c"}


async def test_a_controller_that_is_cancelled_ends_its_calls() -> None:
    ended: list[str] = []

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(key.name)

    with suppress(asyncio.CancelledError):
        async with running(reconcile, workers=2) as (controller, informer):
            informer.apply(Listed([widget(name) for name in "ab"]))
            await eventually(lambda: len(controller.queue.busy_seconds()) == 2)
            [task] = [each for each in asyncio.all_tasks() if "Controller.run" in repr(each)]
            task.cancel()
            await asyncio.wait([task], timeout=5)
            assert task.done()
    assert sorted(ended) == ["a", "b"]


async def test_another_answer_than_none_or_requeue_after_is_an_error() -> None:
    async def reconcile(_ctx: Context, _key: ResourceKey) -> Any:
        return 5

    with structlog.testing.capture_logs() as logs:
        async with controlling(reconcile) as informer:
            informer.apply(Listed([widget("a")]))
            await eventually(lambda: logs)
    assert "return None or RequeueAfter" in str(logs[0])


async def test_predicates_keep_changes_away_and_a_broken_one_lets_them_pass() -> None:
    keys: list[str] = []

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        keys.append(key.name)

    def broken(change: Any) -> bool:
        return bool(1 / (change.key.name != "c"))

    with structlog.testing.capture_logs() as logs:
        async with controlling(reconcile, predicates=[GenerationChanged(), broken]) as informer:
            informer.apply(Listed([widget("a")]))
            await eventually(lambda: keys == ["a"])
            informer.apply(Stored(widget("a", 2)))
            informer.apply(Stored(widget("b")))
            informer.apply(Stored(widget("c")))
            await eventually(lambda: len(keys) == 3)
    assert keys == ["a", "b", "c"]
    assert [entry["event"] for entry in logs] == ["predicate failed, change passes"]


async def test_a_change_overtakes_the_initial_list() -> None:
    keys: list[str] = []
    gate = asyncio.Event()

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        await gate.wait()
        keys.append(key.name)

    async with controlling(reconcile, workers=1) as informer:
        informer.apply(Listed([widget(name) for name in "abc"]))
        informer.apply(Stored(widget("new")))
        await asyncio.sleep(0)
        gate.set()
        await eventually(lambda: len(keys) == 4)
    assert keys.index("new") <= 1


async def test_a_mailbox_wakes_the_controller_with_its_key() -> None:
    box = Mailbox[int]()
    values: list[int | None] = []

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        values.append(box.take(key))

    async with controlling(reconcile, sources=[box]):
        box.put(key("a"), 7)
        await eventually(lambda: values == [7])


class Oddity(BaseException):
    """As pytest's own outcomes are: no Exception."""


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(3), Oddity(), KeyboardInterrupt(), GeneratorExit()])
async def test_whatever_a_plain_function_raises_is_an_error_and_the_call_made_again(error: BaseException) -> None:
    calls: list[int] = []

    def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        calls.append(1)
        if len(calls) < 3:
            raise error

    async with running(reconcile, timeout_seconds=0.3) as (controller, informer):
        informer.apply(Listed([widget("a")]))
        await eventually(lambda: len(calls) == 3)
        await eventually(lambda: not controller.queue.busy_seconds())


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(3), Oddity()])
async def test_whatever_a_coroutine_raises_is_an_error_and_the_call_made_again(error: BaseException) -> None:
    calls: list[int] = []

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        calls.append(1)
        if len(calls) < 3:
            raise error

    async with controlling(reconcile) as informer:
        informer.apply(Listed([widget("a")]))
        await eventually(lambda: len(calls) == 3)
