"""Plain functions in the place of async ones: each call has a thread of its own, which may block.

Invariant: whoever waits for a call has it to the end, even past its deadline, for a thread cannot be stopped; from the
deadline on its `ctx.wait` carries out nothing more.
Neighbours: `controller` and `finalizers` call users' functions with it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from neptune.runtime.context import Context
from neptune.runtime.problems import text

T = TypeVar("T")


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether a call is to be awaited: of an `async def`, or of an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def call(function: Callable[[Context, T], Any], ctx: Context, subject: T, name: str) -> Any:
    """Call an `async def`, or a plain function in a thread of that name, and return what it returns."""
    if is_async(function):
        return await function(ctx, subject)
    return await in_thread(function, ctx, subject, name)


async def in_thread(function: Callable[[Context, T], Any], ctx: Context, subject: T, name: str) -> Any:
    """Call the function in a thread of its own: a daemon, so that one which hangs never keeps a program alive."""
    returned: asyncio.Future[Any] = ctx.loop.create_future()

    def run() -> None:
        with suppress(RuntimeError):  # the loop is closed, nobody waits any more
            try:
                outcome = function(ctx, subject)
            except BaseException as error:  # noqa: BLE001  # who waits raises it
                ctx.loop.call_soon_threadsafe(returned.set_exception, as_exception(error))
            else:
                ctx.loop.call_soon_threadsafe(returned.set_result, outcome)

    # With the context of this task, so that the cache knows whose writes these are.
    in_context = contextvars.copy_context().run
    threading.Thread(target=in_context, args=(run,), name=name, daemon=True).start()
    try:
        return await asyncio.shield(returned)
    except asyncio.CancelledError:
        ctx.call.end()
        if not returned.done():
            ctx.log.warning("reconcile is past its deadline, and a thread cannot be stopped: waiting for it")
            await asyncio.wait([returned])
        returned.exception()  # asked for, so that asyncio does not report it as forgotten
        raise


def as_exception(error: BaseException) -> Exception | asyncio.CancelledError:
    """Return what a future and a task can carry: a StopIteration they cannot, and a SystemExit ends the program."""
    if isinstance(error, Exception | asyncio.CancelledError) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"reconcile raised {type(error).__name__}: {text(error)}")
    wrapped.__cause__ = error
    return wrapped
