"""A real API server with Datasets in it, for measurements."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import yaml

from neptune.api import Dataset, DatasetSpec, ObjectMeta
from neptune.cli.demo import CustomResourceDefinition
from neptune.runtime import Client, NotFound
from neptune.testing.binaries import find_binaries
from neptune.testing.envtest import ControlPlane

CRD = Path(__file__).parents[1] / "deploy" / "crds" / "dataset_v1alpha1.yaml"
NAMESPACE = "default"
_AT_A_TIME = 32


class Stage:
    """A control plane and a folder; both are gone in the end."""

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
        client = Client(self.kubeconfig, field_manager="bench")
        try:
            await client.create(CustomResourceDefinition.from_dict(yaml.safe_load(CRD.read_text())))
            await _served(client)
            yield client
        finally:
            await client.close()

    async def fill(self, client: Client, number: int) -> None:
        """Replace all Datasets by `number` new ones without a status."""
        await client.delete_all(Dataset, NAMESPACE)
        gate = asyncio.Semaphore(_AT_A_TIME)

        async def create(index: int) -> None:
            spec = DatasetSpec(url=f"/data/{index}.txt", format="txt", node_name=f"edge{index % 10}")
            async with gate:
                meta = ObjectMeta(name=f"dataset-{index}", namespace=NAMESPACE, labels={"bench": "storm"})
                await client.create(Dataset(metadata=meta, spec=spec))

        await asyncio.gather(*(create(index) for index in range(number)))


async def _served(client: Client) -> None:
    """Wait until the API server serves the new kind, ten seconds at most."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(NotFound):
                await client.list(Dataset, NAMESPACE)
                return
            await asyncio.sleep(0.1)
