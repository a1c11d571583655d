"""Blocking calls from the event loop, also those that may never come back.

`in_thread` is for what is sure to end. `Threads` is for whatever touches data: a stat on a network file system whose
server is gone hangs for as long as it likes, and neither other datasets nor the end of the agent may wait for it.
Neighbours: `monitor` looks and counts by `Threads`, `agent` stores by `in_thread`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Call = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a function in a thread. A cancelled caller waits for it first, so that nobody closes what it still uses."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait({call})
        raise


class StalledError(Exception):
    """A call has not come back in time. `ended` is done when it does."""

    def __init__(self, ended: Future[Any]) -> None:
        super().__init__("a call to the operating system does not come back")
        self.ended = ended


class Threads:
    """Threads that are reused, and left to themselves when a call stalls; they do not keep a process alive."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience = patience_seconds
        self._idle: list[_Worker] = []

    async def call(self, function: Callable[..., _T], *args: Any) -> _T:  # any function, as with `asyncio.to_thread`
        """Return what the function returns, or raise what it raises.

        Raises:
            StalledError: it has not come back within the patience; it goes on.
        """
        worker = self._idle.pop() if self._idle else _Worker()
        future = worker.run(function, args)
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            if future.done():
                raise
            raise StalledError(future) from None
        finally:
            if future.done():
                self._idle.append(worker)
            else:
                future.add_done_callback(lambda _: worker.stop())

    def close(self) -> None:
        """End the threads that are idle; no other one is waited for."""
        while self._idle:
            self._idle.pop().stop()


class _Worker:
    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=self._work, name="data", daemon=True).start()

    def run(self, function: Callable[..., _T], args: tuple[Any, ...]) -> Future[_T]:
        future: Future[_T] = Future()
        self._calls.put((future, function, args))
        return future

    def stop(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function, args = call
            try:
                future.set_result(function(*args))
            except BaseException as error:  # noqa: BLE001  # the caller gets it
                future.set_exception(error)
            del call, future, function, args
