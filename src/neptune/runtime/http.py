"""HTTP to one API server: requests with credentials, in time, repeated where the server asks for it.

Invariant: every request has a deadline, a failure is an `ApiError`, and nothing here blocks the event loop: what
`access` does runs in a thread. Credentials that stopped working are loaded anew before anybody hears of it.
Neighbours: `client` speaks Kubernetes over it, `access` knows the way, `pool` has the connections; nobody else connects
to the API server.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from neptune import __version__
from neptune.errors import SettingsError
from neptune.runtime.access import Access, load_access
from neptune.runtime.connection import Answer, Broken, Connection, field, fields, request_head
from neptune.runtime.deadlines import Deadlines
from neptune.runtime.errors import ApiError, ApiUnreachable, Forbidden, Unauthorized, error_for
from neptune.runtime.pool import Pool, Way, address
from neptune.runtime.serverwarnings import WarningLog
from neptune.runtime.session import Cause, Observer
from neptune.runtime.slots import Slots

REQUEST_SECONDS = 30.0
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
_PLAIN_PATH = re.compile(r"[\w.~/-]*", re.ASCII)

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
        self._known: tuple[Access, Way] | None = None
        self._pool = Pool()
        self._fields = ""  # of each request: where it goes, who asks
        self._fields_until = 0.0
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
            return (self._known or await self._load_access())[0]

    async def close(self) -> None:
        """Close all connections. Idempotent; the next request would open new ones."""
        await self._pool.close()

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
        the credentials are loaded anew. When the connection breaks, GET, PUT and DELETE are sent once more.

        Raises:
            ApiError: the server refused, or did not answer.
        """
        clock = asyncio.get_running_loop().time
        start = clock()
        request = _Request(method, path, params, accept, body, content_type if body is not None else "")
        try:
            with self._deadlines.begin():
                return await self._persist(request, start + self._timeout_seconds)
        except OSError as error:
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
        try:
            with self._deadlines.begin():
                _, connection = await self._answer(_Request("GET", path, params, accept, streams=True))
        except OSError as error:
            raise self._unreachable(error) from error
        try:
            async with aclosing(self._lines(connection, idle_seconds)) as lines:
                yield lines
        finally:
            self._pool.done(connection)

    async def _persist(self, request: _Request, end: float) -> bytes:
        repeats = 0
        while True:
            try:
                async with self._in_flight:
                    answer, _ = await self._answer(request)
            except ApiError as refusal:
                self._count_repeat(repeats, request.method, refusal.status)
                again = refusal.status == 429 or refusal.status >= 500
                if not again or refusal.retry_after is None or repeats == MAX_RETRIES:
                    raise
                delay = min(refusal.retry_after, MAX_RETRY_AFTER_SECONDS)
                if asyncio.get_running_loop().time() + delay >= end:
                    raise  # what the server said is better to know than that time was up
            else:
                self._count_repeat(repeats, request.method, answer.status)
                return answer.body
            repeats += 1
            await asyncio.sleep(delay)

    def _count_repeat(self, repeats: int, method: str, status: int) -> None:
        if repeats:
            for each in self.observers:
                each.repeated(method, status, self._host)

    async def _answer(self, request: _Request) -> tuple[Answer, Connection]:
        """Return the answer if it is a success; raise it if not.

        Credentials that are refused are loaded anew, once. So are missing ones: `kubernetes` goes on without when an
        exec plugin fails. So is the authority when the server's certificate does not fit it: it may have been replaced.
        """
        try:
            answer, connection = await self._send(request)
        except ssl.SSLError:
            if not await self._reload():
                raise
            answer, connection = await self._send(request)
        refusal = _refusal(answer, request)
        anonymous = self._known is not None and self._known[0].anonymous
        doubtful = isinstance(refusal, (Unauthorized, Forbidden) if anonymous else Unauthorized)
        if doubtful and await self._reload():
            answer, connection = await self._send(request)
            refusal = _refusal(answer, request)
        if refusal:
            raise refusal
        return answer, connection

    async def _send(self, request: _Request) -> tuple[Answer, Connection]:
        known = self._known
        if known is None or asyncio.get_running_loop().time() >= self._fields_until:
            known = await self._authorized()
        _, way = known
        target = way.target(_quoted(request.path) + _query(tuple((request.params or {}).items())))
        lines = self._fields + _content_fields(request.accept, request.content_type, compressed=not request.streams)
        if request.body is not None:
            lines = f"{lines}Content-Length: {len(request.body)}\r\n"
        head = request_head(request.method, target, lines).encode("latin-1")
        status = 0
        try:
            answer, connection = await self._pool.ask(
                way, request.method, head + request.body if request.body else head, streams=request.streams
            )
            status = answer.status
        except Broken as error:
            status = error.status
            raise
        finally:
            for each in self.observers:
                each.answered(request.method, status, self._host)
        if warnings := answer.values(b"warning"):
            self._warnings.saw(warnings, f"{request.method} {request.path}")
        return answer, connection

    async def _lines(self, connection: Connection, idle_seconds: float) -> AsyncGenerator[bytes, None]:
        # An object may take 1.5 MB (etcd's limit), and more as JSON.
        parts: list[bytes] = []
        try:
            while chunk := await connection.read(idle_seconds):
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
        except OSError as error:
            self._count_break("cut")
            raise self._unreachable(error) from error

    def _count_break(self, cause: Cause) -> None:
        for each in self.observers:
            each.broke(cause)

    async def _load_access(self) -> tuple[Access, Way]:
        loading = asyncio.to_thread(load_access, self._kubeconfig, self._context)
        access = await self._in_time(loading)
        way = _way(access)
        self._known = access, way
        self._host = way.server.netloc
        self._loaded_at = asyncio.get_running_loop().time()
        self._fields_until = 0.0
        return self._known

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

    async def _authorized(self) -> tuple[Access, Way]:
        """Return what is known, with the header that proves who we are up to date."""
        loop = asyncio.get_running_loop()
        async with self._loading:
            access, way = known = self._known or await self._load_access()
            if loop.time() < self._fields_until:
                return known  # another request did it while this one waited
            value = await self._in_time(asyncio.to_thread(access.authorization))
            lines = way.head_fields() + field("User-Agent", f"neptune/{__version__}")
            try:
                self._fields = lines + (field("Authorization", value) if value else "")
            except ValueError as error:
                raise ApiUnreachable(
                    f"the credentials for {self._url} cannot be sent: {error}; "
                    "look for a line end or the like in the token that the kubeconfig names"
                ) from error
            self._fields_until = loop.time() + AUTHORIZATION_SECONDS
            return known

    @property
    def _url(self) -> str:
        return self._known[0].url if self._known else "the API server"

    def _unreachable(self, error: OSError) -> ApiUnreachable:
        if isinstance(error, ssl.SSLError):
            advice = "check certificate-authority and tls-server-name in the kubeconfig"
        elif isinstance(error, TimeoutError):
            advice = f"check that it is not overloaded (the limit is {self._timeout_seconds:g} s)"
        else:
            advice = "check that the API server runs and that the kubeconfig's `server` is right"
        return ApiUnreachable(f"{self._url} is unreachable: {str(error) or type(error).__name__}; {advice}")


