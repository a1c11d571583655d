"""A copy of what the API server holds, kept true by watches: reading it costs no request.

Invariant: a reader gets a private copy, decoded from the bytes that the server sent. One object that cannot be
decoded spoils nothing but itself. All watchers of one query share one informer.
Neighbours: `watch` feeds it, `controller` takes changes from it, reconcilers read it. Used from one event loop;
reads are also safe from a reconciler's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, cast

from neptune.api.meta import R, Resource, ResourceKey
from neptune.clock import Clock, SystemClock
from neptune.log import get_logger
from neptune.runtime.client import Client
from neptune.runtime.errors import DecodeError, NotWatched
from neptune.runtime.query import Query, describe
from neptune.runtime.watch import Deleted, Listed, ListWatch, Snapshot, Stored, Update

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
IndexFunction = Callable[[R], Iterable[str]]


class _Index(Generic[R]):
    """Keys by the values that a function gives for their objects, and back, so that a change costs its values only."""

    def __init__(self, function: IndexFunction[R]) -> None:
        self._function = function
        self._keys: dict[str, set[ResourceKey]] = {}
        self._values: dict[ResourceKey, set[str]] = {}

    def put(self, key: ResourceKey, obj: R) -> None:
        values = set(self._function(obj))
        self.remove(key)
        self._values[key] = values
        for value in values:
            self._keys.setdefault(value, set()).add(key)

    def remove(self, key: ResourceKey) -> None:
        for value in self._values.pop(key, ()):
            self._keys[value].discard(key)
            if not self._keys[value]:
                del self._keys[value]

    def keys(self, value: str) -> list[ResourceKey]:
        return list(self._keys.get(value, ()))


class Informer(Generic[R]):
    """The copy of one query, with its indexes and handlers."""

    def __init__(self, query: Query[R]) -> None:
        self.query = query
        self.synced = asyncio.Event()
        self._objects: dict[ResourceKey, Snapshot[R]] = {}
        self._handlers: list[Handler[R]] = []
        self._indexes: dict[str, _Index[R]] = {}
        self._undecodable: dict[ResourceKey, str] = {}

    def subscribe(self, handler: Handler[R]) -> None:
        """Call `handler` for each change, and now for each object that is there already."""
        self._handlers.append(handler)
        for key, item in self._objects.items():
            handler(Change(key, None, item, initial=True))

    def index(self, name: str, function: IndexFunction[R]) -> None:
        """Keep an index by the values that `function` gives for an object. Asking for the same one twice is one."""
        if name in self._indexes:
            return
        self._indexes[name] = _Index(function)
        for item in self._objects.values():
            self._index_one(self._indexes[name], item)

    def apply(self, update: Update[R]) -> None:
        """Take in what the watch brought, and tell the handlers. The sink of a ListWatch."""
        match update:
            case Listed():
                self._replace(update.objects)
            case Stored():
                self._put(update.object)
            case Deleted():
                self._remove(update.object)

    def get(self, key: ResourceKey) -> Snapshot[R] | None:
        """Return the object as bytes, or None."""
        return self._objects.get(key)

    def snapshots(self, *, index: str = "", value: str = "") -> Iterator[Snapshot[R]]:
        """Return all objects, or those that an index has under `value`."""
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
        except DecodeError:
            self._undecodable.setdefault(item.key, "")
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
        missing = self._objects.keys() - {item.key for item in objects}
        for key in missing:
            self._remove(self._objects[key])
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

    def _index_one(self, index: _Index[R], item: Snapshot[R]) -> None:
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

    def __init__(self, client: Client, clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock or SystemClock()
        self._informers: dict[Query[Any], Informer[Any]] = {}
        self._group: asyncio.TaskGroup | None = None

    def watch(
        self, cls: type[R], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> Informer[R]:
        """Return the informer of that query; the same one to all who ask."""
        query = Query(cls, namespace, label_selector, field_selector)
        if query not in self._informers:
            self._informers[query] = Informer(query)
            if self._group:
                self._start(self._informers[query])
        return cast("Informer[R]", self._informers[query])

    def index(self, cls: type[R], name: str, function: IndexFunction[R]) -> None:
        """Index the objects of a watched kind by value: `function` gives the values of one object.

        >>> cache.index(Dataset, "node", lambda dataset: [dataset.spec.node_name])  # doctest: +SKIP
        """
        for informer in self._of(cls):
            informer.index(name, function)

    def get(self, cls: type[R], key: ResourceKey) -> R | None:
        """Return a private copy of the object, or None when there is none.

        Raises:
            NotWatched: nobody declared the kind.
            DecodeError: it does not fit its type. None would look as if it were gone.
        """
        for informer in self._of(cls):
            if item := informer.get(ResourceKey(*key)):
                return informer.decode(item)
        return None

    def list(self, cls: type[R], namespace: str = "", *, index: str = "", value: str = "") -> list[R]:
        """Return private copies of the objects of a namespace, or of all; of those that an index has under `value`.

        Objects that do not fit their type are left out, logged, and named by `undecodable`.
        """
        found: dict[ResourceKey, R] = {}
        for informer in self._of(cls):
            for item in informer.snapshots(index=index, value=value):
                if item.key in found or (namespace and item.key.namespace != namespace):
                    continue
                if (obj := informer.decode_or_none(item)) is not None:
                    found[item.key] = obj
        return [*found.values()]

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
            watcher = ListWatch(self._client, informer.query, informer.apply, self._clock)
            self._group.create_task(watcher.run(), name=f"watch {describe(informer.query.cls)}")

    def _of(self, cls: type[R]) -> Sequence[Informer[R]]:
        informers = [informer for query, informer in self._informers.items() if query.cls is cls]
        if not informers:
            raise NotWatched(
                f"the cache does not watch {describe(cls)}: give it a controller, or call cache.watch({cls.__name__})"
            )
        return informers
