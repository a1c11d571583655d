"""What happened, for a person who has to find out why: one line an event, with the virtual time and who did it.

Invariant: two runs of a seed give the same lines. What differs between runs, such as random names in logs, is left out.
Neighbours: everything here writes into it; product code does through its log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from neptune.testing.simulation.loop import START_SECONDS, current_process

#: Of log lines: they differ in each run, or say what the line says anyway.
_LEFT_OUT = frozenset({"event", "log_level", "reconcile_id", "exc_info", "identity", "holder", "path"})


class Trace:
    """The events of one run."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lines: list[tuple[float, str, str, dict[str, Any]]] = []

    def say(self, who: str, what: str, **keys: Any) -> None:
        """Note an event."""
        self._lines.append((self._now(), who, what, keys))

    def lines(self) -> list[str]:
        """Return the events as text."""
        return [
            " ".join(
                [f"{at - START_SECONDS:9.3f} {who:10}", what, *(f"{name}={value}" for name, value in keys.items())]
            )
            for at, who, what, keys in self._lines
        ]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take what the programs log; it goes nowhere else meanwhile."""

        def take(_logger: Any, method: str, event: Any) -> Any:
            process = current_process()
            if method != "debug" and (process is None or process.alive):
                keys = {name: value for name, value in event.items() if name not in _LEFT_OUT}
                self.say(process.name if process else "-", f"log: {event['event']}", **keys)
            raise structlog.DropEvent

        # In place, as `structlog.testing.capture_logs` does: loggers that exist already share the list.
        processors = structlog.get_config()["processors"]
        before = list(processors)
        processors[:] = [take]
        try:
            yield
        finally:
            processors[:] = before
