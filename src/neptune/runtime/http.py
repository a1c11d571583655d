"""HTTP to one API server: the only door to aiohttp as a client.

Invariant: every request has a deadline, a failure is an `ApiError`, and nothing here blocks the event loop: what
`access` does runs in a thread. Credentials that stopped working are loaded anew before anybody hears of it.
Neighbours: `client` speaks Kubernetes over it, `access` knows the way; nobody else connects to the API server.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit
from weakref import WeakSet

import aiohttp
from yarl import URL

from neptune import __version__
from neptune.runtime.access import Access, load_access
from neptune.runtime.deadlines import Deadlines
from neptune.runtime.errors import ApiError, ApiUnreachable, Forbidden, Unauthorized, error_for
from neptune.runtime.serverwarnings import WarningLog
from neptune.runtime.session import Cause, Observer
from neptune.runtime.slots import Slots

REQUEST_SECONDS = 30.0
CONNECT_SECONDS = 10.0
#: Requests at a time, streams not counted. More would only queue in the server, where an edit waits behind a list that
#: is worked off; each also takes a connection (a TLS handshake, 100 KB). 16 keep a server with 2 cores busy.
MAX_IN_FLIGHT = 16
#: Of these for keys of the initial list while edits come, whose patches wait in the server for what is there already:
#: half of the latency for a twentieth of the throughput, more of it on a busy machine (docs/performance.md).
MAX_LOW_IN_FLIGHT = 8
#: client-go repeats 429 and 5xx that carry Retry-After (rest/with_retry.go), ten times; a reconcile has a deadline.
MAX_RETRIES = 3
MAX_RETRY_AFTER_SECONDS = 10.0
#: `kubernetes` refreshes a plugin's token 5 minutes before it ends, and a file has a new one long before the old one
#: ends, so that a header of this age is always good.
AUTHORIZATION_SECONDS = 30.0
#: Credentials are loaded anew after a 401, no more often than this: an exec plugin may ask a person.
RELOAD_SECONDS = 10.0
#: For reading a kubeconfig and running its exec plugin; leaves a request some time for the server.
LOAD_SECONDS = 20.0

JSON = "application/json"

T = TypeVar("T")


class ApiSession:
    """Connections to one API server, opened on first use. Used from one event loop."""

    def __init__(
        self,
        kubeconfig: str | os.PathLike[str] | None = None,
        context: str | None = None,
        timeout_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._timeout_seconds = timeout_seconds
        self._deadlines = Deadlines(timeout_seconds)
        self._access: Access | None = None
        self._session: aiohttp.ClientSession | None = None
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._header: dict[str, str] = {}
        self._header_until = 0.0
        self._loaded_at = 0.0
        self._loading = asyncio.Lock()
        self._in_flight = Slots(MAX_IN_FLIGHT, MAX_LOW_IN_FLIGHT)
        self._host = ""
        self._warnings = WarningLog()
        #: Who counts requests, from now on.
        self.observers: list[Observer] = []

    async def connect(self) -> Access:
        """Load the configuration, once, and return it. Opens no connection.

        Raises:
            SettingsError: there is no usable configuration; the text names the file and the remedy.
        """
        async with self._loading:
            return self._access or await self._load_access()

    async def close(self) -> None:
        """Close all connections. Idempotent; the next request would open new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            await self._hang_up()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> bytes:
        """Send one request and return the body of the answer, within `timeout_seconds` in all.

        429 and 5xx are repeated when the server says after how long, whatever the verb (as client-go); after a 401
        the credentials are loaded anew. When the connection breaks, aiohttp repeats GET, PUT and DELETE once (RFC
        9112, 9.3.1).

        Raises:
            ApiError: the server refused, or did not answer.
        """
        headers = {"Accept": accept, **({"Content-Type": content_type} if body is not None else {})}
        clock = asyncio.get_running_loop().time
        start = clock()
        try:
            with self._deadlines.begin():
                return await self._persist(method, path, params=params, data=body, headers=headers)
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        finally:
            for each in self.observers if self._host else ():
                each.finished(method, self._host, clock() - start)

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], *, idle_seconds: float, accept: str = JSON
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a GET that lasts, and give the lines of its answer.

        Raises:
            ApiError: the server refused, the connection broke, or nothing came for `idle_seconds`.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=idle_seconds)
        try:
            with self._deadlines.begin():
                response = await self._answer("GET", path, params=params, timeout=timeout, headers={"Accept": accept})
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        try:
            async with aclosing(self._lines(response, idle_seconds)) as lines:
                yield lines
        finally:
            # `close` alone waits in the background, beyond our own end, for the server's part of the TLS goodbye.
            if response.connection is not None and response.connection.transport is not None:
                response.connection.transport.abort()
            response.close()

    async def _persist(self, method: str, path: str, **arguments: Any) -> bytes:
        repeats = 0
        while True:
            try:
                async with self._in_flight, await self._answer(method, path, **arguments) as response:
                    self._count_repeat(repeats, method, response.status)
                    return await response.read()
            except ApiError as refusal:
                self._count_repeat(repeats, method, refusal.status)
                again = refusal.status == 429 or refusal.status >= 500
                if not again or refusal.retry_after is None or repeats == MAX_RETRIES:
                    raise
                delay = refusal.retry_after
            repeats += 1
            await asyncio.sleep(min(delay, MAX_RETRY_AFTER_SECONDS))

    def _count_repeat(self, repeats: int, method: str, status: int) -> None:
        if repeats:
            for each in self.observers:
                each.repeated(method, status, self._host)

    async def _answer(self, method: str, path: str, **arguments: Any) -> aiohttp.ClientResponse:
        """Return the answer if it is a success; raise it if not.

        Credentials that are refused are loaded anew, once. So are missing ones: `kubernetes` goes on without when an
        exec plugin fails. So is the authority when the server's certificate does not fit it: it may have been replaced.
        """
        try:
            response = await self._send(method, path, **arguments)
        except aiohttp.ClientSSLError:
            if not await self._reload():
                raise
            response = await self._send(method, path, **arguments)
        refusal = await _refusal(response)
        anonymous = self._access is not None and self._access.anonymous
        doubtful = isinstance(refusal, (Unauthorized, Forbidden) if anonymous else Unauthorized)
        if doubtful and await self._reload():
            response = await self._send(method, path, **arguments)
            refusal = await _refusal(response)
        if refusal:
            raise refusal
        return response

    async def _send(self, method: str, path: str, **arguments: Any) -> aiohttp.ClientResponse:
        access = self._access or await self.connect()
        await self._authorize(access)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # No limit: a watch holds a connection for minutes; `_in_flight` bounds the rest.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0, socket_factory=self._socket),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                headers={"User-Agent": f"neptune/{__version__}"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        headers = {**arguments.pop("headers", {}), **self._header}
        query = _query(tuple((arguments.pop("params", None) or {}).items()))
        # Encoded here: yarl takes 30 us to do it, and the same few parameters come again and again.
        url = URL(f"{access.url}{quote(path)}{query}", encoded=True)
        status = 0
        try:
            response = await self._session.request(
                method,
                url,
                headers=headers,
                ssl=access.tls,
                server_hostname=access.server_hostname,
                proxy=access.proxy,
                allow_redirects=False,
                **arguments,
            )
            status = response.status
        finally:
            for each in self.observers:
                each.answered(method, status, self._host)
        if warnings := response.headers.getall("Warning", ()):
            self._warnings.saw(warnings, f"{method} {path}")
        return response

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        new = socket.socket(*address[:3])
        new.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._sockets.add(new)
        return new

    async def _hang_up(self) -> None:
        """End what is left of connections whose request was cancelled.

        aiohttp says TLS's goodbye and does not wait for the server's, which then comes after the loop is closed.
        """
        for _ in range(100):
            left = [each for each in self._sockets if each.fileno() >= 0]
            if not left:
                return
            for each in left:
                with suppress(OSError):  # not connected any more
                    each.shutdown(socket.SHUT_RDWR)
            await asyncio.sleep(0.01)

    async def _lines(self, response: aiohttp.ClientResponse, idle_seconds: float) -> AsyncGenerator[bytes, None]:
        # Not readline: it refuses a line longer than its buffer, and an object may take 1.5 MB (etcd's limit).
        parts: list[bytes] = []
        try:
            async for chunk in response.content.iter_any():
                if b"\n" not in chunk:
                    parts.append(chunk)
                    continue
                *lines, rest = b"".join((*parts, chunk)).split(b"\n")
                parts = [rest]
                for line in lines:
                    if line:
                        yield line
        except TimeoutError as error:
            self._count_break("silent")
            raise ApiUnreachable(
                f"{self._url} sent nothing for {idle_seconds:.0f} s, not even a bookmark; "
                "something on the way may have dropped the connection"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            self._count_break("cut")
            raise self._unreachable(error) from error

    def _count_break(self, cause: Cause) -> None:
        for each in self.observers:
            each.broke(cause)

    async def _load_access(self) -> Access:
        loading = asyncio.to_thread(load_access, self._kubeconfig, self._context)
        self._access = access = await self._in_time(loading)
        self._host = urlsplit(access.url).netloc
        self._loaded_at = asyncio.get_running_loop().time()
        self._header_until = 0.0
        return access

    async def _in_time(self, loading: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                return await loading
        except TimeoutError as error:
            raise ApiUnreachable(
                f"the credentials for {self._url} did not come within {LOAD_SECONDS:g} s; "
                "run the exec plugin that the kubeconfig names by hand to see what it waits for"
            ) from error

    async def _reload(self) -> bool:
        """Load the credentials anew, and tell whether that was done; another request may just have done it."""
        async with self._loading:
            if asyncio.get_running_loop().time() - self._loaded_at < RELOAD_SECONDS:
                return False
            await self._load_access()
            return True

    async def _authorize(self, access: Access) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._header_until:
            return
        async with self._loading:
            if loop.time() < self._header_until:
                return  # another request did it while this one waited
            value = await self._in_time(asyncio.to_thread(access.authorization))
            self._header = {"Authorization": value} if value else {}
            self._header_until = loop.time() + AUTHORIZATION_SECONDS

    @property
    def _url(self) -> str:
        return self._access.url if self._access else "the API server"

    def _unreachable(self, error: Exception) -> ApiUnreachable:
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
            advice = "check certificate-authority and tls-server-name in the kubeconfig"
        elif isinstance(error, TimeoutError):
            advice = f"check that it is not overloaded (the limit is {self._timeout_seconds:g} s)"
        else:
            advice = "check that the API server runs and that the kubeconfig's `server` is right"
        # aiohttp's own text has the address of an SSLContext in it.
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        return ApiUnreachable(f"{self._url} is unreachable: {str(cause) or type(cause).__name__}; {advice}")


@lru_cache(maxsize=256)
def _query(params: tuple[tuple[str, str], ...]) -> str:
    return f"?{urlencode(params)}" if params else ""


async def _refusal(response: aiohttp.ClientResponse) -> ApiError | None:
    """Return the error that the answer stands for, or None for a success."""
    if response.status < 300:
        return None
    after = response.headers.get("Retry-After", "")
    return error_for(response.status, await response.read(), retry_after=float(after) if after.isdecimal() else None)
