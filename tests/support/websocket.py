"""A gateway on loopback that takes MQTT out of WebSockets, as a reverse proxy or a broker's own listener does."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Self

from aiohttp import WSMsgType, web


class WebSocketGateway:
    """Listens on `port` at `path` and passes bytes to and from a broker. Used as a context."""

    def __init__(
        self,
        target_port: int,
        target_host: str = "127.0.0.1",
        *,
        path: str = "/mqtt",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._target = (target_host, target_port)
        self._tls = tls
        app = web.Application()
        app.router.add_get(path, self._accept)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.port = 0

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        try:
            reader, writer = await asyncio.open_connection(*self._target)
        except OSError:
            return web.Response(status=502)
        try:
            return await _serve(request, reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _serve(
    request: web.Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> web.WebSocketResponse:
    # MQTT 5, 6.0: frames are binary, and the subprotocol is `mqtt`.
    socket = web.WebSocketResponse(protocols=("mqtt",), timeout=0.1, max_msg_size=0)
    await socket.prepare(request)
    down = asyncio.create_task(_down(reader, socket))
    try:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                writer.write(message.data)
                await writer.drain()
    finally:
        down.cancel()
        await asyncio.gather(down, return_exceptions=True)
    return socket


async def _down(reader: asyncio.StreamReader, socket: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            await socket.send_bytes(data)
    await socket.close()
