"""The connections to one server: opened when needed, straight or through a proxy, and used again.

Invariant: a connection carries one request at a time, and is used again only if its last answer was taken whole; one
that is idle for long, or that leads another way than the newest, is closed. A request that may have been carried out is
sent again only if its method is idempotent (RFC 9110, 9.2.2).
Neighbours: `connection` is one of them, `http` says which way and bounds how many requests there are at a time.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from aiohappyeyeballs import start_connection

from neptune.runtime.connection import Answer, Broken, Connection, field, fields, request_head

#: For the name, TCP, the proxy and TLS.
CONNECT_SECONDS = 10.0
#: A connection that nobody used for this long is closed. kube-apiserver would wait 3 minutes, many balancers one.
IDLE_SECONDS = 60.0
#: When a name has several addresses, the next one is tried after this (RFC 8305, 5).
NEXT_ADDRESS_SECONDS = 0.25
#: For the loop to learn that connections which were aborted are gone.
CLOSE_SECONDS = 1.0

_IDEMPOTENT = {"GET", "PUT", "DELETE"}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a URL points: `netloc` is the host, in brackets if it is an IPv6 address, with the port if that was given.

    `credentials` is the Basic authorization for the user and password in it, or empty.
    """

    scheme: str
    host: str
    port: int
    netloc: str
    path: str
    credentials: str


def address(url: str) -> Address:
    """Take a URL apart.

    Raises:
        ValueError: it is none of HTTP or HTTPS; the text leaves out the password.
    """
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    if parts.scheme not in _PORTS or not parts.hostname:
        shown = url.rpartition("@")[2]
        raise ValueError(f"{shown!r} is no URL that begins with http:// or https:// and names a host")
    host = parts.hostname.encode("idna").decode()
    netloc = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        netloc = f"{netloc}:{parts.port}"
    credentials = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = f"Basic {base64.b64encode(pair.encode()).decode()}"
    port = _PORTS[parts.scheme] if parts.port is None else parts.port
    return Address(parts.scheme, host, port, netloc, parts.path.rstrip("/"), credentials)


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """How to reach the server. `tls` is None for plain HTTP; `server_hostname` stands for the host in its check."""

    server: Address
    tls: ssl.SSLContext | None = None
    server_hostname: str | None = None
    proxy: Address | None = None

    def head_fields(self) -> str:
        """Return the headers that each request needs on this way.

        Raises:
            ValueError: a part of the URL cannot stand in a header.
        """
        lines = field("Host", self.server.netloc)
        if self.proxy and not self.tls and self.proxy.credentials:
            lines += field("Proxy-Authorization", self.proxy.credentials)
        return lines

    def target(self, path: str) -> str:
        """Return what to ask for: the whole URL where a proxy must know it (RFC 9112, 3.2.2)."""
        prefix = f"http://{self.server.netloc}" if self.proxy and not self.tls else ""
        return f"{prefix}{self.server.path}{path}"


