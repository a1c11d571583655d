"""The client against a real API server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from neptune.api import (
    Dataset,
    DatasetSpec,
    ObjectMeta,
    PartialObjectMetadata,
    ResourceKey,
    ResourceType,
    Unstructured,
)
from neptune.api.core import ConfigMap, Container, Namespace, Pod, PodSpec
from neptune.runtime import AlreadyExists, BadRequest, Client, Conflict, Gone, Invalid, NotFound, Query
from neptune.runtime.errors import FieldConflict
from tests.runtime.widgets import eventually


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


async def test_an_apply_that_changes_nothing_is_no_write(client: Client, with_datasets: Path, namespace: str) -> None:
    def stated() -> Dataset:
        made = dataset(namespace)
        made.metadata.labels, made.metadata.annotations, made.metadata.owner_references = {}, {}, []
        return made

    applied = await client.apply(stated())
    assert (await client.apply(stated())).metadata.resource_version == applied.metadata.resource_version


async def test_apply_creates_then_owns_its_fields(client: Client, with_datasets: Path, namespace: str) -> None:
    applied = await client.apply(dataset(namespace))
    assert applied.spec.node_name == "edge0"
    other = Client(with_datasets, field_manager="other")
    try:
        claim = dataset(namespace)
        claim.spec.url = "/theirs"
        with pytest.raises(Conflict, match=r'(?s)"neptune".*spec\.url') as raised:
            await other.apply(claim)
        assert FieldConflict("neptune", ".spec.url") in raised.value.conflicts
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


async def test_delete_spares_an_object_that_changed_since_the_version_named(client: Client, namespace: str) -> None:
    first = await client.create(dataset(namespace))
    first.spec.url = "/data/b"
    second = await client.patch(first)
    with pytest.raises(Conflict):
        await client.delete(first, resource_version=first.metadata.resource_version)
    await client.delete(second, resource_version=second.metadata.resource_version)
    with pytest.raises(NotFound):
        await client.get(Dataset, first.key)


async def test_foreground_deletion_leaves_the_object_until_its_dependents_are_gone(
    client: Client, namespace: str
) -> None:
    created = await client.create(dataset(namespace))
    await client.delete(created, propagation="Foreground")
    lingering = await client.get(Dataset, created.key)
    assert lingering.metadata.finalizers == ["foregroundDeletion"]
    await client.json_patch(Dataset, created.key, [{"op": "remove", "path": "/metadata/finalizers"}])


async def test_a_pod_has_the_time_to_end_that_its_deletion_names(client: Client, namespace: str) -> None:
    container = Container(name="a", image="a")
    pod = Pod(metadata=ObjectMeta(namespace=namespace, name="a"), spec=PodSpec(containers=[container], node_name="n"))
    created = await client.create(pod)
    await client.delete(created, grace_seconds=7)
    assert (await client.get(Pod, created.key)).metadata.deletion_grace_period_seconds == 7
    await client.delete(created, grace_seconds=0)
    with pytest.raises(NotFound):
        await client.get(Pod, created.key)


async def test_a_json_patch_is_carried_out_whole_or_not_at_all(client: Client, namespace: str) -> None:
    created = await client.create(dataset(namespace))
    replace = {"op": "replace", "path": "/spec/url", "value": "/data/b"}
    with pytest.raises(Invalid):
        await client.json_patch(
            Dataset, created.key, [replace, {"op": "test", "path": "/metadata/uid", "value": "other"}]
        )
    assert (await client.get(Dataset, created.key)).spec.url == "/data/a"
    test = {"op": "test", "path": "/metadata/uid", "value": created.metadata.uid}
    assert (await client.json_patch(Dataset, created.key, [test, replace])).spec.url == "/data/b"


async def test_an_update_that_changes_nothing_is_not_sent(client: Client, namespace: str) -> None:
    created = await client.create(dataset(namespace))
    await client.delete(created)
    assert await client.update(created) is created


async def test_a_dry_run_is_checked_by_the_server_and_stored_nowhere(with_datasets: Path, namespace: str) -> None:
    real, dry = Client(with_datasets), Client(with_datasets, dry_run=True)
    try:
        stored = await real.create(dataset(namespace))
        wrong = dataset(namespace, "b")
        wrong.spec.node_name = "Not A Name"
        with pytest.raises(Invalid):
            await dry.create(wrong)
        assert (await dry.create(dataset(namespace, "c"))).metadata.uid
        stored.spec.url = "/data/b"
        assert (await dry.patch(stored)).spec.url == "/data/b"
        await dry.delete(stored)
        await dry.delete_all(Dataset, namespace)
        assert [item.spec.url for item in (await real.list(Dataset, namespace)).items] == ["/data/a"]
    finally:
        await real.close()
        await dry.close()


async def test_strict_validation_refuses_a_field_that_the_server_does_not_know(
    with_datasets: Path, namespace: str
) -> None:
    client = Client(with_datasets, field_validation="Strict")
    wrong = dataset(namespace)
    wrong.spec = DatasetSpec.model_validate({**wrong.spec.to_dict(), "urll": "/typo"})
    try:
        with pytest.raises(BadRequest, match=r'unknown field "spec\.urll"'):
            await client.create(wrong)
    finally:
        await client.close()


async def test_an_unstructured_object_goes_through_every_verb(client: Client, namespace: str) -> None:
    await client.create(dataset(namespace))
    Untyped = Unstructured.of(Dataset.resource)  # it is a class
    read = await client.get(Untyped, ResourceKey(namespace, "a"))
    read["spec"]["url"] = "/data/b"
    patched = await client.patch(read)
    assert patched["spec"]["url"] == "/data/b"
    patched["status"] = {"numberOfSamples": 3}
    assert (await client.status.patch(patched))["status"]["numberOfSamples"] == 3
    assert [item.key for item in (await client.list(Untyped, namespace)).items] == [read.key]
    await client.delete(read)


async def test_a_kind_that_the_server_does_not_know_is_not_found(client: Client, namespace: str) -> None:
    Unknown = Unstructured.of(ResourceType("example.com", "v1", "Unknown", "unknowns"))  # it is a class
    with pytest.raises(NotFound, match=f"GET /apis/example.com/v1/namespaces/{namespace}/unknowns"):
        await client.list(Unknown, namespace)


async def test_metadata_alone_is_read_watched_and_patched_but_never_written_whole(
    client: Client, namespace: str
) -> None:
    created = await client.create(dataset(namespace))
    Metadata = PartialObjectMetadata.of(Dataset)  # it is a class
    read = await client.get(Metadata, created.key)
    assert b'"spec":' not in (read._origin or b"")
    read.metadata.labels["a"] = "b"
    await client.patch(read)
    assert (await client.get(Dataset, created.key)).spec.url == "/data/a"
    listed = await client.list(Metadata, namespace, label_selector="a=b")
    assert [item.key for item in listed.items] == [created.key]
    async with client.watch(Query(Metadata, namespace), created.metadata.resource_version) as events:
        assert "spec" not in (await anext(events)).object
    for write in (client.create, client.update):
        with pytest.raises(TypeError, match="only the metadata of the Dataset"):
            await write(read)


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


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a%2Fb"])
async def test_a_name_that_would_be_another_path_is_refused_without_a_request(name: str) -> None:
    client = Client("/nowhere")
    for key in (ResourceKey("default", name), ResourceKey(name, "a")):
        with pytest.raises(ValueError, match="is no name"):
            await client.get(ConfigMap, key)
        with pytest.raises(ValueError, match="is no name"):
            await client.delete(ConfigMap, key)
    with pytest.raises(ValueError, match="is no name"):
        await client.delete(Namespace, ResourceKey("", f"default/configmaps/{name}"))
    with pytest.raises(ValueError, match="is no name"):
        await client.list(ConfigMap, name)
    with pytest.raises(ValueError, match="is no name"):
        await client.delete_all(ConfigMap, name)
    with pytest.raises(ValueError, match="is no name"):
        await client.create(ConfigMap(metadata=ObjectMeta(namespace=name, name="a")))
