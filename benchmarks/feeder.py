"""A server that has nothing but Datasets, and as many events as a client can take: what it sends is made beforehand.

It answers lists in pages, streaming lists (KEP-3157) and plain watches, over HTTP on loopback. A real API server sends
some thousand events a second and would be what is measured.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from aiohttp import web

from neptune.api import Dataset

_SPEC = {"url": "/data/measured.txt", "format": "txt", "nodeName": "edge7"}
_APPLIED = {
    "apiVersion": "neptune.io/v1alpha1",
    "kind": "Dataset",
    "metadata": {"annotations": {}, "name": "dataset", "namespace": "default"},
    "spec": _SPEC,
}
_MANAGED = {
    "kubectl-client-side-apply": {
        "f:metadata": {"f:annotations": {".": {}}, "f:labels": {".": {}, "f:app": {}, "f:team": {}}},
        "f:spec": {".": {}, "f:url": {}, "f:format": {}, "f:nodeName": {}},
    },
    "neptune": {"f:status": {".": {}, "f:numberOfSamples": {}, "f:updateTime": {}}},
}
#: An object as controllers meet it: labels, kubectl's annotation, a finalizer, a status, two managers. The server sends
#: 1.3 kB of JSON, of which 0.74 kB are left without the managed fields. A NUL stands where objects differ.
_TEMPLATE = {
    "apiVersion": "neptune.io/v1alpha1",
    "kind": "Dataset",
    "metadata": {
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": json.dumps(_APPLIED, separators=(",", ":"))
        },
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": ["neptune.io/bench"],
        "generation": 1,
        "labels": {"app": "bench", "team": "edge"},
        "managedFields": [
            {
                "apiVersion": "neptune.io/v1alpha1",
                "fieldsType": "FieldsV1",
                "fieldsV1": fields,
                "manager": manager,
                "operation": "Update",
                "time": "2026-01-01T00:00:00Z",
            }
            for manager, fields in _MANAGED.items()
        ],
        "name": "\0",
        "namespace": "default",
        "resourceVersion": "\0",
        "uid": "6f1d7a52-3f0a-4c7e-9d35-\0",
    },
    "spec": _SPEC,
    "status": {"numberOfSamples": 11640, "updateTime": "2026-01-01T00:00:00Z"},
}
_START, _VERSION, _UID, _END = (
    json.dumps(_TEMPLATE, separators=(",", ":")).replace("\\u0000", "\0").encode().split(b"\0")
)
_CHUNK_BYTES = 2048


class Feeder:
    """Serves `objects` Datasets, and after `send` that number of changes. Used as a context.

    The last object of the first list is named `newest`, and that of the last event `last`.
    """

    def __init__(self, objects: int, events: int) -> None:
        self._objects = objects
        self._lines = [
            *(_event("MODIFIED", f"dataset-{index % objects}", objects + index) for index in range(1, events)),
            _event("ADDED", "last", objects + events),
        ]
        self._send = asyncio.Event()
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get(Dataset.resource.path(), self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here, and return its path."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "feeder",
            "clusters": [{"name": "feeder", "cluster": {"server": self.url}}],
            "users": [{"name": "feeder", "user": {}}],
            "contexts": [{"name": "feeder", "context": {"cluster": "feeder", "user": "feeder"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def send(self) -> None:
        """Send the events to all that watch, as fast as they take them."""
        self._send.set()

    async def _answer(self, asked: web.Request) -> web.StreamResponse:
        if asked.query.get("watch") in ("1", "true"):
            return await self._watch(asked)
        start, limit = int(asked.query.get("continue") or 0), int(asked.query.get("limit") or self._objects)
        end = min(start + limit, self._objects)
        metadata = {"resourceVersion": str(self._objects), "continue": str(end) if end < self._objects else ""}
        head = {"apiVersion": "neptune.io/v1alpha1", "kind": "DatasetList", "metadata": metadata, "items": []}
        items = b",".join(self._object(index) for index in range(start, end))
        return web.Response(body=json.dumps(head).encode()[:-2] + items + b"]}", content_type="application/json")

    async def _watch(self, asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(asked)
        streams = asked.query.get("sendInitialEvents") == "true"
        if streams or not asked.query.get("resourceVersion"):
            await _write(response, (b'{"type":"ADDED","object":%b}\n' % self._object(i) for i in range(self._objects)))
        if streams:
            await response.write(self._bookmark())
        await self._send.wait()
        await _write(response, self._lines)
        await asyncio.Event().wait()  # until the client goes: aiohttp cancels the handler then
        raise AssertionError

    def _object(self, index: int) -> bytes:
        return _object("newest" if index == self._objects - 1 else f"dataset-{index}", index + 1)

    def _bookmark(self) -> bytes:
        metadata = {
            "resourceVersion": str(self._objects),
            "annotations": {"k8s.io/initial-events-end": "true"},
            "creationTimestamp": None,
        }
        marked = {"apiVersion": "neptune.io/v1alpha1", "kind": "Dataset", "metadata": metadata}
        return json.dumps({"type": "BOOKMARK", "object": marked}).encode() + b"\n"


async def _write(response: web.StreamResponse, lines: Iterable[bytes]) -> None:
    """Write lines in chunks of two or three, as Go's server does when it has more to say (net/http, 2048 bytes)."""
    chunk = b""
    for line in lines:
        chunk += line
        if len(chunk) >= _CHUNK_BYTES:
            await response.write(chunk)
            chunk = b""
    await response.write(chunk)


def _event(kind: str, name: str, version: int) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), _object(name, version))


def _object(name: str, version: int) -> bytes:
    # The uid stays with the name, and is as long as a real one.
    uid = b"%012d" % (hash(name) % 10**12)
    return b"".join((_START, name.encode(), _VERSION, str(version).encode(), _UID, uid, _END))
