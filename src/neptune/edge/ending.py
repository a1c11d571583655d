"""Ends that have to be waited for: processes and folders that nobody else would tidy up.

Neighbours: `tasks` ends its commands with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def to_its_end(work: Coroutine[Any, Any, object]) -> None:
    """Wait for work that is bounded by itself, however often this is cancelled meanwhile.

    A task may be cancelled twice: its object goes, and then the agent stops. What was begun for the first is not left
    half done by the second.

    Raises:
        CancelledError: once the work has ended, if this was cancelled; what the work raises otherwise.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled:
        raise cancelled