class Pool:
    """Connections along the newest way. Used from one event loop. Who calls bounds the requests at a time."""

    def __init__(self) -> None:
        self._way: Way | None = None
        self._open: dict[Connection, Way] = {}
        self._idle: dict[Connection, float] = {}  # since when, the oldest first
        self._sweeping: asyncio.TimerHandle | None = None
        self._given_up: set[socket.socket] = set()  # on the way here, when whoever wanted them was cancelled

    async def ask(self, way: Way, method: str, request: bytes, *, streams: bool = False) -> tuple[Answer, Connection]:
        """Send a request and return its answer; see `Connection.ask`. One that `streams` must be given to `done`.

        When a connection breaks without an answer, the request is sent once more, on a new one, if it had not been
        sent, or if its method is idempotent (RFC 9112, 9.3.1). One that `streams` is not, once it was sent: a watch
        whose connections all break would ask twice each time.

        Raises:
            OSError: there was no connection, or no answer; `ssl.SSLError` if the server is not who it should be.
        """
        connection = self._unused(way) or await self._connect(way)
        try:
            answer = await connection.ask(request, streams=streams)
        except Broken as error:
            if error.sent and (streams or error.answered or method not in _IDEMPOTENT):
                raise
            connection = await self._connect(way)
            answer = await connection.ask(request, streams=streams)
        if not streams or answer.status >= 300:
            self.done(connection)
            return answer.decoded(), connection
        if answer.values(b"content-encoding"):
            connection.abort()
            raise Broken("the stream is encoded, which was not asked for", status=answer.status)
        return answer, connection

    def done(self, connection: Connection) -> None:
        """Keep the connection for the next request if it is good for one; else close it."""
        if not connection.usable or self._open.get(connection) is not self._way:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.time()
        if self._sweeping is None:
            self._sweeping = loop.call_later(IDLE_SECONDS, self._sweep)

    async def close(self) -> None:
        """Close all connections, in use or not. Idempotent; the next request opens new ones."""
        if self._sweeping:
            self._sweeping.cancel()
            self._sweeping = None
        self._idle.clear()
        for connection in [*self._open]:
            connection.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._open or any(each.fileno() >= 0 for each in self._given_up):  # noqa: ASYNC110  # sockets tell nobody
                    await asyncio.sleep(0.001)

    def _unused(self, way: Way) -> Connection | None:
        """Take the connection that was used last, so that the others may grow old."""
        if way is not self._way:
            for connection in self._idle:
                connection.abort()
            self._idle.clear()
            self._way = way
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable:
                return connection
        return None

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeping = None
        for connection, since in [*self._idle.items()]:
            if loop.time() < since + IDLE_SECONDS:
                self._sweeping = loop.call_at(since + IDLE_SECONDS, self._sweep)
                return
            del self._idle[connection]
            connection.abort()

    def _gone(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        self._idle.pop(connection, None)

    async def _connect(self, way: Way) -> Connection:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await self._opened(way)
        except TimeoutError as error:
            raise TimeoutError(f"there was no connection within {CONNECT_SECONDS:g} s") from error
        if connection.usable:  # else it was closed already, and `ask` will say so
            self._open[connection] = way
        return connection

    async def _opened(self, way: Way) -> Connection:
        connected = await _socket(way.proxy or way.server)
        try:
            return await self._through(connected, way)
        except BaseException:
            # The loop, which has it now, would say TLS's goodbye and wait for the other side's.
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
            self._given_up = {each for each in self._given_up if each.fileno() >= 0} | {connected}
            raise

    async def _through(self, connected: socket.socket, way: Way) -> Connection:
        loop = asyncio.get_running_loop()
        tls, name = way.tls, way.server_hostname or way.server.host
        if way.proxy:
            outer, outer_name = (ssl.create_default_context() if way.proxy.scheme == "https" else None), way.proxy.host
        else:
            outer, outer_name = tls, name
        transport, connection = await loop.create_connection(
            lambda: Connection(self._gone), sock=connected, ssl=outer, server_hostname=outer_name if outer else None
        )
        if not way.proxy or not tls:
            return connection
        await _tunnel(connection, way.server, way.proxy)
        inner = Connection(self._gone)
        secure = await loop.start_tls(transport, inner, tls, server_hostname=name)
        if secure is None:
            raise ConnectionResetError("the connection was closed during the TLS handshake")
        inner.connection_made(secure)
        return inner


async def _tunnel(connection: Connection, server: Address, proxy: Address) -> None:
    """Have the proxy connect us to the server (RFC 9110, 9.3.6)."""
    target = f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"
    lines = fields(("Host", target), *([("Proxy-Authorization", proxy.credentials)] if proxy.credentials else []))
    answer = await connection.ask(request_head("CONNECT", target, lines).encode("latin-1"), streams=True)
    if answer.status >= 300:
        raise Broken(f"the proxy {proxy.netloc} answered {answer.status} when asked for a connection to {target}")


async def _socket(to: Address) -> socket.socket:
    """Return a socket that is connected to the host; with several addresses, to the one that answers first."""
    try:  # without a thread where there is nothing to look up
        found = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
    connected = await start_connection(found, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, interleave=1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected
