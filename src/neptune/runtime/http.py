"""HTTP to one API server: the only door to `kubernetes` (configuration, credentials) and to aiohttp as a client.

Invariant: every request has a deadline, a failure is an `ApiError`, and nothing here blocks the event loop: a
kubeconfig is read, a token refreshed and an exec plugin run in a thread.
Neighbours: `client` speaks Kubernetes over it; nobody else opens a connection to the API server.
`kubernetes.config` and `Configuration` are used, nothing above them: reading kubeconfigs and cloud log-ins is the part
that users must be able to trust, and its models and informer cost more than they give.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass
from weakref import WeakSet

import aiohttp
import yaml

from neptune import __version__
from neptune.errors import SettingsError
from neptune.runtime.errors import ApiError, ApiUnreachable, Forbidden, Unauthorized, error_for

REQUEST_SECONDS = 30.0
CONNECT_SECONDS = 10.0
#: Requests at a time, streams not counted: more would only queue in the server's priority levels.
MAX_IN_FLIGHT = 64
#: client-go repeats 429 and 5xx that carry Retry-After (rest/with_retry.go), ten times; a reconcile has a deadline.
MAX_RETRIES = 3
MAX_RETRY_AFTER_SECONDS = 10.0
#: `kubernetes` refreshes a token 5 minutes before it ends and re-reads a mounted one each minute, so that a header
#: of this age is always good.
AUTHORIZATION_SECONDS = 30.0
#: Credentials are loaded anew after a 401, no more often than this: an exec plugin may ask a person.
RELOAD_SECONDS = 10.0
_SERVICE_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API server: its address, TLS, proxy, and where the `Authorization` header comes from.

    `authorization` may block: it reads files and runs plugins. `anonymous` when there are no credentials at all.
    """

    url: str
    tls: ssl.SSLContext | bool
    server_hostname: str | None
    proxy: str | None
    authorization: Callable[[], str | None]
    anonymous: bool


def load_access(kubeconfig: str | os.PathLike[str] | None = None, context: str | None = None) -> Access:
    """Read the configuration as kubectl would. Blocks: it reads files and may run an exec plugin.

    Searched in this order: `kubeconfig`, the variable KUBECONFIG, the service account of a pod, `~/.kube/config`.

    Raises:
        SettingsError: nothing was found or it cannot be used; the text names the file and the remedy.
    """
    # Here, because a program that only prints its help need not spend 170 ms and 30 MB.
    from kubernetes.client import Configuration  # noqa: PLC0415

    configuration: Any = Configuration()
    source = str(kubeconfig or os.environ.get("KUBECONFIG", ""))
    if not source and "KUBERNETES_SERVICE_HOST" in os.environ and _SERVICE_TOKEN.exists():
        _load(configuration, "the service account of this pod", _in_cluster)
    else:
        source = str(Path(source or "~/.kube/config").expanduser())
        if not any(Path(part).expanduser().exists() for part in source.split(os.pathsep)):
            raise SettingsError(
                f"there is no kubeconfig at {source}: pass its path, set KUBECONFIG, or run inside a cluster"
            )
        _load(configuration, f"kubeconfig {source}", lambda target: _from_file(target, source, context))
    host = urlsplit(configuration.host).hostname or ""
    return Access(
        url=configuration.host.rstrip("/"),
        tls=_tls(configuration, source),
        server_hostname=configuration.tls_server_name,
        proxy=None if proxy_bypass(host) else configuration.proxy,
        authorization=lambda: _authorization(configuration),
        anonymous=not configuration.api_key and not configuration.cert_file,
    )


def _in_cluster(configuration: Any) -> None:
    from kubernetes import config  # noqa: PLC0415  # as in load_access

    load: Any = config.load_incluster_config  # untyped
    load(client_configuration=configuration)


def _from_file(configuration: Any, source: str, context: str | None) -> None:
    from kubernetes import config  # noqa: PLC0415  # as in load_access

    load: Any = config.load_kube_config  # untyped
    load(config_file=source, context=context, client_configuration=configuration)


def _load(configuration: Any, name: str, load: Callable[[Any], None]) -> None:
    from kubernetes.config import ConfigException  # noqa: PLC0415  # as in load_access

    try:
        load(configuration)
    # A file that is not a mapping of the expected shape ends in any of the last four.
    except (ConfigException, yaml.YAMLError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{name} cannot be used: {error}. Compare it with `kubectl config view`; "
            "choose a context with `kubectl config use-context NAME` or the context option"
        ) from error


def _tls(configuration: Any, source: str) -> ssl.SSLContext | bool:
    if not configuration.host.startswith("https"):
        return True
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{source or 'the service account'} holds a certificate or key that cannot be read: {error}. "
            "Look at certificate-authority, client-certificate and client-key"
        ) from error
    # kubeadm's authorities lack the key identifier that Python 3.13 began to insist on; kubectl accepts them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _authorization(configuration: Any) -> str | None:
    try:
        header: str | None = configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    except Exception as error:  # whatever a plugin raises
        raise ApiUnreachable(
            f"the credentials for {configuration.host} cannot be refreshed: {error}; "
            "check the token file or the exec plugin that the kubeconfig names"
        ) from error
    return header


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
        self._access: Access | None = None
        self._session: aiohttp.ClientSession | None = None
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._header: dict[str, str] = {}
        self._header_until = 0.0
        self._loaded_at = 0.0
        self._loading = asyncio.Lock()
        self._in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)

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
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._persist(method, path, params=params, data=body, headers=headers)
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

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
            async with asyncio.timeout(self._timeout_seconds):
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
        retries = MAX_RETRIES
        while True:
            try:
                async with self._in_flight, await self._answer(method, path, **arguments) as response:
                    return await response.read()
            except ApiError as refusal:
                again = refusal.status == 429 or refusal.status >= 500
                if not again or refusal.retry_after is None or retries == 0:
                    raise
                delay = refusal.retry_after
            retries -= 1
            await asyncio.sleep(min(delay, MAX_RETRY_AFTER_SECONDS))

    async def _answer(self, method: str, path: str, **arguments: Any) -> aiohttp.ClientResponse:
        """Return the answer if it is a success; raise it if not.

        Credentials that are refused are loaded anew, once. So are missing ones: `kubernetes` goes on without when an
        exec plugin fails.
        """
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
            )
        headers = {**arguments.pop("headers", {}), **self._header}
        return await self._session.request(
            method,
            access.url + path,
            headers=headers,
            ssl=access.tls,
            server_hostname=access.server_hostname,
            proxy=access.proxy,
            allow_redirects=False,
            **arguments,
        )

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
            raise ApiUnreachable(
                f"{self._url} sent nothing for {idle_seconds:.0f} s, not even a bookmark; "
                "something on the way may have dropped the connection"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

    async def _load_access(self) -> Access:
        self._access = access = await asyncio.to_thread(load_access, self._kubeconfig, self._context)
        self._loaded_at = asyncio.get_running_loop().time()
        self._header_until = 0.0
        return access

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
            value = await asyncio.to_thread(access.authorization)
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


async def _refusal(response: aiohttp.ClientResponse) -> ApiError | None:
    """Return the error that the answer stands for, or None for a success."""
    if response.status < 300:
        return None
    after = response.headers.get("Retry-After", "")
    return error_for(response.status, await response.read(), retry_after=float(after) if after.isdecimal() else None)
