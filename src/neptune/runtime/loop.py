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

#: For tasks that are left when the program ends.
LEAVE_SECONDS = 1.0

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own, as `asyncio.run` does.

    That waits without end for tasks which swallow their cancellation; this leaves them after a second.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_then_leave(main))


async def _then_leave(main: Coroutine[Any, Any, T]) -> T:
    asyncio.get_running_loop().set_exception_handler(_report)
    try:
        return await main
    finally:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            _, late = await asyncio.wait(rest, timeout=LEAVE_SECONDS)
            for task in late:
                asyncio._unregister_task(task)  # so that the runner does not wait for it


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what nobody awaited, but for one thing that means nothing.

    When a request is cancelled amid TLS's handshake, uvloop answers on the connection that it closed, and calls its own
    refusal fatal, with a traceback (seen with 0.23; https://github.com/MagicStack/uvloop/issues/685).
    """
    if not str(context.get("exception")).endswith("the handler is closed"):
        loop.default_exception_handler(context)
