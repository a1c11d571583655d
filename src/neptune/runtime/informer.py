"""The copy of one query: its objects, their indexes, and whoever wants to hear of changes.

Invariant: one object that cannot be decoded spoils nothing but itself, and a handler that fails keeps no change from
the others. Neighbours: `watch` feeds it, `cache` owns one for each query, `controller` and `mappers` listen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from neptune.api.meta import R, ResourceKey
from neptune.log import get_logger
from neptune.runtime.errors import DecodeError, NotWatched
from neptune.runtime.index import Index, IndexFunction
from neptune.runtime.query import Query, describe
from neptune.runtime.selection import Selection
from neptune.runtime.watch import Deleted, Listed, Progress, Snapshot, Stored, Unknown, Update, is_older
from neptune.runtime.writer import Written

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
        #: A kind that the server does not know is one without objects, until its CRD is there.
        self.optional = False
        self._objects: dict[ResourceKey, Snapshot[R]] = {}
        self._handlers: list[Handler[R]] = []
        self._indexes: dict[str, Index[R]] = {}
        self._undecodable: dict[ResourceKey, str] = {}
        self._peeked: tuple[Snapshot[R], R | None] | None = None
        self._waiting: list[tuple[Written, asyncio.Future[None]]] = []
        self._selection = Selection(query.label_selector, query.field_selector)
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
            if (obj := self.decode_or_none(item)) is not None:
                self._index_one(self._indexes[name], item.key, obj)

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
            case Unknown() if self.optional:
                # Never in the place of a list: what is known goes by deletions, not by an answer that may be a proxy's.
                self.synced.set()
        self._wake()

    def expects(self, written: Written) -> bool:
        """Tell whether the watch will bring what that write made of the object: not when the selectors leave it out."""
        # One that is here and matches no more is brought as a deletion.
        return not written.raw or written.key in self._objects or self._selection.matches(written.raw)

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

    def peek(self, item: Snapshot[R]) -> R | None:
        """Return the object to be read and not to be changed, or None as `decode_or_none`.

        Handlers that ask for the same change in turn get the same one, which is decoded once.
        """
        if self._peeked is None or self._peeked[0] is not item:
            self._peeked = (item, self.decode_or_none(item))
        return self._peeked[1]

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
        if self._indexes and (obj := self.peek(item)) is not None:
            for index in self._indexes.values():
                self._index_one(index, item.key, obj)
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

    def _index_one(self, index: Index[R], key: ResourceKey, obj: R) -> None:
        try:
            index.put(key, obj)
        except Exception:  # foreign code; the object is in the cache all the same
            log.exception("index failed, object left out of it", resource=describe(self.query.cls), key=str(key))

    def _tell(self, change: Change[R]) -> None:
        for handler in self._handlers:
            try:
                handler(change)
            except Exception:  # a handler is foreign code, and the others still want their change
                log.exception("handler failed", resource=describe(self.query.cls), key=str(change.key))
