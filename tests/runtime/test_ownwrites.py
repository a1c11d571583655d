from __future__ import annotations

import asyncio

import pytest
import structlog

from neptune.api import ResourceKey
from neptune.runtime import Cache, Client
from neptune.runtime.ownwrites import OwnWrites, Reconciling
from neptune.runtime.watch import Deleted, Listed, Progress, Stored
from neptune.runtime.writer import Written
from tests.runtime.widgets import Widget, key, widget

RESOURCE = Widget.resource


def written(name: str, version: int) -> Written:
    return Written(RESOURCE, key(name), "uid", str(version))


def test_a_write_is_held_for_its_object_and_for_the_reconcile_that_made_it() -> None:
    own = OwnWrites(lambda _written: False)
    with Reconciling(RESOURCE, key("parent")):
        own.add(written("child", 5))
        own.add(written("child", 6))
    own.add(written("other", 7))
    assert own.take((RESOURCE, key("parent"))) == [written("child", 6)]
    assert own.take((RESOURCE, key("parent"))) == []
    assert own.take((RESOURCE, key("child"))) == [written("child", 6)]
    assert own.take((RESOURCE, key("other"))) == [written("other", 7)]


def test_what_the_cache_has_seen_is_not_held_and_goes_when_nobody_takes_it() -> None:
    seen_up_to = 0
    own = OwnWrites(lambda write: int(write.version) <= seen_up_to)
    for version in range(1, 5000):
        own.add(written(f"w{version}", version))
        seen_up_to = version - 10
    assert len(own) <= 1100
    own.add(written("old", 1))
    assert own.take((RESOURCE, key("old"))) == []


@pytest.fixture
def cache() -> Cache:
    return Cache(Client())


async def caught_up(cache: Cache, write: Written, *updates: object) -> bool:
    """Tell whether the updates, one after the other, let somebody go on who waits for the write."""
    informer = cache.watch(Widget)
    informer.apply(Listed([widget("a", 5)], "10"))
    cache._own_writes.add(write)
    waiting = asyncio.create_task(cache.caught_up(Widget, write.key, 0.2))
    await asyncio.sleep(0)
    assert not waiting.done()
    for update in updates:
        informer.apply(update)  # type: ignore[arg-type]  # any of the updates
    return await waiting


async def test_the_event_of_the_write_or_any_later_one_is_waited_for(cache: Cache) -> None:
    assert await caught_up(cache, written("a", 11), Stored(widget("a", 11)))
    assert await caught_up(cache, written("b", 11), Stored(widget("a", 12)))
    assert await caught_up(cache, written("b", 11), Deleted(widget("a", 12)))
    assert await caught_up(cache, written("b", 11), Progress("12"))
    assert await caught_up(cache, written("b", 11), Listed([], "12"))


async def test_a_deletion_is_waited_for_by_the_uid(cache: Cache) -> None:
    gone = Written(RESOURCE, key("a"), "")
    assert await caught_up(cache, gone, Progress("12"), Deleted(widget("a", 13)))


async def test_the_wait_is_bounded_and_said_and_not_repeated(cache: Cache) -> None:
    with structlog.testing.capture_logs() as logs:
        assert not await caught_up(cache, written("a", 12), Stored(widget("a", 11)))
    assert [(entry["event"], entry["key"]) for entry in logs] == [("cache is behind our own write", "ns/a")]
    assert await cache.caught_up(Widget, key("a"), 0.0)


async def test_kinds_and_namespaces_that_nobody_watches_are_not_waited_for(cache: Cache) -> None:
    cache._own_writes.add(written("a", 5))
    assert await cache.caught_up(Widget, key("a"), 0.0)
    cache.watch(Widget, "ns").apply(Listed([], "1"))
    cache._own_writes.add(Written(RESOURCE, ResourceKey("elsewhere", "a"), "uid", "5"))
    assert await cache.caught_up(Widget, ResourceKey("elsewhere", "a"), 0.0)


@pytest.mark.parametrize(
    "selector",
    [{"label_selector": "app=web"}, {"field_selector": "metadata.name=other"}, {"field_selector": "metadata.name!=a"}],
)
async def test_a_write_that_a_watch_leaves_out_is_not_waited_for(selector: dict[str, str]) -> None:
    cache = Cache(Client())
    informer = cache.watch(Widget, **selector)
    informer.apply(Listed([], "10"))
    cache._own_writes.add(Written(RESOURCE, key("a"), "uid", "11", {"app": "db"}))
    assert await cache.caught_up(Widget, key("a"), 0.0)


@pytest.mark.parametrize(
    "selector",
    [
        {"label_selector": "app=db"},
        {"field_selector": "metadata.name=a"},
        {"field_selector": "spec.color=red"},
        {"label_selector": "of a grammar to come"},
    ],
)
async def test_a_write_that_a_watch_may_bring_is_waited_for(selector: dict[str, str]) -> None:
    cache = Cache(Client())
    informer = cache.watch(Widget, **selector)
    informer.apply(Listed([], "10"))
    cache._own_writes.add(Written(RESOURCE, key("a"), "uid", "11", {"app": "db"}))
    assert not await cache.caught_up(Widget, key("a"), 0.0)


async def test_a_write_that_takes_an_object_out_of_a_watch_is_waited_for() -> None:
    cache = Cache(Client())
    informer = cache.watch(Widget, label_selector="app=web")
    informer.apply(Listed([widget("a", 10)], "10"))
    cache._own_writes.add(Written(RESOURCE, key("a"), "uid", "11", {}))
    assert not await cache.caught_up(Widget, key("a"), 0.0)
