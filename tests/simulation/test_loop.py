"""Virtual time, and programs on it that can be stopped, resumed and killed between any two of their steps."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from neptune.testing.simulation.loop import STANDSTILL, Process, VirtualLoop, run


def virtual_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


async def tick(seen: list[float]) -> None:
    while True:
        seen.append(virtual_loop().time())
        await asyncio.sleep(1.0)


async def ended(task: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        await task


def test_an_hour_passes_in_no_time() -> None:
    started = time.monotonic()
    run(asyncio.sleep(3600.0))
    assert time.monotonic() - started < 5.0


def test_what_falls_due_while_a_process_is_stopped_waits() -> None:
    async def program() -> None:
        seen: list[float] = []
        process = Process("a")
        task = virtual_loop().spawn(process, tick(seen))
        await asyncio.sleep(2.5)
        process.stop()
        await asyncio.sleep(10.0)
        assert len(seen) == 3
        process.resume()
        await asyncio.sleep(0.1)
        assert len(seen) == 4
        process.kill()
        await ended(task)

    run(program())


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_a_process_dies_before_any_step_that_is_chosen(step: int) -> None:
    async def program() -> None:
        died: list[int] = []
        process = Process("a", dies_at=step)
        process.on_death = lambda: died.append(process.steps)
        await ended(virtual_loop().spawn(process, tick([])))
        assert died == [step]
        assert not process.alive

    run(program())


def test_what_a_process_starts_is_its_own() -> None:
    async def program() -> None:
        seen: list[float] = []

        async def parent() -> None:
            await asyncio.create_task(tick(seen))

        process = Process("a")
        task = virtual_loop().spawn(process, parent())
        await asyncio.sleep(1.5)
        process.kill()
        await ended(task)
        assert not process.running
        assert len(seen) == 2

    run(program())


def test_a_call_for_a_thread_runs_in_the_loop_and_gives_its_error() -> None:
    async def program() -> None:
        assert await asyncio.to_thread(lambda: 1) == 1
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)

    run(program())


def test_time_that_stands_still_is_noticed() -> None:
    async def program() -> None:
        stuck: list[bool] = []
        virtual_loop().on_standstill = lambda: stuck.append(True)
        for _ in range(STANDSTILL + 10):
            await asyncio.sleep(0)
        assert stuck == [True]

    run(program())
