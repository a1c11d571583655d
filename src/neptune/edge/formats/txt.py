"""`txt`: a sample is a nonempty line, which is one with at least one byte besides its line ending.

A line ends with LF or CRLF, the last one also with the data. A CR that no LF follows is content, and so are spaces,
NUL bytes, a byte order mark, and bytes that are no text in any encoding. UTF-16 has an LF byte in each line ending, and
its NUL bytes are content: every line of it counts, blank ones too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from neptune.edge.formats.base import Counter, Span, State
from neptune.edge.formats.lines import LineCounter, line_spans


class Txt:
    """Nonempty lines."""

    ending = b"\n"
    has_header = False

    def counter(self, state: State = ()) -> Counter:
        return LineCounter(state)

    def samples(self, blocks: Iterable[bytes], offset: int = 0) -> Iterator[Span]:
        return line_spans(blocks, offset)
