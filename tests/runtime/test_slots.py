from __future__ import annotations

import asyncio

from neptune.runtime.slots import Slots, priority


async def hold(slots: Slots, name: str, order: list[str], gate: asyncio.Event, urgency: int = 0) -> None:
    priority.set(urgency)
    async with slots:
        order.append(name)
        await gate.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_more_than_the_limit_hold_a_slot() -> None:
    slots, order, gate = Slots(2), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(hold(slots, name, order, gate)) for name in "abc"]
    await settle()
    assert order == ["a", "b"]
    gate.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]


async def test_the_most_urgent_goes_first_and_equals_in_order() -> None:
    slots, order, gate = Slots(1), list[str](), asyncio.Event()
    urgencies = {"first": 0, "low": -100, "one": 0, "two": 0, "high": 5}
    tasks = [asyncio.create_task(hold(slots, name, order, gate, each)) for name, each in urgencies.items()]
    await settle()
    gate.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "high", "one", "two", "low"]


async def test_a_waiter_that_is_cancelled_loses_no_slot() -> None:
    slots, order, gate = Slots(1), list[str](), asyncio.Event()
    first, second, third = (asyncio.create_task(hold(slots, name, order, gate)) for name in "abc")
    await settle()
    second.cancel()
    await settle()
    gate.set()
    await asyncio.gather(first, third)
    assert order == ["a", "c"]
    await asyncio.wait_for(hold(slots, "d", order, gate), 1)


async def test_a_slot_that_comes_with_the_cancellation_is_passed_on() -> None:
    slots, order, gate = Slots(1), list[str](), asyncio.Event()
    gate.set()
    await slots.__aenter__()
    second, third = (asyncio.create_task(hold(slots, name, order, gate)) for name in "bc")
    await settle()
    await slots.__aexit__()
    second.cancel()
    await asyncio.wait_for(third, 1)
    assert order == ["c"]
