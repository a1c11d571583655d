from __future__ import annotations

import asyncio

import pytest

from neptune.edge.ending import to_its_end


@pytest.mark.parametrize("times", [1, 3])
async def test_work_ends_however_often_its_waiter_is_cancelled(times: int) -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        ended.set()

    waiter = asyncio.create_task(to_its_end(work()))
    for _ in range(times):
        await asyncio.sleep(0)
        waiter.cancel()
    await asyncio.sleep(0)
    assert not waiter.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert ended.is_set()


async def test_what_goes_wrong_is_told() -> None:
    async def work() -> None:
        raise OSError("no such disk")

    with pytest.raises(OSError, match="no such disk"):
        await to_its_end(work())
