"""The API server on a loopback port: aiohttp in front of `core.ApiServer`.

A shell: it turns HTTP into `Request`, `Response` and `Watch` into HTTP, and owns the socket and the watches. Watches
end when the server closes; one whose client does not keep up is cut, and the client lists again.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from neptune.clock import Clock, SystemClock
from neptune.embedded.apiserver.core import ApiServer, Watch
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.request import Request, Response
from neptune.embedded.apiserver.status import StatusError
from neptune.errors import NeptuneError
from neptune.log import get_logger

log = get_logger()

#: kube-apiserver's own bound on a request body (apiserver server/config.go, MaxRequestBodyBytes).
MAX_BODY_BYTES = 3 * 1024 * 1024
#: kube-apiserver sends bookmarks about once a minute (cacher.go, bookmarkTimeoutBucket).
BOOKMARK_SECONDS = 60.0
#: kube-apiserver ends a watch after 30 to 60 minutes (--min-request-timeout) unless the client names a time.
WATCH_SECONDS = 1800.0
_CLOSE_SECONDS = 2.0
_PUBLIC = frozenset({"/livez", "/readyz", "/healthz", "/version"})


class EmbeddedApiServer:
    """A Kubernetes API server for one machine, over plain HTTP.

    Args:
        host: where to listen; anything but a loopback address shows every object to the network.
        port: 0 picks a free one, see `url`.
        token: when set, requests need `Authorization: Bearer <token>`; health checks and /version do not.
        clock: where the time comes from.
        server: the core to serve; a fresh one by default.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        token: str | None = None,
        clock: Clock | None = None,
        server: ApiServer | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._token = token
        self._clock = clock or SystemClock()
        self.server = server or ApiServer(self._clock.now())
        self._runner: web.AppRunner | None = None
        self._watches: set[Watch] = set()
        self._closing = False

    @property
    def url(self) -> str:
        """The address to give to clients, once started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def open_watches(self) -> int:
        """How many watches are being answered."""
        return len(self._watches)

    async def start(self) -> None:
        """Listen.

        Raises:
            NeptuneError: the address cannot be bound.
        """
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        # Cancellation ends an idle watch when its client goes: nothing is written that would fail.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_SECONDS, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise NeptuneError(
                f"the API server cannot listen on {self._host}:{self._port} ({error.strerror}): choose another port"
            ) from error
        self._runner = runner
        self._port = runner.addresses[0][1]
        log.info("API server listens", url=self.url)

    async def close(self) -> None:
        """End every watch and stop listening. Idempotent."""
        self._closing = True
        for watch in tuple(self._watches):
            watch.stream.close()
        runner, self._runner = self._runner, None
        if runner:
            await runner.cleanup()

    def kubeconfig(self) -> Object:
        """Return the content of a kubeconfig for this server."""
        user: Object = {"token": self._token} if self._token else {}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "embedded",
            "clusters": [{"name": "embedded", "cluster": {"server": self.url}}],
            "users": [{"name": "embedded", "user": user}],
            "contexts": [
                {
                    "name": "embedded",
                    "context": {"cluster": "embedded", "user": "embedded", "namespace": "default"},
                }
            ],
        }

    def write_kubeconfig(self, path: Path) -> None:
        """Write a kubeconfig for this server, readable by its owner only."""
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(yaml.safe_dump(self.kubeconfig(), sort_keys=False))

    async def _serve(self, asked: web.Request) -> web.StreamResponse:
        if not self._allowed(asked):
            return _response(Response(401, StatusError(401, "Unauthorized", "Unauthorized").status))
        try:
            body = await asked.read()
        except web.HTTPRequestEntityTooLarge:
            message = f"Request entity too large: limit is {MAX_BODY_BYTES}"
            return _response(Response(413, StatusError(413, "RequestEntityTooLarge", message).status))
        answer = self.server.handle(
            Request(
                method=asked.method,
                path=asked.path,
                query=dict(asked.query),
                accept=asked.headers.get("Accept", "*/*"),
                content_type=asked.headers.get("Content-Type", ""),
                user_agent=asked.headers.get("User-Agent", ""),
                body=body,
            ),
            self._clock.now(),
        )
        return _response(answer) if isinstance(answer, Response) else await self._stream(asked, answer)

    def _allowed(self, asked: web.Request) -> bool:
        if self._token is None or asked.path in _PUBLIC:
            return True
        sent = asked.headers.get("Authorization", "")
        return hmac.compare_digest(sent.encode(), f"Bearer {self._token}".encode())

    async def _stream(self, asked: web.Request, watch: Watch) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        self._watches.add(watch)
        if self._closing:
            watch.stream.close()
        try:
            await response.prepare(asked)
            await self._pump(asked, watch, response)
            await response.write_eof()
        except ConnectionError:
            pass  # the client is gone, which is how most watches end
        finally:
            self._watches.discard(watch)
            watch.stream.close()
        return response

    async def _pump(self, asked: web.Request, watch: Watch, response: web.StreamResponse) -> None:
        """Write events until the stream ends, its time is over, or the client falls behind."""
        news = asyncio.Event()

        def wake() -> None:
            news.set()
            if watch.stream.overflowed and asked.transport:
                # The writer may be waiting for a client that does not read: only an abort frees it.
                log.info("watch cut: its client does not keep up", path=asked.path)
                asked.transport.abort()

        watch.stream.on_event = wake
        now = self._clock.monotonic
        deadline = now() + (watch.timeout_seconds or WATCH_SECONDS)
        bookmark_at = now() + BOOKMARK_SECONDS
        while True:
            news.clear()
            if events := watch.take(self._clock.now()):
                await response.write(b"".join(_encode(event) + b"\n" for event in events))
                continue
            if watch.stream.ended:
                return
            try:
                async with asyncio.timeout(max(0.0, min(deadline, bookmark_at) - now())):
                    await news.wait()
            except TimeoutError:
                watch.stream.bookmark()
                bookmark_at = now() + BOOKMARK_SECONDS
                if now() >= deadline:
                    watch.stream.close()


def _response(answer: Response) -> web.Response:
    headers = [("Warning", f"299 - {json.dumps(text)}") for text in answer.warnings]
    if isinstance(answer.body, str):
        return web.Response(status=answer.code, text=answer.body)
    response = web.Response(status=answer.code, body=_encode(answer.body), content_type="application/json")
    for name, value in headers:
        response.headers.add(name, value)
    return response


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
