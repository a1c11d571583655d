"""The socket: credentials, bounds, and watches that end when they should."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from neptune.embedded.apiserver.http import MAX_BODY_BYTES, EmbeddedApiServer
from neptune.errors import NeptuneError
from tests.support.contract_crd import CRD, GROUP, dataset
from tests.support.kube_http import KubeHttp, connect
from tests.support.pure_server import CRDS, DATASETS

DEADLINE_SECONDS = 10.0


@pytest.fixture
async def embedded() -> AsyncIterator[EmbeddedApiServer]:
    server = EmbeddedApiServer()
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def http(embedded: EmbeddedApiServer, tmp_path: Path) -> AsyncIterator[KubeHttp]:
    embedded.write_kubeconfig(tmp_path / "kubeconfig")
    async with connect(tmp_path / "kubeconfig") as connection:
        await connection.call("POST", CRDS, CRD)
        yield connection


async def test_token_is_asked_for_and_written_into_the_kubeconfig(tmp_path: Path) -> None:
    server = EmbeddedApiServer(token="let-me-in")
    await server.start()
    try:
        server.write_kubeconfig(tmp_path / "kubeconfig")
        assert (tmp_path / "kubeconfig").stat().st_mode & 0o777 == 0o600
        async with aiohttp.ClientSession() as session:
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                async with session.get(f"{server.url}/api/v1/namespaces", headers=headers) as refused:
                    assert refused.status == 401
                    assert (await refused.json())["reason"] == "Unauthorized"
            async with session.get(f"{server.url}/readyz") as health:
                assert (health.status, await health.text()) == (200, "ok")
        async with connect(tmp_path / "kubeconfig") as http:
            assert (await http.call("GET", "/api/v1/namespaces")).code == 200
    finally:
        await server.close()


async def test_watches_end_when_the_server_closes(embedded: EmbeddedApiServer, http: KubeHttp) -> None:
    async with http.watch(DATASETS) as events:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await embedded.close()
        assert await events.next() is None
    await embedded.close()


async def test_idle_watch_ends_when_its_client_goes(embedded: EmbeddedApiServer, http: KubeHttp) -> None:
    async with http.watch(DATASETS) as events:
        assert events.code == 200
        assert embedded.open_watches == 1
        events.abort()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                await asyncio.sleep(0.01)
                if embedded.open_watches == 0:
                    break


async def test_client_that_does_not_read_its_watch_is_cut(embedded: EmbeddedApiServer, http: KubeHttp) -> None:
    host, _, port = embedded.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(f"GET {DATASETS}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert b"200 OK" in await reader.readline()
    await http.call("POST", DATASETS, dataset("a", free={"x": "y" * 100_000}))
    for number in range(1500):
        body = json.dumps({"metadata": {"labels": {"n": str(number)}}})
        await http.call("PATCH", f"{DATASETS}/a", body, content_type="application/merge-patch+json")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await reader.readexactly(1 << 30)
    writer.close()


async def test_large_body_is_refused(http: KubeHttp) -> None:
    answer = await http.call("POST", DATASETS, dataset("a", free={"x": "y" * MAX_BODY_BYTES}))
    assert (answer.code, answer.body["reason"]) == (413, "RequestEntityTooLarge")


async def test_port_that_is_taken_is_named(embedded: EmbeddedApiServer) -> None:
    port = int(embedded.url.rpartition(":")[2])
    second = EmbeddedApiServer(port=port)
    with pytest.raises(NeptuneError, match=f"cannot listen on 127.0.0.1:{port}"):
        await second.start()
    await second.close()


async def test_many_writers_and_one_watch_agree(http: KubeHttp) -> None:
    async with http.watch(DATASETS) as events:
        made = await asyncio.gather(*(http.call("POST", DATASETS, dataset(f"d{number}")) for number in range(50)))
        seen = [(await events.next())["object"] for _ in made]
    assert {each["metadata"]["name"] for each in seen} == {f"d{number}" for number in range(50)}
    versions = [int(each["metadata"]["resourceVersion"]) for each in seen]
    assert versions == sorted(versions)


async def test_warning_header_quotes_its_text(http: KubeHttp) -> None:
    made = await http.call("POST", DATASETS, dataset("a", foo=1))
    assert made.warnings == ('299 - "unknown field \\"spec.foo\\""',)
    assert (await http.call("GET", f"/apis/{GROUP}/v1alpha1/datasets")).warnings == ()
