"""A copy of what the API server holds, kept true by watches: reading it costs no request.

Invariant: a reader gets a private copy, decoded from the bytes that the server sent. One object that cannot be
decoded spoils nothing but itself. All watchers of one query share one informer.
Neighbours: `watch` feeds it, `controller` takes changes from it, reconcilers read it. Used from one event loop;
reads are also safe from a reconciler's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, cast

from neptune.api import selectors
from neptune.api.meta import R, Resource, ResourceKey
from neptune.clock import Clock, SystemClock
from neptune.log import get_logger
from neptune.runtime.client import Client
from neptune.runtime.errors import DecodeError, NotWatched
from neptune.runtime.index import Index, IndexFunction
from neptune.runtime.ownwrites import OwnWrites, reconciling
from neptune.runtime.query import Query, describe
from neptune.runtime.watch import (
    Deleted,
    Listed,
    ListWatch,
    Progress,
    Snapshot,
    Stored,
    Transform,
    Update,
    is_older,
)
from neptune.runtime.writer import Written

#: A watch is some milliseconds behind; who waits longer than this has another trouble, which is reported elsewhere.
CATCH_UP_SECONDS = 5.0
#: Fields whose values a key says.
_NAMES = frozenset({"metadata.name", "metadata.namespace"})

log = get_logger()


@dataclass(frozen=True, slots=True)
class Change(Generic[R]):
    """What happened to one object: created (no `old`), changed, or gone (no `new`).

    `initial` marks the objects that were there when the cache started.
    """

    key: ResourceKey
    old: Snapshot[R] | None
    new: Snapshot[R] | None
    initial: bool = False


Handler = Callable[[Change[R]], None]
#: Hears of an object that does not fit its type.
Complaint = Callable[[Snapshot[Any], DecodeError], None]


class Informer(Generic[R]):
    """The copy of one query, with its indexes and handlers."""

    def __init__(self, query: Query[R], complaints: Sequence[Complaint] = ()) -> None:
        self.query = query
        self._complaints = complaints
        self.synced = asyncio.Event()
        self._objects: dict[ResourceKey, Snapshot[R]] = {}
        self._handlers: list[Handler[R]] = []
        self._indexes: dict[str, Index[R]] = {}
        self._undecodable: dict[ResourceKey, str] = {}
        self._waiting: list[tuple[Written, asyncio.Future[None]]] = []
        self._labels = _parsed(lambda: selectors.parse_labels(query.label_selector))
        self._fields = _parsed(lambda: selectors.parse_fields(query.field_selector, _NAMES))
        #: Everything that happened up to this resource version is in; empty when that is not known.
        self.version = ""

    def subscribe(self, handler: Handler[R]) -> None:
        """Call `handler` for each change, and now for each object that is there already."""
        self._handlers.append(handler)
        for key, item in self._objects.items():
            handler(Change(key, None, item, initial=True))

    def index(self, name: str, function: IndexFunction[R]) -> None:
        """Keep an index by the values that `function` gives for an object. Asking for the same one twice is one."""
        if name in self._indexes:
            return
        self._indexes[name] = Index(function)
        for item in self._objects.values():
            self._index_one(self._indexes[name], item)

    def apply(self, update: Update[R]) -> None:
        """Take in what the watch brought, and tell the handlers. The sink of a ListWatch."""
        match update:
            case Listed():
                self.version = update.version
                self._replace(update.objects)
            case Stored():
                self.version = update.object.version
                self._put(update.object)
            case Deleted():
                self.version = update.object.version
                self._remove(update.object)
            case Progress():
                self.version = update.version
        self._wake()

    def expects(self, written: Written) -> bool:
        """Tell whether the watch may bring what that write made of the object: not when the selectors leave it out."""
        if written.labels is None or written.key in self._objects:
            return True
        names = {"metadata.name": written.key.name, "metadata.namespace": written.key.namespace}
        return _may_match(self._labels, written.labels) and _may_match(self._fields, names)

    def has_seen(self, written: Written) -> bool:
        """Tell whether the copy has what that write made of the object; true when there is no way to know."""
        if written.version:
            return not is_older(self.version, written.version)
        item = self._objects.get(written.key)
        return item is None or item.uid != written.uid

    async def until_seen(self, written: Written) -> None:
        """Wait until the copy has what that write made of the object, for as long as it takes."""
        if self.has_seen(written):
            return
        waiter = (written, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            await waiter[1]
        finally:
            self._waiting.remove(waiter)

    def _wake(self) -> None:
        for written, future in self._waiting:
            if not future.done() and self.has_seen(written):
                future.set_result(None)

    def get(self, key: ResourceKey) -> Snapshot[R] | None:
        """Return the object as bytes, or None."""
        return self._objects.get(key)

    def snapshots(self, *, index: str = "", value: str = "") -> Iterator[Snapshot[R]]:
        """Return all objects, or those that an index has under `value`.

        Raises:
            NotWatched: there is no such index.
        """
        if not index:
            # list() is one step for the interpreter: a reconciler in a thread may read while the loop writes.
            return iter(list(self._objects.values()))
        if index not in self._indexes:
            name = describe(self.query.cls)
            raise NotWatched(f"{name} has no index {index!r}: declare it with cache.index before the start")
        return (item for key in self._indexes[index].keys(value) if (item := self._objects.get(key)))

    def decode(self, item: Snapshot[R]) -> R:
        """Return a private copy.

        Raises:
            DecodeError: it does not fit its type.
        """
        try:
            return item.decode()
        except DecodeError as error:
            if item.key not in self._undecodable:  # which a new version takes out
                self._undecodable[item.key] = ""
                for complain in self._complaints:
                    complain(item, error)
            raise

    def decode_or_none(self, item: Snapshot[R]) -> R | None:
        """Return a private copy, or None when it does not fit its type; that is logged once a version of the object."""
        try:
            return self.decode(item)
        except DecodeError as error:
            if self._undecodable[item.key] != item.version:
                self._undecodable[item.key] = item.version
                log.warning("object left out", problem=str(error))
            return None

    @property
    def undecodable(self) -> frozenset[ResourceKey]:
        """The objects that were found not to fit their type, and are still like that."""
        return frozenset(self._undecodable)

    def _replace(self, objects: list[Snapshot[R]]) -> None:
        initial = not self.synced.is_set()
        present = {item.key for item in objects}
        for item in [old for key, old in self._objects.items() if key not in present]:
            self._remove(item)
        for item in objects:
            self._put(item, initial=initial)
        self.synced.set()

    def _put(self, item: Snapshot[R], *, initial: bool = False) -> None:
        old = self._objects.get(item.key)
        if old is not None and old.version == item.version:
            return
        self._forget(item.key)
        self._objects[item.key] = item
        for index in self._indexes.values():
            self._index_one(index, item)
        self._tell(Change(item.key, old, item, initial))

    def _remove(self, item: Snapshot[R]) -> None:
        if item.key in self._objects:
            self._forget(item.key)
            del self._objects[item.key]
            # The state that came with the deletion is newer than the one that we had.
            self._tell(Change(item.key, item, None))

    def _forget(self, key: ResourceKey) -> None:
        self._undecodable.pop(key, None)
        for index in self._indexes.values():
            index.remove(key)

    def _index_one(self, index: Index[R], item: Snapshot[R]) -> None:
        if (obj := self.decode_or_none(item)) is None:
            return
        try:
            index.put(item.key, obj)
        except Exception:  # foreign code; the object is in the cache all the same
            log.exception("index failed, object left out of it", resource=describe(self.query.cls), key=str(item.key))

    def _tell(self, change: Change[R]) -> None:
        for handler in self._handlers:
            try:
                handler(change)
            except Exception:  # a handler is foreign code, and the others still want their change
                log.exception("handler failed", resource=describe(self.query.cls), key=str(change.key))


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
        return reconciling(cls.resource, key)

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


def _parsed(parse: Callable[[], selectors.Selector]) -> selectors.Selector | None:
    """Return the selector, or None when the server alone can say what it matches."""
    try:
        return parse()
    except ValueError:
        return None


def _may_match(selector: selectors.Selector | None, values: Mapping[str, str]) -> bool:
    return selector is None or selectors.matches(selector, values)
