"""Probes and metrics over HTTP: `/livez`, `/readyz` and `/metrics` on one port.

Invariant: it answers from before the first list until after the last worker, so that a program that waits for its API
server is seen to be alive and not ready. Neighbours: `manager` starts it first and stops it last.
The text is that of kube-apiserver (apiserver/pkg/server/healthz): one line a check, 503 if any fails. Where that
withholds the reason this gives it: whoever reads a probe wants to know which part is stuck.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from neptune.errors import SettingsError

#: What `CONTENT_TYPE_LATEST` of prometheus_client says, split as aiohttp wants it.
_PROMETHEUS_TEXT = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}

#: True when all is well; False, or a text that says what is wrong, when not.
Check = Callable[[], bool | str]


class ProbeServer:
    """Serves probes and metrics at `address`, such as `127.0.0.1:8080` or `[::1]:0`; 0 picks a free port.

    Raises:
        SettingsError: the address makes no sense, or `start` finds the port taken.
    """

    def __init__(self, address: str, ready: Mapping[str, Check], registry: CollectorRegistry) -> None:
        self._host, self._port = _split(address)
        self._address = address
        self._ready = ready
        self._registry = registry
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that it listens at, once started."""
        if self._runner is None or not self._runner.addresses:
            return self._port
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Begin to answer."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self.stop()
            raise SettingsError(f"cannot listen at {self._address}: {error}; choose another address") from error

    async def stop(self) -> None:
        """Close the port. Idempotent."""
        runner, self._runner = self._runner, None
        if runner:
            await runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _readyz(self, _request: web.Request) -> web.Response:
        results = {name: _outcome(check) for name, check in self._ready.items()}
        lines = [_line(name, result) for name, result in results.items()]
        good = all(result is True for result in results.values())
        lines.append("readyz check passed" if good else "readyz check failed")
        return web.Response(text="\n".join(lines) + "\n", status=200 if good else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers=_PROMETHEUS_TEXT)


def _outcome(check: Check) -> bool | str:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  # foreign code; the other checks still count, and the text says which fails
        return repr(error)


def _line(name: str, result: bool | str) -> str:
    match result:
        case True:
            return f"[+]{name} ok"
        case False:
            return f"[-]{name} failed"
        case reason:
            return f"[-]{name} failed: {reason}"


def _split(address: str) -> tuple[str, int]:
    parts = urlsplit(f"//{address}")
    try:
        host, port = parts.hostname, parts.port
        if host and host != "localhost":
            ipaddress.ip_address(host)
    except ValueError as error:
        raise SettingsError(f"{address!r} is no address to listen at: write HOST:PORT, as 127.0.0.1:8080") from error
    if not host or port is None:
        raise SettingsError(f"{address!r} is no address to listen at: write HOST:PORT, as 127.0.0.1:8080")
    return host, port
