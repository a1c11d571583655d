"""Notices when a function blocks the event loop, and says whose it is.

Invariant: the loop is never blocked for long without a line in the log that names the controller and the place: a
reconcile function that computes or sleeps in an `async def` stops every other, the probes and the lease.
A thread looks, since the loop cannot. Neighbours: `manager` runs it, `controller.reconciling` reads the stack.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

from neptune.log import get_logger

#: A call of the loop that takes longer is a fault: ten of them in a row lose the lease.
BLOCKED_SECONDS = 1.0
_BEAT_SECONDS = 0.25
#: The innermost calls of a stack: the place, and how it came there.
_STACK_LINES = 6


class Watchdog:
    """Watches one event loop until cancelled; `describe` turns the innermost frame of a stack into keys for the log."""

    def __init__(self, describe: Callable[[FrameType | None], dict[str, str]], limit: float = BLOCKED_SECONDS) -> None:
        self._describe = describe
        self._limit = limit
        self._beat = 0.0
        self._log = get_logger()

    async def run(self) -> None:
        """Beat, and have a thread see that the beat goes on."""
        stop = threading.Event()
        self._beat = time.monotonic()
        thread = threading.Thread(target=self._look, args=(threading.get_ident(), stop), name="watchdog", daemon=True)
        thread.start()
        try:
            while True:
                self._beat = time.monotonic()
                await asyncio.sleep(_BEAT_SECONDS)
        finally:
            stop.set()
            thread.join()  # it is at most a log line away from its end

    def _look(self, loop_thread: int, stop: threading.Event) -> None:
        blocked_at: float | None = None
        looked_at = time.monotonic()
        while not stop.wait(_BEAT_SECONDS):
            now, before, beat = time.monotonic(), looked_at, self._beat
            looked_at = now
            if blocked_at is not None and beat > blocked_at:
                self._log.warning("event loop goes on", blocked_seconds=round(beat - blocked_at, 1))
                blocked_at = None
            # A thread that was late itself saw a pause of the whole process, which is nobody's fault here.
            elif blocked_at is None and now - beat > self._limit and now - before < self._limit:
                blocked_at = beat
                frame = sys._current_frames().get(loop_thread)
                stack = traceback.extract_stack(frame)[-_STACK_LINES:]
                places = " < ".join(f"{each.name} {each.filename}:{each.lineno}" for each in reversed(stack))
                self._log.error("event loop is blocked", **self._describe(frame), stack=places)
