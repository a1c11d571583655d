"""Owns a program's controllers: starts what they stand on before them, and stops it after them.

Invariant: nothing reconciles before every cache holds its first list and, with leader election, before this replica
leads; everything is stopped inside a deadline, and before another replica can lead. An API server that is away is
waited for; it never ends the program, unless it cost the leadership.

    start:  probes, caches, (synced), (leading), runnables, sources, workers
    stop:   workers, runnables, lease given back, events, caches, probes, client

Neighbours: `controller`, `cache` and `client` are its parts; a program or a test owns it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any, Literal, Protocol

from neptune.api.meta import R, Resource
from neptune.clock import Clock, SystemClock
from neptune.log import get_logger
from neptune.runtime.cache import Cache
from neptune.runtime.client import Client
from neptune.runtime.context import Context, Reconcile
from neptune.runtime.controller import (
    DEFAULT_TIMEOUT_SECONDS,
    DEFAULT_WORKERS,
    Controller,
    as_query,
    controller_name,
    reconciling,
    watch,
)
from neptune.runtime.events import EventRecorder, Events
from neptune.runtime.finalizers import Finalizer
from neptune.runtime.leader import LeaderElection, LeaderElector
from neptune.runtime.mappers import Mapper
from neptune.runtime.metrics import Metrics
from neptune.runtime.predicates import Test
from neptune.runtime.query import Query
from neptune.runtime.server import Check, ProbeServer
from neptune.runtime.sources import Source
from neptune.runtime.watchdog import BLOCKED_SECONDS, Watchdog

#: Kubernetes kills a pod 30 s after it asked it to stop (terminationGracePeriodSeconds).
STOP_SECONDS = 30.0
#: For the last events, which are for people and hold nothing up.
FLUSH_SECONDS = 2.0

Use = Literal["reconciles", "owns", "watches", "finalizes"]


class Runnable(Protocol):
    """Something that runs beside the controllers until it is cancelled."""

    async def run(self) -> None:
        """Run until cancelled. Returning early is allowed; raising ends the manager."""
        ...


class Manager:
    """Runs controllers over one shared cache.

    Args:
        client: what to talk through; by default one is made, and closed in the end.
        kubeconfig: for the client that is made; by default found as kubectl would, or in a pod.
        listen: `HOST:PORT` of `/livez`, `/readyz` and `/metrics`; empty for none.
        clock: the time, for tests.
        stop_seconds: how long stopping may take; what has not ended by then is cancelled or left.
        leader_election: of several replicas let one work. The caches of the others are warm and their `/readyz` is
            good; one takes over within 3 s of a stop, or when the lease of one that died lapses.
        rng: what spreads retries and watches, for simulation.

    Raises:
        SettingsError: there is no namespace for the lease, or `listen` makes no sense.
    """

    def __init__(
        self,
        client: Client | None = None,
        *,
        kubeconfig: str | os.PathLike[str] | None = None,
        listen: str = "",
        clock: Clock | None = None,
        stop_seconds: float = STOP_SECONDS,
        leader_election: LeaderElection | None = None,
        rng: Random | None = None,
    ) -> None:
        self._owns_client = client is None
        self.client = client or Client(kubeconfig)
        self._clock = clock or SystemClock()
        #: What the controllers read. Declare further kinds and indexes here.
        self.cache = Cache(self.client, self._clock, rng)
        self._rng = rng
        #: After so many seconds a blocked event loop is named in the log; None for no watch over it.
        self.blocked_seconds: float | None = BLOCKED_SECONDS
        self.metrics = Metrics()
        #: Named conditions of `/readyz`; add your own.
        self.ready: dict[str, Check] = {"caches": self.cache.has_synced}
        self._probes = ProbeServer(listen, self.ready, self.metrics.registry) if listen else None
        self._elector = (
            LeaderElector(self.client, leader_election, self._clock, self.metrics, rng) if leader_election else None
        )
        self._stop_seconds = stop_seconds
        #: What the controllers do with which objects, for whoever derives their rights.
        self.uses: list[tuple[Use, Query[Any]]] = []
        self._log = get_logger()
        self._plans: dict[str, Callable[[Context], Controller[Any]]] = {}
        self._runnables: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._stopping = asyncio.Event()
        self._started = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    def controller(  # noqa: PLR0913  # the library's one entry; all but the first two have a name at the call
        self,
        cls: type[R] | Query[R],
        reconcile: Reconcile,
        *,
        name: str = "",
        workers: int = DEFAULT_WORKERS,
        predicates: Sequence[Test] = (),
        owns: Sequence[type[Resource] | Query[Any]] = (),
        watches: Mapping[type[Resource] | Query[Any], Mapper] | None = None,
        sources: Sequence[Source] = (),
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        """Call `reconcile(ctx, key)` for the objects of a class, or of a Query where only some matter.

        The arguments are those of `Controller`. Two controllers of one kind share its cache and need a `name` each.

        Raises:
            ValueError: there is a controller of that name.
        """
        query = as_query(cls)
        name = name or controller_name(query)
        if name in self._plans:
            raise ValueError(f"there is a controller named {name!r}: give this one another `name`")
        watches = watches or {}
        self.uses += [("reconciles", query), *(("owns", as_query(each)) for each in owns)]
        self.uses += [("watches", as_query(each)) for each in watches]
        if isinstance(reconcile, Finalizer):
            self.uses.append(("finalizes", query))
        for each in (query, *owns, *watches):
            watch(self.cache, each)
        self._plans[name] = lambda context: Controller(
            context,
            query,
            reconcile,
            name,
            self.metrics,
            workers=workers,
            predicates=predicates,
            owns=owns,
            watches=watches,
            sources=sources,
            timeout_seconds=timeout_seconds,
            rng=self._rng,
        )

    def add(self, runnable: Runnable | Callable[[], Awaitable[None]]) -> None:
        """Run an async function, or an object with `async run()`, from when the caches are synced until the stop.

        With leader election it runs on the leader alone, and from when that leads.
        """
        run = runnable if callable(runnable) else runnable.run
        self._runnables.append((getattr(runnable, "__qualname__", type(runnable).__qualname__), run))

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, in an event loop of its own. A second signal ends the process at once.

        Raises:
            SettingsError: there is no usable kubeconfig.
            LeadershipLost: another replica leads now or soon; end the program, so that it is started again.
            Exception: whatever a runnable raised.
        """
        asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            for number in signals:
                loop.remove_signal_handler(number)
            self._log.info("stopping on a signal, a second one ends at once")
            self._stopping.set()

        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, stop)
        await self.serve()

    async def start(self) -> None:
        """Start in the running loop and return once the workers work.

        That takes for as long as the server is away, or another replica leads.

        Raises:
            SettingsError: there is no usable kubeconfig.
        """
        self._serving = asyncio.create_task(self.serve(), name="manager")
        started = asyncio.create_task(self._started.wait())
        try:
            await asyncio.wait([self._serving, started], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop()
            raise
        finally:
            started.cancel()
        if self._serving.done():
            await self._serving

    async def stop(self) -> None:
        """Stop what `start` or `serve` started, in order, and wait for its end.

        Raises:
            Exception: whatever a runnable raised.
        """
        self._stopping.set()
        if self._serving:
            await self._serving

    async def serve(self) -> None:
        """Start, run until `stop` is called or this is cancelled, and stop in order. Once a manager.

        Raises:
            SettingsError: there is no usable kubeconfig.
            LeadershipLost: another replica leads now or soon. All work was stopped.
            Exception: whatever a runnable raised.
        """
        loop = asyncio.get_running_loop()
        recorder = EventRecorder(self.client, self._clock, self.metrics, loop)
        controllers: list[Controller[Any]] = []
        parts: dict[str, list[asyncio.Task[None]]] = {
            "caches": [],
            "events": [],
            "leader": [],
            "runnables": [],
            "workers": [],
        }
        try:
            await self.client.connect()
            controllers += [plan(self._context(recorder, name)) for name, plan in self._plans.items()]
            self.ready["workers"] = lambda: _stuck(controllers) or True
            if self._probes:
                await self._probes.start()
            parts["caches"].append(loop.create_task(self.cache.run(), name="caches"))
            if self.blocked_seconds is not None:
                watchdog = Watchdog(reconciling, self.blocked_seconds)
                parts["caches"].append(loop.create_task(watchdog.run(), name="watchdog"))
            parts["events"].append(loop.create_task(recorder.run(), name="events"))
            synced = loop.create_task(self.cache.wait_synced(), name="first lists")
            if await self._first_of(synced, parts) and await self._lead(controllers, parts):
                self._start_rest(controllers, parts)
                self._log.info("started", controllers=[controller.name for controller in controllers])
                self._started.set()
                await self._first_of(None, parts)
        finally:
            await self._stop(controllers, recorder, parts)

    def _context(self, recorder: EventRecorder, name: str) -> Context:
        loop = asyncio.get_running_loop()
        return Context(self.client, self.cache, self._clock, self._log, loop, Events(recorder, name))

    async def _lead(self, controllers: list[Controller[Any]], parts: dict[str, list[asyncio.Task[None]]]) -> bool:
        """Wait until this replica leads; tell whether it does, or is to stop."""
        if self._elector is None:
            return True
        loop = asyncio.get_running_loop()
        if not await self._first_of(loop.create_task(self._elector.acquire(), name="election"), parts):
            return False

        def stop_work() -> None:
            self._stop_seconds = min(self._stop_seconds, elector.stop_seconds)
            for controller in controllers:
                controller.abort()
            for task in parts["runnables"]:
                task.cancel()

        elector = self._elector
        parts["leader"].append(loop.create_task(elector.hold(stop_work), name="leader"))
        return True

    def _start_rest(self, controllers: Iterable[Controller[Any]], parts: dict[str, list[asyncio.Task[None]]]) -> None:
        loop = asyncio.get_running_loop()
        for name, run in self._runnables:
            parts["runnables"].append(loop.create_task(_awaited(run), name=name))
        for controller in controllers:
            controller.start_sources()
        for controller in controllers:
            parts["workers"].append(loop.create_task(controller.run(), name=controller.name))

    async def _first_of(self, awaited: asyncio.Task[None] | None, parts: dict[str, list[asyncio.Task[None]]]) -> bool:
        """Wait for `awaited`, for the stop or for a part to fail; tell whether it was `awaited`."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            pending: set[asyncio.Task[Any]] = {task for tasks in parts.values() for task in tasks} | {stopping}
            if awaited:
                pending.add(awaited)
            while stopping in pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if not task.cancelled():  # as runnables are when the leadership is lost
                        task.result()
                if awaited in done:
                    return True
            return False
        finally:
            stopping.cancel()
            if awaited:
                awaited.cancel()

    @property
    def term(self) -> int | None:
        """The number of this leadership, higher than that of every earlier one; None without leader election."""
        return self._elector.term if self._elector else None

    @property
    def probe_port(self) -> int | None:
        """The port of the probes, which `listen` may leave to the system with 0; None when there are none."""
        return self._probes.port if self._probes else None

    async def _stop(
        self,
        controllers: Iterable[Controller[Any]],
        recorder: EventRecorder,
        parts: dict[str, list[asyncio.Task[None]]],
    ) -> None:
        deadline = asyncio.get_running_loop().time() + self._stop_seconds
        for controller in controllers:
            controller.drain()
        await self._finish(parts["workers"], deadline, cancel=False)
        for tasks in (parts["workers"], parts["runnables"], parts["leader"]):
            await self._finish(tasks, deadline, cancel=True)
        if self._elector and parts["caches"]:  # else nothing was begun
            await self._release(self._elector, [*parts["workers"], *parts["runnables"]])
        await self._finish(parts["events"], deadline, cancel=True)
        if parts["events"]:
            await recorder.flush(min(FLUSH_SECONDS, max(deadline - asyncio.get_running_loop().time(), 0.1)))
        await self._finish(parts["caches"], deadline, cancel=True)
        if self._probes:
            await self._probes.stop()
        if self._owns_client:
            await self.client.close()
        self._log.info("stopped")

    async def _release(self, elector: LeaderElector, work: list[asyncio.Task[None]]) -> None:
        if all(task.done() for task in work):
            await elector.release()
        else:
            self._log.warning("lease kept until it lapses, since some work does not stop")

    async def _finish(self, tasks: list[asyncio.Task[None]], deadline: float, *, cancel: bool) -> None:
        running = [task for task in tasks if not task.done()]
        if not running:
            return
        if cancel:
            for task in running:
                task.cancel()
        remaining = deadline - asyncio.get_running_loop().time()
        # A moment even past the deadline: a cancelled task needs one to end.
        ended, late = await asyncio.wait(running, timeout=max(remaining, 0.1))
        for task in ended:
            if not task.cancelled() and (error := task.exception()):
                self._log.error("failed while stopping", part=task.get_name(), problem=str(error))
        for task in late:
            self._log.warning("does not stop in time", part=task.get_name(), cancelled=cancel)


def _stuck(controllers: Iterable[Controller[Any]]) -> str:
    """Return which controllers have a call that does not end, and for which key; empty when none has."""
    return ", ".join(
        f"{controller.name} has been at {key} for {age:.0f} s, its limit is {controller.timeout_seconds:g} s"
        for controller in controllers
        for key, age in controller.stuck().items()
    )


async def _awaited(run: Callable[[], Awaitable[None]]) -> None:
    await run()
