"""What a watch of its own says of the Datasets' statuses: the judge, who does not ask the contestant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Self

from neptune.api import Dataset, ResourceKey
from neptune.api.meta import Json
from neptune.runtime import Client, Query


class Statuses:
    """Which Datasets have a right status: one that is the length of their url. Used as a context."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._numbers: dict[str, int | None] = {}
        self._right: set[str] = set()
        self._changed = asyncio.Event()
        self._listed = asyncio.Event()

    @property
    def correct(self) -> int:
        """How many statuses are right."""
        return len(self._right)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        await self._listed.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def edit(self, name: str, namespace: str) -> float:
        """Change one url and return the seconds, from the request on, until its status follows."""
        dataset = await self._client.get(Dataset, ResourceKey(namespace, name))
        dataset.spec.url += "x"
        began = time.monotonic()
        await self._client.patch(dataset)
        await self._wait_for(lambda: self._numbers.get(name) == len(dataset.spec.url))
        return time.monotonic() - began

    async def _wait_for(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(300):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def _watch(self) -> None:
        version = ""
        while True:
            initial = not self._listed.is_set()
            async with self._client.watch(Query(Dataset), version, initial=initial) as events:
                async for event in events:
                    version = event.version
                    if event.type != "BOOKMARK":
                        self._take(event.object)
                    elif event.ends_initial:
                        self._listed.set()

    def _take(self, dataset: Json) -> None:
        name = dataset["metadata"]["name"]
        length, number = len(dataset["spec"]["url"]), dataset.get("status", {}).get("numberOfSamples")
        self._numbers[name] = number
        (self._right.add if number == length else self._right.discard)(name)
        self._changed.set()
