"""Lines, the ground of the formats of text: counts them and finds them in blocks of bytes.

A line ends with LF or CRLF, the last one also with the data. It is blank when it has no byte besides its ending. A CR
that no LF follows is content.
Neighbours: `txt`, `jsonl` and `csv` are built on it; `vector` is the same tally by numpy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module

from neptune.edge.formats.base import Span, State

#: What the open line holds so far: nothing, one CR that may yet be half of a line ending, or content.
_EMPTY, _CR, _CONTENT = 0, 1, 2


class LineCounter:
    """Counts the lines that are not blank."""

    __slots__ = ("_ended", "_open", "_tally")

    def __init__(self, state: State = ()) -> None:
        self._ended, self._open = state or (0, _EMPTY)
        self._tally = _find_tally()

    @property
    def samples(self) -> int:
        return self._ended + (self._open != _EMPTY)

    def feed(self, block: bytes) -> None:
        first = block.find(b"\n")
        if first < 0:
            self._open = _extended(self._open, block)
            return
        self._ended += (_extended(self._open, block[:first]) == _CONTENT) + self._tally(block)
        self._open = _extended(_EMPTY, block[block.rfind(b"\n") + 1 :])

    def state(self) -> State:
        return self._ended, self._open


def _extended(open_: int, piece: bytes) -> int:
    if not piece:
        return open_
    return _CR if open_ == _EMPTY and piece == b"\r" else _CONTENT


def tally(block: bytes) -> int:
    """Return how many lines between the first and the last LF of `block` are not blank.

    Splitting at LF is the fastest way that pure Python has: the work for each line is done in C.
    """
    lines = block.split(b"\n")
    blank = lines.count(b"") + lines.count(b"\r")
    return len(lines) - blank - (not _is_blank(lines[0])) - (not _is_blank(lines[-1]))


def _is_blank(line: bytes) -> bool:
    return line in (b"", b"\r")


def _find_tally() -> Callable[[bytes], int]:
    """Numpy takes more memory than the whole agent may: only a process that has loaded it before counts with it."""
    if "numpy" not in sys.modules:
        return tally
    found: Callable[[bytes], int] = import_module("neptune.edge.formats.vector").tally
    return found


def line_spans(blocks: Iterable[bytes], offset: int, *, space: bytes = b"") -> Iterator[Span]:
    """Yield the lines that are not blank, without their endings; bytes in `space` are no content either."""
    start, open_, last = offset, _EMPTY, b""
    position = offset
    for block in blocks:
        pieces = block.split(b"\n")
        for piece in pieces[:-1]:
            position += len(piece)
            if _extended(open_, piece.translate(None, space) if space else piece) == _CONTENT:
                yield Span(start, position - ((piece or last)[-1:] == b"\r"))
            position += 1
            start, open_, last = position, _EMPTY, b""
        piece = pieces[-1]
        position += len(piece)
        open_ = _extended(open_, piece.translate(None, space))
        last = piece[-1:] or last
    if open_ != _EMPTY:
        yield Span(start, position)
