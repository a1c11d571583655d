"""The client against a real API server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from neptune.api import Dataset, DatasetSpec, ObjectMeta, ResourceKey
from neptune.runtime import AlreadyExists, Client, Conflict, Gone, Invalid, NotFound, Query
from tests.runtime.widgets import Namespace, eventually


def dataset(namespace: str, name: str = "a", **labels: str) -> Dataset:
    return Dataset(
        metadata=ObjectMeta(namespace=namespace, name=name, labels=labels),
        spec=DatasetSpec(url="/data/a", format="txt", node_name="edge0"),
    )


async def test_create_then_get_gives_the_same_object(client: Client, namespace: str) -> None:
    created = await client.create(dataset(namespace))
    read = await client.get(Dataset, created.key)
    assert read == created
    assert read.metadata.uid


async def test_creating_twice_and_creating_nonsense_tell_what_is_wrong(client: Client, namespace: str) -> None:
    await client.create(dataset(namespace))
    with pytest.raises(AlreadyExists):
        await client.create(dataset(namespace))
    wrong = dataset(namespace, "b")
    wrong.spec.node_name = "Not A Name"
    with pytest.raises(Invalid) as raised:
        await client.create(wrong)
    assert raised.value.details["causes"][0]["field"] == "spec.nodeName"


async def test_what_is_not_there_is_not_found(client: Client, namespace: str) -> None:
    with pytest.raises(NotFound):
        await client.get(Dataset, ResourceKey(namespace, "none"))
    with pytest.raises(NotFound):
        await client.delete(Dataset, ResourceKey(namespace, "none"))


async def test_a_cluster_scoped_kind_works_the_same(client: Client, namespace: str) -> None:
    read = await client.get(Namespace, ResourceKey("", namespace))
    read.metadata.labels["seen"] = "yes"
    assert (await client.patch(read)).metadata.labels["seen"] == "yes"


async def test_a_patch_sends_what_changed_and_a_second_writer_conflicts(client: Client, namespace: str) -> None:
    await client.create(dataset(namespace))
    mine = await client.get(Dataset, ResourceKey(namespace, "a"))
    theirs = await client.get(Dataset, ResourceKey(namespace, "a"))
    mine.spec.url = "/data/b"
    after = await client.patch(mine)
    assert (after.spec.url, after.metadata.generation) == ("/data/b", 2)
    theirs.metadata.labels["a"] = "b"
    with pytest.raises(Conflict):
        await client.patch(theirs)


async def test_a_patch_that_changes_nothing_is_not_sent(client: Client, namespace: str) -> None:
    created = await client.create(dataset(namespace))
    await client.delete(created)
    assert await client.patch(created) is created
    assert await client.status.patch(created) is created


async def test_the_status_is_written_alone(client: Client, namespace: str) -> None:
    created = await client.create(dataset(namespace))
    created.status.number_of_samples = 0
    created.spec.url = "/elsewhere"
    after = await client.status.patch(created)
    assert (after.status.number_of_samples, after.spec.url, after.metadata.generation) == (0, "/data/a", 1)
    after.spec.url = "/elsewhere"
    assert await client.status.patch(after) is after
    after.status.number_of_samples = 7
    replaced = await client.status.update(after)
    assert replaced.status.number_of_samples == 7
    with pytest.raises(Conflict):
        await client.status.update(after)


async def test_update_replaces_the_object_and_conflicts_when_it_changed(client: Client, namespace: str) -> None:
    created = await client.create(dataset(namespace, kept="no"))
    created.metadata.labels = {"kept": "yes"}
    updated = await client.update(created)
    assert updated.metadata.labels == {"kept": "yes"}
    with pytest.raises(Conflict):
        await client.update(created)


async def test_apply_creates_then_owns_its_fields(client: Client, with_datasets: Path, namespace: str) -> None:
    applied = await client.apply(dataset(namespace))
    assert applied.spec.node_name == "edge0"
    other = Client(with_datasets, field_manager="other")
    try:
        claim = dataset(namespace)
        claim.spec.url = "/theirs"
        with pytest.raises(Conflict, match=r"spec\.url"):
            await other.apply(claim)
        assert (await other.apply(claim, force=True)).spec.url == "/theirs"
    finally:
        await other.close()


async def test_delete_spares_a_namesake_that_was_created_since(client: Client, namespace: str) -> None:
    first = await client.create(dataset(namespace))
    await client.delete(Dataset, first.key)
    second = await client.create(dataset(namespace))
    with pytest.raises(Conflict):
        await client.delete(first)
    await client.delete(second)
    with pytest.raises(NotFound):
        await client.get(Dataset, second.key)


async def test_a_list_is_read_in_pages_and_filtered_by_the_server(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.client.PAGE_SIZE", 3)
    await asyncio.gather(*(client.create(dataset(namespace, f"d{n}", odd=str(n % 2))) for n in range(8)))
    everything = await client.list(Dataset, namespace)
    assert [item.metadata.name for item in everything.items] == [f"d{n}" for n in range(8)]
    assert everything.metadata.resource_version
    odd = await client.list(Dataset, namespace, label_selector="odd=1")
    assert len(odd.items) == 4
    by_node = await client.list(Dataset, namespace, field_selector="spec.nodeName=elsewhere")
    assert by_node.items == []


async def test_delete_all_deletes_what_the_selector_matches(client: Client, namespace: str) -> None:
    for n in range(4):
        await client.create(dataset(namespace, f"d{n}", odd=str(n % 2)))
    await client.delete_all(Dataset, namespace, label_selector="odd=1")
    assert [item.metadata.name for item in (await client.list(Dataset, namespace)).items] == ["d0", "d2"]


async def test_a_watch_gives_what_happens_after_its_version(client: Client, namespace: str) -> None:
    first = await client.create(dataset(namespace))
    query = Query(Dataset, namespace)
    async with client.watch(query, first.metadata.resource_version) as events:
        await client.create(dataset(namespace, "b"))
        await client.delete(first)
        seen = [await anext(events), await anext(events)]
    assert [(event.type, event.object["metadata"]["name"]) for event in seen] == [("ADDED", "b"), ("DELETED", "a")]


def open_sockets() -> int:
    return sum(1 for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and "socket:" in str(link.readlink()))


async def test_close_leaves_no_connection_open_whatever_was_cancelled(with_datasets: Path, namespace: str) -> None:
    before = open_sockets()
    client = Client(with_datasets)

    async def watch() -> None:
        async with client.watch(Query(Dataset, namespace), "") as events:
            async for _ in events:
                pass

    await client.list(Dataset, namespace)
    watches = [asyncio.create_task(watch()) for _ in range(20)]
    await eventually(lambda: open_sockets() > before + 15)
    for task in watches:
        task.cancel()
    await asyncio.wait(watches)
    await client.close()
    assert open_sockets() == before


async def test_a_watch_from_a_version_that_is_not_kept_is_gone(client: Client, namespace: str) -> None:
    with pytest.raises(Gone):
        async with client.watch(Query(Dataset, namespace), "1") as events:
            await anext(events)
