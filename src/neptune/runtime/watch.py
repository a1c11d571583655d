"""List, then watch, for ever: what keeps a copy of a collection true.

Invariant: the sink first gets a whole list, then every later change in order; after a gap it gets a whole list again,
never a silent jump. Whatever fails is tried again, and said once.
`WatchCore` decides (no I/O, time is an argument); `ListWatch` asks the server and obeys.
Neighbours: `client` sends the requests, `cache` is the sink.

States (as in kube-rs, watcher.rs):

    LIST ── listed ──> WATCH ── version expired, or kind gone ──> LIST
                       WATCH ── ended, cut, silent, refused ────> WATCH, from the last version seen

Figures of client-go (tools/cache/reflector.go): wait 0.8 s after the first failure, twice as long after each further
one, 30 s at most, from the start again after two quiet minutes.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from neptune.api.meta import Json, R, Resource, ResourceKey
from neptune.clock import Clock
from neptune.errors import SettingsError
from neptune.log import get_logger
from neptune.runtime.client import Client
from neptune.runtime.errors import ApiError, ApiUnreachable, Forbidden, Gone, NotFound, Unauthorized
from neptune.runtime.query import Query, decode, describe

INITIAL_DELAY_SECONDS = 0.8
MAX_DELAY_SECONDS = 30.0
RESET_SECONDS = 120.0
#: The server ends a watch after this long, so that load spreads over its replicas; kube-rs has 290 s. Spread by a
#: tenth, so that watches opened together do not end together.
WATCH_SECONDS = 290.0
#: A watch that ends sooner is a failure, however politely it ended; else a bad proxy makes us a storm.
MIN_WATCH_SECONDS = 1.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[R]):
    """An object as the server sent it, without `managedFields`: about 1 KB, where a decoded one takes 4 to 10."""

    cls: type[R]
    key: ResourceKey
    uid: str
    version: str
    generation: int
    raw: bytes

    def decode(self) -> R:
        """Return a private copy.

        Raises:
            DecodeError: it does not fit its type.
        """
        return decode(self.cls, self.raw)


def snapshot(cls: type[R], item: Json) -> Snapshot[R]:
    """Return the snapshot of an object that is parsed; `item` loses its managedFields."""
    metadata = item["metadata"]
    metadata.pop("managedFields", None)
    return Snapshot(
        cls=cls,
        key=ResourceKey(metadata.get("namespace", ""), metadata["name"]),
        uid=metadata.get("uid", ""),
        version=metadata.get("resourceVersion", ""),
        generation=metadata.get("generation", 0),
        raw=json.dumps(item, separators=(",", ":"), ensure_ascii=False).encode(),
    )


@dataclass(frozen=True, slots=True)
class Listed(Generic[R]):
    """Everything there is: what is not in it is gone."""

    objects: list[Snapshot[R]]


@dataclass(frozen=True, slots=True)
class Stored(Generic[R]):
    """An object is new or changed."""

    object: Snapshot[R]


@dataclass(frozen=True, slots=True)
class Deleted(Generic[R]):
    """An object is gone, or no longer matches the selectors; this was its last state."""

    object: Snapshot[R]


Update = Listed[R] | Stored[R] | Deleted[R]


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


class WatchCore:
    """What to do next, given what happened. `version` is where to watch from; empty means list first."""

    def __init__(self, backoff: Backoff) -> None:
        self.version = ""
        self._backoff = backoff
        self._trouble: tuple[str, str] | None = None
        self._trouble_listing = False

    def listed(self, version: str) -> bool:
        """A list at `version` is complete; tell whether this ends a trouble that was reported.

        It does not end that of a watch, or a watch that always fails after a good list would be reported each time.
        """
        self.version = version
        return self._trouble_listing and self._heal()

    def saw(self, version: str) -> bool:
        """An event or bookmark came; tell whether this ends a trouble that was reported."""
        self.version = version
        return self._heal()

    def failed(self, error: Exception, now: float) -> tuple[float, bool]:
        """A request failed; return how long to wait, and whether the cause is another than before."""
        self._trouble_listing = not self.version
        if isinstance(error, Gone | NotFound):
            self.version = ""
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
    """Feeds the sink with a collection until cancelled. The sink must not raise, nor block."""

    def __init__(self, client: Client, query: Query[R], sink: Callable[[Update[R]], None], clock: Clock) -> None:
        self._client = client
        self._query = query
        self._sink = sink
        self._clock = clock
        self._rng = random.Random()  # noqa: S311  # spreads load, hides nothing
        self._core = WatchCore(Backoff(self._rng))
        self._log = log.bind(resource=describe(query.cls))

    async def run(self) -> None:
        """List and watch until cancelled. No answer of the server, nor the lack of one, ends it."""
        while True:
            try:
                await self._step()
            # The last three: an answer that is JSON and yet no list or object, as from a captive portal.
            except (ApiError, SettingsError, ValueError, KeyError, TypeError) as error:
                delay, changed = self._core.failed(error, self._clock.monotonic())
                if changed and isinstance(error, Gone):
                    self._log.info("watch expired, listing again")
                elif changed:
                    self._log.warning("cannot watch, trying again", problem=problem(self._query.cls, error))
                await asyncio.sleep(delay)

    async def _step(self) -> None:
        if self._core.version:
            await self._watch()
            return
        cls = self._query.cls
        objects, metadata = await self._client.collect(self._query, lambda item: snapshot(cls, item))
        if self._core.listed(metadata.resource_version):
            self._log.info("watching again")
        self._sink(Listed(objects))

    async def _watch(self) -> None:
        cls = self._query.cls
        start = self._clock.monotonic()
        seconds = WATCH_SECONDS * self._rng.uniform(0.9, 1.1)
        async with self._client.watch(self._query, self._core.version, timeout_seconds=seconds) as events:
            async for event in events:
                if event.type in ("ADDED", "MODIFIED"):
                    self._sink(Stored(snapshot(cls, event.object)))
                elif event.type == "DELETED":
                    self._sink(Deleted(snapshot(cls, event.object)))
                if self._core.saw(event.object["metadata"]["resourceVersion"]):
                    self._log.info("watching again")
        if self._clock.monotonic() - start < MIN_WATCH_SECONDS:
            raise ApiUnreachable("the watch ended as soon as it began, without an error: is a proxy on the way?")


def problem(cls: type[Resource], error: Exception) -> str:
    """Return what is wrong and what to do about it, for a person."""
    name = describe(cls)
    match error:
        case NotFound():
            return f"the API server does not know {name}: apply its CustomResourceDefinition (deploy/crds) first"
        case Unauthorized():
            return "the API server does not accept the credentials: renew the token or certificate in the kubeconfig"
        case Forbidden():
            return f"{error.message}: grant get, list and watch on {name} to this user (a ClusterRole and its binding)"
        case ApiUnreachable() | SettingsError():
            return str(error)
        case ApiError():
            return f"the API server answered {error.status} {error.reason}: {error.message}"
        case _:
            return f"the answer is not a list or object of Kubernetes, is a proxy on the way? {error!r}"
