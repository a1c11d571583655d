"""The port to the data of a node: how the monitor looks at files and has them counted.

Neighbours: `monitor` asks in threads; `counting` does it on the disk; a simulation has files of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from neptune.edge.counting import Checkpoint, FileCount, Look, Target, look
from neptune.edge.problems import Problem


class Count(Protocol):
    """One pass over one file; see `counting.FileCount`."""

    @property
    def seconds(self) -> float:
        """How long the file has been read."""
        ...

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes counted so far, and bytes in all."""
        ...

    def step(self, seconds: float) -> Checkpoint | Problem | None:
        """Count for about that long. None means that there is more."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class Reader(Protocol):
    """Looks at files and counts them. Blocking."""

    def look(self, url: object, format_name: object, known: Checkpoint | None) -> Look:
        """Look at a dataset without reading its file."""
        ...

    def count(self, target: Target, known: Checkpoint | None) -> Count:
        """Begin to count a file; `known` is where an earlier pass came to."""
        ...


class DiskReader:
    """Files below `roots` on this machine."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = tuple(roots)

    def look(self, url: object, format_name: object, known: Checkpoint | None) -> Look:
        """See `counting.look`."""
        return look(url, format_name, self._roots, known)

    def count(self, target: Target, known: Checkpoint | None) -> FileCount:
        """See `counting.FileCount`."""
        return FileCount(target, known)
