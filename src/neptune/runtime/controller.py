"""Workers that bring objects to what they should be, by calling a reconcile function with one key at a time.

Invariant: a key is never in two calls at once, a call that failed is made again after a back-off, and no call outlasts
its deadline unseen. The function gets a key and looks at the state of the world; it never gets an event.
Neighbours: `cache`, `mappers` and `sources` name keys, `queue` orders them, `manager` starts and stops this.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from random import Random
from types import FrameType
from typing import Any, Generic

from neptune.api.meta import R, Resource, ResourceKey, ResourceType
from neptune.errors import NeptuneError
from neptune.runtime import slots
from neptune.runtime.cache import Cache
from neptune.runtime.context import Context, Outcome, Reconcile, RequeueAfter, checked
from neptune.runtime.deadlines import Deadlines
from neptune.runtime.errors import ApiError, Conflict, TerminalError
from neptune.runtime.informer import Change, Informer
from neptune.runtime.mappers import Mapper, mapped, owner_mapper
from neptune.runtime.metrics import ControllerMetrics, Metrics, Result
from neptune.runtime.predicates import Test
from neptune.runtime.problems import text
from neptune.runtime.query import Query
from neptune.runtime.queue import LOW_PRIORITY, QueueClosed, Waiting, WorkQueue
from neptune.runtime.sources import Source
from neptune.runtime.threads import as_exception, in_thread, is_async

DEFAULT_WORKERS = 4
#: Long enough for two requests at their own deadline; a worker that hangs for longer starves the others' keys.
DEFAULT_TIMEOUT_SECONDS = 60.0
#: SyncPeriod in controller-runtime, pkg/cache: a net under changes that a fault of the program lost.
RESYNC_SECONDS = 10 * 3600.0
#: Keys of a resync that are enqueued before others get their turn on the loop.
_RESYNC_BATCH = 500

#: What an error of the reconcile function means: again after so long, not before the object changes, or back-off.
Classify = Callable[[Exception], RequeueAfter | TerminalError | None]


@dataclass(eq=False)
class Controller(Generic[R]):
    """Calls `reconcile` for each object of `queries` that changes, and for each key that a source names.

    Attributes:
        queries: which objects of one kind: those of several namespaces or selectors, of any of them.
        reconcile: an `async def`, or a plain `def` that runs in a thread. None means done; any exception means again
            after a back-off of 5 ms, doubling to 1000 s; a TerminalError means not before the object changes.
        predicates: a change of such an object is worth a call only if all of them say so.
        owns: kinds whose objects have one of these as their controller; a change of one calls for its owner.
        watches: kinds with a function that gives, for one of their objects, the keys that a change of it calls for.
        workers: how many keys are worked on at a time.
        timeout_seconds: the deadline of one call. An `async def` is cancelled then. A thread cannot be: its next
            `ctx.wait` fails, and its key stays with it until it returns.
        resync_seconds: how often, give or take a tenth, every object is looked at again, at low priority and if the
            predicates let it pass; from the cache, at no request. 0 for never.
        on_error: says of an error that is no TerminalError what it means: a TerminalError, RequeueAfter, or None for
            the back-off.
        shard: tells whether a key is this replica's to work on. It is asked when the key comes and when a worker gets
            it; whoever changes its answers names the keys that it won through a source.
        rng: spreads the retries; for simulation.
    """

    context: Context
    queries: Sequence[Query[R]]
    reconcile: Reconcile
    name: str
    metrics: Metrics
    workers: int = DEFAULT_WORKERS
    predicates: Sequence[Test] = ()
    owns: Sequence[type[Resource] | Query[Any]] = ()
    watches: Mapping[type[Resource] | Query[Any], Mapper] = field(default_factory=dict)
    sources: Sequence[Source] = ()
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    resync_seconds: float = RESYNC_SECONDS
    on_error: Classify | None = None
    shard: Callable[[ResourceKey], bool] | None = None
    rng: Random | None = None
    queue: Waiting[ResourceKey] = field(init=False)
    _informers: Sequence[Informer[R]] = field(init=False)
    _series: ControllerMetrics = field(init=False)
    _in_threads: bool = field(init=False)
    _deadlines: Deadlines = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(init=False, default_factory=list)
    _runner: asyncio.Task[Any] | None = field(init=False, default=None)
    _reported: set[ResourceKey] = field(init=False, default_factory=set)
    #: The kind of fault whose traceback is in the log, for each key that has failed since then.
    _traced: dict[ResourceKey, type[BaseException]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.context = replace(self.context, log=self.context.log.bind(controller=self.name))
        self._series = self.metrics.of(self.name, self.workers)
        self.queue = Waiting(WorkQueue(self.rng), self.context.clock, self._series)
        self._in_threads = not is_async(self.reconcile)
        self._deadlines = Deadlines(self.timeout_seconds)
        cache = self.context.cache
        self._informers = [watch(cache, query) for query in self.queries]
        for informer in self._informers:
            informer.subscribe(self._changed)
        for owned in self.owns:
            watch(cache, owned).subscribe(mapped(self.name, owner_mapper(self._informers), self._add))
        for other, mapper in self.watches.items():
            watch(cache, other).subscribe(mapped(self.name, mapper, self._add))

    def start_sources(self) -> None:
        """Let the sources name keys from now on."""
        for source in self.sources:
            source.start(self._add)

    async def run(self) -> None:
        """Work until `drain` is called and the calls under way have ended."""
        self._runner = asyncio.current_task()
        beside = [
            asyncio.create_task(self._report_stuck(), name=f"{self.name} guard"),
            asyncio.create_task(self._resync(), name=f"{self.name} resync"),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self.workers):
                    self._tasks.append(group.create_task(self._work(), name=f"{self.name} worker {number}"))
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)

    def drain(self) -> None:
        """Start no more calls."""
        self.queue.close()

    def abort(self) -> None:
        """Cancel the calls under way, before any of them takes a further step, and start no more."""
        self.drain()
        for task in self._tasks:
            task.cancel()

    def stuck(self) -> dict[ResourceKey, float]:
        """Return the keys whose call goes on for twice its deadline, with the seconds that it has taken.

        Such a call is a thread that hangs, or a coroutine that will not be cancelled.
        """
        return {key: age for key, age in self.queue.busy_seconds().items() if age > 2 * self.timeout_seconds}

    async def _report_stuck(self) -> None:
        while True:
            await asyncio.sleep(self.timeout_seconds)
            stuck = self.stuck()
            for key in stuck.keys() - self._reported:
                self.context.log.error("reconcile is stuck", **_named(key), seconds=round(stuck[key], 1))
            self._reported = set(stuck)

    async def _resync(self) -> None:
        rng = self.rng or Random()  # noqa: S311  # spreads load
        while self.resync_seconds:
            await asyncio.sleep(self.resync_seconds * rng.uniform(0.9, 1.1))
            everything = chain.from_iterable(informer.snapshots() for informer in self._informers)
            for number, item in enumerate(everything, 1):
                self._offer(Change(item.key, item, item), LOW_PRIORITY)
                if number % _RESYNC_BATCH == 0:
                    await asyncio.sleep(0)

    def _is_ours(self, key: ResourceKey) -> bool:
        return self.shard is None or self.shard(key)

    def _add(self, key: ResourceKey, priority: int = 0) -> None:
        if self._is_ours(key):
            self.queue.add(key, priority=priority)

    def _changed(self, change: Change[R]) -> None:
        self._offer(change, LOW_PRIORITY if change.initial else 0)

    def _offer(self, change: Change[R], priority: int) -> None:
        try:
            passes = all(predicate(change) for predicate in self.predicates)
        except Exception:  # foreign code; a reconcile too many does no harm, a lost change does
            self.context.log.exception("predicate failed, change passes", key=str(change.key))
            passes = True
        if passes:
            self._add(change.key, priority)

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            except asyncio.CancelledError:
                if not self._spared():
                    raise
                continue
            try:
                await self._process(key)
            finally:
                self.queue.done(key)

    async def _process(self, key: ResourceKey) -> None:
        start = self.context.clock.monotonic()
        result = await self._settle(self.context.of(key), key)
        self._series.seconds.observe(self.context.clock.monotonic() - start)
        self._series.results[result].inc()
        if result == "error":
            self._series.errors.inc()

    async def _settle(self, ctx: Context, key: ResourceKey) -> Result:
        """Call the function, and see to what its outcome asks for."""
        try:
            outcome = await self._call(ctx, key) if self._is_ours(key) else None
        except Exception as error:  # noqa: BLE001  # foreign code; what it raises is sorted and logged
            self._failed(ctx.log, key, error)
        except asyncio.CancelledError as error:
            if not self._spared():
                raise
            self._log_fault(ctx.log, key, error, self._again(key))
        else:
            self._forget(key)
            if outcome is None:
                return "success"
            self.queue.add_after(key, outcome.seconds, priority=outcome.priority)
            return "requeue_after"
        return "error"

    def _spared(self) -> bool:
        """Undo a cancellation of this worker that the function brought about; tell whether it was one, or ours."""
        task = asyncio.current_task()
        # Whoever ends the workers has said so first: by `drain`, or to the task that waits for them.
        if task is None or self.queue.closed or (self._runner and self._runner.cancelling()):
            return False
        while task.uncancel():
            pass
        return True

    def _failed(self, log: Any, key: ResourceKey, error: Exception) -> None:
        """See to what an error asks for, and log it."""
        verdict = error if isinstance(error, TerminalError) else self._classified(log, error)
        if isinstance(verdict, TerminalError):
            self._forget(key)
            self._series.terminal_errors.inc()
            log.error("reconcile failed, waiting for a change", problem=text(verdict if verdict.args else error))
            return
        if verdict:
            delay = verdict.seconds
            self.queue.add_after(key, delay, priority=verdict.priority)
        else:
            delay = self._again(key)
        if isinstance(error, Conflict):
            # Routine: somebody wrote between our read and our write. The next call sees what they wrote.
            log.info("object changed meanwhile, trying again", retry_seconds=delay, problem=text(error))
        elif verdict or isinstance(error, ApiError):  # whose place is of no interest: its text says what is wrong
            log.error("reconcile failed, trying again", retry_seconds=delay, problem=text(error))
        else:
            if not isinstance(error, NeptuneError | OSError):
                self._series.panics.inc()
            self._log_fault(log, key, error, delay)

    def _log_fault(self, log: Any, key: ResourceKey, error: BaseException, delay: float) -> None:
        """Log an error whose place matters: with its traceback, unless that of the key's call before was the same."""
        trace = {} if self._traced.get(key) is type(error) else {"exc_info": error}
        self._traced[key] = type(error)
        kind = type(error).__name__
        log.error("reconcile failed, trying again", retry_seconds=delay, error=kind, problem=text(error), **trace)

    def _forget(self, key: ResourceKey) -> None:
        """Take the next failure of the key for its first."""
        self.queue.forget(key)
        self._traced.pop(key, None)

    def _classified(self, log: Any, error: Exception) -> RequeueAfter | TerminalError | None:
        if self.on_error is None:
            return None
        try:
            return _verdict(self.on_error(error))
        except Exception:  # foreign code; the back-off is right for whatever nobody understands
            log.exception("on_error failed, backing off", problem=text(error))
            return None

    def _again(self, key: ResourceKey) -> float:
        return round(self.queue.add_failed(key), 3)

    async def _call(self, ctx: Context, key: ResourceKey) -> Outcome:
        cls = self.queries[0].cls
        # What the call before wrote must be in the cache, or this one would act on a state that is no more.
        await ctx.cache.caught_up(cls, key)
        try:
            with self._deadlines.begin() as deadline, ctx.cache.reconciling(cls, key):
                outcome: Any
                slots.priority.set(self.queue.priority_of(key))
                outcome = await self._outcome(ctx, key)
        except TimeoutError as error:
            if deadline.expired:
                self._series.timeouts.inc()
                raise TimeoutError(f"reconcile took longer than its {self.timeout_seconds} s") from error
            raise
        return checked(outcome, "reconcile")

    async def _outcome(self, ctx: Context, key: ResourceKey) -> Any:
        if self._in_threads:
            return await in_thread(self.reconcile, ctx, key, f"{self.name} {key}")
        try:
            outcome: Any = self.reconcile(ctx, key)
            return await outcome if inspect.isawaitable(outcome) else outcome
        except (Exception, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
            raise  # the last three are said to this task, not by the function
        except BaseException as error:
            raise as_exception(error) from error


def watch(cache: Cache, query: type[R] | Query[R]) -> Informer[R]:
    """Have the cache watch a query, or all objects of a class."""
    query = as_query(query)
    return cache.watch(
        query.cls, query.namespace, label_selector=query.label_selector, field_selector=query.field_selector
    )


def as_query(kind: type[R] | Query[R]) -> Query[R]:
    """Return the query, or the one for all objects of a class.

    Raises:
        TypeError: that is no kind.
    """
    query = kind if isinstance(kind, Query) else Query(kind)
    if not isinstance(getattr(query.cls, "resource", None), ResourceType):
        raise TypeError(f"{query.cls!r} is no kind: give a subclass of neptune.api.Resource that has a `resource`")
    return query


def as_queries(kind: type[R] | Query[R] | Sequence[Query[R]]) -> tuple[Query[R], ...]:
    """Return the queries of a controller.

    Raises:
        ValueError: there is none, or they are of several kinds.
        TypeError: as `as_query`.
    """
    queries = tuple(as_query(each) for each in (kind if isinstance(kind, Sequence) else (kind,)))
    if len({query.cls for query in queries}) != 1:
        kinds = ", ".join(sorted({query.cls.__name__ for query in queries})) or "none"
        raise ValueError(f"a controller has objects of one kind, not of {kinds}: give each kind a controller")
    return queries


def reconciling(frame: FrameType | None) -> dict[str, str]:
    """Return the controller and the key whose call a stack is in, as keys of a log line; empty when it is in none.

    `frame` is the innermost one of the stack: a coroutine that runs has those that await it below it.
    """
    while frame is not None and frame.f_code is not Controller._call.__code__:
        frame = frame.f_back
    if frame is None:
        return {}
    return {"controller": frame.f_locals["self"].name, **_named(frame.f_locals["key"])}


def _verdict(answer: Any) -> RequeueAfter | TerminalError | None:
    """Return what an `on_error` answered, or raise a TypeError."""
    if answer is None or isinstance(answer, RequeueAfter | TerminalError):
        return answer
    raise TypeError(f"on_error returned {answer!r}: return None, RequeueAfter(seconds) or TerminalError(text)")


def _named(key: ResourceKey) -> dict[str, str]:
    return {"namespace": key.namespace, "name": key.name}


def refuse_idle(name: str, reconcile: Reconcile, workers: int, timeout_seconds: float) -> None:
    """Raise a TypeError or ValueError for a controller that could never do anything."""
    if not callable(reconcile):
        raise TypeError(f"controller {name}: {reconcile!r} cannot be called, give it a function")
    if workers < 1 or not timeout_seconds > 0:  # nor NaN
        raise ValueError(f"controller {name}: {workers=} must be 1 or more, and {timeout_seconds=} more than 0")
