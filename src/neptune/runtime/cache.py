"""A copy of what the API server holds, kept true by watches: reading it costs no request.

Invariant: a reader gets a private copy, decoded from the bytes that the server sent. All watchers of one query share
one informer.
Neighbours: `informer` holds the objects of one query, `watch` feeds it, `controller` takes changes from it, reconcilers
read it. Used from one event loop; reads are also safe from a reconciler's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from random import Random
from typing import Any, cast

from neptune.api.meta import R, Resource, ResourceKey
from neptune.clock import Clock, SystemClock
from neptune.log import get_logger
from neptune.runtime.client import Client
from neptune.runtime.errors import NotWatched
from neptune.runtime.index import IndexFunction
from neptune.runtime.informer import Complaint, Informer
from neptune.runtime.ownwrites import OwnWrites, Reconciling
from neptune.runtime.query import Query, describe
from neptune.runtime.watch import ListWatch, Transform
from neptune.runtime.writer import Written

#: A watch is some milliseconds behind; who waits longer than this has another trouble, which is reported elsewhere.
CATCH_UP_SECONDS = 5.0

log = get_logger()


class Cache:
    """All informers of one client.

    Declare what is to be watched (`watch`, `index`) before or after `run` starts; reading a kind that nobody
    declared is an error, not an empty answer.
    """

    def __init__(self, client: Client, clock: Clock | None = None, rng: Random | None = None) -> None:
        self._client = client
        self._clock = clock or SystemClock()
        self._rng = rng
        self._informers: dict[Query[Any], Informer[Any]] = {}
        self._indexes: dict[type[Resource], dict[str, IndexFunction[Any]]] = {}
        self._transforms: dict[type[Resource], Transform] = {}
        self._complaints: list[Complaint] = []
        self._group: asyncio.TaskGroup | None = None
        self._own_writes = OwnWrites(self._has_seen)
        client.observe(self._own_writes.add)

    def watch(
        self, cls: type[R], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> Informer[R]:
        """Return the informer of that query; the same one to all who ask.

        Call it once for each namespace or selector of a kind to watch several: reads then look into all of them.
        `PartialObjectMetadata.of(cls)` watches the metadata alone, and is read by that class.
        """
        query = Query(cls, namespace, label_selector, field_selector)
        if query not in self._informers:
            informer = self._informers[query] = Informer(query, self._complaints)
            for name, function in self._indexes.get(cls, {}).items():
                informer.index(name, function)
            if self._group:
                self._start(informer)
        return cast("Informer[R]", self._informers[query])

    def index(self, cls: type[R], name: str, function: IndexFunction[R]) -> None:
        """Index the objects of a kind by value: `function` gives the values of one object.

        >>> cache.index(Dataset, "node", lambda dataset: [dataset.spec.node_name])  # doctest: +SKIP
        """
        self._indexes.setdefault(cls, {}).setdefault(name, function)
        for query, informer in self._informers.items():
            if query.cls is cls:
                informer.index(name, function)

    def transform(self, cls: type[Resource], function: Transform) -> None:
        """Change the objects of a kind before they are kept, as JSON: drop what nobody reads, to save memory.

        `managedFields` are dropped anyway. An object that is read then lacks what was dropped: patch it, never
        `update` it.

        Raises:
            RuntimeError: the cache runs already, and holds objects that were not transformed.
        """
        if self._group:
            raise RuntimeError(f"call cache.transform({cls.__name__}, ...) before the cache runs")
        self._transforms[cls] = function

    def get(self, cls: type[R], key: ResourceKey) -> R | None:
        """Return a private copy of the object, or None when there is none.

        Raises:
            NotWatched: nobody declared the kind, or not that namespace of it.
            DecodeError: it does not fit its type. None would look as if it were gone.
        """
        key = ResourceKey(*key)
        for informer in self._of(cls, key.namespace):
            if item := informer.get(key):
                return informer.decode(item)
        return None

    def list(self, cls: type[R], namespace: str = "", *, index: str = "", value: str = "") -> list[R]:
        """Return private copies of the objects of a namespace, or of all; of those that an index has under `value`.

        Objects that do not fit their type are left out, logged, and named by `undecodable`.

        Raises:
            NotWatched: nobody declared the kind, that namespace of it, or the index.
        """
        found: dict[ResourceKey, R] = {}
        for informer in self._of(cls, namespace):
            for item in informer.snapshots(index=index, value=value):
                if item.key in found or (namespace and item.key.namespace != namespace):
                    continue
                if (obj := informer.decode_or_none(item)) is not None:
                    found[item.key] = obj
        return [*found.values()]

    def reconciling(self, cls: type[Resource], key: ResourceKey) -> AbstractContextManager[None]:
        """Mark what is written meanwhile, to any kind, as written for this object: `caught_up` waits for it.

        Counts for this task and those that it starts; a thread needs `contextvars.copy_context().run`.
        """
        return Reconciling(cls.resource, key)

    async def caught_up(self, cls: type[Resource], key: ResourceKey, timeout_seconds: float = CATCH_UP_SECONDS) -> bool:
        """Wait until the cache holds what this client wrote to the object, or to others while `reconciling` it.

        So whoever reads next does not see the state before its own writes. Only kinds that are watched count. False
        means that the watch is further behind than `timeout_seconds`; these writes are then not waited for again.
        """
        writes = self._own_writes.take((cls.resource, key))
        if not writes:
            return True
        try:
            async with asyncio.timeout(timeout_seconds):
                for written in writes:
                    for informer in self._seeing(written):
                        await informer.until_seen(written)
        except TimeoutError:
            log.warning("cache is behind our own write", resource=describe(cls), key=str(key))
            return False
        return True

    def on_undecodable(self, complain: Complaint) -> None:
        """Call `complain`, from whatever thread reads, once a version of an object that does not fit its type."""
        self._complaints.append(complain)

    def undecodable(self, cls: type[Resource]) -> frozenset[ResourceKey]:
        """Return the objects that were found not to fit their type."""
        return frozenset().union(*(informer.undecodable for informer in self._of(cls)))

    def has_synced(self, cls: type[Resource] | None = None) -> bool:
        """Tell whether the first list is in, of one kind or of all that are watched."""
        informers = self._informers.values() if cls is None else self._of(cls)
        return all(informer.synced.is_set() for informer in informers)

    async def wait_synced(self) -> None:
        """Wait until the first list of every informer is in; for as long as the server is away."""
        for informer in list(self._informers.values()):
            await informer.synced.wait()

    async def run(self) -> None:
        """Keep all informers true until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for informer in self._informers.values():
                    self._start(informer)
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    def _start(self, informer: Informer[Any]) -> None:
        if self._group:
            query = informer.query
            transform = self._transforms.get(query.cls)
            watcher = ListWatch(self._client, query, informer.apply, self._clock, transform, self._rng)
            self._group.create_task(watcher.run(), name=f"watch {describe(query.cls)}")

    def _of(self, cls: type[R], namespace: str = "") -> Sequence[Informer[R]]:
        informers = [
            informer
            for query, informer in self._informers.items()
            if query.cls is cls and (not namespace or query.covers(namespace))
        ]
        if not informers:
            where = f" in namespace {namespace}" if namespace else ""
            raise NotWatched(
                f"the cache does not watch {describe(cls)}{where}: "
                f"give it a controller, or call cache.watch({cls.__name__})"
            )
        return informers

    def _seeing(self, written: Written) -> Iterator[Informer[Any]]:
        """Give the informers that will see the write; one that has not listed yet cannot be behind."""
        for query, informer in self._informers.items():
            is_of_query = query.cls.resource == written.resource and query.covers(written.key.namespace)
            if is_of_query and informer.version and informer.expects(written):
                yield informer

    def _has_seen(self, written: Written) -> bool:
        return all(informer.has_seen(written) for informer in self._seeing(written))
