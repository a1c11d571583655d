"""The event loop that programs run on: uvloop's where it is installed. The only door to uvloop.

Invariant: nothing else depends on which loop it is. On the storm it takes 5 MB and a tenth of a TLS request's CPU less
(docs/performance.md). Neighbours: `manager` and the command line start their programs by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop
except ImportError:  # no wheel for this interpreter or system
    from asyncio import new_event_loop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
