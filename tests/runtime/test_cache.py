from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
import structlog

from neptune.api import Dataset, DatasetSpec, ObjectMeta, PartialObjectMetadata, ResourceKey
from neptune.api.core import Namespace
from neptune.runtime import Cache, Change, Client, DecodeError, NotWatched
from neptune.runtime.watch import Deleted, Listed, Snapshot, Stored, Unknown, snapshot
from tests.runtime.widgets import Widget, eventually, item, key, widget


@pytest.fixture
def cache() -> Cache:
    return Cache(Client())


def listed(*names: str) -> Listed[Widget]:
    return Listed([widget(name) for name in names])


def test_reading_a_kind_that_nobody_watches_is_an_error(cache: Cache) -> None:
    with pytest.raises(NotWatched, match=r"cache\.watch\(Widget\)"):
        cache.get(Widget, key("a"))


def test_each_reader_gets_a_copy_of_its_own(cache: Cache) -> None:
    cache.watch(Widget).apply(Listed([widget("a", size=1)]))
    first = cache.get(Widget, key("a"))
    assert first is not None
    first.spec.size = 2
    second = cache.get(Widget, key("a"))
    assert second is not None
    assert second.spec.size == 1
    assert cache.get(Widget, key("b")) is None


def test_a_class_that_cannot_be_read_without_its_kind_is_read_with_it(cache: Cache) -> None:
    class Gadget(Widget):
        kind: Literal["Widget"]

    cache.watch(Gadget).apply(Listed([snapshot(Gadget, {**item("a"), "kind": "Widget"})]))
    found = cache.get(Gadget, key("a"))
    assert found is not None
    assert (found.kind, found.api_version) == ("Widget", "example.com/v1")


def test_the_same_query_is_one_informer_and_another_query_another(cache: Cache) -> None:
    assert cache.watch(Widget) is cache.watch(Widget)
    assert cache.watch(Widget) is not cache.watch(Widget, label_selector="a=b")


def test_a_kind_that_the_server_does_not_know_is_waited_for_unless_it_is_optional(cache: Cache) -> None:
    cache.watch(Widget).apply(Unknown())
    assert not cache.has_synced()
    cache.optional(Widget)
    cache.watch(Widget).apply(Unknown())
    assert (cache.has_synced(), cache.list(Widget)) == (True, [])
    later: list[bool] = []
    cache.watch(Widget).subscribe(lambda change: later.append(change.initial))
    cache.watch(Widget).apply(listed("a"))
    assert (len(cache.list(Widget)), later) == (1, [False])


def test_an_answer_that_the_kind_is_unknown_takes_no_object_away(cache: Cache) -> None:
    cache.optional(Widget)
    cache.watch(Widget).apply(listed("a"))
    cache.watch(Widget).apply(Unknown())
    assert len(cache.list(Widget)) == 1


def test_what_the_class_knows_is_not_kept_and_is_there_when_read(cache: Cache) -> None:
    kept = snapshot(Widget, {"apiVersion": "example.com/v1", "kind": "Widget", **item("a")})
    cache.watch(Widget).apply(Listed([kept]))
    obj = cache.get(Widget, key("a"))
    assert b"Widget" not in kept.raw
    assert b"example.com" not in kept.raw
    assert obj is not None
    assert (obj.to_dict()["apiVersion"], obj.to_dict()["kind"]) == ("example.com/v1", "Widget")
    assert obj.merge_patch() == {}


