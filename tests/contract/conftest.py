"""The two API servers of the contract tests, the embedded one and a real one, behind one fixture."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from neptune.embedded.apiserver.http import EmbeddedApiServer
from tests.support.contract_crd import CRD, GROUP
from tests.support.kube_http import Answer, KubeHttp, connect

CRD_SECONDS = 20.0


@dataclass(frozen=True)
class Server:
    """An API server that serves the contract's CRD, and a namespace of the test's own."""

    http: KubeHttp
    namespace: str
    #: Makes the server forget its history. The real one forgot what was before the CRD when it began to serve it.
    forget: Callable[[], None]

    @property
    def path(self) -> str:
        """The collection of Datasets in the test's namespace."""
        return f"/apis/{GROUP}/v1alpha1/namespaces/{self.namespace}/datasets"

    async def create(self, body: Any, **query: str) -> Answer:
        """Create a Dataset."""
        return await self.http.call("POST", self.path, body, **query)

    async def get(self, name: str = "", **query: str) -> Answer:
        """Read one Dataset, or list all."""
        return await self.http.call("GET", f"{self.path}/{name}".rstrip("/"), **query)

    async def put(self, body: Any, subresource: str = "", **query: str) -> Answer:
        """Replace a Dataset or its status."""
        return await self.http.call("PUT", self._one(body["metadata"]["name"], subresource), body, **query)

    async def merge(self, name: str, body: Any, subresource: str = "", **query: str) -> Answer:
        """Send a merge patch."""
        media = "application/merge-patch+json"
        return await self.http.call("PATCH", self._one(name, subresource), body, content_type=media, **query)

    async def delete(self, name: str = "", body: Any = None, **query: str) -> Answer:
        """Delete one Dataset, or all that the query selects."""
        return await self.http.call("DELETE", f"{self.path}/{name}".rstrip("/"), body, **query)

    def _one(self, name: str, subresource: str) -> str:
        return f"{self.path}/{name}/{subresource}".rstrip("/")


@pytest.fixture(scope="module", params=["embedded", "real"])
def real_kubeconfig(request: pytest.FixtureRequest) -> Iterator[Path | None]:
    """Give the real server's kubeconfig, or None for the embedded one."""
    if request.param == "embedded":
        yield None
        return
    kubeconfig: Path = request.getfixturevalue("kubeconfig")
    yield kubeconfig
    # Others have this server after these tests, and kubectl would take their `datasets` for those of this CRD.
    asyncio.run(_without_crd(kubeconfig))


async def _without_crd(kubeconfig: Path) -> None:
    async with connect(kubeconfig) as http:
        await http.call("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/datasets.{GROUP}")
        for _ in range(400):
            if (await http.call("GET", f"/apis/{GROUP}")).code == 404:
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{GROUP} is still served")


@pytest.fixture
async def api_server(real_kubeconfig: Path | None, tmp_path: Path) -> AsyncIterator[Server]:
    """Give each of the two servers."""
    if real_kubeconfig:
        async with connect(real_kubeconfig) as http:
            yield await _prepared(http, lambda: None)
        return
    embedded = EmbeddedApiServer()
    await embedded.start()
    try:
        embedded.write_kubeconfig(tmp_path / "kubeconfig")
        core = embedded.server
        async with connect(tmp_path / "kubeconfig") as http:
            yield await _prepared(http, lambda: core.compact(core.revision))
    finally:
        await embedded.close()


async def _prepared(http: KubeHttp, forget: Callable[[], None]) -> Server:
    await http.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD)
    async with asyncio.timeout(CRD_SECONDS):
        while True:
            answer = await http.call("GET", f"/apis/{GROUP}/v1alpha1/datasets")
            if answer.code == 200:
                break
            await asyncio.sleep(0.05)
    namespace = f"contract-{uuid.uuid4().hex[:8]}"
    made = await http.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    assert made.code == 201, made
    return Server(http, namespace, forget)
