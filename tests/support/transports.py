"""Short words for tests of transports: wait for one event, close whatever was opened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from neptune.transport import Connected, Disconnected, Event, Received, Session, Transport

SECONDS = 10.0  # how long a real broker may take before a test gives up

E = TypeVar("E", bound=Event)


async def until(transport: Transport, kind: type[E], accept: Callable[[E], bool] = lambda _: True) -> E:
    """Return the next event of `kind` that `accept` takes; others are passed over."""
    async with asyncio.timeout(SECONDS):
        while True:
            event = await transport.next_event()
            if isinstance(event, kind) and accept(event):
                return event


async def received(transport: Transport) -> Received:
    """Return the next event, which must be a message."""
    async with asyncio.timeout(SECONDS):
        event = await transport.next_event()
    assert isinstance(event, Received), event
    return event


async def disconnected(transport: Transport) -> Disconnected:
    """Return the next loss of the connection, or failed attempt."""
    return await until(transport, Disconnected)


async def connect(transport: Transport, session: Session) -> Connected:
    """Open `transport` and return the first connection."""
    await transport.open(session)
    return await until(transport, Connected)


async def eventually(condition: Callable[[], bool]) -> None:
    """Return as soon as `condition` holds; it depends on another thread or process, so it is polled."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def closing(*transports: Transport) -> AsyncIterator[None]:
    """Close `transports` in the end, whatever happens."""
    try:
        yield
    finally:
        await asyncio.gather(*(transport.close() for transport in transports))
