"""The fault proxy in front of a real and of an embedded API server, and our own cache behind each of its faults."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neptune.api import Dataset, DatasetSpec, ObjectMeta, ResourceKey
from neptune.embedded.apiserver.http import EmbeddedApiServer
from neptune.runtime import Cache, Client, Conflict, ServerError, TooManyRequests
from neptune.runtime.http import ApiSession
from neptune.testing.crds import install_crds
from neptune.testing.faults import Cut, End, Fault, FaultProxy, Refuse, Stall, WatchError
from tests.runtime.widgets import eventually

NAMESPACE = "default"


@pytest.fixture(scope="session", params=["embedded", "real"])
def real(request: pytest.FixtureRequest) -> Path | None:
    """Give the real server's kubeconfig, or None for the embedded one."""
    return None if request.param == "embedded" else request.getfixturevalue("with_datasets")


@pytest.fixture
async def proxy(real: Path | None, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    """Give a proxy in front of each server, which knows Datasets."""
    if real:
        async with FaultProxy(real) as proxy:
            yield proxy
        return
    server = EmbeddedApiServer()
    await server.start()
    try:
        server.write_kubeconfig(tmp_path / "direct")
        client = Client(tmp_path / "direct")
        await install_crds(client, Dataset)
        await client.close()
        async with FaultProxy(tmp_path / "direct") as proxy:
            yield proxy
    finally:
        await server.close()


@pytest.fixture
async def client(proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[Client]:
    client = Client(proxy.write_kubeconfig(tmp_path / "faulty"))
    yield client
    await client.close()


@pytest.fixture
async def cache(client: Client, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cache]:
    """Give a cache of Datasets that runs, and tries again soon."""
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.02)
    cache = Cache(client)
    cache.watch(Dataset)
    running = asyncio.create_task(cache.run())
    await cache.wait_synced()
    yield cache
    running.cancel()
    await asyncio.wait([running])


def new_dataset() -> Dataset:
    name = f"faults-{uuid.uuid4().hex[:8]}"
    return Dataset(metadata=ObjectMeta(namespace=NAMESPACE, name=name), spec=DatasetSpec(url="/a", format="txt"))


async def follows(cache: Cache, client: Client) -> ResourceKey:
    """Create an object and wait until the cache has it."""
    created = await client.create(new_dataset())
    await eventually(lambda: cache.get(Dataset, created.key), seconds=15)
    return created.key


async def test_what_no_fault_touches_passes_unchanged(proxy: FaultProxy, client: Client) -> None:
    created = await client.create(new_dataset())
    created.spec.format = "csv"
    assert (await client.patch(created)).spec.format == "csv"
    with pytest.raises(Conflict):
        await client.update(created)
    assert (await client.get(Dataset, created.key)).spec.format == "csv"
    assert created.key in {item.key for item in (await client.list(Dataset)).items}
    await client.delete(Dataset, created.key)
    assert [each.verb for each in proxy.seen] == ["create", "patch", "update", "get", "list", "delete"]


async def test_discovery_passes(proxy: FaultProxy, tmp_path: Path) -> None:
    session = ApiSession(proxy.write_kubeconfig(tmp_path / "faulty"))
    assert b"v1" in await session.request("GET", "/api")
    await session.close()


@pytest.mark.parametrize(
    "fault", [Refuse(500), Refuse(410), Refuse(429, retry_after=1), WatchError(410), End(), Cut()], ids=repr
)
async def test_the_cache_follows_again_after_a_watch_met_the_fault(
    proxy: FaultProxy, cache: Cache, client: Client, fault: Fault
) -> None:
    before = await follows(cache, client)
    watches = proxy.count("watch")
    proxy.inject(fault, verb="watch", times=2)
    proxy.cut()
    after = await follows(cache, client)
    await eventually(lambda: proxy.count("watch") > watches + 2, seconds=15)
    assert {before, after} <= {item.key for item in cache.list(Dataset)}


async def test_the_cache_starts_behind_a_server_that_refuses_at_first(
    proxy: FaultProxy, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.02)
    proxy.inject(Refuse(503), times=3)
    cache = Cache(client)
    cache.watch(Dataset)
    running = asyncio.create_task(cache.run())
    async with asyncio.timeout(15):
        await cache.wait_synced()
    running.cancel()
    await asyncio.wait([running])
    assert len(proxy.seen) > 3


async def test_what_was_deleted_behind_a_cut_is_gone_from_the_cache(
    proxy: FaultProxy, cache: Cache, client: Client
) -> None:
    key = await follows(cache, client)
    proxy.stall()
    deleting = asyncio.create_task(client.delete(Dataset, key))
    await eventually(lambda: proxy.count("delete"))
    proxy.inject(WatchError(410), verb="watch")
    proxy.cut()
    proxy.resume()
    await asyncio.wait([deleting])
    await eventually(lambda: cache.get(Dataset, key) is None, seconds=15)


async def test_each_event_twice_leaves_the_same_objects(proxy: FaultProxy, cache: Cache, client: Client) -> None:
    proxy.duplicates = True
    keys = {await follows(cache, client) for _ in range(3)}
    deleted = keys.pop()
    await client.delete(Dataset, deleted)
    await eventually(lambda: cache.get(Dataset, deleted) is None)
    assert keys <= {item.key for item in cache.list(Dataset)}


async def test_a_stalled_watch_goes_on_where_it_was(proxy: FaultProxy, cache: Cache, client: Client) -> None:
    proxy.stall()
    creating = asyncio.create_task(client.create(new_dataset()))
    await eventually(lambda: proxy.count("create"))
    assert not creating.done()
    proxy.resume()
    created = await creating
    await eventually(lambda: cache.get(Dataset, created.key))


async def test_a_request_that_is_never_answered_ends_with_its_client(proxy: FaultProxy, client: Client) -> None:
    proxy.inject(Stall(), verb="create")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.create(new_dataset())
    await client.create(new_dataset())


async def test_refusals_come_in_order_for_their_verb_and_until_cleared(proxy: FaultProxy, client: Client) -> None:
    proxy.inject(Refuse(429), verb="create")
    proxy.inject(Refuse(500), verb="create", times=None)
    with pytest.raises(TooManyRequests):
        await client.create(new_dataset())
    for _ in range(2):
        with pytest.raises(ServerError):
            await client.create(new_dataset())
    await client.list(Dataset)
    proxy.clear()
    await client.create(new_dataset())
