"""How samples are told apart: a name in `spec.format`, and the counter behind it.

Neighbours: `counting` feeds counters; another format is one more module and one more line in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from neptune.edge.formats.base import Counter, Format
from neptune.edge.formats.txt import TxtCounter
from neptune.edge.problems import Problem, Reason, shown

__all__ = ["FORMATS", "Counter", "Format", "find_format"]

#: Every format that this agent knows, by its name in lower case.
FORMATS: Mapping[str, Format] = {"txt": TxtCounter}


def find_format(name: object) -> Format | Problem:
    """Return the format of that name, in whatever case it is written."""
    found = FORMATS.get(name.lower()) if isinstance(name, str) else None
    if found is not None:
        return found
    known = ", ".join(sorted(FORMATS))
    return Problem(Reason.UNKNOWN_FORMAT, f"this agent does not know the format {shown(str(name))!r}; it knows {known}")
