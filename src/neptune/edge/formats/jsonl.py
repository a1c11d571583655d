"""`jsonl`: a sample is a line with anything but white space, as JSON Lines and its readers have it.

White space is JSON's (RFC 8259, section 2). Whether the line is valid JSON is not looked at: a loader that goes through
the file meets a bad line as one item too, and a number that drops it would not fit any index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from neptune.edge.formats.base import Counter, Span, State
from neptune.edge.formats.lines import LineCounter, line_spans

_SPACE = b" \t\r"


class Jsonl:
    """Lines that are not blank."""

    ending = b"\n"
    has_header = False

    def counter(self, state: State = ()) -> Counter:
        return _Counter(state)

    def samples(self, blocks: Iterable[bytes], offset: int = 0) -> Iterator[Span]:
        return line_spans(blocks, offset, space=_SPACE)


class _Counter(LineCounter):
    """Without its white space a blank line is an empty one."""

    __slots__ = ()

    def feed(self, block: bytes) -> None:
        super().feed(block.translate(None, _SPACE))
