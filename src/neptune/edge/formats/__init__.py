"""How samples are told apart: a name in `spec.format`, and the `Format` behind it.

Built in: `txt`, `csv`, `jsonl`. A package on the node adds others under the entry-point group `neptune.formats`, each a
`Format` (see `base`) or a class that makes one without arguments. Their names are known to the whole agent; they are
loaded only where `load_format` is called, which is never the agent itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from neptune.edge.formats.base import Counter, Format, Span, State
from neptune.edge.formats.csv import Csv
from neptune.edge.formats.jsonl import Jsonl
from neptune.edge.formats.txt import Txt
from neptune.edge.problems import Problem, Reason, shown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["BUILT_IN", "GROUP", "Counter", "Format", "Span", "State", "format_name", "known_formats", "load_format"]

#: The entry-point group of plug-ins.
GROUP = "neptune.formats"
#: The formats that need no plug-in, by their names in lower case.
BUILT_IN: Mapping[str, Format] = {"csv": Csv(), "jsonl": Jsonl(), "txt": Txt()}


def known_formats() -> list[str]:
    """Return the names of all formats on this node, sorted."""
    return sorted({*BUILT_IN, *_plug_ins()})


def format_name(name: object) -> str | Problem:
    """Return the name as it is known, in lower case. Plug-ins are looked up, not loaded."""
    if isinstance(name, str) and ((lower := name.lower()) in BUILT_IN or lower in _plug_ins()):
        return lower
    known = ", ".join(known_formats())
    return Problem(Reason.UNKNOWN_FORMAT, f"this agent does not know the format {shown(str(name))!r}; it knows {known}")


def load_format(name: object) -> Format | Problem:
    """Return the format of that name, in whatever case it is written. Runs the code of a plug-in."""
    known = format_name(name)
    if isinstance(known, Problem):
        return known
    if (built_in := BUILT_IN.get(known)) is not None:
        return built_in
    try:
        found = _plug_ins()[known].load()
        loaded: Format = found() if isinstance(found, type) else found
        _ = loaded.counter, loaded.samples
    except Exception as error:  # noqa: BLE001  # whatever a plug-in raises, the others must not suffer
        reason = shown(f"{type(error).__name__}: {error}")
        return Problem(Reason.UNKNOWN_FORMAT, f"the plug-in for {known!r} cannot be loaded: {reason}")
    return loaded


@cache
def _plug_ins() -> Mapping[str, EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415  # 1 MB, for those who use it

    return {point.name.lower(): point for point in entry_points(group=GROUP)}
