"""Deadlines that share a timer: what they end, when, and what they leave alone. On virtual time."""

from __future__ import annotations

import asyncio

import pytest

from neptune.runtime.deadlines import Deadlines
from neptune.testing.simulation.loop import run

SECONDS = 10.0


async def outcome(deadlines: Deadlines, seconds: float) -> str:
    """Sleep under a deadline; return how that ended, and when."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        with deadlines.begin():
            await asyncio.sleep(seconds)
    except TimeoutError:
        return f"late at {loop.time() - start:g}"
    return f"done at {loop.time() - start:g}"


def test_each_block_ends_at_its_own_deadline_or_before() -> None:
    async def program() -> list[str]:
        deadlines = Deadlines(SECONDS)
        calls = []
        for seconds in (99, 3, 99, 9):
            calls.append(asyncio.create_task(outcome(deadlines, seconds)))
            await asyncio.sleep(4)
        return await asyncio.gather(*calls)

    assert run(program()) == ["late at 10", "done at 3", "late at 10", "done at 9"]


def test_a_deadline_that_was_set_while_nothing_was_under_way_holds() -> None:
    async def program() -> list[str]:
        deadlines = Deadlines(SECONDS)
        first = await outcome(deadlines, 1)
        await asyncio.sleep(100)
        return [first, await outcome(deadlines, 99), await outcome(deadlines, 99)]

    assert run(program()) == ["done at 1", "late at 10", "late at 10"]


def test_the_inner_of_two_deadlines_ends_its_own_block_alone() -> None:
    async def program() -> tuple[str, bool]:
        with Deadlines(2 * SECONDS).begin() as outer:
            return await outcome(Deadlines(SECONDS), 99), outer.expired

    assert run(program()) == ("late at 10", False)


def test_a_cancellation_by_somebody_else_stays_one() -> None:
    async def program() -> None:
        call = asyncio.create_task(outcome(Deadlines(SECONDS), 99))
        asyncio.get_running_loop().call_later(SECONDS, call.cancel)
        await call

    with pytest.raises(asyncio.CancelledError):
        run(program())


def test_a_task_that_is_past_a_deadline_is_not_left_cancelled() -> None:
    async def program() -> int:
        await outcome(Deadlines(SECONDS), 99)
        await asyncio.sleep(1)
        task = asyncio.current_task()
        assert task
        return task.cancelling()

    assert run(program()) == 0
