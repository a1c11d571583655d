"""List, then watch, for ever: what keeps a copy of a collection true.

Invariant: the sink first gets a whole list, then every later change in order; after a gap it gets a whole list again,
never a silent jump. Whatever fails is tried again, and said once.
`WatchCore` decides (no I/O, time is an argument); `ListWatch` asks the server and obeys.
Neighbours: `client` sends the requests, `cache` is the sink.

States (as in kube-rs, watcher.rs):

    STREAM ── whole ───> WATCH ── version expired or rewound, kind gone ──> STREAM or LIST
      └─── failed ────> LIST ── listed ──> WATCH
                         WATCH ── ended, cut, silent, refused ────────────> WATCH, from the last version seen

STREAM is a list that comes as a watch (KEP-3157): neither side holds it whole in one piece, and the watch goes on in
the same request. When one fails, a paged list takes its place, and the next list is streamed again, as in client-go:
ListAndWatch of reflector.go falls back for this one list. Only who says that it knows no streaming is not asked again.

Figures of client-go (tools/cache/reflector.go): wait 0.8 s after the first failure, twice as long after each further
one, 30 s at most, from the start again after two quiet minutes.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic

from neptune.api.meta import Json, R, ResourceKey
from neptune.clock import Clock
from neptune.log import get_logger
from neptune.runtime.answers import CUT, encode
from neptune.runtime.client import Client
from neptune.runtime.errors import (
    ApiError,
    ApiUnreachable,
    BadRequest,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerError,
)
from neptune.runtime.problems import problem
from neptune.runtime.query import Query, WatchEvent, decode, describe, needs_its_type

INITIAL_DELAY_SECONDS = 0.8
MAX_DELAY_SECONDS = 30.0
RESET_SECONDS = 120.0
#: The server ends a watch after this long, so that load spreads over its replicas; kube-rs has 290 s. Spread by a
#: tenth, so that watches opened together do not end together.
WATCH_SECONDS = 290.0
#: A watch that ends sooner is a failure, however politely it ended; else a bad proxy makes us a storm.
MIN_WATCH_SECONDS = 1.0
#: kube-apiserver ends a streaming list once its watch cache is as new as etcd, within some 100 ms (KEP-3157); who is
#: silent for this long does not know streaming lists, or buffers them.
INITIAL_IDLE_SECONDS = 10.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[R]):
    """An object as the server sent it, but for what its class says or nobody reads: `apiVersion`, `kind` and
    `managedFields`. About 1 KB, where a decoded one takes 4 to 10.

    `version` is its resource version, `generation` that of its spec; 0 for kinds that have none.
    Only what every change asks for stands beside the bytes: a field that is a string takes 100 bytes of each object.
    """

    cls: type[R]
    key: ResourceKey
    version: str
    generation: int
    raw: bytes

    @property
    def uid(self) -> str:
        """The uid, read from the bytes in some 10 µs."""
        uid: str = json.loads(self.raw)["metadata"].get("uid", "")
        return uid

    def decode(self) -> R:
        """Return a private copy.

        Raises:
            DecodeError: it does not fit its type.
        """
        return decode(self.cls, self.raw)


def snapshot(cls: type[R], item: Json) -> Snapshot[R]:
    """Return the snapshot of an object that is parsed; `item` loses what a snapshot does not keep."""
    metadata = item["metadata"]
    metadata.pop("managedFields", None)
    if not needs_its_type(cls):
        item.pop("apiVersion", None)
        item.pop("kind", None)
    return Snapshot(
        cls=cls,
        # All objects of a namespace share its name.
        key=ResourceKey(sys.intern(metadata.get("namespace", "")), metadata["name"]),
        version=metadata.get("resourceVersion", ""),
        generation=metadata.get("generation", 0),
        raw=encode(item),
    )


@dataclass(frozen=True, slots=True)
class Listed(Generic[R]):
    """Everything there is at a version: what is not in it is gone."""

    objects: list[Snapshot[R]]
    version: str = ""


@dataclass(frozen=True, slots=True)
class Stored(Generic[R]):
    """An object is new or changed."""

    object: Snapshot[R]


@dataclass(frozen=True, slots=True)
class Deleted(Generic[R]):
    """An object is gone, or no longer matches the selectors; this was its last state."""

    object: Snapshot[R]


@dataclass(frozen=True, slots=True)
class Progress:
    """Nothing else happened up to this version."""

    version: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The server does not know the kind."""


Update = Listed[R] | Stored[R] | Deleted[R] | Progress | Unknown
Transform = Callable[[Json], Json]


