"""What a watch of its own says of the Datasets' statuses: the judge, who does not ask the contestant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from benchmarks.stage import NAMESPACE
from neptune.api import Dataset, ResourceKey
from neptune.api.meta import Json
from neptune.runtime import Client, Conflict, Query

#: For what a contestant may take under load.
PATIENCE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Edit:
    """How long an edit took, in seconds.

    Attributes:
        total: from the request on, until its status follows.
        reaction: from when the server told of the edit, until it told of its status: without the edit's own request.
    """

    total: float
    reaction: float


class Followed:
    """The Datasets of a server as a watch tells them: `_take` hears of each state. Used as a context."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changed = asyncio.Event()
        self._listed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        await self._listed.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _wait_for(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
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
                        self._changed.set()
                    elif event.ends_initial:
                        self._listed.set()

    def _take(self, dataset: Json) -> None:
        raise NotImplementedError


class Statuses(Followed):
    """Which Datasets have a right status: one that is the length of their url."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._lengths: dict[str, int] = {}
        self._edited: dict[str, float] = {}
        self._right: set[str] = set()

    @property
    def correct(self) -> int:
        """How many statuses are right."""
        return len(self._right)

    async def edit(self, name: str) -> Edit:
        """Change one url and wait until its status follows."""
        while True:
            dataset = await self._client.get(Dataset, ResourceKey(NAMESPACE, name))
            dataset.spec.url += "x"
            wanted = len(dataset.spec.url)
            began = time.monotonic()
            try:
                await self._client.patch(dataset)
                break
            except Conflict:  # the contestant wrote in between
                continue
        await self._wait_for(lambda: self._lengths[name] == wanted and name in self._right)
        ended = time.monotonic()
        return Edit(ended - began, ended - self._edited[name])

    def _take(self, dataset: Json) -> None:
        name = dataset["metadata"]["name"]
        length, number = len(dataset["spec"]["url"]), dataset.get("status", {}).get("numberOfSamples")
        if self._lengths.get(name) != length:
            self._lengths[name] = length
            self._edited[name] = time.monotonic()
        (self._right.add if number == length else self._right.discard)(name)
