"""Raw HTTP to a Kubernetes API server: what the contract tests speak, so that no client library smooths anything."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import aiohttp
import yaml

WATCH_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """What the server answered."""

    code: int
    body: Any
    warnings: tuple[str, ...]


class KubeHttp:
    """One API server, by the address and the credentials of a kubeconfig."""

    def __init__(self, session: aiohttp.ClientSession, url: str, tls: ssl.SSLContext | bool) -> None:
        self._session = session
        self._url = url
        self._tls = tls

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        **query: str,
    ) -> Answer:
        """Send one request; `body` is JSON unless it is a string."""
        text = body if isinstance(body, str) else json.dumps(body)
        data = None if body is None else io.BytesIO(text.encode())
        headers = {"Accept": accept, "Content-Type": content_type}
        async with self._session.request(
            method, self._url + path, data=data, headers=headers, params=query, ssl=self._tls
        ) as response:
            got = await response.text()
            is_json = response.content_type == "application/json"
            warnings = tuple(response.headers.getall("Warning", ()))
            return Answer(response.status, json.loads(got) if is_json else got, warnings)

    @asynccontextmanager
    async def watch(self, path: str, *, accept: str = "application/json", **query: str) -> AsyncIterator[Events]:
        """Open a watch."""
        params = {"watch": "true", **query}
        async with self._session.get(
            self._url + path, params=params, headers={"Accept": accept}, ssl=self._tls
        ) as response:
            yield Events(response)


class Events:
    """The events of one watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.code = response.status

    def abort(self) -> None:
        """Close the connection without a word."""
        self._response.close()

    async def next(self) -> Any:
        """Return the next event, or None at the end of the stream."""
        async with asyncio.timeout(WATCH_SECONDS):
            line = await self._response.content.readline()
        return json.loads(line) if line else None


@asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[KubeHttp]:
    """Open a connection by the current context of a kubeconfig."""
    config = yaml.safe_load(kubeconfig.read_text())
    context = next(each["context"] for each in config["contexts"] if each["name"] == config["current-context"])
    cluster = next(each["cluster"] for each in config["clusters"] if each["name"] == context["cluster"])
    user = next(each["user"] for each in config["users"] if each["name"] == context["user"])
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield KubeHttp(session, cluster["server"], _tls(cluster, user))
    # aiohttp closes TLS transports in the background; give the loop a turn so that none is left open.
    await asyncio.sleep(0.05)


def _tls(cluster: dict[str, str], user: dict[str, str]) -> ssl.SSLContext | bool:
    if not cluster["server"].startswith("https"):
        return False
    tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with NamedTemporaryFile() as pem:
        pem.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
        pem.write(base64.b64decode(user["client-key-data"]))
        pem.flush()
        tls.load_cert_chain(pem.name)
    return tls
