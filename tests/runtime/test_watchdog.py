"""A function that blocks the loop is named while it does."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import structlog

from neptune.api.meta import ResourceKey
from neptune.runtime import Context, Manager
from neptune.runtime.watchdog import BLOCKED_SECONDS
from tests.runtime.widgets import Widget, eventually, faulty_server, item, listing, streaming


async def test_a_reconciler_that_blocks_the_loop_is_logged_with_its_controller_and_place(tmp_path: Path) -> None:
    calls: list[str] = []

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        await asyncio.sleep(0)
        inner()
        calls.append(key.name)

    def inner() -> None:
        time.sleep(BLOCKED_SECONDS + 0.6)  # what is tested

    async with faulty_server(tmp_path, on_list=listing(item("a")), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig)
        manager.controller(Widget, reconcile, name="greedy")
        with structlog.testing.capture_logs() as logs:
            await manager.start()
            await eventually(lambda: calls)
            await eventually(lambda: any(entry["event"] == "event loop goes on" for entry in logs))
            await manager.stop()
    blocked = [entry for entry in logs if entry["event"] == "event loop is blocked"]
    assert len(blocked) == 1
    assert blocked[0].items() >= {"controller": "greedy", "namespace": "ns", "name": "a"}.items()
    assert blocked[0]["stack"].startswith("inner ")
    assert "reconcile " in blocked[0]["stack"]
