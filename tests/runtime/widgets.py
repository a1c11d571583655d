"""A kind of the tests' own, an API server that answers what a test wants, and a wait for what must come true."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from aiohttp import web

from neptune.api.meta import KubeModel, ObjectMeta, Resource, ResourceKey, ResourceType
from neptune.runtime.watch import Snapshot, snapshot


class WidgetSpec(KubeModel):
    size: int = 0
    color: str = ""


class Widget(Resource):
    resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "Widget", "widgets")
    spec: WidgetSpec = WidgetSpec()


def item(name: str, version: int = 1, *, generation: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns", "name": name, "resourceVersion": str(version), "generation": generation},
        "spec": spec,
    }


def widget(name: str, version: int = 1, *, generation: int = 1, **spec: Any) -> Snapshot[Widget]:
    return snapshot(Widget, item(name, version, generation=generation, **spec))


def key(name: str) -> ResourceKey:
    return ResourceKey("ns", name)


def new_widget(name: str, **spec: Any) -> Widget:
    return Widget(metadata=ObjectMeta(namespace="ns", name=name), spec=WidgetSpec(**spec))


async def eventually(condition: Callable[[], Any], *, seconds: float = 10.0) -> Any:
    """Wait until the condition holds, and return its value."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):  # noqa: ASYNC110  # the world has no event to wait for
            await asyncio.sleep(0.005)
    return value


CLOSING = web.AppKey("closing", asyncio.Event)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FaultyServer:
    """Counts requests, with their time, and answers lists and watches as the test says.

    Without `on_stream` it is a server that knows no streaming lists. `version` is where it says to be when asked.
    """

    kubeconfig: Path
    on_list: Answer
    on_watch: Answer
    on_stream: Answer
    version: int = 1_000_000
    requests: list[tuple[str, float]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        verb = _verb(request)
        self.requests.append((verb, asyncio.get_running_loop().time()))
        answers = {"watch": self.on_watch, "stream": self.on_stream, "version": listing(version=self.version)}
        return await answers.get(verb, self.on_list)(request)

    def count(self, verb: str) -> int:
        return sum(1 for name, _ in self.requests if name == verb)


def _verb(request: web.Request) -> str:
    if request.method != "GET":
        return request.method
    if request.query.get("limit") == "1":
        return "version"
    if "watch" not in request.query:
        return "list"
    return "stream" if "sendInitialEvents" in request.query else "watch"


def write_kubeconfig(path: Path, url: str, **user: Any) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": user}],
    }
    path.write_text(json.dumps(config))
    return path


@asynccontextmanager
async def faulty_server(
    tmp_path: Path, *, on_list: Answer, on_watch: Answer, on_stream: Answer | None = None, port: int = 0, **user: Any
) -> AsyncIterator[FaultyServer]:
    server = FaultyServer(tmp_path / "kubeconfig", on_list, on_watch, on_stream or status(422, "Invalid"))
    app = web.Application()
    app[CLOSING] = asyncio.Event()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, port = runner.addresses[0]
    write_kubeconfig(server.kubeconfig, f"http://{host}:{port}", **user)
    try:
        yield server
    finally:
        app[CLOSING].set()
        await runner.cleanup()


def status(code: int, reason: str, message: str = "no", **headers: str) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        body = {"kind": "Status", "code": code, "reason": reason, "message": message}
        return web.json_response(body, status=code, headers=headers)

    return answer


def listing(*items: dict[str, Any], version: int = 10) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"metadata": {"resourceVersion": str(version)}, "items": list(items)})

    return answer


def streaming(*events: dict[str, Any], hold: bool = True) -> Answer:
    """Send the events; then stay silent, or end the watch at once."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            await response.write(json.dumps(event).encode() + b"\n")
        if hold:
            await request.app[CLOSING].wait()
        return response

    return answer
