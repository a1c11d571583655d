"""A real API server with Datasets in it, for measurements."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from neptune.api import Dataset
from neptune.runtime import Client
from neptune.runtime.http import ApiSession
from neptune.testing.binaries import find_binaries
from neptune.testing.crds import install_crds
from neptune.testing.envtest import ControlPlane

NAMESPACE = "default"
_CONNECTIONS = 32


class Stage:
    """A control plane of its own and a folder; both are gone in the end."""

    def __init__(self) -> None:
        binaries = find_binaries(os.environ)
        if binaries is None:
            raise SystemExit("no etcd and kube-apiserver: run `make envtest` first")
        self._plane = ControlPlane(binaries)
        self._folder = tempfile.TemporaryDirectory(prefix="neptune-bench-")

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    @property
    def kubeconfig(self) -> Path:
        return self._plane.kubeconfig

    def __enter__(self) -> Self:
        self._plane.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._plane.stop()
        self._folder.cleanup()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Give a client of the server, which then knows Datasets."""
        client = Client(self.kubeconfig, field_manager="bench")
        try:
            await install_crds(client, Dataset)
            yield client
        finally:
            await client.close()

    async def fill(self, number: int) -> None:
        """Create `number` Datasets without a status, over several connections and without decoding the answers."""
        session = ApiSession(self.kubeconfig)
        path = Dataset.resource.path(NAMESPACE)
        bodies = _bodies(number)

        async def create() -> None:
            for body in bodies:
                await session.request("POST", path, body=body)

        try:
            await asyncio.gather(*(create() for _ in range(_CONNECTIONS)))
        finally:
            await session.close()


def _bodies(number: int) -> Iterator[bytes]:
    for index in range(number):
        dataset = {
            "apiVersion": Dataset.resource.api_version,
            "kind": Dataset.resource.kind,
            "metadata": {"name": f"dataset-{index}", "labels": {"bench": "storm"}},
            "spec": {"url": f"/data/{index}.txt", "format": "txt", "nodeName": f"edge{index % 10}"},
        }
        yield json.dumps(dataset).encode()
