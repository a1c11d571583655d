"""Fails a test that leaves an asyncio task, a thread or a child process behind.

A session's own servers are started before the test's first look, so they do not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

#: Seconds that a thread or a process which was told to end may still need.
GRACE_SECONDS = 2.0


def _children() -> set[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    pids: set[int] = set()
    for children in tasks:
        with contextlib.suppress(FileNotFoundError):  # the thread has ended since
            pids.update(map(int, children.read_text().split()))
    return pids


def _threads_and_children() -> set[threading.Thread | int]:
    return set(threading.enumerate()) | _children()


@pytest.fixture(autouse=True)
def no_thread_or_process_left() -> Iterator[None]:
    """Compare threads and child processes with those before the test."""
    before = _threads_and_children()
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := _threads_and_children() - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"the test left threads or child processes behind: {left}"


@pytest.fixture(autouse=True)
def no_task_left(no_thread_or_process_left: None, request: pytest.FixtureRequest) -> None:
    """Look at the tasks of a test that has a loop; the other look is first, so that it outlives the loop."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_tasks_compared")


@pytest.fixture
async def _tasks_compared() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"the test left tasks behind: {left}"
