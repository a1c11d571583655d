"""A peer that speaks just enough MQTT 5 to misbehave: fixed bytes in answer to each kind of packet."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self


class ScriptedBroker:
    """Answers CONNECT, SUBSCRIBE and PUBLISH with given bytes, whatever they say. Packets below 128 bytes only,
    besides PUBLISH, whose content is skipped."""

    CONNACK = b"\x20\x03\x00\x00\x00"
    SUBACK = b"\x90\x04\x00\x01\x00\x01"

    def __init__(
        self, *, connect: bytes = CONNACK, subscribe: bytes = SUBACK, publish: bytes = b"\x40\x02\x00\x01"
    ) -> None:
        self.connect, self.subscribe, self.publish = connect, subscribe, publish
        self.connected = asyncio.Event()
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def say(self, data: bytes) -> None:
        """Send these bytes to whoever is connected."""
        for writer in self._writers:
            writer.write(data)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    kind, length = await reader.readexactly(2)
                    if length >= 128:  # PUBLISH above 127 bytes has a second length byte
                        length = length - 128 + 128 * (await reader.readexactly(1))[0]
                    await reader.readexactly(length)
                    writer.write({1: self.connect, 8: self.subscribe, 3: self.publish}.get(kind >> 4, b""))
                    if kind >> 4 == 1:
                        self.connected.set()
        finally:
            writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)
