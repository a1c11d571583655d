"""A client that sends what a test tells it to, byte for byte, and builds packets independently of our own encoder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SECONDS = 5.0


def packet(first: int, body: bytes = b"") -> bytes:
    """Put type, flags and length before `body`."""
    length, encoded = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes((first, *encoded)) + body


def string(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def properties(block: bytes, version: int) -> bytes:
    assert len(block) < 128
    return bytes((len(block),)) + block if version == 5 else b""


def connect(
    client_id: str = "raw",
    *,
    version: int = 5,
    keepalive: int = 0,
    will: tuple[str, bytes] | None = None,
    user: tuple[str, str] | None = None,
    block: bytes = b"",
) -> bytes:
    """CONNECT with clean start; `will` has quality 1, `block` holds properties."""
    flags = 2 | (0x0C if will else 0) | (0xC0 if user else 0)
    body = string("MQTT") + bytes((version, flags)) + keepalive.to_bytes(2, "big") + properties(block, version)
    body += string(client_id)
    if will:
        body += properties(b"", version) + string(will[0]) + len(will[1]).to_bytes(2, "big") + will[1]
    if user:
        body += string(user[0]) + string(user[1])
    return packet(0x10, body)


def subscribe(*filters: str, options: int = 1, version: int = 5, block: bytes = b"") -> bytes:
    """SUBSCRIBE with packet identifier 1."""
    body = b"".join(string(topic_filter) + bytes((options,)) for topic_filter in filters)
    return packet(0x82, b"\0\1" + properties(block, version) + body)


def publish(
    topic: str, payload: bytes = b"", *, qos: int = 1, retain: bool = False, version: int = 5, block: bytes = b""
) -> bytes:
    """PUBLISH with packet identifier 9."""
    identifier = b"\0\x09" if qos else b""
    return packet(0x30 | qos << 1 | retain, string(topic) + identifier + properties(block, version) + payload)


class RawClient:
    """One TCP connection, packet by packet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    async def packet(self) -> tuple[int, bytes]:
        """Return first byte and body of the next packet."""
        async with asyncio.timeout(SECONDS):
            first, length, shift = (await self._reader.readexactly(1))[0], 0, 0
            while True:
                digit = (await self._reader.readexactly(1))[0]
                length |= (digit & 127) << shift
                shift += 7
                if digit < 128:
                    return first, await self._reader.readexactly(length)

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """Send `data` and return the next packet."""
        self.send(data)
        return await self.packet()

    async def rest(self) -> bytes:
        """Return all that comes until the broker closes the connection."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def raw_client(port: int, first: bytes | None = None) -> AsyncIterator[RawClient]:
    """Connect to `port`; with `first`, a CONNECT, go on once it is accepted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = RawClient(reader, writer)
    try:
        if first is not None:
            kind, body = await client.ask(first)
            assert (kind, body[:2]) == (0x20, b"\0\0"), (kind, body)
        yield client
    finally:
        writer.transport.abort()
