"""The port of a format: what tells samples apart, in two methods, and nothing about files.

`counter` counts from an offset: a counter takes blocks of bytes, is put away as a few integers between any two of them,
and goes on from there. `samples` iterates samples as ranges of bytes. Blocks are the data as it is meant: the contents
of a `.gz` file, not the file.
Guarantees of every format: where the data is cut into blocks never matters; memory is constant, however long a sample
is; both methods agree on the number.
Neighbours: `counting` feeds counters, `split` keeps ranges. A plug-in names an object with this port under the
entry-point group `neptune.formats`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

#: What a counter keeps between blocks. Integers only, so that a checkpoint is a line of JSON.
State = tuple[int, ...]


class Span(NamedTuple):
    """The bytes of one sample: `start` is the offset of the first, `end` that behind the last, ending left out."""

    start: int
    end: int


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
    """Tells samples apart."""

    @property
    def ending(self) -> bytes:
        """What follows each sample where samples are written to a file."""
        ...

    @property
    def has_header(self) -> bool:
        """Whether the bytes before the first sample belong before the first sample of every part."""
        ...

    def counter(self, state: State = ()) -> Counter:
        """Return a counter at the start of the data, or where the counter that gave `state` was.

        Raises:
            ValueError: `state` is none of this format's.
        """
        ...

    def samples(self, blocks: Iterable[bytes], offset: int = 0) -> Iterator[Span]:
        """Yield the samples in order; `blocks` is the data from `offset` on.

        `offset` is 0 or the start of a sample that was yielded before. The last sample of data that still grows may
        grow with it, so go on at its start.
        """
        ...