def test_managed_fields_are_not_kept(cache: Cache) -> None:
    raw = item("a")
    raw["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    assert b"managedFields" not in snapshot(Widget, raw).raw


def test_handlers_see_the_state_before_and_after(cache: Cache) -> None:
    informer = cache.watch(Widget)
    seen: list[tuple[str, str | None, str | None, bool]] = []

    def handler(change: Change[Widget]) -> None:
        old, new = (each.version if each else None for each in (change.old, change.new))
        seen.append((change.key.name, old, new, change.initial))

    informer.subscribe(handler)
    informer.apply(listed("a", "b"))
    informer.apply(Stored(widget("a", 2)))
    informer.apply(Stored(widget("a", 2)))
    informer.apply(Deleted(widget("a", 3)))
    informer.apply(listed("c"))
    assert seen == [
        ("a", None, "1", True),
        ("b", None, "1", True),
        ("a", "1", "2", False),
        ("a", "3", None, False),
        ("b", "1", None, False),
        ("c", None, "1", False),
    ]


def test_a_late_handler_is_told_what_is_there(cache: Cache) -> None:
    informer = cache.watch(Widget)
    informer.apply(listed("a"))
    seen: list[str] = []
    informer.subscribe(lambda change: seen.append(change.key.name))
    assert seen == ["a"]


def test_a_handler_that_fails_does_not_keep_the_change_from_the_others(cache: Cache) -> None:
    informer = cache.watch(Widget)
    seen: list[str] = []
    informer.subscribe(lambda change: seen.append(str(1 / (change.new is None))))
    informer.subscribe(lambda change: seen.append(change.key.name))
    with structlog.testing.capture_logs() as logs:
        informer.apply(listed("a"))
    assert seen == ["a"]
    assert [entry["event"] for entry in logs] == ["handler failed"]


def test_an_index_follows_changes_and_deletions(cache: Cache) -> None:
    informer = cache.watch(Widget)
    informer.apply(Listed([widget("a", color="red"), widget("b", color="red")]))
    cache.index(Widget, "color", lambda each: [each.spec.color])

    def names(color: str) -> list[str]:
        return sorted(each.metadata.name for each in cache.list(Widget, index="color", value=color))

    assert names("red") == ["a", "b"]
    informer.apply(Stored(widget("a", 2, color="blue")))
    informer.apply(Deleted(widget("b", 2)))
    assert (names("red"), names("blue")) == ([], ["a"])
    with pytest.raises(NotWatched, match="no index 'shape'"):
        cache.list(Widget, index="shape", value="round")


def test_an_object_is_decoded_once_for_all_indexes(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, decoded = Snapshot.decode, []

    def count(item: Snapshot[Widget]) -> Widget:
        decoded.append(item.key)
        return decode(item)

    monkeypatch.setattr(Snapshot, "decode", count)
    for name in ("color", "shade"):
        cache.index(Widget, name, lambda each: [each.spec.color])
    cache.watch(Widget).apply(Listed([widget("a", color="red")]))
    assert decoded == [key("a")]


def test_an_index_function_that_fails_leaves_the_object_out_of_that_index_only(cache: Cache) -> None:
    informer = cache.watch(Widget)
    cache.index(Widget, "share", lambda each: [str(6 // each.spec.size)])
    with structlog.testing.capture_logs() as logs:
        informer.apply(Listed([widget("none", size=0), widget("two", size=2)]))
        assert [each.metadata.name for each in cache.list(Widget, index="share", value="3")] == ["two"]
        informer.apply(Stored(widget("two", 2, size=0)))
    assert [entry["event"] for entry in logs] == ["index failed, object left out of it"] * 2
    assert cache.list(Widget, index="share", value="3") == []
    assert len(cache.list(Widget)) == 2


def test_an_object_that_does_not_fit_spoils_only_itself(cache: Cache) -> None:
    informer = cache.watch(Widget)
    cache.index(Widget, "color", lambda each: [each.spec.color])
    with structlog.testing.capture_logs() as logs:
        informer.apply(Listed([widget("bad", size="many"), widget("good", size=1)]))
        for _ in range(3):
            assert [each.metadata.name for each in cache.list(Widget)] == ["good"]
    assert len(logs) == 1
    assert "ns/bad" in logs[0]["problem"]
    with pytest.raises(DecodeError, match="ns/bad"):
        cache.get(Widget, key("bad"))
    assert cache.undecodable(Widget) == {key("bad")}
    informer.apply(Stored(widget("bad", 2, size=3)))
    assert cache.undecodable(Widget) == set()
    assert len(cache.list(Widget)) == 2


def test_several_namespaces_and_selectors_of_a_kind_are_read_as_one_and_others_are_an_error(cache: Cache) -> None:
    cache.index(Widget, "color", lambda each: [each.spec.color])
    cache.watch(Widget, "ns", label_selector="a=b").apply(Listed([widget("a", color="red")]))
    elsewhere = {**item("b", color="red"), "metadata": {"namespace": "two", "name": "b"}}
    cache.watch(Widget, "two").apply(Listed([snapshot(Widget, elsewhere)]))
    assert [str(each.key) for each in cache.list(Widget, index="color", value="red")] == ["ns/a", "two/b"]
    assert [str(each.key) for each in cache.list(Widget, "two")] == ["two/b"]
    assert cache.get(Widget, ResourceKey("two", "b"))
    with pytest.raises(NotWatched, match=r"does not watch widgets\.example\.com in namespace three"):
        cache.get(Widget, ResourceKey("three", "b"))
    with pytest.raises(NotWatched, match="namespace three"):
        cache.list(Widget, "three")


def test_list_keeps_to_a_namespace(cache: Cache) -> None:
    cache.watch(Widget).apply(listed("a"))
    assert cache.list(Widget, "elsewhere") == []
    assert len(cache.list(Widget, "ns")) == 1


def dataset(namespace: str, name: str = "a") -> Dataset:
    return Dataset(
        metadata=ObjectMeta(namespace=namespace, name=name),
        spec=DatasetSpec(url="/data/a", format="txt", node_name="edge0"),
    )


@asynccontextmanager
async def started(cache: Cache) -> AsyncIterator[Cache]:
    task = asyncio.create_task(cache.run())
    try:
        await cache.wait_synced()
        yield cache
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def running(client: Client, namespace: str) -> AsyncIterator[Cache]:
    cache = Cache(client)
    cache.watch(Dataset, namespace)
    async with started(cache):
        yield cache


async def test_the_cache_follows_a_real_api_server(client: Client, running: Cache, namespace: str) -> None:
    name = ResourceKey(namespace, "a")
    assert running.has_synced(Dataset)
    assert running.list(Dataset) == []
    created = await client.create(dataset(namespace))
    cached = await eventually(lambda: running.get(Dataset, name))
    cached.status.number_of_samples = 3
    await client.status.patch(cached)
    await eventually(lambda: (found := running.get(Dataset, name)) and found.status.number_of_samples == 3)
    await client.delete(created)
    await eventually(lambda: running.get(Dataset, name) is None)


async def test_a_kind_declared_while_running_is_watched_too(client: Client, running: Cache, namespace: str) -> None:
    informer = running.watch(Dataset, namespace, label_selector="a=b")
    await asyncio.wait_for(informer.synced.wait(), 10)


async def test_metadata_alone_takes_an_informer_of_its_own_without_spec(
    client: Client, running: Cache, namespace: str
) -> None:
    Metadata = PartialObjectMetadata.of(Dataset)  # it is a class
    informer = running.watch(Metadata, namespace)
    created = await client.create(dataset(namespace))
    await eventually(lambda: running.get(Metadata, created.key))
    kept = informer.get(created.key)
    assert kept is not None
    assert b"spec" not in kept.raw
    assert await eventually(lambda: running.get(Dataset, created.key))


async def test_a_transform_drops_what_nobody_reads_before_it_is_kept(client: Client, namespace: str) -> None:
    def transform(item: dict[str, Any]) -> dict[str, Any]:
        if item["metadata"]["name"] == "bad":
            raise ValueError("no")
        del item["metadata"]["annotations"]
        return item

    cache = Cache(client)
    cache.transform(Dataset, transform)
    cache.watch(Dataset, namespace)
    for name in ("bad", "good"):
        large = dataset(namespace, name)
        large.metadata.annotations["large"] = "x" * 1000
        await client.create(large)
    with structlog.testing.capture_logs() as logs:
        async with started(cache):
            assert [[*each.metadata.annotations] for each in cache.list(Dataset)] == [["large"], []]
            with pytest.raises(RuntimeError, match="before the cache runs"):
                cache.transform(Dataset, transform)
    assert [entry["event"] for entry in logs] == ["transform failed, object kept as it is"]


async def test_own_writes_are_in_the_cache_once_it_has_caught_up(
    client: Client, running: Cache, namespace: str
) -> None:
    parent, child = ResourceKey(namespace, "parent"), ResourceKey(namespace, "child")
    running.watch(Dataset, namespace)
    for _ in range(20):
        with running.reconciling(Namespace, parent):
            await client.create(dataset(namespace, "child"))
        assert await running.caught_up(Namespace, parent)
        created = running.get(Dataset, child)
        assert created is not None
        created.status.number_of_samples = 3
        await client.status.patch(created)
        assert await running.caught_up(Dataset, child)
        changed = running.get(Dataset, child)
        assert changed is not None
        assert changed.status.number_of_samples == 3
        await client.delete(changed)
        assert await running.caught_up(Dataset, child)
        assert running.get(Dataset, child) is None


async def test_a_write_that_takes_an_object_out_of_a_field_selector_or_keeps_it_out_is_caught_up_with(
    client: Client, namespace: str
) -> None:
    cache = Cache(client)
    cache.watch(Dataset, namespace, field_selector="spec.nodeName=edge0")
    inside = await client.create(dataset(namespace, "inside"))
    async with started(cache):
        inside.spec.node_name = "edge1"
        await client.patch(inside)
        assert await cache.caught_up(Dataset, inside.key)
        assert cache.get(Dataset, inside.key) is None
        outside = dataset(namespace, "outside")
        outside.spec.node_name = "edge1"
        await client.create(outside)
        assert await cache.caught_up(Dataset, outside.key)
        outside.spec.node_name = "edge0"
        await client.apply(outside, force=True)
        assert await cache.caught_up(Dataset, outside.key)
        assert cache.get(Dataset, outside.key)
