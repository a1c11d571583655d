"""`txt`: a sample is a nonempty line, which is one with at least one byte besides its line ending.

A line ends with LF or CRLF, the last one also with the data. A CR that no LF follows is content, and so are spaces,
NUL bytes and bytes that are no text in any encoding.
"""

from __future__ import annotations

from neptune.edge.formats.base import State

#: What the open line holds so far: nothing, one CR that may yet be half of a line ending, or content.
_EMPTY, _CR, _CONTENT = 0, 1, 2


class TxtCounter:
    """Counts nonempty lines.

    Splitting at LF is the fastest way that pure Python has: the work for each line is done in C.
    """

    __slots__ = ("_ended", "_open")

    def __init__(self, state: State = ()) -> None:
        self._ended, self._open = state or (0, _EMPTY)

    @property
    def samples(self) -> int:
        return self._ended + (self._open != _EMPTY)

    def feed(self, block: bytes) -> None:
        lines = block.split(b"\n")
        first, last = lines[0], lines[-1]
        self._extend(first)
        if len(lines) == 1:
            return
        # The first piece ends the line that was open, the last one opens another; those between are whole lines.
        blank = lines.count(b"") + lines.count(b"\r")
        self._ended += len(lines) - blank - (not _is_blank(first)) - (not _is_blank(last)) + (self._open == _CONTENT)
        self._open = _EMPTY
        self._extend(last)

    def state(self) -> State:
        return self._ended, self._open

    def _extend(self, piece: bytes) -> None:
        if piece:
            self._open = _CR if self._open == _EMPTY and piece == b"\r" else _CONTENT


def _is_blank(line: bytes) -> bool:
    return line in (b"", b"\r")
