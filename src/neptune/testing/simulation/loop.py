"""An event loop on virtual time, and programs in it that can be stopped, resumed and killed at any of their steps.

Invariant: nothing here looks at the machine's clock, at a socket or at a thread: the loop jumps to the next timer as
soon as nothing is ready, and what was meant for a thread runs in the loop. So a run depends on its inputs alone.
Neighbours: `world` starts the programs; everything else only sees asyncio.
"""

from __future__ import annotations

import asyncio
import selectors
from asyncio import events
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple

#: Where virtual time begins: any moment will do, but zero, which some code takes for "never".
START_SECONDS = 1000.0
START_TIME = datetime(2030, 1, 1, tzinfo=UTC)
#: More rounds of the loop at one moment than any honest burst takes.
STANDSTILL = 3000
#: How long a call in a thread takes (seconds): long enough for messages to arrive meanwhile.
THREAD_SECONDS = 0.001

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_process: ContextVar[Process | None] = ContextVar("process", default=None)


def current_process() -> Process | None:
    """Return the program whose code runs now, or None."""
    return _process.get()


@dataclass(eq=False)
class Process:
    """A program in the loop, with all its tasks.

    Stopped (SIGSTOP) it takes no step, and whatever falls due waits. Killed, it is not alive: its ports must do nothing
    for it from then on, its tasks are cancelled, and nobody can see what they still do.
    """

    name: str
    alive: bool = True
    #: Steps taken since the start; between any two of them is an await.
    steps: int = 0
    #: Called when it is killed, before anything else happens.
    on_death: Callable[[], None] | None = None
    #: The step before which it dies, if one was set.
    dies_at: int | None = None
    _held: list[events.Handle] | None = None
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        """Whether it is stopped."""
        return self._held is not None

    def stop(self) -> None:
        """Let it take no further step until `resume`."""
        if self._held is None:
            self._held = []

    def resume(self) -> None:
        """Let it go on with all that has gathered."""
        held, self._held = self._held, None
        for handle in held or ():
            handle._loop._ready.append(handle)  # type: ignore[attr-defined]  # as `call_soon` does

    def kill(self) -> None:
        """End it between two of its steps."""
        if not self.alive:
            return
        self.alive = False
        if self.on_death is not None:
            self.on_death()
        self.resume()
        for task in self._tasks:
            task.cancel()

    @property
    def running(self) -> list[asyncio.Task[Any]]:
        """Its tasks that have not ended."""
        return [task for task in self._tasks if not task.done()]

    def hold(self, handle: events.Handle) -> None:
        """Keep a step for `resume`."""
        assert self._held is not None
        self._held.append(handle)

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Take a task that one of its tasks started."""
        if len(self._tasks) > 200:
            self._tasks = self.running
        self._tasks.append(task)
        if not self.alive:
            task.cancel()

    def count_step(self) -> None:
        """A step is due; this may be the one before which the program dies."""
        self.steps += 1
        if self.steps == self.dies_at:
            self.kill()


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. Use `run`; it closes the loop."""

    def __init__(self) -> None:
        self._now = START_SECONDS
        self._rounds = 0
        #: Called when time no longer passes, because something goes round in circles: it has to put an end to that.
        self.on_standstill: Callable[[], None] = lambda: None
        super().__init__(_Selector(self._pass_time))
        self.set_task_factory(_make_task)

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now

    def spawn(self, process: Process, program: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a program: its steps, and those of all that it starts, are the process's."""
        context = copy_context()
        context.run(_process.set, process)
        return self.create_task(program, name=process.name, context=context)

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> events.Handle:
        """See asyncio; a stopped process's step is kept for later."""
        process = _process.get() if context is None else context.get(_process)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        process.count_step()
        if process.stopped:
            handle = events.Handle(callback, args, self, context)
            process.hold(handle)
            return handle
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> events.TimerHandle:
        """See asyncio; a stopped process's timer is kept for later once it is due."""
        process = _process.get() if context is None else context.get(_process)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        timer: list[events.TimerHandle] = []
        timer.append(super().call_at(when, self._due, process, timer, callback, args, context=context))
        return timer[0]

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call the function in the loop, a moment later."""
        future: asyncio.Future[T] = self.create_future()

        def call() -> None:
            try:
                result = func(*args)
            except BaseException as error:  # noqa: BLE001  # as concurrent.futures does: the caller gets it
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_later(THREAD_SECONDS, call)
        return future

    def _due(self, process: Process, timer: list[events.TimerHandle], callback: Any, args: tuple[Any, ...]) -> None:
        if timer[0].cancelled():
            return  # while it was kept
        if process.stopped:
            process.hold(events.Handle(self._due, (process, timer, callback, args), self))
        else:
            callback(*args)

    def _pass_time(self, seconds: float | None) -> None:
        assert seconds is not None, "everything waits, and no timer is set"
        self._rounds = 0 if seconds > 0 else self._rounds + 1
        if self._rounds == STANDSTILL:
            self.on_standstill()
        self._now += seconds


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    context: Context | None = options.get("context")
    process = _process.get() if context is None else context.get(_process)
    if process is not None:
        process.adopt(task)
    return task


class _Selector(selectors.SelectSelector):
    """Waits for no file: time passes instead."""

    def __init__(self, pass_time: Callable[[float | None], None]) -> None:
        super().__init__()
        self._pass_time = pass_time

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._pass_time(timeout)
        return []


@dataclass(slots=True)
class VirtualClock:
    """A machine's clocks: the time of day may be wrong by `skew` and jump; the other one never does."""

    loop: asyncio.AbstractEventLoop
    skew: timedelta = timedelta()

    def monotonic(self) -> float:
        """Return virtual seconds."""
        return self.loop.time()

    def now(self) -> datetime:
        """Return the time of day."""
        return START_TIME + timedelta(seconds=self.loop.time() - START_SECONDS) + self.skew


def run(program: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own. Use `asyncio.get_running_loop()` inside, a `VirtualLoop`."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(program)
    finally:
        loop.close()