def is_older(version: str, other: str) -> bool:
    """Compare two resource versions of one kind, as whole numbers (KEP-5504). False when one of them is none."""
    return version.isdecimal() and other.isdecimal() and int(version) < int(other)


class Backoff:
    """Delays that double from 0.8 s to 30 s; after two minutes without a failure they start again.

    The jitter is a quarter to the whole of the delay, so that the second retry never comes within 3 s of the failure.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._base = INITIAL_DELAY_SECONDS
        self._last = float("-inf")

    def next(self, now: float) -> float:
        """Return how many seconds to wait after a failure at `now`."""
        if now - self._last > RESET_SECONDS:
            self._base = INITIAL_DELAY_SECONDS
        delay = min(self._base * self._rng.uniform(1.25, 2.0), MAX_DELAY_SECONDS)
        self._base = min(self._base * 2, MAX_DELAY_SECONDS / 1.25)
        self._last = now + delay
        return delay

    def restart(self) -> None:
        """Let the next delay be the first again."""
        self._base = INITIAL_DELAY_SECONDS


class WatchCore:
    """What to do next, given what happened.

    Attributes:
        version: where to watch from; empty means list first.
        streams: list by streaming; False after one failed until a paged list is in, or where the server knows none.
        doubtful: the server was away, or refused a watch, and may be another by the next one; ask which version it is
            at before watching from ours. When an older backup of etcd was restored meanwhile, a watch from our version
            is silent for ever (seen with Kubernetes 1.36).
    """

    def __init__(self, backoff: Backoff) -> None:
        self.version = ""
        self.streams = True
        self.doubtful = False
        self._knows_streaming = True
        self._wary = False
        self._backoff = backoff
        self._trouble: tuple[str, str] | None = None
        self._trouble_listing = False
        self._was_well = False

    def stream_failed(self, *, known: bool) -> None:
        """The server gave no streaming list. If it knows them, a watch may fail as well."""
        self.streams = False
        self._knows_streaming = self._wary = known

    def before_watch(self, now: float) -> float:
        """Return how long to wait between a list and the watch after it: the back-off if streaming just failed."""
        wary, self._wary = self._wary, False
        return self._backoff.next(now) if wary else 0.0

    def listed(self, version: str) -> bool:
        """A list at `version` is complete; tell whether this ends a trouble that was reported.

        It does not end that of a watch, or a watch that always fails after a good list would be reported each time.
        """
        self.version = version
        self.streams = self._knows_streaming
        self._was_well = self._was_well or self._trouble is None
        return self._trouble_listing and self._heal()

    def saw(self, version: str) -> bool:
        """An event or bookmark came; tell whether this ends a trouble that was reported.

        Raises:
            Gone: as `is_at`.
        """
        self.is_at(version)
        self.version = version
        self._was_well = True
        return self._heal()

    def is_at(self, version: str) -> None:
        """The server is at this version.

        Raises:
            Gone: versions went back. An older backup of etcd was restored, and the copy holds what never was.
        """
        if is_older(version, self.version):
            raise Gone(410, "Rewound", f"resource versions went back from {self.version} to {version}")
        self.doubtful = False

    def failed(self, error: Exception, now: float) -> tuple[float, bool]:
        """A request failed; return how long to wait, and whether the cause is another than before."""
        self._trouble_listing = not self.version
        if isinstance(error, Gone | NotFound):
            self.version = ""
        if isinstance(error, Gone) and self._was_well and self._trouble and self._trouble[0] != Gone.__name__:
            # A server that was restarted, and is back: it knows no version from before. Only once, or one that fails
            # in two ways by turns would never be left in peace.
            self._was_well = False
            self._backoff.restart()
        self.doubtful = bool(self.version)
        # The reason, not the message: that one may differ each time, with versions and ports in it.
        cause = (type(error).__name__, error.reason if isinstance(error, ApiError) else str(error))
        changed = cause != self._trouble
        self._trouble = cause
        asked = (isinstance(error, ApiError) and error.retry_after) or 0.0
        return max(self._backoff.next(now), min(asked, MAX_DELAY_SECONDS)), changed

    def _heal(self) -> bool:
        was, self._trouble = self._trouble, None
        return was is not None


class ListWatch(Generic[R]):
    """Feeds the sink with a collection until cancelled. The sink must not raise, nor block.

    `transform` changes each object before it is kept, in place or not: to drop what nobody reads.
    """

    def __init__(
        self,
        client: Client,
        query: Query[R],
        sink: Callable[[Update[R]], None],
        clock: Clock,
        transform: Transform | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._client = client
        self._query = query
        self._sink = sink
        self._clock = clock
        self._transform = transform
        self._rng = rng or random.Random()  # noqa: S311  # spreads load, hides nothing
        self._core = WatchCore(Backoff(self._rng))
        self._log = log.bind(resource=describe(query.cls))

    async def run(self) -> None:
        """List and watch until cancelled. No answer of the server, nor the lack of one, ends it."""
        while True:
            try:
                await self._step()
            # Whatever it is: nothing that a server or a proxy can send may end the program.
            except Exception as error:  # noqa: BLE001
                if isinstance(error, NotFound):
                    self._sink(Unknown())
                delay, changed = self._core.failed(error, self._clock.monotonic())
                if changed and isinstance(error, Gone):
                    self._log.info("watch expired, listing again", problem=error.message)
                elif changed:
                    self._log.warning("cannot watch, trying again", problem=problem(self._query.cls, error))
                await asyncio.sleep(delay)

    async def _step(self) -> None:
        if self._core.version:
            if self._core.doubtful:
                self._core.is_at(await self._client.version(self._query))
            await self._watch()
        elif self._core.streams:
            await self._stream()
        else:
            objects, metadata = await self._client.collect(self._query, self._snapshot)
            self._listed(objects, metadata.resource_version)
            await asyncio.sleep(self._core.before_watch(self._clock.monotonic()))

    async def _stream(self) -> None:
        """Take a streaming list and the watch after it, or have the paged list take its place."""
        try:
            await self._watch(initial=True)
        except (BadRequest, Invalid, Forbidden, ServerError, Unfinished) as error:
            if self._core.version:
                raise  # the list was whole; this is about the watch after it
            known = not isinstance(error, BadRequest | Invalid)
            self._core.stream_failed(known=known)
            if known:
                raise

    async def _watch(self, *, initial: bool = False) -> None:
        start = self._clock.monotonic()
        seconds = WATCH_SECONDS * self._rng.uniform(0.9, 1.1)
        version = self._core.version
        async with self._client.watch(self._query, version, initial=initial, timeout_seconds=seconds) as events:
            if initial:
                self._listed(*await self._whole(events))
            async for event in events:
                self._take(event)
        if self._clock.monotonic() - start < MIN_WATCH_SECONDS:
            raise ApiUnreachable("the watch ended as soon as it began, without an error: is a proxy on the way?")

    async def _whole(self, events: AsyncIterator[WatchEvent]) -> tuple[list[Snapshot[R]], str]:
        """Return the objects that a streaming list begins with, and the version that they are at."""
        found: dict[ResourceKey, Snapshot[R]] = {}
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(INITIAL_IDLE_SECONDS) as limit:
                async for event in events:
                    # Once a tenth of the time, for a timer costs as much as a good part of an object.
                    if (limit.when() or 0.0) < now() + INITIAL_IDLE_SECONDS * 0.9:
                        limit.reschedule(now() + INITIAL_IDLE_SECONDS)
                    if event.ends_initial:
                        return [*found.values()], event.version
                    if event.type == "BOOKMARK":
                        continue
                    item = self._snapshot(event.object)
                    if event.type == "DELETED":
                        found.pop(item.key, None)
                    else:
                        found[item.key] = item
        except TimeoutError as error:
            raise Unfinished from error
        raise Unfinished

    def _listed(self, objects: list[Snapshot[R]], version: str) -> None:
        if self._core.listed(version):
            self._log.info("watching again")
        self._sink(Listed(objects, version))

    def _take(self, event: WatchEvent) -> None:
        if self._core.saw(event.version):
            self._log.info("watching again")
        if event.type == "BOOKMARK":
            self._sink(Progress(event.version))
        elif event.type == "DELETED":
            self._sink(Deleted(self._snapshot(event.object)))
        else:
            self._sink(Stored(self._snapshot(event.object)))

    def _snapshot(self, item: Json) -> Snapshot[R]:
        cls = self._query.cls
        if self._transform:
            try:
                return snapshot(cls, self._transform(item))
            except Exception as error:  # noqa: BLE001  # foreign code; an object kept whole is better than none
                name = item["metadata"]["name"]
                self._log.warning("transform failed, object kept as it is", object=name, problem=repr(error))
        try:
            return snapshot(cls, item)
        except RecursionError:  # it could just be read, and just not be written
            return snapshot(cls, {"metadata": item["metadata"], "spec": CUT})


class Unfinished(ApiUnreachable):
    """A streaming list that ended, or went silent, before it was whole."""

    def __init__(self) -> None:
        super().__init__("the streaming list stopped before its end, going on with a paged one")
