"""Which report of a task counts, and when it is stored and told. Pure: the time is an argument.

Invariants: the newest that arrived counts, and after a terminal one nothing of its generation does; the file of the one
that counts stays until the store has it, so nothing is lost whenever the agent ends; reports that follow each other
quickly are told once an interval, a terminal one at once; nothing is told twice.
Neighbours: `folder` reads what is folded here, `handover` asks what is due.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from neptune.edge.tasks.results import WorkResult
from neptune.protocol.messages import WorkReport
from neptune.protocol.work import TERMINAL

_AFTER_THE_END = "the work is over: Completed or Failed was reported before it"


@dataclass(frozen=True, slots=True)
class Batch:
    """What some files came to: the report that counts with its file, files that are done with, and refused ones."""

    best: tuple[str, WorkReport] | None = None
    spent: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


def fold(reports: Iterable[tuple[str, WorkReport | str]], generation: int, last: WorkResult | None) -> Batch:
    """Sort out files in their order; each is a report, or the reason why it is none. `last` is what counted before."""
    if last is not None and last.generation != generation:
        last = None
    is_over = last is not None and last.is_over
    best: tuple[str, WorkReport] | None = None
    spent, refused = [], []
    for name, found in reports:
        if isinstance(found, str):
            refused.append((name, found))
        elif last is not None and found.id == last.work.id:
            spent.append(name)  # the agent ended after it was stored and before its file was removed
        elif is_over:
            refused.append((name, _AFTER_THE_END))
        else:
            if best is not None:
                spent.append(best[0])
            best = name, found
            is_over = found.state in TERMINAL
    return Batch(best, tuple(spent), tuple(refused))


@dataclass(slots=True)
class Ledger:
    """The report of one task. `interval_seconds` is the time between two of a worker that reports all the time."""

    interval_seconds: float
    result: WorkResult | None = None
    #: The file of `result`, while the store may lack it.
    file: str | None = None
    #: Whether `result` is in the store, and whether the agent was told of it.
    is_stored: bool = True
    is_told: bool = True
    _not_before: float = 0.0

    def is_over(self, generation: int) -> bool:
        """Tell whether nothing counts any more in that generation."""
        return self.result is not None and self.result.generation == generation and self.result.is_over

    def take(self, batch: Batch, generation: int) -> tuple[str, ...]:
        """Take what a worker said; return the files that nobody needs any more, the oldest first.

        That order matters: where the agent ends on the way, an older report must not be left as the only one.
        """
        if batch.best is None:
            return batch.spent
        before = () if self.file is None else (self.file,)
        self.file, work = batch.best
        self._put(WorkResult(generation, work))
        return (*before, *batch.spent)

    def say(self, result: WorkResult) -> None:
        """Take the agent's own word, unless it is known or comes after the end."""
        last = self.result
        is_of_it = last is not None and last.generation == result.generation
        if last is None or not is_of_it or not (last.is_over or last.work.id == result.work.id):
            self._put(result)

    def _put(self, result: WorkResult) -> None:
        self.result, self.is_stored, self.is_told = result, False, False

    def due_at(self) -> float | None:
        """Return when the result is to be stored and told; None when it was."""
        if self.is_told or self.result is None:
            return None
        return 0.0 if self.result.is_over else self._not_before

    def told(self, now: float) -> None:
        """The agent knows the result."""
        self.is_told, self._not_before = True, now + self.interval_seconds

    def stored(self, result: WorkResult) -> str | None:
        """The store has this result; return the file that is not needed any more, if it had one."""
        if result is not self.result:
            return None
        self.is_stored, file, self.file = True, self.file, None
        return file
