"""Workers that bring objects to what they should be, by calling a reconcile function with one key at a time.

Invariant: a key is never in two calls at once, a call that failed is made again after a back-off, and no call outlasts
its deadline unseen. The function gets a key and looks at the state of the world; it never gets an event.
Neighbours: `cache` and `sources` name keys, `queue` orders them, `manager` starts and stops this.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from neptune.api.meta import R, ResourceKey
from neptune.clock import Clock
from neptune.runtime.cache import Cache, Change
from neptune.runtime.client import Client
from neptune.runtime.errors import ApiError, Conflict, TerminalError
from neptune.runtime.metrics import ControllerMetrics, Metrics, Result
from neptune.runtime.predicates import Test
from neptune.runtime.query import Query, describe
from neptune.runtime.queue import LOW_PRIORITY, QueueClosed, Waiting, WorkQueue
from neptune.runtime.sources import Source

T = TypeVar("T")

DEFAULT_WORKERS = 4
#: Long enough for two requests at their own deadline; a worker that hangs for longer starves the others' keys.
DEFAULT_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """What a reconcile function returns to be called again for the same key after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Context:
    """What a reconcile function works with. `log` carries controller, namespace, name and reconcile_id."""

    client: Client
    cache: Cache
    clock: Clock
    log: Any
    loop: asyncio.AbstractEventLoop

    def wait(self, action: Coroutine[Any, Any, T]) -> T:
        """Carry out a coroutine on the event loop and wait for it: for reconcile functions that are a plain `def`.

        >>> ctx.wait(ctx.client.status.patch(dataset))  # doctest: +SKIP
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(action, self.loop).result()
        action.close()
        raise RuntimeError("ctx.wait is for a plain def; in an async def write: await ...")


Outcome = RequeueAfter | None
Reconcile = Callable[[Context, ResourceKey], Awaitable[Outcome]] | Callable[[Context, ResourceKey], Outcome]


@dataclass(eq=False)
class Controller(Generic[R]):
    """Calls `reconcile` for each object of `query` that changes, and for each key that a source names.

    Attributes:
        reconcile: an `async def`, or a plain `def` that runs in a thread. None means done; any exception means again
            after a back-off of 5 ms, doubling to 1000 s; a TerminalError means not before the object changes.
        predicates: a change is worth a call only if all of them say so.
        workers: how many keys are worked on at a time.
        timeout_seconds: the deadline of one call. An `async def` is cancelled then; a thread cannot be, so its key
            stays with it until it returns.
    """

    context: Context
    query: Query[R]
    reconcile: Reconcile
    name: str
    metrics: Metrics
    workers: int = DEFAULT_WORKERS
    predicates: Sequence[Test] = ()
    sources: Sequence[Source] = ()
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    queue: Waiting[ResourceKey] = field(init=False)
    _series: ControllerMetrics = field(init=False)
    _threads: ThreadPoolExecutor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.context = replace(self.context, log=self.context.log.bind(controller=self.name))
        self._series = self.metrics.of(self.name, self.workers)
        self.queue = Waiting(WorkQueue(), self.context.clock, self._series)
        query = self.query
        informer = self.context.cache.watch(
            query.cls, query.namespace, label_selector=query.label_selector, field_selector=query.field_selector
        )
        informer.subscribe(self._changed)

    def start_sources(self) -> None:
        """Let the sources name keys from now on."""
        for source in self.sources:
            source.start(self.queue.add)

    async def run(self) -> None:
        """Work until `drain` is called and the calls under way have ended."""
        if not _is_async(self.reconcile):
            self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix=self.name)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self.workers):
                    group.create_task(self._work(), name=f"{self.name} worker {number}")
        finally:
            if self._threads:
                self._threads.shutdown(wait=False, cancel_futures=True)

    def drain(self) -> None:
        """Start no more calls."""
        self.queue.close()

    def is_stuck(self) -> bool:
        """Tell whether some call goes on for twice its deadline: a thread that hangs, a coroutine that will not end."""
        return self.queue.oldest_seconds() > 2 * self.timeout_seconds

    def _changed(self, change: Change[R]) -> None:
        try:
            passes = all(predicate(change) for predicate in self.predicates)
        except Exception:  # foreign code; a reconcile too many does no harm, a lost change does
            self.context.log.exception("predicate failed, change passes", key=str(change.key))
            passes = True
        if passes:
            self.queue.add(change.key, priority=LOW_PRIORITY if change.initial else 0)

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            try:
                await self._process(key)
            finally:
                self.queue.done(key)

    async def _process(self, key: ResourceKey) -> None:
        log = self.context.log.bind(namespace=key.namespace, name=key.name, reconcile_id=secrets.token_hex(4))
        start = self.context.clock.monotonic()
        with self._series.active.track_inprogress():
            result = await self._settle(replace(self.context, log=log), key)
        self._series.seconds.observe(self.context.clock.monotonic() - start)
        self._series.results[result].inc()
        if result == "error":
            self._series.errors.inc()

    async def _settle(self, ctx: Context, key: ResourceKey) -> Result:
        """Call the function, and see to what its outcome asks for."""
        log = ctx.log
        try:
            outcome = await self._call(ctx, key)
        except TerminalError as error:
            self.queue.forget(key)
            self._series.terminal_errors.inc()
            log.error("reconcile failed, waiting for a change", problem=str(error))  # noqa: TRY400  # its text says it
        except Conflict as error:
            # Routine: somebody wrote between our read and our write. The next call sees what they wrote.
            log.info("object changed meanwhile, trying again", retry_seconds=self._again(key), problem=str(error))
        except ApiError as error:
            delay = self._again(key)
            log.error("reconcile failed, trying again", retry_seconds=delay, problem=str(error))  # noqa: TRY400  # as above
        except Exception as error:  # foreign code: whatever it raises means back-off
            log.exception("reconcile failed, trying again", retry_seconds=self._again(key), problem=str(error))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not this worker was cancelled but something that the function awaited.
            log.exception("reconcile failed, trying again", retry_seconds=self._again(key), problem=repr(error))
        else:
            self.queue.forget(key)
            if outcome is None:
                return "success"
            self.queue.add_after(key, outcome.seconds)
            return "requeue_after"
        return "error"

    def _again(self, key: ResourceKey) -> float:
        return round(self.queue.add_failed(key), 3)

    async def _call(self, ctx: Context, key: ResourceKey) -> Outcome:
        try:
            async with asyncio.timeout(self.timeout_seconds) as deadline:
                outcome: Any
                if self._threads:
                    outcome = await self._in_thread(self._threads, ctx, key)
                else:
                    outcome = self.reconcile(ctx, key)
                    if inspect.isawaitable(outcome):
                        outcome = await outcome
        except TimeoutError as error:
            if deadline.expired():
                self._series.timeouts.inc()
                raise TimeoutError(f"reconcile took longer than its {self.timeout_seconds} s") from error
            raise
        if outcome is None or isinstance(outcome, RequeueAfter):
            return outcome
        raise TypeError(f"reconcile returned {outcome!r}: return None or RequeueAfter(seconds)")

    async def _in_thread(self, threads: ThreadPoolExecutor, ctx: Context, key: ResourceKey) -> Any:
        call = ctx.loop.run_in_executor(threads, self.reconcile, ctx, key)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            if not call.done():
                ctx.log.warning("reconcile is past its deadline, and a thread cannot be stopped: waiting for it")
                await asyncio.wait([call])
            if not call.cancelled():
                call.exception()  # asked for, so that asyncio does not report it as forgotten
            raise


def controller_name(query: Query[Any]) -> str:
    """Return the name of a controller that was given none: the kind's plural and group."""
    return describe(query.cls)


def _is_async(function: Reconcile) -> bool:
    # The second: an object whose `__call__` is an async def.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
