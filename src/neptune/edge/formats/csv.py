"""`csv`: a sample is a record (RFC 4180) after the first one, which is the header.

A record is a line, but for line endings between double quotes, which are content. A quote opens a quoted field only
where a field begins, as Python's `csv` and pandas have it: in `5" pipe` it is a character like another. Fields are
divided by commas. Blank lines are no records. A byte order mark before the first field is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from neptune.edge.formats.base import Counter, Span, State
from neptune.edge.formats.lines import LineCounter, line_spans

_BOM = b"\xef\xbb\xbf"
#: Where the data stands: at the beginning of a field, inside one, between quotes, or behind a quote between quotes,
#: which ends them unless another one follows. Before: the very beginning, less one a byte of a byte order mark.
_START, _FIELD, _PLAIN, _QUOTED, _QUOTE = range(-1, 4)
_QUOTE_BYTE = ord('"')
_OPENING = re.compile(rb'[,\n]"')


class Csv:
    """Records after the header."""

    ending = b"\n"
    has_header = True

    def counter(self, state: State = ()) -> Counter:
        return _Counter(state)

    def samples(self, blocks: Iterable[bytes], offset: int = 0) -> Iterator[Span]:
        # Behind the beginning there is no header: `offset` is where a sample starts.
        quotes = _Quotes() if offset == 0 else _Quotes(_FIELD)
        records = line_spans(map(quotes.masked, blocks), offset)
        return islice(records, 1, None) if offset == 0 else records


class _Counter:
    """Counts records: nonempty lines, once what is between quotes is out of the way."""

    __slots__ = ("_lines", "_quotes")

    def __init__(self, state: State = ()) -> None:
        self._quotes = _Quotes(*state[:1])
        self._lines = LineCounter(state[1:])

    @property
    def samples(self) -> int:
        return max(0, self._lines.samples - 1)

    def feed(self, block: bytes) -> None:
        self._lines.feed(self._quotes.masked(block))

    def state(self) -> State:
        return self._quotes.place, *self._lines.state()


class _Quotes:
    """Masks what is between quotes, so that every LF that is left ends a record. Lengths stay."""

    __slots__ = ("place",)

    def __init__(self, place: int = _START) -> None:
        self.place = place

    def masked(self, block: bytes) -> bytes:
        """Return the block that follows those before with its quoted fields overwritten."""
        position = self._skip_bom(block) if self.place <= _START else 0
        parts = [block[:position]] if position else []
        while position < len(block):
            if self.place >= _QUOTED:
                end = self._leave(block, position)
                parts.append(b"x" * (end - position))
            else:
                end = self._enter(block, position)
                parts.append(block[position:end])
            position = end
        return b"".join(parts)

    def _skip_bom(self, block: bytes) -> int:
        position = 0
        while self.place <= _START and position < len(block):
            if block[position] == _BOM[_START - self.place]:
                position += 1
                self.place = self.place - 1 if self.place > _START - len(_BOM) + 1 else _FIELD
            else:
                self.place = _FIELD if self.place == _START else _PLAIN
        return position

    def _enter(self, block: bytes, position: int) -> int:
        """Return the offset behind the next quote that opens a field, or behind the block."""
        if self.place == _FIELD and block[position] == _QUOTE_BYTE:
            self.place = _QUOTED
            return position + 1
        if opening := _OPENING.search(block, position):
            self.place = _QUOTED
            return opening.end()
        self.place = _FIELD if block[-1] in b",\n" else _PLAIN
        return len(block)

    def _leave(self, block: bytes, position: int) -> int:
        """Return the offset behind the quoted field, or behind the block."""
        while position < len(block):
            if self.place == _QUOTED:
                found = block.find(b'"', position)
                if found < 0:
                    return len(block)
                self.place, position = _QUOTE, found + 1
            elif block[position] == _QUOTE_BYTE:
                self.place, position = _QUOTED, position + 1
            else:
                self.place = _PLAIN
                return position
        return position
