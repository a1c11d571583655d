"""Time as a port, so that cores take it as an argument and tests move it by hand.

Intervals and deadlines come from `monotonic`; `now` is for people (status fields, logs) and never decides anything.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the shells ask for the time."""

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean something."""
        ...

    def now(self) -> datetime:
        """Return the wall-clock time in UTC."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)
