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
from typing import TYPE_CHECKING, Any, Literal, Protocol

from neptune.api.meta import R, Resource, ResourceKey
from neptune.clock import Clock, SystemClock
from neptune.errors import SettingsError
from neptune.log import get_logger
from neptune.runtime.cache import Cache
from neptune.runtime.client import Client
from neptune.runtime.context import Context, Reconcile
from neptune.runtime.controller import (
    DEFAULT_TIMEOUT_SECONDS,
    DEFAULT_WORKERS,
    RESYNC_SECONDS,
    Classify,
    Controller,
    as_queries,
    as_query,
    reconciling,
    refuse_idle,
    watch,
)
from neptune.runtime.events import Complaints, EventRecorder, Events
from neptune.runtime.finalizers import Finalizer
from neptune.runtime.leader import LeaderElection, LeaderElector, LeadershipLost
from neptune.runtime.loop import run as run_loop
from neptune.runtime.mappers import Mapper
from neptune.runtime.metrics import Metrics
from neptune.runtime.parts import Parts
from neptune.runtime.predicates import Test
from neptune.runtime.query import Query, describe
from neptune.runtime.sources import Source
from neptune.runtime.watchdog import BLOCKED_SECONDS, Watchdog

if TYPE_CHECKING:
    from neptune.runtime.server import Check, ProbeServer

#: Kubernetes kills a pod 30 s after it asked it to stop (terminationGracePeriodSeconds).
STOP_SECONDS = 30.0
#: For the last events, which are for people and hold nothing up.
FLUSH_SECONDS = 2.0

Use = Literal["reconciles", "controls", "owns", "watches", "finalizes"]


class Runnable(Protocol):
    """Something that runs beside the controllers until it is cancelled."""

    async def run(self) -> None:
        """Run until cancelled. Returning early is allowed; raising ends the manager."""
        ...


