"""Where keys come from besides the watch: a `Source` is started with a function that enqueues a key.

Neighbours: `controller` starts sources once the cache is synced; the link to the edge puts reports into a `Mailbox`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from neptune.api.meta import ResourceKey

T = TypeVar("T")
Enqueue = Callable[[ResourceKey], None]


class Source(Protocol):
    """Something outside Kubernetes that knows when an object needs a look."""

    def start(self, enqueue: Enqueue) -> None:
        """Keep `enqueue`, call it for what is known already, and return; from then on call it on the loop."""
        ...


class Keys:
    """A source that only names keys: something outside changed, and these objects deserve a look.

    What is named before the controller has started is not kept: it looks at every object then anyway.
    """

    def __init__(self) -> None:
        self._enqueue: Enqueue | None = None

    def start(self, enqueue: Enqueue) -> None:
        """Enqueue what is named from now on."""
        self._enqueue = enqueue

    def name(self, keys: Iterable[ResourceKey]) -> None:
        """Enqueue these keys."""
        if self._enqueue:
            for key in keys:
                self._enqueue(key)


class Mailbox(Generic[T]):
    """A source that holds the newest value for each key until a reconciler has dealt with it.

    Invariant: a value that `put` took is held until it is taken, discarded, or replaced by a newer one of its key; the
    key is enqueued after the value is stored, so that whoever gets the key finds the value. Memory is bounded by
    `max_keys`. Not for several threads.

    A reconciler that must not lose a value looks (`peek`), acts, and then says `discard(key, value)`: that does nothing
    when a newer value came meanwhile, whose key is enqueued again anyway.
    """

    def __init__(self, *, max_keys: int = 100_000) -> None:
        self._max_keys = max_keys
        self._values: dict[ResourceKey, T] = {}
        self._enqueue: Enqueue | None = None
        #: How often `put` refused a value for want of room.
        self.refused = 0

    def __len__(self) -> int:
        return len(self._values)

    def start(self, enqueue: Enqueue) -> None:
        """Enqueue what is here already, and from now on what comes."""
        self._enqueue = enqueue
        for key in self._values:
            enqueue(key)

    def put(self, key: ResourceKey, value: T) -> bool:
        """Hold the value in the place of an older one of its key, and enqueue the key.

        False means refused: `max_keys` others are waiting. The sender must then send again later.
        """
        if key not in self._values and len(self._values) >= self._max_keys:
            self.refused += 1
            return False
        self._values[key] = value
        if self._enqueue:
            self._enqueue(key)
        return True

    def peek(self, key: ResourceKey) -> T | None:
        """Return the value of the key, or None, and leave it here."""
        return self._values.get(key)

    def take(self, key: ResourceKey) -> T | None:
        """Return the value of the key, or None, and forget it."""
        return self._values.pop(key, None)

    def discard(self, key: ResourceKey, value: T | None) -> bool:
        """Forget the value that `peek` gave if it is still the one of the key, and tell whether it was."""
        if key in self._values and self._values[key] is value:
            del self._values[key]
            return True
        return False
