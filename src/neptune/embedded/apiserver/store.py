"""Objects by (resource, namespace, name), one resourceVersion counter, and a bounded history of changes.

Invariant: a stored object is never modified; each change stores another one, under a revision that only grows (the
etcd model: https://etcd.io/docs/v3.5/learning/data_model/). So a list at an earlier revision, which paging and watches
need, is the present state with the later events undone. No I/O, no clock. `registry` is the only writer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from neptune.embedded.apiserver.objects import Object

#: Events kept a resource. kube-apiserver's watch cache holds 100 to 102,400 (watch_cache.go), by load.
HISTORY_LIMIT = 4096


class Key(NamedTuple):
    """Where an object lives. `resource` is `plural.group`; `namespace` is empty for cluster-scoped objects."""

    resource: str
    namespace: str
    name: str


class Compacted(Exception):
    """The history does not reach back to the revision asked for. `oldest` is the earliest that still works."""

    def __init__(self, oldest: int) -> None:
        super().__init__(oldest)
        self.oldest = oldest


@dataclass(frozen=True, slots=True)
class Change:
    """One write. `before` is None for a creation, `after` is None for a deletion."""

    revision: int
    key: Key
    before: Object | None
    after: Object | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `Store.restore` brings back."""

    revision: int
    objects: Mapping[str, Mapping[Key, Object]]


class Store:
    """The whole state of one API server."""

    def __init__(self, *, history_limit: int = HISTORY_LIMIT) -> None:
        self._limit = history_limit
        self._objects: dict[str, dict[Key, Object]] = {}
        self._history: dict[str, deque[Change]] = {}
        self._oldest: dict[str, int] = {}
        self._floor = 0
        self._listeners: dict[str, list[Callable[[Change], None]]] = {}
        self.revision = 1

    def get(self, key: Key) -> Object | None:
        """Return the stored object, which the caller must not modify, or None."""
        return self._objects.get(key.resource, {}).get(key)

    def put(self, key: Key, obj: Object) -> Object:
        """Store `obj` under a fresh revision and return it with that resourceVersion set."""
        self.revision += 1
        stored = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        objects = self._objects.setdefault(key.resource, {})
        before = objects.get(key)
        objects[key] = stored
        self._record(Change(self.revision, key, before, stored))
        return stored

    def delete(self, key: Key) -> None:
        """Remove the object, which must exist."""
        before = self._objects[key.resource].pop(key)
        self.revision += 1
        self._record(Change(self.revision, key, before, None))

    def list(self, resource: str, namespace: str = "", *, at: int | None = None) -> list[tuple[Key, Object]]:
        """Return the objects of a resource, of one namespace or all, ordered by key, at revision `at` (now).

        Raises:
            Compacted: the history no longer reaches back to `at`.
        """
        state = self._objects.get(resource, {})
        if at is not None and at < self.revision:
            state = dict(state)
            for change in reversed(list(self.since(resource, at))):
                if change.before is None:
                    state.pop(change.key, None)
                else:
                    state[change.key] = change.before
        found = [(key, obj) for key, obj in state.items() if not namespace or key.namespace == namespace]
        return sorted(found, key=lambda pair: pair[0])

    def since(self, resource: str, revision: int) -> Iterator[Change]:
        """Return the changes of a resource after `revision`, oldest first.

        Raises:
            Compacted: some of them are gone.
        """
        oldest = max(self._floor, self._oldest.get(resource, 0))
        if revision < oldest:
            raise Compacted(oldest)
        return (change for change in self._history.get(resource, ()) if change.revision > revision)

    def compact(self, revision: int) -> None:
        """Forget the changes up to and including `revision`, as etcd's compaction does."""
        self._floor = max(self._floor, min(revision, self.revision))
        for history in self._history.values():
            while history and history[0].revision <= self._floor:
                history.popleft()

    def snapshot(self) -> Snapshot:
        """Return the state of now."""
        return Snapshot(self.revision, {resource: dict(objects) for resource, objects in self._objects.items()})

    def skip(self, revisions: int) -> None:
        """Count revisions that nobody here sees, as those of other resources' writes are."""
        self.revision += revisions

    def restore(self, snapshot: Snapshot, *, bump_revision: int = 0) -> None:
        """Go back to an earlier state, as `etcdutl snapshot restore` does with its option of that name.

        Nobody who listens is told; the history before is forgotten.
        """
        self._objects = {resource: dict(objects) for resource, objects in snapshot.objects.items()}
        self.revision = self._floor = snapshot.revision + bump_revision
        self._history.clear()
        self._oldest.clear()

    def listen(self, resource: str, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call `listener` with each change of a resource from now on; the returned function ends that."""
        listeners = self._listeners.setdefault(resource, [])
        listeners.append(listener)
        return lambda: listeners.remove(listener) if listener in listeners else None

    def _record(self, change: Change) -> None:
        resource = change.key.resource
        history = self._history.setdefault(resource, deque())
        history.append(change)
        if len(history) > self._limit:
            self._oldest[resource] = history.popleft().revision
        for listener in tuple(self._listeners.get(resource, ())):
            listener(change)
