"""The port of a format: a counter that is fed blocks of bytes and can be put away between any two of them.

Guarantees: where the data is cut into blocks never matters; memory is constant, however long a sample is; and a counter
made from `state()` goes on exactly as the one that gave it.
"""

from __future__ import annotations

from typing import Protocol

#: What a counter keeps between blocks. Small integers only, so that a checkpoint is a line of JSON.
State = tuple[int, ...]


class Counter(Protocol):
    """Counts the samples in a stream of bytes."""

    @property
    def samples(self) -> int:
        """The number of samples if the data ended here."""
        ...

    def feed(self, block: bytes) -> None:
        """Take the bytes that follow those of the call before."""
        ...

    def state(self) -> State:
        """Return what is needed to go on from here."""
        ...


class Format(Protocol):
    """Makes counters."""

    def __call__(self, state: State = ()) -> Counter:
        """Return a counter at the start of the data, or where the counter that gave `state` was."""
        ...
