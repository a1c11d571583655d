from __future__ import annotations

import asyncio

import pytest

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
    slots, order, gate = Slots(2, 2), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(hold(slots, name, order, gate)) for name in "abc"]
    await settle()
    assert order == ["a", "b"]
    gate.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]


async def test_the_most_urgent_goes_first_and_equals_in_order() -> None:
    slots, order, gate = Slots(1, 1), list[str](), asyncio.Event()
    urgencies = {"first": 0, "low": -100, "one": 0, "two": 0, "high": 5}
    tasks = [asyncio.create_task(hold(slots, name, order, gate, each)) for name, each in urgencies.items()]
    await settle()
    gate.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "high", "one", "two", "low"]


async def test_a_waiter_that_is_cancelled_loses_no_slot() -> None:
    slots, order, gate = Slots(1, 1), list[str](), asyncio.Event()
    first, second, third = (asyncio.create_task(hold(slots, name, order, gate)) for name in "abc")
    await settle()
    second.cancel()
    await settle()
    gate.set()
    await asyncio.gather(first, third)
    assert order == ["a", "c"]
    await asyncio.wait_for(hold(slots, "d", order, gate), 1)


async def test_a_slot_that_comes_with_the_cancellation_is_passed_on() -> None:
    slots, order, gate = Slots(1, 1), list[str](), asyncio.Event()
    gate.set()
    await slots.__aenter__()
    second, third = (asyncio.create_task(hold(slots, name, order, gate)) for name in "bc")
    await settle()
    await slots.__aexit__()
    second.cancel()
    await asyncio.wait_for(third, 1)
    assert order == ["c"]


async def test_the_others_leave_slots_free_for_the_urgent_while_there_are_any() -> None:
    slots, order, gate = Slots(3, 1), list[str](), asyncio.Event()
    urgencies = {"edit": 0, "low": -100, "lower": -200, "other edit": 0, "third edit": 0}
    tasks = [asyncio.create_task(hold(slots, name, order, gate, each)) for name, each in urgencies.items()]
    await settle()
    assert order == ["edit", "low", "other edit"]
    gate.set()
    await asyncio.gather(*tasks)
    assert order[3:] == ["third edit", "lower"]


async def test_the_others_have_all_slots_when_nobody_urgent_came_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    slots, order, gate = Slots(3, 1), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(hold(slots, name, order, gate, -100)) for name in "abcd"]
    await settle()
    assert order == ["a", "b", "c"]
    gate.set()
    await asyncio.gather(*tasks)
    monkeypatch.setattr("neptune.runtime.slots.YIELD_SECONDS", 0.0)
    gate.clear()
    tasks = [
        asyncio.create_task(hold(slots, name, order, gate, each)) for name, each in (("edit", 0), ("e", -1), ("f", -1))
    ]
    await settle()
    assert order[4:] == ["edit", "e", "f"]
    gate.set()
    await asyncio.gather(*tasks)
