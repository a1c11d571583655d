"""What a reconcile function is given, and what it may answer.

Invariant: once a call is past its deadline or was stopped, its `ctx.wait` carries out nothing more, so that a thread
which cannot be cancelled cannot act either. Neighbours: `controller` makes one context a call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from neptune.api.meta import ResourceKey
from neptune.clock import Clock
from neptune.runtime.cache import Cache
from neptune.runtime.client import Client
from neptune.runtime.events import Events

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """What a reconcile function returns to be called again for the same key after so many seconds.

    `priority` is that of the next call: higher goes first, None keeps the one of this call.

    Raises:
        ValueError: `seconds` is negative or no finite number.
    """

    seconds: float
    priority: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"RequeueAfter({self.seconds}): seconds are 0 or more; return None for never")


@dataclass(eq=False, slots=True)
class Call:
    """A call in a thread: what it waits for on the loop, and whether it is past its end."""

    waits: set[concurrent.futures.Future[Any]] = field(default_factory=set)
    over: bool = False

    def end(self) -> None:
        """Let the call's `ctx.wait` under way fail, and every further one."""
        self.over = True
        for wait in [*self.waits]:
            wait.cancel()


class CallLog:
    """The logger of one call: bound to the key and to a `reconcile_id` at the first line. Most calls write none."""

    __slots__ = ("_bound", "_key", "_log")

    def __init__(self, log: Any, key: ResourceKey) -> None:
        self._log = log
        self._key = key
        self._bound: Any = None

    def __getattr__(self, name: str) -> Any:
        # What copy and pickle look for, also on one that is not filled yet; of a logger nobody wants these.
        if name.startswith("__") or name in self.__slots__:
            raise AttributeError(name)
        if self._bound is None:
            namespace, own_name = self._key
            self._bound = self._log.bind(namespace=namespace, name=own_name, reconcile_id=os.urandom(4).hex())
        return getattr(self._bound, name)


@dataclass(frozen=True, slots=True)
class Context:
    """What a reconcile function works with. `log` carries controller, namespace, name and reconcile_id.

    `events` tells people what happened to an object. `call` is the library's own.
    """

    client: Client
    cache: Cache
    clock: Clock
    log: Any
    loop: asyncio.AbstractEventLoop
    events: Events
    call: Call = field(default_factory=Call, repr=False)

    def of(self, key: ResourceKey) -> Context:
        """Return the context of one call for that key."""
        log = CallLog(self.log, key)
        return Context(self.client, self.cache, self.clock, log, self.loop, self.events)

    def wait(self, action: Coroutine[Any, Any, T]) -> T:
        """Carry out a coroutine on the event loop and wait for it: for reconcile functions that are a plain `def`.

        >>> ctx.wait(ctx.client.status.patch(dataset))  # doctest: +SKIP

        Raises:
            TimeoutError: this call is past its deadline or was stopped: nothing more is carried out for it.
            RuntimeError: this is the event loop itself, as in an `async def`, where waiting would stop it.
            Exception: whatever the coroutine raised.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._wait(action)
        action.close()
        raise RuntimeError("ctx.wait is for a plain def; in an async def write: await ...")

    def _wait(self, action: Coroutine[Any, Any, T]) -> T:
        call = self.call
        if call.over:
            action.close()
            raise TimeoutError("this reconcile is past its deadline or was stopped: return")
        future = asyncio.run_coroutine_threadsafe(action, self.loop)
        call.waits.add(future)
        if call.over:  # since we looked
            future.cancel()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            if call.over:
                raise TimeoutError("this reconcile is past its deadline or was stopped: return") from None
            raise
        finally:
            call.waits.discard(future)


Outcome = RequeueAfter | None


def checked(outcome: Any, name: str) -> Outcome:
    """Return what the function of that name returned.

    Raises:
        TypeError: it is no outcome.
    """
    if outcome is None or isinstance(outcome, RequeueAfter):
        return outcome
    if asyncio.iscoroutine(outcome):
        outcome.close()
        raise TypeError(f"{name} is a plain def that returned a coroutine: make it an async def")
    raise TypeError(f"{name} returned {outcome!r}: return None or RequeueAfter(seconds)")


Reconcile = Callable[[Context, ResourceKey], Awaitable[Outcome]] | Callable[[Context, ResourceKey], Outcome]
