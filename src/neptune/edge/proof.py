"""Proves that what was counted is still there, without reading it all again. Pure.

Blocks of 4 KiB are kept as digests: one at every multiple of a stride, which doubles whenever there are too many, and
one that ends where the counting ended. They are cut from the very bytes that were counted.

Proved of a file that has grown, when its blocks still match: it begins, ends (where it ended) and goes on at up to
sixteen places between as it did. Anything that moves bytes, as every insertion, deletion, rotation and rewrite does, is
seen at the end of the old part. Not seen: bytes overwritten in place, between the blocks of a file above
`WHOLE_BYTES`, that was appended to before the next look. Without the append the change is seen by its stamps, and a
file up to `WHOLE_BYTES` is read whole whenever it has changed.
Neighbours: `counting` feeds and asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

#: A changed file up to this size is read whole: that takes a millisecond, and no proof is better.
WHOLE_BYTES = 2**20
_BLOCK = 4096
_FIRST_STRIDE = 64 * 1024
_MAX_BLOCKS = 16
_DIGEST_BYTES = 8


class Proof(NamedTuple):
    """Speaks of the first `size` bytes. `blocks` holds the digest of the block at each multiple of `stride`."""

    size: int
    stride: int
    blocks: str
    tail: str

    def fingerprint(self) -> str:
        """Return a name for the content: equal for equal bytes, however they came to be counted."""
        return _digest(repr(tuple(self)).encode(), 16)

    def holds(self, read: Callable[[int, int], bytes]) -> bytes | None:
        """Return the last block when all blocks are as they were; `read` takes an offset and a length."""
        length = 2 * _DIGEST_BYTES
        for index in range(len(self.blocks) // length):
            known = self.blocks[index * length : (index + 1) * length]
            if _digest(read(index * self.stride, _BLOCK)) != known:
                return None
        length = min(_BLOCK, self.size)
        tail = read(self.size - length, length)
        return tail if _digest(tail) == self.tail else None


class Prover:
    """Takes the bytes that are counted, in order."""

    __slots__ = ("_blocks", "_open", "_size", "_stride", "_tail")

    def __init__(self, known: Proof | None = None, tail: bytes = b"") -> None:
        """Begin, or go on from a proof that holds and the last block that it returned."""
        self._size, self._stride, blocks, _ = known or (0, _FIRST_STRIDE, "", "")
        length = 2 * _DIGEST_BYTES
        self._blocks = [blocks[at : at + length] for at in range(0, len(blocks), length)]
        self._tail = tail
        # A block that had begun lies within the last one: it is shorter than a block.
        begun = self._size - self._next
        self._open = tail[-begun:] if begun > 0 else b""

    @property
    def size(self) -> int:
        """The bytes that were taken so far."""
        return self._size

    def feed(self, block: bytes) -> None:
        start, end = self._size, self._size + len(block)
        while (first := self._next) < end:
            self._open += block[max(0, first - start) : first + _BLOCK - start]
            if first + _BLOCK > end:
                break
            self._keep()
        self._tail = (self._tail + block)[-_BLOCK:] if len(block) < _BLOCK else block[-_BLOCK:]
        self._size = end

    def proof(self) -> Proof:
        """Return what proves the bytes that were taken so far."""
        return Proof(self._size, self._stride, "".join(self._blocks), _digest(self._tail))

    @property
    def _next(self) -> int:
        return len(self._blocks) * self._stride

    def _keep(self) -> None:
        self._blocks.append(_digest(self._open))
        self._open = b""
        if len(self._blocks) > _MAX_BLOCKS:
            self._blocks = self._blocks[::2]
            self._stride *= 2


def _digest(data: bytes, size: int = _DIGEST_BYTES) -> str:
    return hashlib.blake2b(data, digest_size=size).hexdigest()
