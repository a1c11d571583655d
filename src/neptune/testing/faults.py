"""A proxy in front of an API server that does what networks and busy servers do: refuse, stall, cut, say it twice.

    async with FaultProxy(kubeconfig) as proxy:
        client = Client(proxy.write_kubeconfig(tmp_path / "faulty"))
        proxy.inject(Refuse(429, retry_after=1), verb="watch")
        proxy.cut()

It speaks plain HTTP on loopback to the client under test, and reaches the server with the address and credentials of
a kubeconfig, so that it stands in front of a real and of an embedded one alike. What no fault touches passes through
unchanged. Neighbours: `envtest` and `neptune.embedded` are what it is put in front of.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import aiohttp
from aiohttp import web

from neptune.runtime.access import load_access

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete", "*"]

#: What names the kind of answer; connection headers are each side's own (RFC 9110, 7.6.1).
_PASSED_ON = ("Accept", "Content-Type")
_PASSED_BACK = ("Content-Type", "Retry-After", "Warning")
_CLOSE_SECONDS = 2.0
_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with this HTTP status and a metav1.Status; `retry_after` is in whole seconds."""

    status: int
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class WatchError:
    """Accept the watch, and send an ERROR event of this status: how a server says 410 to a version it forgot."""

    status: int = 410


@dataclass(frozen=True, slots=True)
class End:
    """Accept the watch, and end it properly without an event: what some proxies make of a stream."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Reset the connection in the place of an answer."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Take the request and never answer. The connection stays up until the client has had enough."""


Fault = Refuse | WatchError | End | Cut | Stall


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came; also when a fault answered it. `at` is when, in seconds of the event loop's clock."""

    verb: Verb
    path: str
    at: float


@dataclass(slots=True)
class _Plan:
    fault: Fault
    verb: Verb
    times: int | None


class FaultProxy:
    """An API server that misbehaves on request. Used as a context, in one event loop.

    Args:
        kubeconfig: of the server behind it; by default found as kubectl would.
    """

    def __init__(self, kubeconfig: str | os.PathLike[str] | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._plans: deque[_Plan] = deque()
        self._open: set[asyncio.Transport] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        #: Each request since the start, in order.
        self.seen: list[Seen] = []
        #: Send each event of a watch twice.
        self.duplicates = False
        #: Where the proxy is, once started.
        self.url = ""

    async def __aenter__(self) -> Self:
        """Listen on a free loopback port.

        Raises:
            SettingsError: there is no usable kubeconfig.
        """
        self._access = await asyncio.to_thread(load_access, self._kubeconfig)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_SECONDS, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Reset what is open and stop listening."""
        self.cut()
        await self._runner.cleanup()
        await self._session.close()

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads through this proxy, and return its path."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "faulty",
            "clusters": [{"name": "faulty", "cluster": {"server": self.url}}],
            "users": [{"name": "faulty", "user": {}}],
            "contexts": [{"name": "faulty", "context": {"cluster": "faulty", "user": "faulty"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def inject(self, fault: Fault, *, verb: Verb = "*", times: int | None = 1) -> None:
        """Let the next `times` requests of this verb meet the fault; None for all until `clear`.

        Faults injected earlier come first.
        """
        self._plans.append(_Plan(fault, verb, times))

    def clear(self) -> None:
        """Forget the faults that are still to come, and let streams flow once each."""
        self._plans.clear()
        self.duplicates = False
        self.resume()

    def cut(self) -> None:
        """Reset every open connection, in the midst of whatever it carries; new ones are welcome."""
        for transport in tuple(self._open):
            transport.abort()

    def stall(self) -> None:
        """Send nothing more on open and new answers until `resume`; connections stay up."""
        self._flowing.clear()

    def resume(self) -> None:
        """Send what `stall` held back, and go on."""
        self._flowing.set()

    def count(self, verb: Verb) -> int:
        """Return how many requests of this verb came."""
        return sum(1 for each in self.seen if verb in (each.verb, "*"))

    async def _serve(self, asked: web.Request) -> web.StreamResponse:
        verb = _verb(asked.method, asked.path, asked.query)
        self.seen.append(Seen(verb, asked.path, asyncio.get_running_loop().time()))
        transport = asked.transport
        if transport is None:  # the client is gone already
            return web.Response(status=499)
        self._open.add(transport)
        try:
            fault = self._next_fault(verb)
            return await (self._pass_on(asked, verb) if fault is None else _answer(asked, fault))
        finally:
            self._open.discard(transport)

    def _next_fault(self, verb: Verb) -> Fault | None:
        for plan in self._plans:
            if plan.verb in (verb, "*"):
                if plan.times is not None:
                    plan.times -= 1
                    if plan.times == 0:
                        self._plans.remove(plan)
                return plan.fault
        return None

    async def _pass_on(self, asked: web.Request, verb: Verb) -> web.StreamResponse:
        access = self._access
        authorization = await asyncio.to_thread(access.authorization)
        headers = {name: asked.headers[name] for name in _PASSED_ON if name in asked.headers}
        if authorization:
            headers["Authorization"] = authorization
        async with self._session.request(
            asked.method,
            access.url + asked.path_qs,
            # No body is not an empty one: aiohttp would give that a type, which discovery answers with 415.
            data=await asked.read() or None,
            headers=headers,
            ssl=access.tls,
            server_hostname=access.server_hostname,
            proxy=access.proxy,
            allow_redirects=False,
        ) as answer:
            back = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
            if verb == "watch" and answer.status == 200:
                return await self._stream(asked, answer, back)
            body = await answer.read()
            await self._flowing.wait()
            return web.Response(status=answer.status, body=body, headers=back)

    async def _stream(
        self, asked: web.Request, answer: aiohttp.ClientResponse, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(asked)
        try:
            async with aclosing(_lines(answer)) as lines:
                async for line in lines:
                    await self._flowing.wait()
                    await response.write(line * 2 if self.duplicates else line)
        except ConnectionError:
            pass  # `cut`, or the client is gone
        finally:
            answer.close()
        return response


async def _answer(asked: web.Request, fault: Fault) -> web.StreamResponse:
    match fault:
        case Refuse(status, retry_after):
            headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
            return web.json_response(_status(status), status=status, headers=headers)
        case WatchError(status):
            event = {"type": "ERROR", "object": _status(status)}
            return web.Response(body=json.dumps(event).encode() + b"\n", content_type="application/json")
        case End():
            return web.Response(content_type="application/json")
        case Cut():
            if asked.transport:
                asked.transport.abort()
            return web.Response(status=499)
        case Stall():
            # Until the client goes: aiohttp cancels the handler then.
            await asyncio.Event().wait()
            raise AssertionError


def _status(code: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": _REASONS.get(code, "Unknown"),
        "message": "injected by the fault proxy",
    }


def _verb(method: str, path: str, query: Any) -> Verb:
    """Return the Kubernetes verb of a request (kubernetes.io/docs/reference/access-authn-authz/authorization/)."""
    if method == "GET":
        if query.get("watch") in ("1", "true"):
            return "watch"
        parts = [part for part in path.split("/") if part]
        parts = parts[2:] if parts[:1] == ["api"] else parts[3:]
        if len(parts) > 2 and parts[0] == "namespaces":
            parts = parts[2:]
        return "list" if len(parts) == 1 else "get"
    verbs: dict[str, Verb] = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    return verbs.get(method, "get")


async def _lines(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Give each line of a stream whole, with its end."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n"
