"""A finalizer, and a controller that owns children, against a real API server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from neptune.api import Dataset
from neptune.api.core import ConfigMap
from neptune.api.meta import ResourceKey
from neptune.runtime import Client, Context, Finalizer, Manager, NotFound, Query, RequeueAfter, set_controller_ref
from tests.runtime.kinds import config_map, dataset
from tests.runtime.widgets import Widget, eventually

NAME = "neptune.io/test"


@asynccontextmanager
async def managing(kubeconfig: Path, namespace: str, reconcile: Any, **options: Any) -> AsyncIterator[Manager]:
    manager = Manager(kubeconfig=kubeconfig)
    manager.controller(Query(Dataset, namespace), reconcile, **options)
    await manager.start()
    try:
        yield manager
    finally:
        await manager.stop()


async def until(client: Client, key: ResourceKey, condition: Callable[[Dataset], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition(await client.get(Dataset, key)):  # noqa: ASYNC110  # as in eventually
            await asyncio.sleep(0.02)


async def gone(client: Client, key: ResourceKey) -> None:
    with pytest.raises(NotFound):
        await until(client, key, lambda _: False)


async def test_cleanup_runs_before_the_object_goes_and_reconcile_no_more(
    with_datasets: Path, client: Client, namespace: str
) -> None:
    calls: list[str] = []

    async def reconcile(ctx: Context, key: ResourceKey) -> None:
        calls.append("reconcile" if ctx.cache.get(Dataset, key) else "gone")

    async def cleanup(_ctx: Context, obj: Dataset) -> RequeueAfter | None:
        calls.append("cleanup")
        obj.spec.url = "changed"  # of its own copy
        return RequeueAfter(0.01) if calls.count("cleanup") < 3 else None

    made = dataset(namespace, "a")
    made.metadata.finalizers = ["neptune.io/other"]
    made = await client.create(made)
    async with managing(with_datasets, namespace, Finalizer(Dataset, NAME, reconcile, cleanup)):
        await until(client, made.key, lambda found: NAME in found.metadata.finalizers)
        await client.delete(made)
        await until(client, made.key, lambda found: found.metadata.finalizers == ["neptune.io/other"])
        assert calls.count("cleanup") == 3
        rest = await client.get(Dataset, made.key)
        assert rest.spec.url == "/data/a"
        rest.metadata.finalizers = []
        await client.patch(rest)
        await gone(client, made.key)
        await eventually(lambda: calls[-1] == "gone")
    assert "reconcile" not in calls[calls.index("cleanup") :]


async def test_a_cleanup_that_fails_keeps_the_object_and_is_tried_again(
    with_datasets: Path, client: Client, namespace: str
) -> None:
    calls: list[str] = []

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None: ...

    async def cleanup(_ctx: Context, obj: Dataset) -> None:
        calls.append(obj.metadata.name)
        if len(calls) < 3:
            raise OSError("bucket is away")

    made = await client.create(dataset(namespace, "a"))
    async with managing(with_datasets, namespace, Finalizer(Dataset, NAME, reconcile, cleanup)):
        await until(client, made.key, lambda found: found.metadata.finalizers == [NAME])
        await client.delete(made)
        await gone(client, made.key)
    assert len(calls) >= 3


async def test_the_function_sees_the_finalizer_that_was_just_set_and_its_first_write_is_no_conflict(
    with_datasets: Path, client: Client, namespace: str
) -> None:
    seen: list[list[str]] = []

    async def reconcile(ctx: Context, key: ResourceKey) -> None:
        found = ctx.cache.get(Dataset, key)
        assert found
        seen.append(found.metadata.finalizers)
        found.status.number_of_samples = 1
        await ctx.client.status.patch(found)

    async def cleanup(_ctx: Context, _obj: Dataset) -> None: ...

    with structlog.testing.capture_logs() as logs:
        async with managing(with_datasets, namespace, Finalizer(Dataset, NAME, reconcile, cleanup)):
            for name in "abcdefgh":
                made = await client.create(dataset(namespace, name))
                await until(client, made.key, lambda found: found.status.number_of_samples == 1)
                await client.delete(made)
                await gone(client, made.key)
    assert [each for each in seen if each != [NAME]] == []
    assert not [entry for entry in logs if entry["event"] == "object changed meanwhile, trying again"]


async def test_plain_functions_run_in_threads(with_datasets: Path, client: Client, namespace: str) -> None:
    loop_thread = threading.current_thread()

    def reconcile(ctx: Context, key: ResourceKey) -> None:
        assert threading.current_thread() is not loop_thread
        if found := ctx.cache.get(Dataset, key):
            found.status.number_of_samples = 1
            ctx.wait(ctx.client.status.patch(found))

    def cleanup(ctx: Context, obj: Dataset) -> None:
        assert threading.current_thread() is not loop_thread
        ctx.wait(ctx.client.create(config_map(namespace, f"{obj.metadata.name}-was-here")))

    made = await client.create(dataset(namespace, "a"))
    async with managing(with_datasets, namespace, Finalizer(Dataset, NAME, reconcile, cleanup)):
        await until(client, made.key, lambda found: found.status.number_of_samples == 1)
        await client.delete(made)
        await gone(client, made.key)
    assert await client.get(ConfigMap, ResourceKey(namespace, "a-was-here"))


@pytest.mark.parametrize("answer", [False, "done"])
async def test_a_cleanup_that_returns_nonsense_keeps_the_object_and_is_told_so(
    with_datasets: Path, client: Client, namespace: str, answer: object
) -> None:
    async def reconcile(_ctx: Context, _key: ResourceKey) -> None: ...

    async def cleanup(_ctx: Context, _obj: Dataset) -> Any:
        return answer

    made = dataset(namespace, "a")
    made.metadata.finalizers = [NAME]
    made = await client.create(made)
    await client.delete(made)
    with structlog.testing.capture_logs() as logs:
        async with managing(with_datasets, namespace, Finalizer(Dataset, NAME, reconcile, cleanup)):
            await eventually(lambda: any(entry["log_level"] == "error" for entry in logs))
            kept = await client.get(Dataset, made.key)
    assert kept.metadata.finalizers == [NAME]
    kept.metadata.finalizers = []  # else the CRD could not be deleted by the tests that follow
    await client.patch(kept)
    problems = {entry["problem"] for entry in logs if entry["log_level"] == "error"}
    assert problems == {f"cleanup returned {answer!r}: return None or RequeueAfter(seconds)"}


async def test_a_finalizer_without_a_domain_or_without_a_function_is_refused() -> None:
    async def function(*_: Any) -> None: ...

    with pytest.raises(ValueError, match=r"needs a domain, as in example\.com/mine"):
        Finalizer(Widget, "mine", function, function)
    with pytest.raises(TypeError, match="'cleanup' cannot be called"):
        Finalizer(Widget, NAME, function, "cleanup")  # type: ignore[arg-type]  # the point of the test


async def test_a_child_that_was_deleted_or_changed_is_made_good(
    with_datasets: Path, client: Client, namespace: str
) -> None:
    async def reconcile(ctx: Context, key: ResourceKey) -> None:
        owner = ctx.cache.get(Dataset, key)
        if owner:
            child = config_map(namespace, key.name, url=owner.spec.url)
            set_controller_ref(owner, child)
            await ctx.client.apply(child, force=True)

    async def url() -> str:
        async with asyncio.timeout(10):
            while True:
                try:
                    return (await client.get(ConfigMap, made.key)).data["url"]
                except NotFound:
                    await asyncio.sleep(0.02)

    made = await client.create(dataset(namespace, "a"))
    async with managing(with_datasets, namespace, reconcile, owns=[Query(ConfigMap, namespace)]):
        assert await url() == "/data/a"
        await client.delete(ConfigMap, made.key)
        assert await url() == "/data/a"
        child = await client.get(ConfigMap, made.key)
        child.data["url"] = "spoiled"
        await client.patch(child)
        async with asyncio.timeout(10):
            while await url() == "spoiled":  # noqa: ASYNC110  # as in eventually
                await asyncio.sleep(0.02)


async def test_what_a_mapper_names_is_reconciled(with_datasets: Path, client: Client, namespace: str) -> None:
    colors: list[str] = []

    async def reconcile(ctx: Context, key: ResourceKey) -> None:
        config = ctx.cache.get(ConfigMap, ResourceKey(namespace, "shared"))
        colors.append(f"{key.name} {config.data['color'] if config else None}")

    def all_datasets(_config: ConfigMap) -> list[ResourceKey]:
        return [each.key for each in manager.cache.list(Dataset, namespace)]

    for name in "ab":
        await client.create(dataset(namespace, name))
    watches = {Query(ConfigMap, namespace, field_selector="metadata.name=shared"): all_datasets}
    async with managing(with_datasets, namespace, reconcile, watches=watches) as manager:
        await eventually(lambda: len(colors) == 2)
        shared = await client.create(config_map(namespace, "shared", color="red"))
        await eventually(lambda: {"a red", "b red"} <= {*colors})
        await client.delete(shared)
        await eventually(lambda: sorted(colors[-2:]) == ["a None", "b None"])
