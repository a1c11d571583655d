"""The bounded queue of events."""

from __future__ import annotations

import asyncio

import pytest

from neptune.transport import Connected, Disconnected, Event, Received, TransportClosed
from neptune.transport.inbox import Inbox


def message(number: int, size: int = 1) -> Received:
    return Received(f"t/{number}", b"x" * size, retained=False, connection=1)


async def drain(inbox: Inbox) -> list[Event]:
    return [await inbox.get() for _ in range(len(inbox))]


async def test_events_come_out_in_order() -> None:
    inbox = Inbox()
    events: list[Event] = [Connected(1), message(1), Disconnected("why", 1.0), Connected(2)]
    for event in events:
        inbox.put(event)
    assert await drain(inbox) == events


async def test_the_oldest_message_gives_way_and_is_counted() -> None:
    inbox = Inbox(limit=3)
    for event in (Connected(1), message(1), message(2), message(3)):
        inbox.put(event)
    assert await drain(inbox) == [Connected(1), message(2), message(3)]
    assert inbox.dropped == 1


async def test_bytes_are_bounded_too() -> None:
    inbox = Inbox(limit_bytes=10)
    inbox.put(message(1, size=6))
    inbox.put(message(2, size=6))
    assert await drain(inbox) == [message(2, size=6)]
    inbox.put(message(3, size=10))
    assert await drain(inbox) == [message(3, size=10)]


async def test_failed_attempts_do_not_pile_up() -> None:
    inbox = Inbox()
    for number in range(1000):
        inbox.put(Disconnected(f"attempt {number}", 1.0))
    assert await drain(inbox) == [Disconnected("attempt 999", 1.0)]


async def test_a_connection_that_flaps_for_ever_stays_in_bounds() -> None:
    inbox = Inbox(limit=10)
    for number in range(1000):
        inbox.put(Connected(number))
        inbox.put(Disconnected("lost", 1.0))
    assert len(inbox) == 10
    assert (await drain(inbox))[-2:] == [Connected(999), Disconnected("lost", 1.0)]


async def test_a_cancelled_reader_takes_nothing_with_it() -> None:
    inbox = Inbox()
    reader = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    inbox.put(message(1))
    reader.cancel()
    await asyncio.wait({reader})
    assert await inbox.get() == message(1)


async def test_closing_wakes_the_reader() -> None:
    inbox = Inbox()
    reader = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    inbox.close()
    with pytest.raises(TransportClosed):
        await reader
