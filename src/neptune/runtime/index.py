"""An index: which objects have a value, found without a look at all of them. Plain data; `cache` keeps it true."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic

from neptune.api.meta import R, ResourceKey

IndexFunction = Callable[[R], Iterable[str]]


class Index(Generic[R]):
    """Keys by the values that a function gives for their objects, and back, so that a change costs its values only."""

    def __init__(self, function: IndexFunction[R]) -> None:
        self._function = function
        # Dictionaries for their order: what an index gives does not depend on how Python hashes strings.
        self._keys: dict[str, dict[ResourceKey, None]] = {}
        self._values: dict[ResourceKey, dict[str, None]] = {}

    def put(self, key: ResourceKey, obj: R) -> None:
        """Note the values of an object, in the place of those that it had."""
        values = dict.fromkeys(self._function(obj))
        self.remove(key)
        self._values[key] = values
        for value in values:
            self._keys.setdefault(value, {})[key] = None

    def remove(self, key: ResourceKey) -> None:
        """Forget an object; nothing when it is not there."""
        for value in self._values.pop(key, ()):
            del self._keys[value][key]
            if not self._keys[value]:
                del self._keys[value]

    def keys(self, value: str) -> list[ResourceKey]:
        """Return the objects that have the value."""
        return list(self._keys.get(value, ()))