@dataclass(slots=True)  # not frozen: that takes a microsecond more to make
class _Request:
    """What is asked for, before it is known of whom and by whom."""

    method: str
    path: str
    params: Mapping[str, str] | None
    accept: str
    body: bytes | None = None
    content_type: str = ""
    streams: bool = False


def _way(access: Access) -> Way:
    try:
        return Way(
            server=address(access.url),
            tls=access.tls if isinstance(access.tls, ssl.SSLContext) else None,
            server_hostname=access.server_hostname,
            proxy=address(access.proxy) if access.proxy else None,
        )
    except ValueError as error:
        raise SettingsError(
            f"the API server cannot be reached: {error}. Look at `server` and `proxy-url` in the kubeconfig, "
            "and at HTTPS_PROXY"
        ) from error


def _quoted(path: str) -> str:
    # Nearly every path is as it should be, and `quote` looks at each character.
    return path if _PLAIN_PATH.fullmatch(path) else quote(path)


@lru_cache(maxsize=256)
def _query(params: tuple[tuple[str, str], ...]) -> str:
    return f"?{urlencode(params)}" if params else ""


@lru_cache(maxsize=64)
def _content_fields(accept: str, content_type: str, *, compressed: bool) -> str:
    # kube-apiserver compresses lists from 128 KB on for those who ask, and no watch.
    pairs = [("Accept", accept), ("Content-Type", content_type), ("Accept-Encoding", "gzip" if compressed else "")]
    return fields(*(pair for pair in pairs if pair[1]))


def _refusal(answer: Answer, request: _Request) -> ApiError | None:
    """Return the error that the answer stands for, or None for a success."""
    if answer.status < 300:
        return None
    after = "".join(answer.values(b"retry-after")[:1])
    return error_for(
        answer.status,
        answer.body,
        asked=f"{request.method} {request.path}",
        retry_after=float(after) if after.isdecimal() else None,
    )