class Manager:
    """Runs controllers over one shared cache.

    Args:
        client: what to talk through; by default one is made, and closed in the end. `run` closes a given one too.
        kubeconfig: for the client that is made; by default found as kubectl would, or in a pod.
        listen: `HOST:PORT` of `/livez`, `/readyz` and `/metrics`; empty for none.
        clock: the time, for tests.
        stop_seconds: how long stopping may take; what has not ended by then is cancelled or left.
        leader_election: of several replicas let one work. The caches of the others are warm and their `/readyz` is
            good; one takes over within 3 s of a stop, or when the lease of one that died lapses.
        rng: what spreads retries and watches, for simulation.

    Raises:
        SettingsError: `listen` makes no sense.
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
        self.client.measure(self.metrics.requests)
        #: Named conditions of `/readyz`; add your own.
        self.ready: dict[str, Check] = {"caches": self._caches_synced}
        self._probes = self._probe_server(listen) if listen else None
        #: The election that the replicas take part in, if any.
        self.leader_election = leader_election
        self._elector: LeaderElector | None = None
        if leader_election:
            self.metrics.election(leader_election.name)
        self._stop_seconds = stop_seconds
        #: What the controllers do with which objects, for whoever derives their rights.
        self.uses: list[tuple[Use, Query[Any]]] = []
        self._log = get_logger()
        self._plans: dict[str, Callable[[Context], Controller[Any]]] = {}
        self._runnables: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._stopping = asyncio.Event()
        self._started = asyncio.Event()
        self._begun = False
        self._serving: asyncio.Task[None] | None = None

    def controller(  # noqa: PLR0913  # the library's one entry; all but the first two have a name at the call
        self,
        cls: type[R] | Query[R] | Sequence[Query[R]],
        reconcile: Reconcile,
        *,
        name: str = "",
        workers: int = DEFAULT_WORKERS,
        predicates: Sequence[Test] = (),
        owns: Sequence[type[Resource] | Query[Any]] = (),
        watches: Mapping[type[Resource] | Query[Any], Mapper] | None = None,
        sources: Sequence[Source] = (),
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        resync_seconds: float = RESYNC_SECONDS,
        on_error: Classify | None = None,
        shard: Callable[[ResourceKey], bool] | None = None,
    ) -> None:
        """Call `reconcile(ctx, key)` for the objects of a class, or of one or several Queries where only some matter.

        The arguments are those of `Controller`: `workers` keys are worked on at a time, `timeout_seconds` is the
        deadline of a call, every object is looked at again each `resync_seconds`. Two controllers of one kind share
        its cache and need a `name` each.

        Raises:
            ValueError: there is a controller of that name, `workers` is below 1, `timeout_seconds` not above 0, or the
                Queries are of several kinds.
            TypeError: `reconcile` cannot be called, or a class is no kind.
            RuntimeError: the manager has started.
        """
        queries = as_queries(cls)
        name = name or describe(queries[0].cls)
        self._refuse_once_begun(f"controller {name}")
        refuse_idle(name, reconcile, workers, timeout_seconds)
        if name in self._plans:
            raise ValueError(f"there is a controller named {name!r}: give this one another `name`")
        watches = watches or {}
        for query in queries:
            self.uses.append(("reconciles", query))
            if owns:
                self.uses.append(("controls", query))
            if isinstance(reconcile, Finalizer):
                self.uses.append(("finalizes", query))
        self.uses += [("owns", as_query(each)) for each in owns]
        self.uses += [("watches", as_query(each)) for each in watches]
        for each in (*queries, *owns, *watches):
            watch(self.cache, each)
        self._plans[name] = lambda context: Controller(
            context,
            queries,
            reconcile,
            name,
            self.metrics,
            workers=workers,
            predicates=predicates,
            owns=owns,
            watches=watches,
            sources=sources,
            timeout_seconds=timeout_seconds,
            resync_seconds=resync_seconds,
            on_error=on_error,
            shard=shard,
            rng=self._rng,
        )

    def add(self, runnable: Runnable | Callable[[], Awaitable[None]]) -> None:
        """Run an async function, or an object with `async run()`, from when the caches are synced until the stop.

        With leader election it runs on the leader alone, and from when that leads.

        Raises:
            RuntimeError: the manager has started.
        """
        self._refuse_once_begun("a runnable")
        run = runnable if callable(runnable) else runnable.run
        self._runnables.append((getattr(runnable, "__qualname__", type(runnable).__qualname__), run))

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, in an event loop of its own. A second signal ends the process at once.

        Raises:
            SettingsError: there is no usable kubeconfig, or no namespace for the lease.
            LeadershipLost: another replica leads now or soon; end the program, so that it is started again.
            Exception: whatever a runnable raised.
        """
        try:
            run_loop(self._run())
        except (SettingsError, LeadershipLost) as error:
            # Its text says what to do; where in here it was found would only stand in the way.
            raise error.with_traceback(None) from None

    def _probe_server(self, listen: str) -> ProbeServer:
        # Here, because aiohttp's server takes 20 ms and 2 MB, and many programs serve no probes.
        from neptune.runtime.server import ProbeServer  # noqa: PLC0415

        return ProbeServer(listen, self.ready, self.metrics.registry)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            for number in signals:
                loop.remove_signal_handler(number)
            # Not a KeyboardInterrupt, after which the loop would wait for what does not end.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            self._log.info("stopping on a signal, a second one ends at once")
            self._stopping.set()

        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, stop)
        try:
            await self.serve()
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            await self.client.close()  # a given one too: it belongs to this loop, which ends

    async def start(self) -> None:
        """Start in the running loop and return once the workers work.

        That takes for as long as the server is away, or another replica leads.

        Raises:
            SettingsError: there is no usable kubeconfig, or no namespace for the lease.
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
            SettingsError: there is no usable kubeconfig, or no namespace for the lease.
            LeadershipLost: another replica leads now or soon. All work was stopped.
            RuntimeError: it was started before.
            Exception: whatever a runnable raised.
        """
        self._refuse_once_begun("a second start")
        self._begun = True
        recorder = EventRecorder(self.client, self._clock, self.metrics, asyncio.get_running_loop())
        self.cache.on_undecodable(Complaints(Events(recorder, "cache"), self.metrics))
        controllers: list[Controller[Any]] = []
        parts = Parts()
        try:
            if self.leader_election:
                # Not before: `neptune rbac` imports, outside a pod, what leads in the namespace of its pod.
                self._elector = LeaderElector(self.client, self.leader_election, self._clock, self.metrics, self._rng)
            await self.client.connect()
            controllers += [plan(self._context(recorder, name)) for name, plan in self._plans.items()]
            self.ready["workers"] = lambda: _stuck(controllers) or True
            if self._probes:
                await self._probes.start()
            parts.start("caches", self.cache.run(), "caches")
            if self.blocked_seconds is not None:
                parts.start("caches", Watchdog(reconciling, self.blocked_seconds).run(), "watchdog")
            parts.start("events", recorder.run(), "events")
            synced = await parts.first_of(self.cache.wait_synced(), self._stopping)
            if synced and await self._lead(controllers, parts):
                self._start_rest(controllers, parts)
                self._log.info("started", controllers=[controller.name for controller in controllers])
                self._started.set()
                await parts.first_of(None, self._stopping)
        finally:
            await self._stop(controllers, recorder, parts)

    def _refuse_once_begun(self, what: str) -> None:
        if self._begun:
            raise RuntimeError(f"{what} comes too late: this manager has started, and is run once; make another one")

    def _caches_synced(self) -> bool | str:
        if self.cache.has_synced():
            return True
        late = {describe(query.cls) for _, query in self.uses if not self.cache.has_synced(query.cls)}
        return f"no list yet of {', '.join(sorted(late))}" if late else False

    def _context(self, recorder: EventRecorder, name: str) -> Context:
        loop = asyncio.get_running_loop()
        return Context(self.client, self.cache, self._clock, self._log, loop, Events(recorder, name))

    async def _lead(self, controllers: list[Controller[Any]], parts: Parts) -> bool:
        """Wait until this replica leads; tell whether it does, or is to stop."""
        elector = self._elector
        if elector is None:
            return True
        if not await parts.first_of(elector.acquire(), self._stopping):
            return False

        def stop_work() -> None:
            self._stop_seconds = min(self._stop_seconds, elector.stop_seconds)
            for controller in controllers:
                controller.abort()
            parts.cancel("runnables")

        parts.start("leader", elector.hold(stop_work), "leader")
        return True

    def _start_rest(self, controllers: Iterable[Controller[Any]], parts: Parts) -> None:
        for name, run in self._runnables:
            parts.start("runnables", _awaited(run), name)
        for controller in controllers:
            controller.start_sources()
        for controller in controllers:
            parts.start("workers", controller.run(), controller.name)

    @property
    def term(self) -> int | None:
        """The number of this leadership, higher than that of every earlier one; None without leader election."""
        return self._elector.term if self._elector else None

    @property
    def probe_port(self) -> int | None:
        """The port of the probes, which `listen` may leave to the system with 0; None when there are none."""
        return self._probes.port if self._probes else None

    async def _stop(self, controllers: Iterable[Controller[Any]], recorder: EventRecorder, parts: Parts) -> None:
        deadline = asyncio.get_running_loop().time() + self._stop_seconds
        for controller in controllers:
            controller.drain()
        await parts.finish("workers", deadline, cancel=False)
        await parts.finish("workers", deadline, cancel=True)
        await parts.finish("runnables", deadline, cancel=True)
        await parts.finish("leader", deadline, cancel=True)
        if self._elector and parts.of("caches"):  # else nothing was begun
            await self._release(self._elector, [*parts.of("workers"), *parts.of("runnables")])
        await parts.finish("events", deadline, cancel=True)
        if parts.of("events"):
            await recorder.flush(min(FLUSH_SECONDS, max(deadline - asyncio.get_running_loop().time(), 0.1)))
        await parts.finish("caches", deadline, cancel=True)
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


def _stuck(controllers: Iterable[Controller[Any]]) -> str:
    """Return which controllers have a call that does not end, and for which key; empty when none has."""
    return ", ".join(
        f"{controller.name} has been at {key} for {age:.0f} s, its limit is {controller.timeout_seconds:g} s"
        for controller in controllers
        for key, age in controller.stuck().items()
    )


async def _awaited(run: Callable[[], Awaitable[None]]) -> None:
    await run()
